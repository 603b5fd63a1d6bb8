//! Counts of what happened since a store was opened; [`Stats`](crate::Stats) reports them.
//!
//! Owns the numbers. Must never order memory: a count says nothing about other data.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) appends: Count,
    pub(super) conflicts: Count,
    pub(super) already_recorded: Count,
    pub(super) groups: Count,
    pub(super) syncs: Count,
    pub(super) sealed: Count,
    pub(super) seal_waits: Count,
    pub(super) maintenance_failures: Count,
    pub(super) snapshot_failures: Count,
    pub(super) compactions: Count,
    pub(super) compacted_bytes: Count,
}

/// A count that threads raise without a lock.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
