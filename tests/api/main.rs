//! The public API, over a real directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asynchronous;
mod boundaries;
mod collisions;
mod compaction;
mod cursors;
mod hidden;
mod limits;
mod opening;
mod repeats;
mod smoke;
mod snapshots;
mod stats;
mod tickets;
