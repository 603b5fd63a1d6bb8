//! The plain types of a repair's report. Must never decide anything.

use std::fmt;
use std::path::PathBuf;

use uuid::Uuid;

use crate::event::Position;

/// The result of [`repair`](crate::repair::repair()), with an exact list of what is missing from the new
/// store.
///
/// File names are relative to the damaged store's directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RepairReport {
    /// Commits in the new store.
    pub commits: u64,
    /// Events in the new store.
    pub events: u64,
    /// Events that were in the damaged store and are not in the new one.
    pub missing_events: u64,
    /// Changes that are not events (cursors, hidden streams) in the new store. Cursors and truncations
    /// move with the events that they refer to.
    pub changes: u64,
    /// Changes that were in the damaged store and are not in the new one; changes in a damaged end of
    /// the log are not counted.
    pub missing_changes: u64,
    /// What was taken from a backup in place of damaged bytes, in order. The new store has these events at their old
    /// places.
    pub supplied: Vec<Supplied>,
    /// The places where the log is damaged, in order.
    pub gaps: Vec<Gap>,
    /// Streams that lost events, by name.
    pub streams: Vec<StreamLoss>,
    /// The old and new positions of all kept events, in runs. If nothing has moved, this is one run that
    /// begins at 1 and ends at the last position.
    pub positions: Vec<Moved>,
    /// Bytes after the end of the log that were never acknowledged: the next opening would have cut them
    /// off.
    pub tail: Vec<SkippedBytes>,
    /// The number of events in the tail whose own bytes are intact.
    pub tail_intact_events: u64,
    /// Positions of intact commits after the damage that were left out because of
    /// [`RepairOptions::stop_at_damage`](crate::repair::RepairOptions::stop_at_damage).
    pub left_out: Option<Range>,
}

/// Commits that were taken from a backup
/// ([`RepairOptions::segments_from`](crate::repair::RepairOptions::segments_from)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Supplied {
    /// The segment's file, relative to the store and to the backup.
    pub file: PathBuf,
    /// Offset of the first byte.
    pub from: u64,
    /// Exclusive end of the bytes.
    pub to: u64,
    /// The positions of the events; `None` if the bytes hold none.
    pub positions: Option<Range>,
    /// Whether the damaged store's own log confirms them: what follows them there was recorded after them. `false` if
    /// it has nothing where they end, such as at the end of the log; they continue what is before them all the same.
    pub confirmed: bool,
}

/// A place where the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Gap {
    /// The missing positions; `None` if no event was lost.
    pub missing: Option<Range>,
    /// Whether something proves that the missing events were acknowledged as durable. If not, they may
    /// have been on their way to disk when the store stopped.
    pub acknowledged: bool,
    /// The bytes that could not be copied.
    pub skipped: Vec<SkippedBytes>,
    /// Missing events whose own bytes are intact. A commit is kept as a whole or not at all, so they are
    /// lost with it; [`repair_and_salvage`](crate::repair::repair_and_salvage) hands them out. A report lists the
    /// first 100,000.
    pub intact: Vec<LostEvent>,
    /// The number of missing events whose own bytes are intact, listed or not.
    pub intact_events: u64,
}

/// A range of bytes in the damaged store that holds no whole commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SkippedBytes {
    /// The file, relative to the store.
    pub file: PathBuf,
    /// Offset of the first byte.
    pub from: u64,
    /// Exclusive end of the range.
    pub to: u64,
    /// Why the bytes could not be copied.
    pub reason: String,
}

/// An event that is lost although its record is intact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LostEvent {
    /// The event's position in the damaged store.
    pub position: Position,
    /// The stream that the event belongs to.
    pub stream: String,
    /// The event's version in the damaged store.
    pub version: u64,
    /// The event's id.
    pub id: Uuid,
}

/// A range of numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Range {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

/// A run of positions or versions, and its place in the new store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Moved {
    /// The first number in the damaged store.
    pub first: u64,
    /// The last number in the damaged store.
    pub last: u64,
    /// The first number in the new store; the rest of the run follows it without gaps.
    pub new_first: u64,
}

/// The versions that a stream lost, as far as they are proven by a later event of the stream, the newest
/// checkpoint, or the lost event's own record. Lost positions are always reported in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamLoss {
    /// The name of the stream.
    pub stream: String,
    /// The missing versions.
    pub missing: Vec<Range>,
    /// The old and new versions of the kept events, in runs.
    pub versions: Vec<Moved>,
}

impl RepairReport {
    /// Whether every event is in the new store, at its old position and version, and every change.
    pub fn is_complete(&self) -> bool {
        self.missing_events == 0 && self.missing_changes == 0 && self.left_out.is_none()
    }
}

impl Range {
    /// The number of values in the range.
    pub fn count(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{} to {}", self.first, self.last)
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, shift) = (Range { first: self.first, last: self.last }, self.last - self.first);
        let new = Range { first: self.new_first, last: self.new_first.saturating_add(shift) };
        write!(f, "{old} became {new}")
    }
}
