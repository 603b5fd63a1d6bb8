//! How much of the log is read for one message.
//!
//! Owns the limits of a thread's read; `stream` has those of a poll.

use super::Subscription;

/// The size in bytes at which a batch ends if it owns its bytes, because a segment is not mapped.
pub(super) const BATCH_BYTES: usize = 4 << 20;

/// The maximum amount that is read for one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion {
    /// Events to deliver.
    pub(super) events: u64,
    /// The number of scanned positions, if that is larger.
    pub(super) positions: u64,
    /// Bytes of events that own their bytes.
    pub(super) bytes: usize,
    /// Whether a reader beside a writer in another process polls for new events itself.
    pub(super) refreshes: bool,
    /// Whether the subscription yields to other tasks before the next portion.
    pub(super) yields: bool,
}

impl Portion {
    /// For a thread, which may block.
    pub(super) const LARGE: Self = Self {
        events: u64::MAX,
        positions: Subscription::PROGRESS_EVERY,
        bytes: BATCH_BYTES,
        refreshes: true,
        yields: false,
    };
}
