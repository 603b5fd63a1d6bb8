#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "NautilusTrader is a name, and no item")]

mod backend;
mod copy;
mod entry;
mod error;
mod keys;
mod run;
mod runs;

pub use annals;
pub use backend::AnnalsBackend;
pub use copy::{copy_redb, copy_run};
pub use nautilus_event_store;
pub use runs::RunStore;

use nautilus_event_store::EventStoreError;

type Result<T, E = EventStoreError> = std::result::Result<T, E>;
