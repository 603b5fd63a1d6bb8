//! The positions up to which events are written, durable and visible, and the threads and tasks that
//! wait for them.
//!
//! Owns the marks, the list of waiters and the status file, which publishes the visible position to
//! readers in other processes. Must never raise a mark before the write or sync has returned.

use std::sync::Arc;
use std::time::Duration;

use crate::dir::StoreDir;
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::status::Status;
use crate::storage::{File, OpenMode, write_all_at};
use crate::sync::wait_list::{Waiter, Watch};
use crate::sync::{AtomicMark, Instant};

/// Interval at which a reader looks for events that the writer in another process has made visible.
pub(crate) const FOLLOW_EVERY: Duration = Duration::from_millis(5);

/// The written, durable and visible positions.
#[derive(Debug)]
pub(crate) struct Positions {
    shared: Arc<Shared>,
    /// Threads and tasks that wait for a position to become visible.
    watch: Watch,
    written: AtomicMark,
    durable: AtomicMark,
    /// The status file of a store that is open for writing.
    status: Option<Arc<dyn File>>,
    /// Identifies this opening in the status file.
    epoch: u64,
}

impl Positions {
    /// `last`: the last position that recovery found. `writes`: the store is open for writing.
    pub(super) fn new(shared: &Arc<Shared>, last: u64, writes: bool) -> Result<Self> {
        let status = if writes { Some(open_status(shared.dir())?) } else { None };
        Ok(Self {
            epoch: shared.storage().random_u64(),
            shared: Arc::clone(shared),
            watch: Watch::default(),
            written: AtomicMark::new(last),
            durable: AtomicMark::new(last),
            status,
        })
    }

    /// The last position that is written.
    pub(crate) fn written(&self) -> u64 {
        self.written.get()
    }

    /// The last position that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.get()
    }

    /// Events up to `position` are written. The writer is locked, or there is none.
    pub(super) fn raise_written(&self, position: u64) {
        self.written.raise_locked(position);
    }

    /// Events up to `position` are durable.
    pub(super) fn raise_durable(&self, position: u64) {
        self.durable.raise(position);
    }

    /// The last position that readers see: the last durable one, or, in a buffered store or when
    /// asked for, the last written one.
    pub(crate) fn visible(&self, include_unsynced: bool) -> u64 {
        if include_unsynced || !self.shared.options().durability.is_sync() {
            self.written()
        } else {
            self.durable()
        }
    }

    /// The list of threads and tasks that wait for a position to become visible.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Wakes the threads and tasks that wait for a position. Not to be called under a lock.
    pub(crate) fn announce(&self) {
        self.watch.announce();
    }

    /// Waits until `waiter` is woken because something has become visible or the store is closed,
    /// or until `deadline`, whichever comes first; does not wait where `ready` is true. A store that
    /// follows a writer without a thread waits for a moment only.
    pub(crate) fn wait(
        &self,
        waiter: &Arc<Waiter>,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) {
        let poll = self.shared.follows_without_thread().then(|| Instant::now() + FOLLOW_EVERY);
        let until = [deadline, poll].into_iter().flatten().min();
        waiter.prepare();
        self.watch.enlist(waiter);
        if !ready() && self.shared.check_open().is_ok() {
            waiter.sleep(until);
        }
    }

    /// The last position that readers in other processes may read: in a buffered store, the last
    /// written one.
    pub(crate) fn visible_elsewhere(&self) -> u64 {
        if self.shared.options().durability.is_sync() { self.durable() } else { u64::MAX }
    }

    /// Publishes to readers in other processes the position up to which they may read, and the link of the last durable
    /// frame, which may come after that and have changes alone. The status is written to the page cache and not synced;
    /// after a failure readers see both with the next status.
    pub(super) fn write_status(&self, link: u32) {
        self.put_status(false, link);
    }

    /// Writes the first status of a writer. In a synced store it states that the log ends at `link`,
    /// until a session begins.
    pub(super) fn write_first_status(&self, link: u32) {
        self.put_status(self.shared.options().durability.is_sync(), link);
    }

    fn put_status(&self, clean: bool, link: u32) {
        let Some(file) = &self.status else { return };
        let status = Status { visible: self.visible_elsewhere(), clean, link, epoch: self.epoch };
        let _ = write_all_at(&**file, &status.encode(), 0);
    }

    /// Records durably whether the log ends at `link` or may continue after it, and the position up to
    /// which readers may read.
    pub(super) fn mark_clean(&self, clean: bool, link: u32, visible: u64) -> Result<()> {
        let Some(file) = &self.status else { return Ok(()) };
        let status = Status { visible, clean, link, epoch: self.epoch };
        write_all_at(&**file, &status.encode(), 0)
            .and_then(|()| file.sync_data())
            .map_err(|e| Error::io("write", self.shared.dir().join(names::STATUS), e))
    }
}

fn open_status(dir: &StoreDir) -> Result<Arc<dyn File>> {
    let path = dir.join(names::STATUS);
    let opened = match dir.storage().open(&path, OpenMode::ReadWrite) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            dir.storage().open(&path, OpenMode::CreateNew)
        }
        opened => opened,
    };
    let file = opened.map_err(|e| Error::io("open", &path, e))?;
    file.keep_open(true);
    Ok(file)
}
