//! The result of a verification, and its progress.
//!
//! Owns plain values. Must never decide what is a fault: that is decided by the checks.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Position;

/// A fault that [`verify`](super::verify()) found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct FoundFault {
    /// The file with the fault.
    pub file: PathBuf,
    /// The offset of the fault in the file, in bytes.
    pub offset: u64,
    /// A description of the fault.
    pub what: String,
}

/// The result of [`verify`](super::verify()).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// Damage. A store without faults opens, and every event in it can be read.
    pub faults: Vec<FoundFault>,
    /// Findings that are not faults: foreign files, a tail that the next opening will cut, index files
    /// that it will build.
    pub notes: Vec<String>,
    /// If the directory holds a backup that is whole: the position of the last event when it was made.
    pub backup: Option<Position>,
    /// [Cold segments](crate::cold), which were not read. Their events and commits are counted.
    pub cold_segments: u64,
    /// Segments read that hold events or take new ones: the number that
    /// [`Stats::segments`](crate::Stats::segments) gives for the same store.
    pub segments: u64,
    /// Segments read that are prepared for later, and hold no frame yet.
    pub prepared_segments: u64,
    /// Commits verified, and those in cold segments.
    pub commits: u64,
    /// Events verified, and those in cold segments.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How far this machine's clock is behind the newest recorded time, if by more than a minute. A
    /// clock was ahead once, and commits are recorded at that time until the clock reaches it.
    pub clock_behind_by: Option<Duration>,
}
