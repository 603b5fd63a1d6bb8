//! The public API, over a real directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asynchronous;
mod boundaries;
mod clock;
mod collisions;
mod compaction;
mod costs;
mod cursors;
mod hidden;
mod history;
mod json;
mod limits;
mod lock;
mod opening;
mod recorded_time;
mod repeats;
mod settings;
mod smoke;
mod snapshots;
mod stats;
mod tickets;
