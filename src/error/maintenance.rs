//! Background work that can fail.
//!
//! Owns the kinds of work that a close reports. Must never hold a failure of a commit: that is
//! returned by the commit itself.

use super::Error;

/// Background work that failed and was not completed: part of [`Error::MaintenanceFailed`].
#[derive(Debug, thiserror::Error)]
#[error("{task}")]
#[non_exhaustive]
pub struct FailedMaintenance {
    /// The work.
    pub task: Maintenance,
    /// Why the last attempt failed.
    #[source]
    pub error: Error,
}

/// Background work of a store. No acknowledged commit depends on it; each variant documents what happens
/// if it is not done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Maintenance {
    /// Sealing a full segment. The next opening for writing seals it.
    #[error("seal segment {segment}")]
    Seal {
        /// The segment's number.
        segment: u64,
    },
    /// Writing the index file of a sealed segment. The next opening reads the segment and writes it.
    #[error("write the index of segment {segment}")]
    Index {
        /// The segment's number.
        segment: u64,
    },
    /// Writing a checkpoint. The next opening reads more of the log.
    #[error("write a checkpoint")]
    Checkpoint,
    /// Merging index files, or removing the merged ones. Until a later merge, look-ups read more files,
    /// which occupy more space.
    #[error("compact the index files")]
    Compaction,
    /// Merging packs of snapshots. Until a later merge, superseded snapshots occupy space.
    #[error("merge the packs of snapshots")]
    SnapshotMerge,
    /// Saving a snapshot of a transaction. The state has to be computed again from the events.
    #[error("save the snapshot {key:?}")]
    Snapshot {
        /// The snapshot's key.
        key: String,
    },
}
