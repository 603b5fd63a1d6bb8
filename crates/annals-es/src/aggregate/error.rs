//! The errors of repositories.

use crate::event::{CodecError, EventError};
use crate::store::{AppendError, Conflict, StoreError, StreamName, Version};

/// Why an aggregate could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Events of the stream are hidden: it was truncated or archived, and no snapshot covers them. The state
    /// without them would be wrong.
    #[error(
        "stream {stream:?} shows no event at version {missing}: it was truncated or archived, and no \
        snapshot covers the hidden events"
    )]
    Hidden {
        /// The stream.
        stream: StreamName,
        /// The first version that is missing.
        missing: Version,
    },
    /// A query names a type that the events do not have: it would select nothing.
    #[error("the events have no type {event_type:?}, which a query names")]
    UnknownType {
        /// The name.
        event_type: String,
    },
}

/// Why a command has recorded nothing, except with [`AppendError::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The aggregate refused the command.
    #[error(transparent)]
    Refused(E),
    /// The aggregate is not at the version that the sender of the command saw: show the present state, and let the
    /// sender decide again.
    #[error(
        "stream {stream:?} is at version {actual}, and the command was made for version {expected}"
    )]
    VersionMismatch {
        /// The aggregate's stream.
        stream: StreamName,
        /// The version that the sender saw.
        expected: Version,
        /// The aggregate's version.
        actual: Version,
    },
    /// Other commits came first in each attempt. The command may be sent again.
    #[error("{attempts} attempts lost to other commits, the last one because {conflict}")]
    Contended {
        /// The number of attempts.
        attempts: u32,
        /// The last conflict.
        #[source]
        conflict: Conflict,
    },
    /// The command decided more than one commit can record. Make it decide less, for example by a reference to
    /// large contents, or in several commands.
    #[error(
        "the command decided {events} events, too much for one commit: {what} is {size}, the limit is {max}"
    )]
    TooLarge {
        /// The number of events.
        events: usize,
        /// What was measured, with its unit.
        what: String,
        /// The measured size.
        size: u64,
        /// The largest accepted size.
        max: u64,
    },
    /// The aggregate could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The id of the command is used by other events: ids of commands are unique.
    #[error("the id of the command is used by another command")]
    CommandIdReused,
    /// An event or its metadata could not be written by its codec.
    #[error("an event cannot be written: {0}")]
    Encode(#[from] CodecError),
    /// The store did not record the events.
    #[error(transparent)]
    Append(AppendError),
}

impl<E> From<StoreError> for ExecuteError<E> {
    fn from(error: StoreError) -> Self {
        Self::Load(error.into())
    }
}

impl<E> From<EventError> for ExecuteError<E> {
    fn from(error: EventError) -> Self {
        Self::Load(error.into())
    }
}

impl<E> ExecuteError<E> {
    /// The reason for which the aggregate refused the command, if it did.
    pub fn refused(&self) -> Option<&E> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}
