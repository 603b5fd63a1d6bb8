//! The events of a sealed segment that reads through an index have proven one by one.
//!
//! One bit per event, allocated at the first such read. Must never be set for an event whose record
//! and frame header were not both proven.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct ProvenEvents {
    words: OnceLock<Box<[AtomicU64]>>,
}

impl ProvenEvents {
    /// Whether the event with this ordinal was proven.
    #[inline]
    pub(super) fn contains(&self, ordinal: u64) -> bool {
        let word =
            self.words.get().and_then(|words| words.get(usize::try_from(ordinal / 64).ok()?));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (ordinal % 64)) != 0)
    }

    /// Records that an event of a segment with `events` events is proven.
    pub(super) fn note(&self, ordinal: u64, events: u32) {
        let words = (events as usize).div_ceil(64);
        let words = self.words.get_or_init(|| (0..words).map(|_| AtomicU64::new(0)).collect());
        // The bytes that the bit stands for never change, so no memory ordering is needed.
        if let Some(word) = usize::try_from(ordinal / 64).ok().and_then(|at| words.get(at)) {
            word.fetch_or(1 << (ordinal % 64), Ordering::Relaxed);
        }
    }
}
