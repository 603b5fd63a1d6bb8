//! Counts of what happened since a store was opened; [`Stats`](crate::Stats) reports them.
//!
//! Owns the numbers. Must never order memory: a count says nothing about other data.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::LiveHistogram;
use crate::sync::Instant;

/// One of this number of appends is timed: two readings of the clock take as long as a part of a buffered append.
const TIMED: u64 = 64;

/// What happened since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Raised with the writer locked.
    pub(super) appends: Count,
    pub(super) conflicts: Count,
    pub(super) already_recorded: Count,
    /// Raised with the writer locked.
    pub(super) groups: Count,
    pub(super) syncs: Count,
    pub(super) sealed: Count,
    pub(super) seal_waits: Count,
    pub(super) maintenance_failures: Count,
    pub(super) snapshot_failures: Count,
    pub(super) compactions: Count,
    pub(super) compacted_bytes: Count,
    pub(super) append_nanos: LiveHistogram,
    pub(super) sync_nanos: LiveHistogram,
    /// Counted with the writer locked.
    pub(super) group_events: LiveHistogram,
}

impl Counters {
    /// The time at which an append begins, if it is one of those that are timed.
    pub(super) fn begin_append(&self) -> Option<Instant> {
        self.appends.get().is_multiple_of(TIMED).then(Instant::now)
    }

    /// Counts the time of an append that succeeded.
    pub(super) fn end_append(&self, began: Option<Instant>) {
        if let Some(began) = began {
            self.append_nanos.count(nanos(began.elapsed()));
        }
    }

    /// Counts the time of a sync, and returns it.
    pub(super) fn end_sync(&self, began: Instant) -> Duration {
        let took = began.elapsed();
        self.syncs.add(1);
        self.sync_nanos.count(nanos(took));
        took
    }
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// A count that threads read without a lock, and raise without one unless it says otherwise.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Like [`Count::add`], for a count that is raised with the writer locked alone: two plain operations cost less than
    /// one that excludes other threads.
    pub(super) fn add_locked(&self, number: u64) {
        self.0.store(self.get().wrapping_add(number), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
