//! The errors of projections.

use std::sync::Arc;
use std::time::Duration;

use super::ProjectionId;
use crate::causes::with_causes;
use crate::event::EventError;
use crate::store::{Cause, Position, StoreError, StreamName, Version};

/// A failure of a projection, with the event at which it happened.
#[derive(Debug, thiserror::Error)]
#[error("projection {projection} failed{}: {cause}", place(event.as_ref()))]
#[non_exhaustive]
pub struct ProjectionError {
    /// The projection.
    pub projection: ProjectionId,
    /// The event that was handled, if the failure concerns one.
    pub event: Option<FailedEvent>,
    /// The number of attempts that were made, from 1.
    pub attempts: u32,
    /// What happened.
    #[source]
    pub cause: FailureCause,
}

/// The event that a failure concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedEvent {
    /// The event's stream.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The event's place in the store.
    pub position: Position,
    /// The name of its type.
    pub event_type: String,
}

/// Why a projection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// The handler returned an error.
    #[error("{}", with_causes(&**.0))]
    Handler(#[source] Cause),
    /// The handler panicked.
    #[error("the handler panicked: {message}")]
    Panic {
        /// The text of the panic.
        message: String,
    },
    /// The handler did not end in time, and was cancelled.
    #[error("the handler took longer than {limit:?}")]
    Timeout {
        /// The timeout that was set.
        limit: Duration,
    },
    /// The event could not be read.
    #[error(transparent)]
    Decode(#[from] EventError),
    /// The read model could not be opened, changed or committed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The events could not be read.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

/// Why a target failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The read model has events that the store does not have: the store was restored to an older state, or the
    /// read model belongs to another store.
    #[error(
        "the read model does not belong to the history of the store ({0}); if the store was restored, compute \
        the read model anew: set `Options::rebuild_if_restored`, or remove it"
    )]
    OtherHistory(#[source] StoreError),
    /// The position of the read model was changed by something else: another runner has the same projection.
    #[error(
        "the read model is at position {found} instead of {expected}: another runner has the same projection; \
        run it once"
    )]
    Moved {
        /// The position that this runner had committed.
        expected: Position,
        /// The position of the read model.
        found: Position,
    },
    /// The read model is to be computed anew, and the projection does not clear it.
    #[error("the read model cannot be computed anew: implement `Projection::clear`")]
    NotCleared,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target failed.
    #[error("the read model could not be changed: {}", with_causes(&**.0))]
    Failed(#[source] Cause),
}

impl TargetError {
    /// A failure of the target's own.
    pub fn failed(cause: impl Into<Cause>) -> Self {
        Self::Failed(cause.into())
    }

    /// Whether a later attempt cannot succeed without a change of the program or of the read model.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::OtherHistory(_) | Self::Moved { .. } | Self::NotCleared => true,
            Self::Store(error) => matches!(error, StoreError::Closed),
            Self::Failed(_) => false,
        }
    }
}

/// Why the wait for a projection ended without success.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The projection was stopped, or its runner was dropped.
    #[error("projection {projection} is stopped at position {at}")]
    Stopped {
        /// The projection.
        projection: ProjectionId,
        /// The position up to which the read model is complete.
        at: Position,
    },
    /// The projection is paused, by request or by its error policy.
    #[error("projection {projection} is paused at position {at}{}; `Handle::resume` continues it", because(error.as_deref()))]
    Paused {
        /// The projection.
        projection: ProjectionId,
        /// The position up to which the read model is complete.
        at: Position,
        /// The failure after which the policy paused it.
        error: Option<Arc<ProjectionError>>,
    },
    /// The projection cannot continue.
    #[error("{0}")]
    Failed(#[source] Arc<ProjectionError>),
}

/// Why a parked event was not replayed or discarded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// No event at this position is parked.
    #[error("no event is parked at position {0}")]
    NotParked(Position),
    /// The handler failed again, or the read model could not be changed. The event is still parked.
    #[error("{0}")]
    Failed(#[source] Arc<ProjectionError>),
    /// The projection has ended, or its runner was dropped.
    #[error("projection {0} is stopped")]
    Stopped(ProjectionId),
}

fn place(event: Option<&FailedEvent>) -> String {
    let Some(FailedEvent { stream, version, position, event_type }) = event else {
        return String::new();
    };
    format!(
        " at event {event_type:?}, version {version} of stream {stream:?} (position {position})"
    )
}

fn because(error: Option<&ProjectionError>) -> String {
    error.map(|error| format!(" because {error}")).unwrap_or_default()
}
