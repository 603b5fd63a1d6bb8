//! Subscriptions: every event once and in order, told how far, woken in time, ended when asked.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "tests measure how long they wait")]

mod ends;
mod failures;
mod follower;
mod many;
mod metadata;
mod oracle;
mod support;
mod tasks;
