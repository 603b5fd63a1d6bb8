//! Where read models are kept.
//!
//! Owns the contract between the runner and a target.

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::{ProjectionId, TargetError};
use crate::store::{OrderedStore, Position, RecordedEvent, StreamName, Timestamp, Version};

/// A place for a read model and the position up to which it is complete.
///
/// # What an implementation promises
///
/// - [`commit`](Self::commit) makes all changes since [`begin`](Self::begin) and the new position durable together,
///   or none of them.
/// - After [`rollback`](Self::rollback) the read model is as it was at the position that is returned. An error means
///   that the position is not known, for example because the connection to a database has ended. The failure before it
///   is not counted against an event then, and the runner calls [`open`](Self::open) again, after the delay of the error
///   policy.
/// - After a commit that failed, `rollback` or `open` returns the position that the commit has reached, if it has taken
///   effect.
/// - A dropped target leaves what was committed, and nothing else.
/// - Calls come in the order `open`, then any number of `begin` or `reset` with either `commit` or `rollback` after
///   it. After a failure, `rollback` may come without a transaction, and `open` may be repeated.
pub trait Target<S: OrderedStore>: Send + 'static {
    /// What handlers change.
    type Model: ?Sized + Send;

    /// Whether [`reset`](Self::reset) removes the whole read model, so that no handler has to.
    const RESETS_MODEL: bool = false;

    /// The number of positions without an event for the projection after which the position alone is committed.
    const PROGRESS_EVERY: u64 = 16_384;

    /// Opens the read model of a projection, also again after a failure, and verifies that the store has the history that it was computed from.
    fn open(
        &mut self,
        store: &S,
        id: &ProjectionId,
    ) -> impl Future<Output = Result<Opened, TargetError>> + Send;

    /// Begins a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<&mut Self::Model, TargetError>> + Send;

    /// Commits the transaction.
    fn commit(
        &mut self,
        store: &S,
        progress: Progress<'_>,
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Takes back the changes since the last [`begin`](Self::begin), and returns the position of the read model. The
    /// position may be an earlier one than was committed: the runner then applies the events in between again before
    /// it commits.
    fn rollback(&mut self, store: &S)
    -> impl Future<Output = Result<Position, TargetError>> + Send;

    /// Begins a transaction like [`begin`](Self::begin), in which the position and the parked events are forgotten. The
    /// commit that follows records a position of any history.
    fn reset(&mut self) -> impl Future<Output = Result<&mut Self::Model, TargetError>> + Send;

    /// Ends the use of the read model, after the last commit.
    fn close(&mut self, store: &S) -> impl Future<Output = Result<(), TargetError>> + Send {
        let _ = store;
        async { Ok(()) }
    }
}

/// What a target has of a projection.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Opened {
    /// The position up to which the read model is complete; `None` if there is none yet.
    pub position: Option<Position>,
    /// The events that are parked.
    pub parked: Vec<Parked>,
    /// Whether this version is the one that is read, or will be from its first commit on because there is no other.
    pub active: bool,
}

impl Opened {
    /// A read model that is complete up to a position; `None`: it does not exist yet. It is active.
    pub fn new(position: Option<Position>) -> Self {
        Self { position, parked: Vec::new(), active: true }
    }

    /// Sets the parked events.
    #[must_use]
    pub fn parked(mut self, parked: Vec<Parked>) -> Self {
        self.parked = parked;
        self
    }

    /// Sets whether this version is the one that is read.
    #[must_use]
    pub fn active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }
}

/// What a transaction records beside the changes of the handlers.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The position up to which the read model is complete.
    pub position: Position,
    /// An event that becomes parked.
    pub park: Option<&'a Parked>,
    /// The position of an event that is no longer parked.
    pub unpark: Option<Position>,
    /// Whether this version becomes the one that is read.
    pub activate: bool,
    /// The number of events that were handled.
    pub events: u64,
    /// The size of these events' data, in bytes.
    pub bytes: u64,
    /// When the first of these events was recorded.
    pub first_recorded_at: Option<Timestamp>,
}

impl Progress<'_> {
    /// A position.
    pub fn to(position: Position) -> Self {
        Self {
            position,
            park: None,
            unpark: None,
            activate: false,
            events: 0,
            bytes: 0,
            first_recorded_at: None,
        }
    }

    /// Counts an event that was handled.
    pub(super) fn count(&mut self, event: &RecordedEvent) {
        self.events += 1;
        self.bytes += event.data().len() as u64;
        self.first_recorded_at = self.first_recorded_at.or_else(|| Some(event.recorded_at()));
    }
}

/// An event that could not be handled and was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parked {
    /// The event's place in the store.
    pub position: Position,
    /// The event's stream.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The name of its type.
    pub event_type: String,
    /// The text of the error.
    pub error: String,
    /// The number of attempts that were made.
    pub attempts: u32,
    /// When the event was recorded.
    pub recorded_at: Timestamp,
}

impl Parked {
    /// An event that is parked because of an error.
    pub fn new(event: &RecordedEvent, error: impl Into<String>, attempts: u32) -> Self {
        Self {
            position: event.position(),
            stream: event.stream().into(),
            version: event.version(),
            event_type: event.event_type().to_owned(),
            error: error.into(),
            attempts,
            recorded_at: event.recorded_at(),
        }
    }

    /// A parked event from the parts that a target has stored, in the order of the fields.
    pub fn recorded(
        position: Position,
        stream: impl Into<StreamName>,
        version: Version,
        event_type: impl Into<String>,
        error: impl Into<String>,
        attempts: u32,
        recorded_at: Timestamp,
    ) -> Self {
        let (stream, event_type, error) = (stream.into(), event_type.into(), error.into());
        Self { position, stream, version, event_type, error, attempts, recorded_at }
    }
}
