//! The errors of stores.
//!
//! Owns what a caller can act on. What only one backend reports is kept as the source of an error.

use uuid::Uuid;

use super::{Expected, Position, StreamName, Version};

/// The cause of an error, of a backend's own type.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a store could not be read or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The store is fenced: its history goes on elsewhere, and nothing is recorded here any more. Open the other place.
    #[error("the store is fenced: its history goes on at {to:?}; open that instead")]
    Fenced {
        /// Where the history goes on.
        to: String,
    },
    /// A position to continue from is ahead of the head: the store was restored to an older state, or the
    /// position belongs to another store.
    #[error(
        "position {position} is ahead of the head, {head}: it belongs to another history; \
        rebuild what was derived from the former events"
    )]
    PositionAhead {
        /// The position that was passed.
        position: Position,
        /// The position of the last event.
        head: Position,
    },
    /// A checkpoint token belongs to another store, or to another history of this one. Rebuild what was
    /// derived from the former events.
    #[error(
        "the checkpoint token does not belong to the history of this store; rebuild what was \
        derived from the former events"
    )]
    OtherHistory(#[source] Cause),
    /// An argument has an invalid value.
    #[error("{what}: {why}")]
    InvalidArgument {
        /// The argument.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The backend failed.
    #[error("the event store failed: {0}")]
    Backend(#[source] Cause),
}

/// Why a commit was not recorded. Except with [`AppendError::OutcomeUnknown`], nothing was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// One or more checks failed: another commit came first, or the expectation was wrong.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The id of an event is recorded already, with other contents or in another commit.
    #[error("event id {id} is already used by another event")]
    IdReused {
        /// The id.
        id: Uuid,
    },
    /// The id of an event occurs twice in the commit.
    #[error("event id {id} occurs twice in one commit")]
    DuplicateId {
        /// The id.
        id: Uuid,
    },
    /// The commit has nothing to record.
    #[error("the commit has neither events nor checks nor a checkpoint")]
    Empty,
    /// The commit, or a part of it, is larger than the store accepts.
    #[error("{what} is {size}, the limit is {max}; {hint}")]
    TooLarge {
        /// What was measured, with its unit.
        what: String,
        /// The measured size.
        size: u64,
        /// The largest accepted size.
        max: u64,
        /// What the caller can do instead.
        hint: String,
    },
    /// The commit may or may not be recorded. Repeat it with the same event ids when the store is available
    /// again.
    #[error("the outcome of the commit is unknown; repeat it with the same event ids: {0}")]
    OutcomeUnknown(#[source] Cause),
    /// The store failed before anything was recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The checks of a commit that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", text(failed))]
pub struct Conflict {
    /// Every failed check that the store reports; at least one.
    pub failed: Vec<FailedCheck>,
}

/// A check of a commit that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailedCheck {
    /// A stream was not at the expected version.
    #[error("stream {stream:?} is at version {actual}, expected {expected}")]
    Version {
        /// The stream.
        stream: StreamName,
        /// What the caller expected.
        expected: Expected,
        /// The stream's version.
        actual: Version,
    },
    /// An event after the position of a boundary matches its query.
    #[error("boundary {index}: the event at position {position} matches it")]
    Boundary {
        /// The index of the boundary, from 0 in the order they were added.
        index: usize,
        /// The position of the newest event that matches.
        position: Position,
    },
    /// A checkpoint would not move forward: another consumer of the same name came first.
    #[error("checkpoint {name:?} is at position {at}, {to} is not after it")]
    CheckpointNotForward {
        /// The name of the checkpoint.
        name: String,
        /// Its position.
        at: Position,
        /// The position it was to move to.
        to: Position,
    },
    /// A check of the backend that has no counterpart here.
    #[error("{what}")]
    Other {
        /// The backend's text.
        what: String,
    },
}

impl Conflict {
    /// The actual version of the first stream whose version was not as expected.
    pub fn actual_version(&self) -> Option<Version> {
        self.failed.iter().find_map(|check| match check {
            FailedCheck::Version { actual, .. } => Some(*actual),
            _ => None,
        })
    }
}

fn text(failed: &[FailedCheck]) -> String {
    match failed {
        [only] => only.to_string(),
        [first, ..] => format!("{} checks failed; the first: {first}", failed.len()),
        [] => "a check failed".into(),
    }
}
