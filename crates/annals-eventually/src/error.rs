//! The error of the event store.
//!
//! Owns the texts. Must never drop a cause.

use std::error::Error as StdError;

use eventually_core::store::AppendError;

/// What can go wrong. Nothing was changed, except with [`annals::Error::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused the operation, or failed. [`annals::Error::Conflict`] if the source does not have the expected
    /// version: load the aggregate again. [`annals::Error::ReadJson`] if a stored event is not one of the aggregate.
    #[error("the store cannot do this")]
    Store(#[from] annals::Error),
    /// A version does not fit into the 32 bits that eventually has for it.
    #[error("stream {stream:?}: eventually has no version {version}")]
    VersionRange {
        /// The stream of the source.
        stream: String,
        /// The version.
        version: u64,
    },
    /// A sequence number does not fit into the 32 bits that eventually has for it: the store has too many events.
    #[error("eventually has no sequence number {sequence_number}")]
    SequenceRange {
        /// The sequence number.
        sequence_number: u64,
    },
    /// An event is in a stream whose name does not end in the id of a source.
    #[error("stream {stream:?} is none of a source: its id cannot be parsed")]
    SourceId {
        /// The stream.
        stream: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl AppendError for Error {
    fn is_conflict_error(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_conflict())
    }
}
