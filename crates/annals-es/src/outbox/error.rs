//! The errors of an outbox.

use std::time::Duration;

use crate::causes::with_causes;
use crate::event::{CodecError, EventError};
use crate::parking::ListError;
use crate::store::{AppendError, Cause, Position, StoreError, StreamName};

/// Why a run of an outbox has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// An event could not be sent. The next run begins with it, or with earlier events that were not sent.
    #[error(
        "outbox {outbox:?} cannot send event {event_type:?} of stream {stream:?} at position {position}: {cause}"
    )]
    Send {
        /// The name of the outbox.
        outbox: String,
        /// The position of the event.
        position: Position,
        /// Its stream.
        stream: StreamName,
        /// Its type.
        event_type: String,
        /// Why.
        #[source]
        cause: SendError,
    },
    /// Another runner of the same outbox is ahead: run one, or give them different names.
    #[error("another runner of outbox {outbox:?} is ahead; run one, or give them different names")]
    OtherRunner {
        /// The name of the outbox.
        outbox: String,
    },
    /// The event is not parked: it was replayed or discarded.
    #[error("the event at position {position} is not parked")]
    NotParked {
        /// The position.
        position: Position,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not record the progress, or that an event is parked.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// An event about parked events could not be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// An event about parked events could not be written.
    #[error(transparent)]
    Encode(#[from] CodecError),
}

/// Why an event could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The sink returned an error.
    #[error("{}", with_causes(&**.0))]
    Sink(#[source] Cause),
    /// The sink panicked.
    #[error("the sink panicked: {0}")]
    Panic(String),
    /// The sink did not answer in time.
    #[error("the sink did not answer within {limit:?}")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
}

impl From<ListError> for OutboxError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Store(error) => Self::Store(error),
            ListError::Event(error) => Self::Event(error),
        }
    }
}
