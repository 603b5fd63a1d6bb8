//! The options of a harness.

use crate::options::{Durability, Options};

/// The options of a harness for its store.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// With the store's own threads.
    pub background: bool,
    /// The store's durability.
    pub durability: Durability,
    /// The size of new segments.
    pub segment_size: u64,
    /// Whether operations may fail for reasons that the model does not have.
    pub faults: bool,
}

impl Default for Settings {
    /// Deterministic, synced, small segments, no faults.
    fn default() -> Self {
        Self {
            background: false,
            durability: Durability::Sync,
            segment_size: Options::MIN_SEGMENT_SIZE,
            faults: false,
        }
    }
}
