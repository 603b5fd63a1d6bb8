//! The order in which the crate's locks are taken, defined once.
//!
//! A thread that holds a lock takes only locks of a higher rank, so that no cycle of threads can
//! wait for each other. Builds with debug assertions check it at each acquisition, see
//! [`held`](super::held).
//!
//! The locks that are for memory alone ([`Rank::is_for_memory`]) are not held while storage is used; the
//! simulated disk checks that at each operation.
//!
//! A rank covers every lock of its kind, also in two stores that one thread has open: a thread
//! holds at most one lock of each rank.

/// What a lock protects, in the order of acquisition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere, open files are not limited"))]
pub(crate) enum Rank {
    /// The right to replay the parked events of a consumer group. Owner: `consumer_group`. Held
    /// during the whole replay, which commits.
    Replay,
    /// The stored cursor of a consumer group. Owner: `consumer_group`. Held while the cursor is
    /// moved, which is a commit.
    GroupCursor,
    /// The shared state of a consumer group's threads. Owner: `consumer_group`.
    GroupState,
    /// The handles of a store's threads. Owner: `store`. Held while a close waits for the threads to
    /// end, so no thread of the store may take it.
    Threads,
    /// The right to merge indexes. Owner: `engine::compaction`. Held between pieces of a merge, when other
    /// maintenance is done, so it comes before all locks that maintenance takes.
    Compacting,
    /// The right to merge packs of snapshots. Owner: `engine::snapshots`. Held between pieces of a merge, when other
    /// maintenance is done.
    MergingSnapshots,
    /// The right to save snapshots of commits. Owner: `engine::snapshots`. Its holder takes the due
    /// snapshots from the writer, then writes files.
    SavingSnapshots,
    /// How far a reader has followed its writer. Owner: `engine::follower`. Held during the walk over the
    /// writer's new frames, which reads files, enters events into the catalog and may rebuild a
    /// checkpoint.
    Follower,
    /// The order of commits. Owner: `engine::commit`. Checks under it do look-ups, which may
    /// rebuild an index or a checkpoint.
    Writer,
    /// The index files of a store, on disk and in use. Owner: `engine::contents`. Held while an
    /// index is rebuilt or a level file replaces others, so that neither removes what the other wrote.
    IndexFiles,
    /// The right to rebuild a checkpoint. Owner: `engine::contents`. Its holder reads segments and indexes, and
    /// puts the result into the catalog.
    Rebuilding,
    /// Segments, indexes and heads. Owner: `engine::contents`. Held for a look-up or a change in memory.
    Catalog,
    /// Cursors and hidden streams. Owner: `engine::contents`. A change of a frame becomes visible with its
    /// events, under the catalog's lock.
    Metadata,
    /// Ids of the active segment, entered by the look-up that needs them. Owner: `index::active`.
    ActiveIds,
    /// Terms of the active segment, entered by the look-up that needs them. Owner: `index::active`.
    ActiveTerms,
    /// The packs and level files of snapshots. Owner: `engine::snapshots`. Held for a look-up or a change in
    /// memory.
    SnapshotPacks,
    /// The right to sync segments. Owner: `engine::commit`. Held during a sync.
    Sync,
    /// The guard of a store's file `LOCK`. Owner: `engine`.
    ProcessLock,
    /// The queue of work for tasks. Owner: `engine::errands`.
    #[cfg(feature = "async")]
    Errands,
    /// The result of one piece of that work. Owner: `engine::errands`.
    #[cfg(feature = "async")]
    Errand,
    /// How far a subscription and its consumer are. Owner: `subscription`.
    SubscriptionProgress,
    /// The list of the threads and tasks that wait for a position. Owner: `sync::wait_list`.
    WatchList,
    /// One entry of that list. Owner: `sync::wait_list`. Wakers run without it, because they run foreign
    /// code.
    Waiter,
    /// The unreadable parts of a file on a bad medium. Owner: `log::tolerant`.
    Unreadable,
    /// The cold segments that were read back. Owner: `cold::cache`; in tests also their source.
    ColdCache,
    /// Where the bytes of a segment that moved are. Owner: `cold::file`.
    SegmentPlace,
    /// Whether a file of a store is open. Owner: `storage::disk::pool`. Held while the file is opened
    /// again.
    OpenFile,
    /// The used directories of a store. Owner: `storage::disk::rooted`.
    HeldDirectories,
    /// The locked file of a store. Owner: `storage::disk::rooted`.
    LockFile,
    /// The files of a store that are open. Owner: `storage::disk::pool`. The files' own locks are only
    /// tried under it.
    OpenFiles,
    /// The files of a store by their names. Owner: `storage::disk::pool`.
    FileNames,
    /// The name of a file. Owner: `storage::disk::pool`.
    FileName,
    /// The simulated machine: any operation on storage may take it. Owner: `storage::sim`.
    #[allow(dead_code, reason = "the simulated disk is there for tests alone")]
    Machine,
}

impl Rank {
    /// Whether the lock protects memory alone: no file is read or written while it is held, so that no
    /// look-up and no append waits for a disk on account of another.
    #[allow(dead_code, reason = "only the simulated disk asks")]
    pub(super) fn is_for_memory(self) -> bool {
        let catalog = matches!(self, Self::Catalog | Self::Metadata);
        catalog || matches!(self, Self::ActiveIds | Self::ActiveTerms | Self::SnapshotPacks)
    }
}
