//! Group commit: many commits, one write, one sync.
//!
//! A state machine that owns no thread: its state is here, its transitions are in [`lead`], its wait for
//! more commits in [`gather`], its handling of failed writes in [`failure`]. Commits join the *collecting*
//! group. A thread that waits for it while no group is being written becomes its leader: it takes the group,
//! writes it with one positional write or one copy into a mapping, syncs if a member asked for it, publishes
//! the positions and wakes the members (followers). Commits that arrived meanwhile form the next group, and
//! one of its waiters leads it. A thread that does not wait leads its group if that takes no system call, and
//! a group that is one short copy is written without unlocking the writer ([`copy`]).
//!
//! Why this is free of races:
//! - `collecting` and `writing` change only under the writer lock; the leader's I/O is outside it,
//!   on an `Arc` of a group that no longer changes, or a copy under it.
//! - Groups are written one at a time, in the order of their numbers, so a position is never
//!   visible before a smaller one.
//! - `written` and `durable` are stored after the write or sync returned, and readers load them
//!   before they touch a byte.
//! - After a failed sync, or a failed write that could not be undone, `poisoned` is set under the
//!   lock and never cleared: nothing is written or acknowledged any more.

mod changes;
mod copy;
mod failure;
mod gather;
mod group;
mod lead;
mod outcome;
mod rollover;
mod room;
mod snapshots;
mod threads;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::engine::contents::Contents;
use crate::engine::ids::IdSource;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::error::{Error, FailedMaintenance, Result};
use crate::event::snapshot::Snapshot;
use crate::format::frame::FrameKind;
use crate::index::heads::Slot;
use crate::log::segment::Segment;
use crate::log::writer::{CommitPoint, LogWriter, SegmentWrite, Spare, Tip};
use crate::recovery::Recovered;
use crate::storage::Storage;
use crate::sync::atomic::AtomicU32;
use crate::sync::{Condvar, Instant, Mutex, Rank};

use changes::PendingChanges;
use gather::Gathering;
use group::Group;
pub(crate) use group::GroupNumber;
pub(crate) use snapshots::Batch;
use snapshots::{Due, PendingSnapshots};

pub(in crate::engine) use lead::Guard;
pub(in crate::engine) use rollover::{MetadataToSave, checkpoint_meta};
pub(in crate::engine) use work::PendingCheckpoint;
use work::Work;

/// Interval of the checks that the directory is in its place, each a few system calls. Commits
/// acknowledged after it was removed or replaced cannot be found under its path.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Group commit and what it needs: one writer, and the threads that wait for it.
#[derive(Debug)]
pub(crate) struct Commits {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    writer: Mutex<Writer>,
    /// Of the collecting group: the commits that want a sync. Changed with the writer locked, and read without.
    members: AtomicU32,
    /// By parity of the group waited for: the one being written, or the one collecting.
    group_done: [Condvar; 2],
    /// Threads that wait for room: among the pending bytes, or for the next segment.
    room: Condvar,
    /// Held during a sync; whether one has failed.
    sync_failed: Mutex<bool>,
    /// The flushing thread waits here.
    flush_wanted: Condvar,
    /// The maintaining thread waits here.
    maintenance_wanted: Condvar,
    /// The preparing thread waits here.
    preparation_wanted: Condvar,
}

/// The state of the writer, under its lock.
#[derive(Debug)]
pub(in crate::engine) struct Writer {
    pub(in crate::engine) log: LogWriter,
    pub(in crate::engine) collecting: Group,
    pub(in crate::engine) collecting_number: GroupNumber,
    gathering: Gathering,
    /// The tip before the oldest group that is not written: the state restored after a failed write.
    group_tip: Tip,
    /// The header checksum of the last frame that is known to be durable.
    durable_link: u32,
    pub(in crate::engine) writing: Option<Arc<Group>>,
    /// The last position and the last change of the group being written.
    writing_to: Option<CommitPoint>,
    written_number: GroupNumber,
    synced_number: GroupNumber,
    /// Groups that did not fit the disk, and of which nothing is stored.
    refused: Vec<GroupNumber>,
    /// The file that the newest of them did not fit, and the bytes that were needed.
    full: Option<(PathBuf, u64)>,
    poisoned: Option<Arc<str>>,
    /// The store's directory, if the writer was poisoned because it is not in its place any more.
    gone: Option<PathBuf>,
    /// When the writer looks again whether the directory is in its place; `None`: at the next group.
    look_at: Option<Instant>,
    /// The newest group that may have been written when the writer was poisoned.
    poisoned_number: GroupNumber,
    /// Written and not synced since, with the last group written to each.
    dirty: Vec<(Arc<Segment>, GroupNumber)>,
    wakers: Vec<(GroupNumber, Waker)>,
    /// The names that lead to the files are durable for sure.
    names_synced: bool,
    spare_group: Option<Arc<Group>>,
    /// Of the records of the frame being encoded.
    pub(in crate::engine) checksums: Vec<u8>,
    /// Of the operations being checked.
    pub(in crate::engine) slots: Vec<Slot>,
    /// The longest time a written commit stays unsynced.
    pub(in crate::engine) buffered_interval: Duration,
    room_waiters: u64,
    flush_requested: bool,
    work: Work,
    spare: Option<Spare>,
    pub(in crate::engine) ids: IdSource,
    pub(in crate::engine) changes: PendingChanges,
    /// To be saved once the group of each is durable.
    snapshots: PendingSnapshots,
    /// Work beside appends that failed and was not made good since.
    undone: Vec<FailedMaintenance>,
    shutdown: bool,
    /// What the clock read for the last commit, in µs; `None`: it was not read.
    pub(in crate::engine) read_at: Option<u64>,
    /// What it read for the commit after which the writer last looked at the directory; 0: it was not read.
    looked_at: u64,
    /// The clock as it was compared with the monotonic one; `None`: not since the store was opened.
    pub(in crate::engine) clock: Option<ClockAnchor>,
}

/// One moment on two clocks, in µs.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct ClockAnchor {
    pub(in crate::engine) wall: u64,
    pub(in crate::engine) monotonic: u64,
}

impl Commits {
    pub(in crate::engine) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        writer: Writer,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            writer: Mutex::new(Rank::Writer, writer),
            members: AtomicU32::new(0),
            group_done: [Condvar::new(), Condvar::new()],
            room: Condvar::new(),
            sync_failed: Mutex::new(Rank::Sync, false),
            flush_wanted: Condvar::new(),
            maintenance_wanted: Condvar::new(),
            preparation_wanted: Condvar::new(),
        }
    }

    /// Locks the writer. The guard stays within the engine: a commit is decided on and joins its group
    /// under one lock.
    pub(in crate::engine) fn lock(&self) -> Guard<'_> {
        self.writer.lock()
    }

    /// Unlocks the writer. Leads the collecting group if that is a copy in memory, which takes less time than to wake
    /// a thread. Otherwise asks the flushing thread to lead it, if it has something to write; and a thread to save
    /// snapshots that are due.
    pub(in crate::engine) fn leave<'a>(&'a self, mut writer: Guard<'a>) {
        if writer.is_copied_at_once() {
            writer = self.write_collecting(writer);
        }
        // A commit that writes nothing leaves no request: the next submission would not wake the
        // flusher.
        if !writer.flush_requested && writer.wants_leader() {
            writer.flush_requested = true;
            self.flush_wanted.notify_one();
        }
        // Of a commit that writes nothing they may be due already.
        self.ask_to_save_snapshots(&writer);
    }

    /// Generates an event id from a time in µs.
    pub(in crate::engine) fn next_id(&self, now: u64) -> [u8; 16] {
        self.writer.lock().ids.next(now).to_be_bytes()
    }

    /// Whether a snapshot can be saved and no waiter of its commit saves it.
    pub(in crate::engine) fn has_due_snapshots(&self) -> bool {
        self.writer.lock().has_due_snapshots()
    }

    /// Takes out the snapshots whose commits are durable; those of refused commits are dropped.
    pub(in crate::engine) fn take_due_snapshots(&self) -> Due {
        let writer = &mut *self.writer.lock();
        writer.snapshots.take_due(writer.synced_number, &writer.refused)
    }

    /// Snapshots that were taken out are saved, or failed; wakes the tasks that wait for them.
    pub(in crate::engine) fn end_saving(&self, batches: &[Batch]) {
        let wakers = self.writer.lock().snapshots.saved(batches);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// No snapshots are saved from now on; wakes the tasks that wait for one.
    pub(in crate::engine) fn end_snapshots(&self) {
        let wakers = self.writer.lock().snapshots.end();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The longest time that a written commit stays unsynced, unless a commit asks for less.
    pub(in crate::engine) fn set_interval(&self, interval: Duration) {
        self.writer.lock().buffered_interval = interval;
    }

    /// The end of the log, commits on their way to disk included.
    pub(in crate::engine) fn tip(&self) -> Tip {
        self.writer.lock().log.tip.clone()
    }

    /// The end of the log, and the size of the prepared segment; 0: there is none.
    pub(in crate::engine) fn tip_and_spare(&self) -> (Tip, u64) {
        let writer = self.writer.lock();
        let spare = writer.spare.as_ref().map_or(0, |spare| spare.file.header.capacity);
        (writer.log.tip.clone(), spare)
    }

    /// Publishes the first status of this writer, before any commit.
    pub(in crate::engine) fn write_first_status(&self) {
        self.positions.write_first_status(self.tip().link);
    }

    /// Wakes all threads that wait here, to end: the store is closed.
    pub(in crate::engine) fn shut_down(&self) {
        self.writer.lock().shutdown = true;
        self.flush_wanted.notify_all();
        self.maintenance_wanted.notify_all();
        self.preparation_wanted.notify_all();
        self.room.notify_all();
    }

    /// Adds a frame without events or changes to the collecting group. The caller has made room.
    pub(in crate::engine) fn push_frame(&self, writer: &mut Writer, kind: FrameKind, body: &[u8]) {
        let durable = self.positions.durable();
        writer.log.push_frame(&mut writer.collecting.writes, kind, body, durable);
    }
}

impl Writer {
    /// Takes its part of a recovered store.
    pub(in crate::engine) fn new(recovered: &mut Recovered, storage: &dyn Storage) -> Self {
        let state = &recovered.state;
        let last_change = state.next_change.previous();
        let tip = Tip {
            segment: recovered.catalog.active.segment.number(),
            offset: state.offset,
            link: state.link,
            next_position: state.next_position,
            recorded_at: state.recorded_at,
            last_frame: recovered.last_frame,
            commits: recovered.commits,
            session_begun: false,
            next_change: state.next_change,
            told_change: last_change,
        };
        Self {
            group_tip: tip.clone(),
            durable_link: tip.link,
            log: LogWriter::new(
                tip,
                Arc::clone(&recovered.catalog.active.segment),
                std::mem::take(&mut recovered.prelude),
            ),
            collecting: Group::default(),
            collecting_number: GroupNumber::FIRST,
            gathering: Gathering::default(),
            writing: None,
            writing_to: None,
            written_number: GroupNumber::NONE,
            synced_number: GroupNumber::NONE,
            refused: Vec::new(),
            full: None,
            poisoned: None,
            gone: None,
            look_at: None,
            poisoned_number: GroupNumber::NONE,
            dirty: Vec::new(),
            wakers: Vec::new(),
            names_synced: recovered.names_synced,
            spare_group: None,
            checksums: Vec::new(),
            slots: Vec::new(),
            buffered_interval: Duration::MAX,
            room_waiters: 0,
            flush_requested: false,
            work: Work::new(recovered.checkpoint, std::mem::take(&mut recovered.unchecked)),
            spare: recovered.spare.take().map(|spare| Spare::new(spare, 0)),
            ids: IdSource::new(storage),
            changes: PendingChanges::new(last_change),
            snapshots: PendingSnapshots::default(),
            undone: Vec::new(),
            shutdown: false,
            read_at: None,
            looked_at: 0,
            clock: None,
        }
    }

    pub(in crate::engine) fn check_usable(&self) -> Result<()> {
        self.poisoned.as_ref().map_or(Ok(()), |reason| Err(self.refusal(reason)))
    }

    /// The error of a call that came after the writer was poisoned.
    fn refusal(&self, reason: &str) -> Error {
        match &self.gone {
            Some(path) => Error::StoreGone { path: path.clone(), why: reason.into() },
            None => Error::WriterPoisoned { reason: reason.into() },
        }
    }

    /// The last position and the last change that are written.
    pub(in crate::engine) fn written_to(&self) -> CommitPoint {
        self.group_tip.point()
    }

    /// Whether it is time to look whether the directory is in its place.
    fn has_to_look(&self) -> bool {
        self.look_at.is_none_or(|at| Instant::now() >= at)
    }

    /// Like [`Writer::has_to_look`], without reading another clock where one was read for a commit. A clock that was set
    /// makes it look.
    fn may_have_to_look(&self) -> bool {
        match self.read_at {
            Some(now) => now
                .checked_sub(self.looked_at)
                .is_none_or(|passed| Duration::from_micros(passed) >= LOOK_EVERY),
            None => self.has_to_look(),
        }
    }

    /// Whether it is time to look; then the next time is set.
    fn begins_to_look(&mut self) -> bool {
        let looks = self.has_to_look();
        if looks {
            self.look_at = Instant::now().checked_add(LOOK_EVERY);
            self.looked_at = self.read_at.unwrap_or_default();
        }
        looks
    }

    /// Whether something is written and not synced, and a sync could help.
    pub(in crate::engine) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() && self.poisoned.is_none()
    }

    /// The buffer for frames at the tip of the active segment.
    pub(in crate::engine) fn buffer(&mut self) -> &mut Vec<u8> {
        self.log.buffer(&mut self.collecting.writes)
    }

    fn is_refused(&self, number: GroupNumber) -> bool {
        self.refused.binary_search(&number).is_ok()
    }

    /// Whether a group is written, or durable if `sync`.
    fn has_done(&self, number: GroupNumber, sync: bool) -> bool {
        let done = if sync { self.synced_number } else { self.written_number };
        number <= done && !self.is_refused(number)
    }

    /// The outcome of a group, if it is known.
    fn outcome(&self, number: GroupNumber, sync: bool) -> Option<Result<()>> {
        if self.has_done(number, sync) {
            return Some(Ok(()));
        }
        if self.is_refused(number) {
            let (path, needed) = self.full.clone().unzip();
            return Some(Err(Error::DiskFull { path: path.unwrap_or_default(), needed }));
        }
        let reason = self.poisoned.as_ref()?;
        Some(Err(if number <= self.poisoned_number {
            Error::OutcomeUnknown { reason: reason.to_string() }
        } else {
            self.refusal(reason)
        }))
    }

    /// Takes out the wakers of the tasks whose outcome is known. Wakers run foreign code, which may
    /// commit, so they are called after the writer is unlocked.
    fn take_wakers(&mut self) -> Vec<Waker> {
        let known = if self.poisoned.is_some() { GroupNumber::ALL } else { self.written_number };
        if self.wakers.is_empty() {
            return Vec::new();
        }
        self.wakers.extract_if(.., |(group, _)| *group <= known).map(|(_, waker)| waker).collect()
    }

    /// Whether a snapshot can be saved and no waiter of its commit saves it.
    fn has_due_snapshots(&self) -> bool {
        self.snapshots.any_due(self.synced_number)
    }

    /// Keeps a commit's snapshots until its group is durable. [`GroupNumber::NONE`] stands for a
    /// commit that wrote nothing; its snapshots wait for everything accepted before it. `attended`: a thread waits
    /// for the group, and saves them.
    pub(in crate::engine) fn keep_snapshots(
        &mut self,
        group: GroupNumber,
        snapshots: Vec<Snapshot>,
        attended: bool,
    ) -> Batch {
        let mut newest = self.newest_with_bytes();
        while self.is_refused(newest) {
            newest = newest.previous();
        }
        let attended = attended && group != GroupNumber::NONE;
        let group = if group == GroupNumber::NONE { newest } else { group };
        let batch = self.snapshots.keep(group, snapshots, attended);
        self.collecting.sync |= self.snapshots.want_sync();
        batch
    }

    fn note_dirty(&mut self, write: &SegmentWrite, number: GroupNumber) {
        match self.dirty.iter_mut().find(|(dirty, _)| Arc::ptr_eq(dirty, &write.segment)) {
            Some((_, last)) => *last = number,
            None => self.dirty.push((Arc::clone(&write.segment), number)),
        }
    }
}
