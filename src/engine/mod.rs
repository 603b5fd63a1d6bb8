//! The parts that an open store consists of, and what they share.
//!
//! Owns the state and its locks; what is done with it stands in [`append`], [`commit`], [`maintenance`] and
//! [`read`](crate::read).
//!
//! The order in which its locks are taken is that of [`Rank`]. The writer, the catalog and the metadata are
//! not held during I/O, except by a rollover that finds no segment prepared.

pub(crate) mod append;
pub(crate) mod commit;
pub(crate) mod compaction;
#[cfg(feature = "async")]
pub(crate) mod errands;
pub(crate) mod follower;
pub(crate) mod heal;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod maintenance;
pub(crate) mod matching;
pub(crate) mod stats;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Catalog, LookupError};
use crate::engine::commit::Writer;
use crate::engine::stats::Counters;
use crate::error::{Error, Result};
use crate::format::status::Status;
use crate::format::{Defect, names};
use crate::index::metadata::Metadata;
use crate::options::Options;
use crate::recovery::{Opened, Recovered};
use crate::storage::{File, LockGuard, Mappings, OpenMode, Storage, write_all_at};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::wait_list::{Waiter, Watch};
use crate::sync::{Condvar, Instant, Mark, Mutex, Rank, RwLock};

/// How often a reader looks for what the writer in another process has made visible.
pub(crate) const FOLLOW_EVERY: Duration = Duration::from_millis(5);

pub(crate) struct Engine {
    pub(crate) root: PathBuf,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) opened: Opened,
    pub(crate) store_id: [u8; 16],
    pub(crate) created_at: u64,
    pub(crate) catalog: RwLock<Catalog>,
    /// Cursors and what is hidden, as readers see it.
    pub(crate) metadata: RwLock<Metadata>,
    /// Whether anything is hidden: for a read to ask of each event, without a lock.
    hides: AtomicBool,
    pub(crate) writer: Mutex<Writer>,
    /// By parity of the group waited for: the one being written, or the one collecting.
    pub(crate) group_done: [Condvar; 2],
    /// Somebody waits for room among the pending bytes.
    pub(crate) room: Condvar,
    /// Held during a sync; whether one has failed.
    pub(crate) sync_failed: Mutex<bool>,
    /// Held while level files are written, and while what is on disk of indexes and what is used of
    /// it change together.
    pub(crate) compacting: Mutex<()>,
    pub(crate) index_files: Mutex<()>,
    /// Held while snapshots of commits are saved.
    pub(crate) saving_snapshots: Mutex<()>,
    /// The flushing and the maintaining thread wait here.
    pub(crate) flush_wanted: Condvar,
    pub(crate) maintenance_wanted: Condvar,
    /// Who waits for positions to become visible.
    pub(crate) watch: Watch,
    /// The last position written, and the last that is durable. Raised after the fact.
    pub(crate) written: Mark,
    pub(crate) durable: Mark,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) lock: Mutex<Option<Arc<dyn LockGuard>>>,
    /// Held while a checkpoint is rebuilt.
    pub(crate) mending: Mutex<()>,
    /// Work that tasks must not wait in.
    #[cfg(feature = "async")]
    pub(crate) errands: crate::engine::errands::Errands,
    /// The status file, in a store that is open for writing.
    status: Option<Arc<dyn File>>,
    /// Present in a store that is open for reading only.
    pub(crate) follower: Option<Mutex<crate::engine::follower::Follower>>,
    pub(crate) epoch: u64,
    /// Once this many mappings were made, it is time to see whether there are too many.
    counts_mappings_at: AtomicUsize,
}

/// Handles and reads show this as part of themselves: where the store is and how far it goes, and
/// not the state of every stream in it.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("root", &self.root)
            .field("durable", &self.durable.get())
            .finish_non_exhaustive()
    }
}

fn open_status(storage: &dyn Storage, root: &Path) -> Result<Arc<dyn File>> {
    let path = root.join(names::STATUS);
    let opened = match storage.open(&path, OpenMode::ReadWrite) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            storage.open(&path, OpenMode::CreateNew)
        }
        opened => opened,
    };
    let file = opened.map_err(|e| Error::io("open", &path, e))?;
    file.keep_open(true);
    Ok(file)
}

impl Engine {
    pub(crate) fn new(
        root: PathBuf,
        options: Options,
        mut recovered: Recovered,
        lock: Option<Arc<dyn LockGuard>>,
    ) -> Result<Self> {
        let last = recovered.state.next_position - 1;
        let storage = Arc::clone(&options.storage);
        let follower = options.read_only.then(|| {
            Mutex::new(Rank::Follower, crate::engine::follower::Follower::new(&recovered))
        });
        let status = match &lock {
            Some(_) => Some(open_status(&*storage, &root)?),
            None => None,
        };
        recovered.catalog.active.segment.file.keep_open(true);
        if let Some(spare) = &recovered.spare {
            spare.file.keep_open(true);
        }
        let writer = Writer::new(&mut recovered, &*storage);
        let (opened, store_id) = (recovered.opened, recovered.store_id);
        Ok(Self {
            root,
            epoch: storage.random_u64(),
            counts_mappings_at: AtomicUsize::new(0),
            storage,
            options,
            opened,
            store_id,
            created_at: recovered.created_at,
            catalog: RwLock::new(Rank::Catalog, recovered.catalog),
            hides: AtomicBool::new(!recovered.metadata.hides_nothing()),
            metadata: RwLock::new(Rank::Metadata, recovered.metadata),
            writer: Mutex::new(Rank::Writer, writer),
            group_done: [Condvar::new(), Condvar::new()],
            room: Condvar::new(),
            sync_failed: Mutex::new(Rank::Sync, false),
            compacting: Mutex::new(Rank::Compacting, ()),
            index_files: Mutex::new(Rank::IndexFiles, ()),
            saving_snapshots: Mutex::new(Rank::SavingSnapshots, ()),
            flush_wanted: Condvar::new(),
            maintenance_wanted: Condvar::new(),
            watch: Watch::default(),
            written: Mark::new(last),
            durable: Mark::new(last),
            closed: AtomicBool::new(false),
            counters: Counters::default(),
            lock: Mutex::new(Rank::ProcessLock, lock),
            mending: Mutex::new(Rank::Mending, ()),
            #[cfg(feature = "async")]
            errands: crate::engine::errands::Errands::default(),
            status,
            follower,
        })
    }

    /// Changes what readers see of the metadata.
    pub(crate) fn change_metadata<T>(&self, change: impl FnOnce(&mut Metadata) -> T) -> T {
        let mut metadata = self.metadata.write();
        let changed = change(&mut metadata);
        self.hides.store(!metadata.hides_nothing(), Ordering::Release);
        changed
    }

    /// Whether any event is hidden from reads.
    pub(crate) fn hides_events(&self) -> bool {
        self.hides.load(Ordering::Acquire)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.options.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// The last position that readers see: the last durable one, or, in a buffered store or when
    /// asked for, the last written one.
    pub(crate) fn visible(&self, include_unsynced: bool) -> u64 {
        if include_unsynced || !self.options.durability.is_sync() {
            self.written.get()
        } else {
            self.durable.get()
        }
    }

    /// Wakes whoever waits for a position. Not to be called under a lock.
    pub(crate) fn announce_visible(&self) {
        self.watch.announce();
    }

    /// The store is read beside its writer, and no thread looks for news.
    pub(crate) fn follows_alone(&self) -> bool {
        self.follower.is_some() && !self.options.background
    }

    /// Waits until `waiter` is woken because something has become visible or the store is closed,
    /// or until a time, whichever comes first; not at all where `ready` says so. Who follows alone
    /// has to look for news soon.
    pub(crate) fn wait_visible(
        &self,
        waiter: &Arc<Waiter>,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) {
        let poll = self.follows_alone().then(|| Instant::now() + FOLLOW_EVERY);
        let until = [deadline, poll].into_iter().flatten().min();
        waiter.prepare();
        self.watch.enlist(waiter);
        if !ready() && self.check_open().is_ok() {
            waiter.sleep(until);
        }
    }

    /// How far readers in other processes may read: in a buffered store, all that is written.
    pub(crate) fn visible_elsewhere(&self) -> u64 {
        if self.options.durability.is_sync() { self.durable.get() } else { u64::MAX }
    }

    /// Tells readers in other processes how far they may read. Lives in the page cache alone; a
    /// failure makes them wait for the next time.
    pub(crate) fn write_status(&self) {
        let visible = self.visible_elsewhere();
        if let Some(file) = &self.status {
            let status = Status { visible, clean: false, link: 0, epoch: self.epoch };
            let _ = write_all_at(&**file, &status.encode(), 0);
        }
    }

    /// The first status of a writer: the log ends where it did, until a session begins.
    pub(crate) fn write_first_status(&self) {
        let sync = self.options.durability.is_sync();
        let visible = self.visible_elsewhere();
        let link = self.writer.lock().tip.link;
        if let Some(file) = &self.status {
            let status = Status { visible, clean: sync, link, epoch: self.epoch };
            let _ = write_all_at(&**file, &status.encode(), 0);
        }
    }

    /// Says durably whether the log ends at `link`, or may go on behind it, and how far readers may
    /// read.
    pub(crate) fn mark_clean(&self, clean: bool, link: u32, visible: u64) -> Result<()> {
        let Some(file) = &self.status else { return Ok(()) };
        let status = Status { visible, clean, link, epoch: self.epoch };
        write_all_at(&**file, &status.encode(), 0)
            .and_then(|()| file.sync_data())
            .map_err(|e| Error::io("write", self.root.join(names::STATUS), e))
    }

    /// Sees that there are no more mappings than there may be: each time that another quarter of that
    /// number was made, drops some if there are too many. What events and reads in progress hold, and
    /// segments that are not sealed, stay mapped and count too.
    pub(crate) fn bound_mappings(&self) {
        let Mappings { now, ever } = self.storage.mappings();
        if ever < self.counts_mappings_at.load(Ordering::Relaxed) {
            return;
        }
        let (limit, step) = (self.options.max_mappings, self.options.max_mappings / 4);
        self.counts_mappings_at.store(ever + step, Ordering::Relaxed);
        if now >= limit - step {
            // The system takes its time to forget them: not under the lock.
            let dropped = self.catalog.write().drop_mappings(now - (limit - 2 * step));
            drop(dropped);
        }
    }

    /// The number of index files that one look-up in the catalog asks at most, since it keeps them mapped.
    pub(crate) fn most_asked_at_once(&self) -> usize {
        self.options.max_mappings / 4
    }

    /// The positions of the events that may have this id; to be compared with the records.
    pub(crate) fn id_candidates(&self, id: &[u8; 16]) -> Result<Vec<u64>> {
        let most = self.most_asked_at_once();
        let (mut found, mut rest) =
            self.lookup(|catalog| catalog.id_candidates(id, u64::MAX, most))?;
        while let Some(below) = rest {
            let more = self.lookup(|catalog| catalog.id_candidates(id, below, most))?;
            found.extend(more.0);
            rest = more.1;
        }
        Ok(found)
    }

    /// Runs a look-up in the catalog; where it meets a damaged index file, rebuilds that from the
    /// log and tries again.
    pub(crate) fn lookup<T>(
        &self,
        mut question: impl FnMut(&Catalog) -> std::result::Result<T, LookupError>,
    ) -> Result<T> {
        let (mut rebuilt, mut mended) = (0, false);
        loop {
            let asked = question(&self.catalog.read());
            let failure = match asked {
                Ok(answer) => {
                    // One question may have opened the indexes of many segments.
                    self.bound_mappings();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            match failure {
                LookupError::Store(error) => return Err(error),
                LookupError::Index { segment } if rebuilt != segment => {
                    if self.rebuild(segment)? {
                        rebuilt = segment;
                    }
                }
                LookupError::Index { segment } => {
                    return Err(self.index_error(
                        names::index_path(&self.root, segment),
                        "the rebuilt index contradicts the stream heads".into(),
                    ));
                }
                // Lookups may meet the damage one after the other; once mended there is none.
                LookupError::Heads(_) if !mended => {
                    mended = true;
                    self.mend_checkpoints()?;
                }
                LookupError::Heads(defect) => {
                    return Err(self.heads_error(&defect));
                }
            }
        }
    }

    /// What a checkpoint says cannot be read, and it is not its file that is damaged.
    pub(crate) fn heads_error(&self, defect: &Defect) -> Error {
        let path = self.root.join(names::CHECKPOINT_DIR);
        match defect {
            Defect::Unreadable(why) => Error::io("read", path, std::io::Error::other(why.clone())),
            _ => self.index_error(path, defect.to_string()),
        }
    }

    fn index_error(&self, file: PathBuf, what: String) -> Error {
        let expected_position = self.durable.get().into();
        Error::Corrupt { file, offset: 0, expected_position, what, evidence: None }
    }
}
