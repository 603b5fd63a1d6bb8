//! The whole store with its threads on the simulated disk, under schedulers that choose the next
//! thread at every lock, wait, atomic and operation of the disk.
//!
//! A thread that is never woken is a deadlock, which fails the test. Run with `just shuttle`;
//! `docs/internals/concurrency.md` states what this cannot find.
#![cfg(annals_shuttle)]
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod close;
mod commits;
mod failures;
mod full_disk;
mod groups;
mod readers;
mod records;
#[path = "../support/mod.rs"]
mod shared;
mod snapshots;
mod streams;
mod subscriptions;
mod support;
mod transactions;
mod waits;
