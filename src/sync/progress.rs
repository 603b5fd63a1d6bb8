//! How a position becomes visible to other threads without a lock.
//!
//! Only that protocol, so that a model checker can explore all its interleavings: `tests/loom`
//! includes this file.

use super::atomic::{AtomicU64, Ordering};

/// A number that only grows; everything up to it has happened.
#[derive(Debug)]
pub(crate) struct AtomicMark(AtomicU64);

impl AtomicMark {
    pub(crate) fn new(reached: u64) -> Self {
        Self(AtomicU64::new(reached))
    }

    /// The current value. The caller sees everything that was done before the mark was raised to
    /// it.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Publishes that everything up to `reached` has happened, which must be so.
    pub(crate) fn raise(&self, reached: u64) {
        self.0.fetch_max(reached, Ordering::Release);
    }

    /// Like [`AtomicMark::raise`], where a lock orders all threads that raise the mark: a plain store costs less than an
    /// operation that excludes other threads.
    pub(crate) fn raise_locked(&self, reached: u64) {
        if self.0.load(Ordering::Relaxed) < reached {
            self.0.store(reached, Ordering::Release);
        }
    }
}
