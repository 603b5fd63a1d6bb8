#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod copy;
mod error;
mod event_log;
mod snapshot_store;

pub use copy::{CopyError, copy};
pub use error::Error;
pub use event_log::AnnalsEventLog;
pub use snapshot_store::AnnalsSnapshotStore;
