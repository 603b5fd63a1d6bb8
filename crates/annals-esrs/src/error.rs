//! The error of the event store.
//!
//! Owns the texts. Must never drop a cause.

/// What can go wrong. Nothing was changed, except with [`annals::Error::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused the operation, or failed. [`annals::Error::Conflict`] if the aggregate has other events than
    /// those of the state: load it again. [`annals::Error::ReadJson`] if a stored event is not one of the aggregate.
    #[error("the store cannot do this")]
    Store(#[from] annals::Error),
    /// The aggregate would have more events than the 2,147,483,647 that esrs can count.
    #[error("stream {stream:?} cannot have version {version}: esrs has no sequence number for it")]
    SequenceRange {
        /// The stream of the aggregate.
        stream: String,
        /// The version.
        version: u64,
    },
    /// An event is in a stream whose name is not that of an aggregate of esrs.
    #[error("stream {stream:?} is none of an aggregate: its id is not a UUID")]
    AggregateId {
        /// The stream.
        stream: String,
        /// Why.
        source: uuid::Error,
    },
}
