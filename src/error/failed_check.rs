//! The checks of a commit that can fail.
//!
//! Owns the content of a conflict. Must never name a condition that the caller did not set.

use crate::event::{ExpectedRecord, ExpectedVersion, Position};

/// A check of a commit that failed; part of [`Error::Conflict`](crate::Error::Conflict).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailedCheck {
    /// A stream was not at the version the transaction expected.
    #[error("stream {stream:?} is at version {actual}, expected {expected}")]
    WrongExpectedVersion {
        /// The index of the operation, counted from 0 in the order in which operations were added;
        /// 0 for [`Store::append`](crate::Store::append).
        index: usize,
        /// The stream that was checked.
        stream: String,
        /// What the caller passed.
        expected: ExpectedVersion,
        /// The stream's version, including commits that are not durable yet; 0 if there is no such
        /// stream.
        actual: u64,
    },
    /// An event after the position of a boundary's query matches the query.
    #[error("query {query}: the event at position {position} matches it")]
    AppendConditionFailed {
        /// The query's index, counted from 0 in the order boundaries were added.
        query: usize,
        /// The newest event that matches.
        position: Position,
    },
    /// An event exists that must not exist.
    #[error("query {query}: the event at position {position} exists already")]
    AlreadyExists {
        /// The query's index, counted from 0 in the order boundaries were added.
        query: usize,
        /// The newest event that matches.
        position: Position,
    },
    /// The newest event that a query matches is not the expected one.
    #[error("query {query}: the newest match is {}, expected {}", named(*actual), named(*expected))]
    NewestMatchMoved {
        /// The query's index, counted from 0 in the order boundaries were added.
        query: usize,
        /// What the caller passed; `None`: that nothing matches.
        expected: Option<Position>,
        /// The newest match, commits on their way to disk included; `None` if nothing matches.
        actual: Option<Position>,
    },
    /// A cursor would not move forward.
    #[error("cursor {name:?} is at position {at}, {to} is not after it")]
    CursorNotForward {
        /// The cursor.
        name: String,
        /// Where it is; [`Position::START`] if it was never set.
        at: Position,
        /// Where it was to go.
        to: Position,
    },
    /// A cursor is not at the expected position.
    #[error("cursor {name:?} is at {actual:?}, expected {expected:?}")]
    WrongCursor {
        /// The cursor.
        name: String,
        /// What the caller passed; `None`: that there is no such cursor.
        expected: Option<Position>,
        /// Where it is, commits on their way to disk included.
        actual: Option<Position>,
    },
    /// A cursor would be past the last event.
    #[error("cursor {name:?} cannot be set to {to}, the head is {head}")]
    CursorAhead {
        /// The cursor.
        name: String,
        /// Where it was to go.
        to: Position,
        /// The last position.
        head: Position,
    },
    /// A snapshot's mark is past the end of its stream, or of the store, after the commit.
    #[error("snapshot {key:?} is at {mark}, but only {reached} is reached")]
    SnapshotAhead {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The stream's version, or the last position, after the commit.
        reached: u64,
    },
    /// A record was not at the version the transaction expected.
    #[error("record {key:?} is at version {actual}, expected {expected}")]
    WrongRecordVersion {
        /// The record's key.
        key: String,
        /// What the caller passed.
        expected: ExpectedRecord,
        /// The record's version, including commits that are not durable yet; 0 if it does not exist.
        actual: u64,
    },
    /// There is no record with this key to delete.
    #[error("there is no record {key:?}")]
    UnknownRecord {
        /// The key.
        key: String,
    },
    /// There is no cursor of this name.
    #[error("there is no cursor {name:?}")]
    UnknownCursor {
        /// The name.
        name: String,
    },
    /// There is no stream of this name.
    #[error("there is no stream {stream:?}")]
    UnknownStream {
        /// The name.
        stream: String,
    },
    /// A stream would be truncated beyond its end.
    #[error("stream {stream:?} cannot be truncated before {before}, it is at version {version}")]
    TruncateAhead {
        /// The stream.
        stream: String,
        /// The first version that was to stay visible.
        before: u64,
        /// The stream's version.
        version: u64,
    },
}

/// A match in the text of an error.
fn named(position: Option<Position>) -> String {
    position.map_or_else(|| "none".into(), |position| format!("at position {position}"))
}
