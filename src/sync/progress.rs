//! How a position becomes visible to other threads without a lock.
//!
//! That protocol and nothing else, so that a model checker can walk all its interleavings as it
//! stands here: `tests/loom` includes this very file.

use super::atomic::{AtomicU64, Ordering};

/// A number that only grows, and says that everything up to it has happened.
#[derive(Debug)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    pub(crate) fn new(reached: u64) -> Self {
        Self(AtomicU64::new(reached))
    }

    /// How far it has come. The caller sees everything that was done before it was raised so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Lets others see that everything up to `reached` has happened, which it must have.
    pub(crate) fn raise(&self, reached: u64) {
        self.0.fetch_max(reached, Ordering::Release);
    }
}
