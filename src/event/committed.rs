//! The results of appends and transactions.
//!
//! Owns plain values. Must never touch storage.

use super::{Position, Timestamp};

/// The result of an append to one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Appended {
    /// The position of the first event.
    pub first_position: Position,
    /// The position of the last event.
    pub last_position: Position,
    /// The stream's version after the append.
    pub version: u64,
    /// The time of the commit.
    pub recorded_at: Timestamp,
    /// The events were in the store already, and nothing was written.
    pub already_recorded: bool,
}

/// The result of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Committed {
    /// The position of the first event; for a transaction with only checks, the store's head.
    pub first_position: Position,
    /// The position of the last event; for a transaction with only checks, the store's head.
    pub last_position: Position,
    /// The version of each operation's stream after it, in the order in which operations were
    /// added.
    pub versions: Vec<u64>,
    /// The time of the commit; for a transaction with only checks, of the newest commit.
    pub recorded_at: Timestamp,
    /// The events were in the store already, and none was written again. The checks and boundaries
    /// of the transaction were not repeated; `applied` lists the other changes.
    pub already_recorded: bool,
    /// If the events were in the store already: the other operations that were no longer in effect,
    /// in the order in which they were added. They were applied in a commit of their own. Empty for
    /// a transaction that is recorded for the first time, which applies all of its operations.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub applied: Vec<Applied>,
    /// For each record that the transaction puts, deletes or checks, in the order in which these
    /// operations were added, its version after the operation; 0 for a check of a record that does not
    /// exist.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub record_versions: Vec<u64>,
}

/// An operation of a repeated transaction that was applied again; see [`Committed::applied`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Applied {
    /// A cursor was moved.
    CursorSet {
        /// The cursor's name.
        name: String,
        /// The new position.
        position: Position,
    },
    /// A cursor was deleted.
    CursorDeleted {
        /// The cursor's name.
        name: String,
    },
    /// The visible part of a stream was changed: it was truncated, archived, unarchived, or its
    /// metadata was set.
    StreamChanged {
        /// The stream's name.
        stream: String,
    },
    /// A record was put.
    RecordPut {
        /// The record's key.
        key: String,
        /// Its new version.
        version: u64,
    },
    /// A record was deleted.
    RecordDeleted {
        /// The record's key.
        key: String,
        /// The version of the deletion.
        version: u64,
    },
    /// A snapshot was missing; it is saved when its mark is durable.
    Snapshot {
        /// The snapshot's key.
        key: String,
        /// The snapshot's mark: a version or a position, as a number.
        mark: u64,
    },
}
