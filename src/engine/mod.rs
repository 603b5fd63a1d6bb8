//! The open store: its parts, and how they are wired.
//!
//! Each part owns its state and its locks in private fields, and uses only the parts listed
//! before it:
//!
//! - [`shared`]: the directory, the options, whether the store is open, [`counters`];
//! - [`positions`]: the written, durable and visible positions, and the waiters for them;
//! - [`contents`]: the catalog and the metadata, and their rebuilding from the log;
//! - [`matching`]: the events that a query matches;
//! - [`commit`]: the writer and group commit;
//! - [`snapshots`]: saving, finding and merging snapshots;
//! - [`compaction`]: merging index files;
//! - [`maintenance`]: sealing, checkpoints, the threads' work;
//! - [`append`]: decides what is accepted;
//! - [`follower`]: a reader beside a writer in another process;
//! - [`errands`]: work that would block a task.
//!
//! [`Engine`] holds the parts and is held by every handle, read and subscription. [`cold`], [`tokens`] and
//! [`stats`] are calls that need several parts.
//!
//! The order in which locks are taken is that of [`Rank`], over all parts.

pub(crate) mod append;
mod cold;
pub(crate) mod commit;
pub(crate) mod compaction;
pub(crate) mod contents;
pub(crate) mod counters;
#[cfg(feature = "async")]
pub(crate) mod errands;
pub(crate) mod follower;
pub(crate) mod histogram;
pub(crate) mod ids;
pub(crate) mod maintenance;
pub(crate) mod matching;
pub(crate) mod positions;
pub(crate) mod shared;
pub(crate) mod snapshots;
pub(crate) mod stats;
mod tokens;

use std::fmt;
use std::sync::Arc;

use crate::catalog::Part;
use crate::dir::StoreDir;
use crate::engine::append::Appends;
pub(crate) use crate::engine::append::check_record_key;
use crate::engine::commit::{Commits, Writer};
use crate::engine::compaction::Compacted;
use crate::engine::contents::Contents;
#[cfg(feature = "async")]
use crate::engine::errands::{Errand, Errands};
use crate::engine::follower::{FollowProgress, Follower};
use crate::engine::maintenance::Maintainer;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::engine::snapshots::SnapshotFiles;
use crate::error::{Error, Result};
use crate::format::backup::LogEnd;
#[cfg(feature = "testing")]
use crate::format::metadata::ChangeNumber;
use crate::log::segment::Segment;
use crate::options::{Durability, Options};
use crate::recovery::Recovered;
use crate::storage::LockGuard;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Mutex, Rank};

/// An open store.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    commits: Arc<Commits>,
    snapshots: Arc<SnapshotFiles>,
    maintenance: Arc<Maintainer>,
    appends: Appends,
    /// Present in a store that is open for reading only.
    follower: Option<Follower>,
    #[cfg(feature = "async")]
    errands: Arc<Errands>,
    /// The lock on the directory, until the store is closed.
    process_lock: Mutex<Option<Arc<dyn LockGuard>>>,
}

/// The debug output shows the path and the last position, not the state of every stream.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("root", &self.shared.root())
            .field("durable", &self.positions.durable())
            .finish_non_exhaustive()
    }
}

/// What a thread of the engine runs.
type Run = fn(&Engine);

impl Engine {
    pub(crate) fn new(
        dir: StoreDir,
        options: Options,
        mut recovered: Recovered,
        lock: Option<Arc<dyn LockGuard>>,
    ) -> Result<Self> {
        let last = recovered.state.next_position - 1;
        let progress = options.read_only.then(|| FollowProgress::new(&recovered));
        recovered.catalog.active.segment.file.keep_open(true);
        if let Some(spare) = &recovered.spare {
            spare.file.keep_open(true);
        }
        let mut writer = Writer::new(&mut recovered, dir.storage());
        writer.log.map_for_writes(options.maps_writes());
        let Recovered { catalog, metadata, opened, store_id, created_at, .. } = recovered;
        let shared = Arc::new(Shared::new(dir, options, opened, store_id, created_at));
        let positions = Arc::new(Positions::new(&shared, last, lock.is_some())?);
        let contents = Arc::new(Contents::new(&shared, &positions, catalog, metadata));
        let commits = Arc::new(Commits::new(&shared, &positions, &contents, writer));
        let snapshots = Arc::new(SnapshotFiles::new(&shared, &positions, &contents, &commits));
        let maintenance =
            Arc::new(Maintainer::new(&shared, &positions, &contents, &commits, &snapshots));
        let appends =
            Appends::new(&shared, &positions, &contents, &commits, &snapshots, &maintenance);
        let follower =
            progress.map(|progress| Follower::new(&shared, &positions, &contents, progress));
        Ok(Self {
            shared,
            positions,
            contents,
            commits,
            snapshots,
            maintenance,
            appends,
            follower,
            #[cfg(feature = "async")]
            errands: Arc::default(),
            process_lock: Mutex::new(Rank::ProcessLock, lock),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn options(&self) -> &Options {
        self.shared.options()
    }

    pub(crate) fn positions(&self) -> &Positions {
        &self.positions
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    pub(crate) fn snapshots(&self) -> &SnapshotFiles {
        &self.snapshots
    }

    pub(crate) fn appends(&self) -> &Appends {
        &self.appends
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.shared.check_open()
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.shared.check_writable()
    }

    /// The last position that readers see; see [`Positions::visible`].
    pub(crate) fn visible(&self, include_unsynced: bool) -> u64 {
        self.positions.visible(include_unsynced)
    }

    /// Whether the store follows a writer in another process.
    pub(crate) fn is_follower(&self) -> bool {
        self.follower.is_some()
    }

    /// In a store that is open for reading only, takes in what the writer has made visible.
    pub(crate) fn refresh(&self) -> Result<()> {
        self.follower.as_ref().map_or(Ok(()), Follower::refresh)
    }

    /// Makes everything accepted before the call durable.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.commits.sync_all()
    }

    /// Merges all index files that can be merged, now.
    pub(crate) fn compact(&self) -> Result<Compacted> {
        self.maintenance.compact()
    }

    /// The end of the log. Everything before it is durable, in a store that is open for reading as far as it can tell.
    pub(crate) fn log_end(&self) -> Result<LogEnd> {
        if let Some(follower) = &self.follower {
            follower.refresh()?;
            return follower.log_end();
        }
        let tip = self.commits.tip();
        self.sync_all()?;
        Ok(LogEnd {
            position: tip.next_position - 1,
            change: tip.point().change.get(),
            segment: tip.segment,
            offset: tip.offset,
            last_frame: tip.last_frame,
            link: tip.link,
        })
    }

    /// The segments of the log up to a place that is its end, or was.
    pub(crate) fn log_up_to(&self, end: &LogEnd) -> Vec<Arc<Segment>> {
        let (parts, active) = self.contents.with_catalog(|catalog| {
            (Arc::clone(&catalog.parts), Arc::clone(&catalog.active.segment))
        });
        let of_part = |part: &Part| Arc::clone(&part.segment);
        let mut log: Vec<_> = parts.iter().map(of_part).chain([active]).collect();
        log.retain(|segment| segment.number() <= end.segment);
        log
    }

    /// The end of the log, and its segments up to there; everything before the end is durable.
    pub(crate) fn durable_log(&self) -> Result<(LogEnd, Vec<Arc<Segment>>)> {
        let end = self.log_end()?;
        let log = self.log_up_to(&end);
        if let Some(follower) = &self.follower {
            follower.sync(&log)?;
        }
        Ok((end, log))
    }

    /// Generates an event id.
    pub(crate) fn new_id(&self) -> [u8; 16] {
        self.commits.next_id(self.shared.now_micros())
    }

    /// The number of the last change that is accepted, and when the last commit was recorded.
    #[cfg(feature = "testing")]
    pub(crate) fn last_accepted(&self) -> (ChangeNumber, u64) {
        let tip = self.commits.tip();
        (tip.next_change.previous(), tip.recorded_at)
    }

    /// Begins the work of a store that was just opened: the first status, and the threads.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        self.contents.bound_mappings();
        self.commits.write_first_status();
        let background = self.options().background;
        let threads = if background { self.spawn_threads()? } else { Vec::new() };
        if let Durability::Buffered { interval } = self.options().durability {
            self.commits.set_interval(interval);
        }
        self.maintenance.start();
        Ok(threads)
    }

    fn spawn_threads(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>> {
        let spawn = |name: &str, run: Run| {
            let engine = Arc::clone(self);
            thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&engine))
                .map_err(|e| Error::io("start a thread for", "", e))
        };
        if self.is_follower() {
            let run = |engine: &Self| engine.follower.iter().for_each(Follower::run);
            return Ok(vec![spawn("annals-follow", run)?]);
        }
        let runs: [(&str, Run); 3] = [
            ("annals-flush", |engine| engine.maintenance.run_flusher()),
            ("annals-prepare", |engine| engine.maintenance.run_preparer()),
            ("annals-maintain", |engine| engine.maintenance.run()),
        ];
        let mut threads = Vec::with_capacity(runs.len());
        for (name, run) in runs {
            match spawn(name, run) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.commits.shut_down();
                    for thread in threads {
                        drop(thread.join());
                    }
                    return Err(error);
                }
            }
        }
        Ok(threads)
    }

    /// Ends all waits and lets the threads end. Returns whether the store was closed before.
    pub(crate) fn begin_close(&self) -> bool {
        if self.shared.close() {
            return true;
        }
        // Errands may wait for the other threads.
        #[cfg(feature = "async")]
        self.errands.end();
        self.commits.shut_down();
        self.positions.announce();
        self.positions.watch().end();
        false
    }

    /// Makes everything durable, writes what the next opening needs and releases the lock. The threads
    /// have ended.
    pub(crate) fn finish_close(&self) -> Result<()> {
        let finished = if self.is_follower() {
            Ok(())
        } else {
            self.maintenance.finish().and_then(|()| self.commits.report_undone())
        };
        self.commits.end_snapshots();
        *self.process_lock.lock() = None;
        finished
    }

    /// Has `work` done by the thread for errands. A store without threads, or one that is closed,
    /// does it at once, in the caller's thread.
    #[cfg(feature = "async")]
    pub(crate) fn send<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Errand<T> {
        let (errand, give) = Errand::new();
        let engine = Arc::clone(self);
        let work: errands::Job = Box::new(move || give(work(&engine)));
        let left = if self.options().background { self.errands.enqueue(work) } else { Some(work) };
        if let Some(work) = left {
            work();
        }
        errand
    }
}
