//! The errors of processes.

use crate::aggregate::LoadError;
use crate::event::{CodecError, EventError};
use crate::parking::ListError;
use crate::store::{AppendError, Cause, Position, StoreError, StreamName};

/// A process could not react to an event or a deadline.
#[derive(Debug, thiserror::Error)]
#[error(
    "process {process:?} cannot react to event {event_type:?} of stream {stream:?} at position {position}: {cause}"
)]
#[non_exhaustive]
pub struct ProcessError {
    /// The name of the process.
    pub process: &'static str,
    /// The position of the event, or of the event that set the deadline.
    pub position: Position,
    /// Its stream.
    pub stream: StreamName,
    /// Its type.
    pub event_type: String,
    /// Why.
    #[source]
    pub cause: Box<ReactionError>,
}

/// Why a process could not react.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReactionError {
    /// The event, or one of the process's own events, could not be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The process panicked.
    #[error("it panicked: {0}")]
    Panic(String),
    /// An aggregate refused a command, and the process has no answer to that; see
    /// [`Reaction::command_or`](super::Reaction::command_or).
    #[error("stream {stream:?} refused a command: {source}")]
    Refused {
        /// The aggregate's stream.
        stream: StreamName,
        /// The aggregate's own error.
        source: Cause,
    },
    /// A command was sent to a stream that holds a process or an aggregate of another type.
    #[error(
        "stream {stream:?} is used by two types in one reaction; give them different categories"
    )]
    TwoTypes {
        /// The stream.
        stream: StreamName,
    },
    /// An aggregate could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An event or its metadata could not be written by its codec.
    #[error(transparent)]
    Encode(#[from] CodecError),
    /// The store did not record the effects.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event is not there, or is hidden.
    #[error("there is no event at this position")]
    NoEvent,
    /// The event is not parked: it was replayed or discarded.
    #[error("the event is not parked")]
    NotParked,
}

impl ReactionError {
    /// Whether the event is to blame, and not the store: only such an event is parked.
    pub(super) fn is_of_the_event(&self) -> bool {
        match self {
            Self::Append(error) => matches!(
                error,
                AppendError::TooLarge { .. }
                    | AppendError::IdReused { .. }
                    | AppendError::DuplicateId { .. }
            ),
            Self::Store(_) | Self::Load(LoadError::Store(_)) => false,
            _ => true,
        }
    }
}

/// Why a run has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The process could not react to an event.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A deadline, or an event about parked events, could not be read.
    #[error(transparent)]
    Reaction(#[from] ReactionError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not record the progress.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ListError> for RunError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => Self::Store(error),
            ListError::Event(error) => Self::Reaction(error.into()),
        }
    }
}

impl From<EventError> for RunError {
    fn from(error: EventError) -> Self {
        Self::Reaction(error.into())
    }
}

impl From<CodecError> for RunError {
    fn from(error: CodecError) -> Self {
        Self::Reaction(error.into())
    }
}
