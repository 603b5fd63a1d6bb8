#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod error;
mod store;

pub use error::Error;
pub use store::AnnalsStore;
