//! Errors, in the types of cqrs-es.
//!
//! Owns which error of the store is which error of the framework. Must never drop the cause: it is the value in the
//! framework's error.

use annals::{ExpectedVersion, FailedCheck};
use cqrs_es::persist::PersistenceError;

/// What is wrong with an argument or with stored data. It is the value in a [`PersistenceError`] or an
/// [`AggregateError`](cqrs_es::AggregateError), from which `downcast_ref` returns it.
///
/// Data or metadata of an event that are not JSON, or not of the expected type, are an [`annals::Error::ReadJson`]
/// instead, which names the event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Events are not numbered without gaps. Nothing was written.
    #[error("sequence {found} of stream {stream:?} follows {last}: load the aggregate again")]
    SequenceGap {
        /// The stream of the aggregate.
        stream: String,
        /// The last sequence before the gap; 0 if the stream has no events.
        last: u64,
        /// The sequence after the gap.
        found: u64,
        /// The conflict that the store reported; `None` if events of the stream cannot be read because the
        /// stream was truncated.
        source: Option<annals::Error>,
    },
    /// A sequence is 0, or too large for this platform.
    #[error("sequence {sequence} of stream {stream:?} is out of range")]
    SequenceRange {
        /// The stream of the aggregate.
        stream: String,
        /// The sequence.
        sequence: u64,
    },
    /// A view or a snapshot cannot be written as JSON, or what is stored is not of the expected type. The stored
    /// value is unchanged.
    #[error("record {key:?} is not JSON of the expected type: rebuild or delete it")]
    Record {
        /// The key of the record.
        key: String,
        /// The fault and its place.
        source: serde_json::Error,
    },
}

/// An error of the store in the framework's type.
pub(crate) fn of_store(error: annals::Error) -> PersistenceError {
    match error {
        annals::Error::Conflict { ref failed, .. } => match failed.first() {
            Some(FailedCheck::WrongExpectedVersion {
                stream,
                expected: ExpectedVersion::Exact(expected),
                actual,
                ..
            }) if actual < expected => {
                let (stream, last, found) = (stream.clone(), *actual, expected.saturating_add(1));
                unknown(Error::SequenceGap { stream, last, found, source: Some(error) })
            }
            _ => PersistenceError::OptimisticLockError,
        },
        annals::Error::Io { .. }
        | annals::Error::DiskFull { .. }
        | annals::Error::WriterPoisoned { .. }
        | annals::Error::OutcomeUnknown { .. }
        | annals::Error::StoreGone { .. }
        | annals::Error::ReadOnly
        | annals::Error::Closed => PersistenceError::ConnectionError(Box::new(error)),
        annals::Error::ReadJson { .. } => PersistenceError::DeserializationError(Box::new(error)),
        other => PersistenceError::UnknownError(Box::new(other)),
    }
}

/// An error of this crate in the framework's type.
pub(crate) fn unknown(error: Error) -> PersistenceError {
    PersistenceError::UnknownError(Box::new(error))
}

/// What is stored under `key` is not what is expected.
pub(crate) fn of_record(key: &str) -> impl Fn(serde_json::Error) -> PersistenceError {
    let key = key.to_owned();
    move |source| {
        PersistenceError::DeserializationError(Box::new(Error::Record { key: key.clone(), source }))
    }
}
