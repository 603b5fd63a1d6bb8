//! Tests of the public API, mostly on a real directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asynchronous;
mod backup;
mod boundaries;
mod clock;
mod cold;
mod compaction;
mod cursors;
mod fences;
mod hash_collisions;
mod hidden_streams;
mod history;
mod json;
mod limits;
mod lock;
mod opening;
mod overview;
mod read_costs;
mod reads;
mod recorded_time;
mod records;
mod repeated_commits;
mod settings;
#[path = "../support/mod.rs"]
mod shared;
mod shipping;
mod smoke;
mod snapshots;
mod stats;
mod stream_names;
mod support;
mod tickets;
mod waits;
