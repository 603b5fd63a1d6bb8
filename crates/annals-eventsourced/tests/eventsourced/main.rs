//! What the backends of eventsourced are tested for, its counters, and what annals promises beyond.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod copy;
mod counter;
mod entities;
mod event_log;
mod migration;
mod snapshot_store;
mod upstream;
