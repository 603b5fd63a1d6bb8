//! The events that reads through an index have proven one by one.
//!
//! One bit per event, allocated for some thousand events at a time, at the first such read. Must never be set for an event
//! whose record and frame header were not both proven.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The words that are allocated together.
const WORDS: usize = 512;
/// The number of events that they stand for.
const EVENTS: u64 = WORDS as u64 * 64;

type Words = Box<[AtomicU64]>;

#[derive(Debug, Default)]
pub(super) struct ProvenEvents {
    parts: OnceLock<Box<[OnceLock<Words>]>>,
}

impl ProvenEvents {
    /// Whether the event with this ordinal was proven.
    #[inline]
    pub(super) fn contains(&self, ordinal: u64) -> bool {
        let Some(parts) = self.parts.get() else { return false };
        let part = usize::try_from(ordinal / EVENTS).ok().and_then(|at| parts.get(at));
        let word = part.and_then(OnceLock::get).and_then(|words| words.get(word_of(ordinal)));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (ordinal % 64)) != 0)
    }

    /// Records that an event of a segment with at most `most` events is proven.
    pub(super) fn note(&self, ordinal: u64, most: u64) {
        let count = usize::try_from(most.div_ceil(EVENTS)).unwrap_or(0);
        let parts = self.parts.get_or_init(|| (0..count).map(|_| OnceLock::new()).collect());
        let part = usize::try_from(ordinal / EVENTS).ok().and_then(|at| parts.get(at));
        let Some(part) = part.filter(|_| ordinal < most) else { return };
        let words = part.get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        // The bytes that the bit stands for never change, so no memory ordering is needed.
        if let Some(word) = words.get(word_of(ordinal)) {
            word.fetch_or(1 << (ordinal % 64), Ordering::Relaxed);
        }
    }
}

/// The word of an event among those that are allocated together.
#[inline]
fn word_of(ordinal: u64) -> usize {
    usize::try_from(ordinal % EVENTS / 64).unwrap_or(WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proven_events_are_the_ones_that_were_noted() {
        let proven = ProvenEvents::default();
        let most = 3 * EVENTS + 5;
        let noted = [0, 1, 63, 64, EVENTS - 1, EVENTS, 3 * EVENTS + 4];
        assert!(noted.iter().all(|&ordinal| !proven.contains(ordinal)));
        for ordinal in noted {
            proven.note(ordinal, most);
        }
        for ordinal in 0..4 * EVENTS {
            assert_eq!(proven.contains(ordinal), noted.contains(&ordinal), "{ordinal}");
        }
        for beyond in [most, 4 * EVENTS, u64::MAX] {
            proven.note(beyond, most);
            assert!(!proven.contains(beyond));
        }
    }
}
