//! Consumer groups: order within a stream, delivery at least once, and parked events.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod failing_disk;
mod order;
mod parking;
#[path = "../support/mod.rs"]
mod shared;
mod stopping;
mod support;
mod tasks;
mod transactional;
