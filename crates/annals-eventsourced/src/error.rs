//! The error of the event log and of the snapshot store.
//!
//! Owns the texts. Must never drop a cause.

use std::error::Error as StdError;

use annals::Position;

type BoxError = Box<dyn StdError + Send + Sync>;

/// What can go wrong. The event log and the snapshot store are unchanged, except with
/// [`annals::Error::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused the operation, or failed. If another event of the entity was stored since the given sequence
    /// number, this is [`annals::Error::Conflict`]: spawn the entity again.
    #[error("the store cannot do this")]
    Store(#[from] annals::Error),
    /// An event or a state cannot be converted to bytes.
    #[error("cannot convert to bytes")]
    ToBytes(#[source] BoxError),
    /// Stored bytes cannot be converted to an event or a state.
    #[error("cannot convert the bytes of {key:?} at sequence number {position}")]
    FromBytes {
        /// The stream of the event, or the key of the snapshot.
        key: String,
        /// The sequence number of the event, or of the snapshot.
        position: Position,
        /// Why.
        source: BoxError,
    },
}

impl Error {
    pub(crate) fn to_bytes(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::ToBytes(Box::new(error))
    }

    pub(crate) fn from_bytes(
        key: &str,
        position: Position,
        error: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self::FromBytes { key: key.to_owned(), position, source: Box::new(error) }
    }
}
