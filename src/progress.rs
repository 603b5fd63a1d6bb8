//! The progress of work that reads or writes many bytes.
//!
//! Owns plain values.

/// The progress of a long operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that are processed.
    pub done_bytes: u64,
    /// Total bytes to process.
    pub total_bytes: u64,
}

impl Progress {
    /// The progress of work that is done in part.
    pub const fn new(done_bytes: u64, total_bytes: u64) -> Self {
        Self { done_bytes, total_bytes }
    }
}
