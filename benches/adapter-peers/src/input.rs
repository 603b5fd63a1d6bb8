//! The event that all sides store.
//!
//! Owns its fields and its size. Must never name a store.

use serde::{Deserialize, Serialize};

/// A deposit, about 250 bytes as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deposited {
    pub account: String,
    pub number: u64,
    pub memo: String,
}

impl Deposited {
    /// The event of an account with this number, of which the first is 1.
    pub fn new(account: &str, number: u64) -> Self {
        Self { account: account.to_owned(), number, memo: "a deposit of money. ".repeat(10) }
    }
}
