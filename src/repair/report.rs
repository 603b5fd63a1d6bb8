//! What a repair tells: the plain types of its report. Must never decide anything.

use std::fmt;
use std::path::PathBuf;

use uuid::Uuid;

use crate::event::Position;

/// What [`repair`](crate::repair::repair()) did, and exactly what is missing from the new store.
///
/// Files are named relative to the damaged store's directory.
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
    /// moved with the events they are about.
    pub changes: u64,
    /// Changes that were in the damaged store and are not in the new one; those of a damaged end are
    /// not counted.
    pub missing_changes: u64,
    /// Where the log is damaged, in order.
    pub gaps: Vec<Gap>,
    /// Streams that lost events, by name.
    pub streams: Vec<StreamLoss>,
    /// Which positions became which: everything that was kept, in runs. One run that begins at 1
    /// and ends at the last position: nothing has moved.
    pub positions: Vec<Moved>,
    /// What lies behind the end of the log, and was never acknowledged: the next opening would
    /// have cut it off.
    pub tail: Vec<SkippedBytes>,
    /// Positions of intact commits behind the damage that were left out, as
    /// [`RepairOptions::stop_at_damage`](crate::repair::RepairOptions::stop_at_damage) asked for.
    pub left_out: Option<Range>,
}

/// A place where the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Gap {
    /// The positions that are missing; `None`: the damage cost no event.
    pub missing: Option<Range>,
    /// Whether something proves that they had been acknowledged as durable. If not, they may have
    /// been on their way to disk when the store stopped.
    pub acknowledged: bool,
    /// The bytes that could not be taken.
    pub skipped: Vec<SkippedBytes>,
    /// Of the missing events, those whose own bytes are intact. A commit is all or nothing, so
    /// they are lost with the rest of theirs; `annals verify` and a hex editor still show them.
    pub intact: Vec<LostEvent>,
}

/// Bytes of the damaged store that hold nothing whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SkippedBytes {
    /// The file, relative to the store.
    pub file: PathBuf,
    /// The first byte.
    pub from: u64,
    /// One behind the last byte.
    pub to: u64,
    /// What is wrong with them.
    pub reason: String,
}

/// An event that is lost although its record is intact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LostEvent {
    /// Its position in the damaged store.
    pub position: Position,
    /// Its stream.
    pub stream: String,
    /// Its version in the damaged store.
    pub version: u64,
    /// Its id.
    pub id: Uuid,
}

/// Numbers from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// A run of positions or versions and what it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Moved {
    /// The first in the damaged store.
    pub first: u64,
    /// The last in the damaged store.
    pub last: u64,
    /// What the first is in the new store; the others follow it.
    pub new_first: u64,
}

/// What a stream lost, as far as something whole tells: a later event of the stream, the newest
/// checkpoint, or the event's own record. Of positions, nothing goes untold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamLoss {
    /// The stream.
    pub stream: String,
    /// The versions that are missing.
    pub missing: Vec<Range>,
    /// Which versions became which.
    pub versions: Vec<Moved>,
}

impl RepairReport {
    /// Whether every event is in the new store, at its old position and version, and every change.
    pub fn is_complete(&self) -> bool {
        self.missing_events == 0 && self.missing_changes == 0 && self.left_out.is_none()
    }
}

impl Range {
    /// How many numbers lie in it.
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
