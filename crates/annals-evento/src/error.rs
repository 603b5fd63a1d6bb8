//! Errors, and their form in evento's types.
//!
//! Owns which error of the store is which [`WriteError`]. Must never drop a cause.

use annals::{Position, Uuid};
use evento_core::WriteError;

/// What can go wrong. It is the value in the `anyhow::Error` that a method of the executor returns, from which
/// `downcast_ref` returns it; nothing was changed, except with [`annals::Error::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused the operation, or failed.
    #[error("the store cannot do this")]
    Store(#[from] annals::Error),
    /// An event of the store was not written by evento. A store of evento has no other events.
    #[error("the event at position {position}, of stream {stream:?}, is not one of evento")]
    Foreign {
        /// The stream of the event.
        stream: String,
        /// The position of the event.
        position: Position,
    },
    /// An event is replicated whose stamp, version and id come before those of the last event of the store. Events
    /// are stored in the order of their cursors, and stored ones do not move.
    #[error(
        "event {id} comes before the last event of the store: replicate in the order of cursors"
    )]
    OutOfOrder {
        /// The id of the event.
        id: ulid::Ulid,
    },
    /// An event is replicated whose stamp has 1,000 milliseconds or more, or does not fit into 64 bits.
    #[error("event {id} has the stamp {timestamp} s and {timestamp_subsec} ms")]
    Stamp {
        /// The id of the event.
        id: ulid::Ulid,
        /// The seconds of the stamp.
        timestamp: u64,
        /// The milliseconds of the stamp.
        timestamp_subsec: u32,
    },
    /// A stream has more versions than the 65,535 that evento can count.
    #[error("stream {stream:?} is at version {version}, and evento has no more than 65535")]
    VersionRange {
        /// The stream of the aggregate.
        stream: String,
        /// Its version.
        version: u64,
    },
    /// A stream cannot be deleted: events are never removed, and their ids and positions are not used again.
    #[error("stream {stream:?} cannot be deleted: events of a store are never removed")]
    DeleteStream {
        /// The stream of the aggregate.
        stream: String,
    },
    /// A record is not the state of a subscriber. It is unchanged.
    #[error("record {key:?} is not the state of a subscriber")]
    Subscriber {
        /// The key of the record.
        key: String,
        /// The fault and its place.
        source: serde_json::Error,
    },
}

/// An error of a commit in evento's type.
pub(crate) fn of_commit(error: annals::Error) -> WriteError {
    match error {
        annals::Error::Conflict { .. } => WriteError::InvalidOriginalVersion,
        // The store goes on by itself once there is space.
        annals::Error::DiskFull { .. } => WriteError::Unavailable(Error::Store(error).into()),
        other => WriteError::Unknown(Error::Store(other).into()),
    }
}

/// An error of this crate in evento's type.
pub(crate) fn unknown(error: impl Into<Error>) -> WriteError {
    WriteError::Unknown(error.into().into())
}

pub(crate) fn uuid(id: ulid::Ulid) -> Uuid {
    Uuid::from_u128(id.0)
}
