//! Subscriptions: every event once and in order, with progress, woken in time, ended on request.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "tests measure how long they wait")]

mod against_plain_reads;
mod commits;
mod ends;
mod failures;
mod follower;
mod lag;
mod many;
mod metadata;
mod progress;
#[path = "../support/mod.rs"]
mod shared;
mod support;
mod tasks;
mod versions;
