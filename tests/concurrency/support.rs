//! Helpers of these tests.

use annals::{Options, Result, Store};

pub(crate) use crate::shared::Place;
use crate::shared::{check_prefix as check, small_segments};

impl Place {
    pub(crate) fn open(&self) -> Store {
        Self::options().open(self.path()).unwrap()
    }

    pub(crate) fn options() -> Options {
        small_segments()
    }
}

/// Asserts that what a read sees is whole and without gaps. Returns its head.
pub(crate) fn check_prefix(store: &Store) -> Result<u64> {
    check(store, false, |_| {})
}
