//! Group commit: many commits, one write, one sync.
//!
//! A state machine that owns no thread: its state is here, its moves are in [`lead`], what it does
//! when a write fails in [`failure`]. Commits join the *collecting* group. Whoever waits for it
//! while no group is being written becomes its leader: takes the group, writes it with one
//! positional write, syncs if a member asked for it, publishes the positions and wakes the members
//! (followers); commits that came meanwhile are the next group, and one of its waiters leads it.
//!
//! Why this is free of races:
//! - `collecting` and `writing` change only under the writer lock; the leader's I/O is outside it,
//!   on an `Arc` of the group that nobody can change any more.
//! - Groups are written one at a time, in the order of their numbers, so a position is never
//!   visible before a smaller one.
//! - `written` and `durable` are stored after the write or sync returned, and readers load them
//!   before they touch a byte.
//! - After a failed sync, or a failed write that could not be undone, `poisoned` is set under the
//!   lock and never cleared: nothing is written or acknowledged any more.

mod changes;
mod failure;
mod lead;
mod snapshots;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::engine::ids::IdSource;
use crate::engine::maintenance::Work;
use crate::error::{Error, FailedMaintenance, Result};
use crate::format::frame::FrameHeader;
use crate::format::segment_header::DATA_START;
use crate::index::heads::Slot;
use crate::log::segment::{Segment, SegmentFile};
use crate::recovery::Recovered;
use crate::snapshot::Snapshot;
use crate::storage::Storage;
use crate::sync::Instant;

use changes::Changes;
use snapshots::PendingSnapshots;
pub(crate) use snapshots::{Batch, Due};

/// What is acknowledged after the directory was removed or replaced is lost to who looks for it under
/// its path; a look costs a few system calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In bytes.
const MAX_KEPT_BUFFER: usize = 8 << 20;

/// Bytes that belong together in one segment.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Commits that are written together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) extents: Vec<Extent>,
    /// A member wants it durable and not only written.
    pub(crate) sync: bool,
}

/// Where the log ends, commits on their way to disk included.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    /// The number of the active segment.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) link: u32,
    pub(crate) next_position: u64,
    pub(crate) recorded_at: u64,
    /// Where the last frame in the active segment is; 0: it has none.
    pub(crate) last_frame: u64,
    /// Commits in the whole store.
    pub(crate) commits: u64,
    /// This writer's first frame is written.
    pub(crate) session_begun: bool,
    /// The number of the next change, and the last one that a frame has said to be durable.
    pub(crate) next_change: u64,
    pub(crate) told_change: u64,
}

impl Tip {
    /// Goes on at the beginning of another segment.
    pub(crate) fn turn_to(&mut self, segment: u64) {
        self.segment = segment;
        self.offset = DATA_START;
        self.last_frame = 0;
    }

    /// Goes behind a frame that was added at the tip.
    pub(crate) fn pass(&mut self, frame: &FrameHeader, link: u32) {
        self.last_frame = self.offset;
        self.link = link;
        self.next_position = frame.next_position();
        self.offset += frame.frame_len();
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) tip: Tip,
    /// The segment that takes frames.
    pub(crate) active: Arc<Segment>,
    pub(crate) collecting: Group,
    pub(crate) collecting_number: u64,
    /// The tip when the oldest group that is not written began: what a failed write falls back to.
    group_tip: Tip,
    pub(crate) writing: Option<Arc<Group>>,
    /// The last position and the last change of the group being written.
    pub(crate) writing_to: Option<(u64, u64)>,
    written_number: u64,
    synced_number: u64,
    /// Groups that did not fit the disk, and of which nothing is stored.
    refused: Vec<u64>,
    /// What the newest of them did not fit: the file, and the bytes that were wanted.
    full: Option<(PathBuf, u64)>,
    poisoned: Option<Arc<str>>,
    /// The store's directory, if what poisoned the writer is that it is not in its place any more.
    gone: Option<PathBuf>,
    /// When the writer looks again whether the directory is in its place; `None`: at the next group.
    look_at: Option<Instant>,
    /// The newest group that may have been written when the writer was poisoned.
    poisoned_number: u64,
    /// Written and not synced since, with the last group written to each.
    dirty: Vec<(Arc<Segment>, u64)>,
    wakers: Vec<(u64, Waker)>,
    spare_buffer: Vec<u8>,
    /// What the first group writes again; see [`Recovered`](crate::recovery::Recovered).
    prelude: Vec<u8>,
    /// The names that lead to the files are durable for sure.
    pub(crate) names_synced: bool,
    spare_group: Option<Arc<Group>>,
    /// Of the records of the frame being encoded.
    pub(crate) checksums: Vec<u8>,
    /// Of the operations being checked.
    pub(crate) slots: Vec<Slot>,
    /// The longest time a written commit stays unsynced.
    pub(crate) buffered_interval: Duration,
    pub(crate) room_waiters: u64,
    pub(crate) flush_requested: bool,
    pub(crate) work: Work,
    pub(crate) spare: Option<SegmentFile>,
    pub(crate) ids: IdSource,
    pub(crate) changes: Changes,
    /// To be saved once the group of each is durable.
    pub(crate) snapshots: PendingSnapshots,
    /// Work beside appends that failed and was not made good since.
    pub(crate) undone: Vec<FailedMaintenance>,
    pub(crate) shutdown: bool,
    /// The clock as it was compared with the monotonic one; `None`: not since the store was opened.
    pub(crate) clock: Option<ClockAnchor>,
}

/// One moment on two clocks, in µs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockAnchor {
    pub(crate) wall: u64,
    pub(crate) monotonic: u64,
}

impl Writer {
    /// Takes its part of a recovered store.
    pub(crate) fn new(recovered: &mut Recovered, storage: &dyn Storage) -> Self {
        let state = &recovered.state;
        let last_change = state.next_change - 1;
        let tip = Tip {
            segment: recovered.catalog.active.segment.number(),
            offset: state.offset,
            link: state.link,
            next_position: state.next_position,
            recorded_at: state.recorded_at,
            last_frame: recovered.last_frame,
            commits: recovered.commits,
            session_begun: false,
            next_change: last_change + 1,
            told_change: last_change,
        };
        Self {
            group_tip: tip.clone(),
            tip,
            active: Arc::clone(&recovered.catalog.active.segment),
            collecting: Group::default(),
            collecting_number: 1,
            writing: None,
            writing_to: None,
            written_number: 0,
            synced_number: 0,
            refused: Vec::new(),
            full: None,
            poisoned: None,
            gone: None,
            look_at: None,
            poisoned_number: 0,
            dirty: Vec::new(),
            wakers: Vec::new(),
            spare_buffer: Vec::new(),
            prelude: std::mem::take(&mut recovered.prelude),
            names_synced: recovered.names_synced,
            spare_group: None,
            checksums: Vec::new(),
            slots: Vec::new(),
            buffered_interval: Duration::MAX,
            room_waiters: 0,
            flush_requested: false,
            work: Work::new(recovered.checkpoint, std::mem::take(&mut recovered.unchecked)),
            spare: recovered.spare.take(),
            ids: IdSource::new(storage),
            changes: Changes::new(last_change),
            snapshots: PendingSnapshots::default(),
            undone: Vec::new(),
            shutdown: false,
            clock: None,
        }
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
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
    pub(crate) fn written_to(&self) -> (u64, u64) {
        (self.group_tip.next_position - 1, self.group_tip.next_change - 1)
    }

    /// Whether it is time to look whether the directory is in its place.
    fn has_to_look(&mut self) -> bool {
        let now = Instant::now();
        let due = self.look_at.is_none_or(|at| now >= at);
        if due {
            self.look_at = now.checked_add(LOOK_EVERY);
        }
        due
    }

    /// Whether something is written and not synced, and a sync could help.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() && self.poisoned.is_none()
    }

    /// The bytes that wait to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.collecting.extents.iter().map(|extent| extent.bytes.len()).sum()
    }

    /// The buffer for frames at the tip of the active segment.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        let extents = &mut self.collecting.extents;
        if extents.last().is_none_or(|extent| !Arc::ptr_eq(&extent.segment, &self.active)) {
            let mut bytes = std::mem::take(&mut self.spare_buffer);
            bytes.append(&mut self.prelude);
            extents.push(Extent {
                segment: Arc::clone(&self.active),
                offset: self.tip.offset - bytes.len() as u64,
                bytes,
            });
        }
        let last = extents.len() - 1;
        &mut extents[last].bytes
    }

    /// The bytes of a record or frame that is not written yet, from `offset` on.
    pub(crate) fn pending(&self, segment: &Segment, offset: u64) -> Option<&[u8]> {
        let groups = self.writing.as_deref().into_iter().chain([&self.collecting]);
        groups.flat_map(|group| &group.extents).find_map(|extent| {
            let at = usize::try_from(offset.checked_sub(extent.offset)?).ok()?;
            let here = extent.segment.number() == segment.number() && at < extent.bytes.len();
            here.then(|| &extent.bytes[at..])
        })
    }

    /// The group with which everything accepted so far is written, and durable if `sync`.
    pub(crate) fn group_of_all(&mut self, sync: bool) -> u64 {
        self.collecting.sync |= sync;
        self.collecting_number - u64::from(!self.wants_leader())
    }

    /// Whether the collecting group has something to do: bytes to write, or a sync of what is written.
    pub(crate) fn wants_leader(&self) -> bool {
        self.collecting.sync || !self.collecting.extents.is_empty()
    }

    /// Takes the collecting group out, and puts an emptied one in its place.
    fn take_collecting(&mut self) -> Arc<Group> {
        let mut taken = self.spare_group.take().unwrap_or_default();
        match Arc::get_mut(&mut taken) {
            Some(empty) => std::mem::swap(empty, &mut self.collecting),
            None => taken = Arc::new(std::mem::take(&mut self.collecting)),
        }
        taken
    }

    /// Keeps a written group's allocations for the next ones.
    fn recycle(&mut self, mut group: Arc<Group>) {
        let Some(inner) = Arc::get_mut(&mut group) else { return };
        if let Some(extent) = inner.extents.pop() {
            let mut buffer = extent.bytes;
            buffer.clear();
            // A buffer that one large commit has grown is not kept for ever.
            if buffer.capacity() <= MAX_KEPT_BUFFER {
                self.spare_buffer = buffer;
            }
        }
        inner.extents.clear();
        inner.sync = false;
        self.spare_group = Some(group);
    }

    /// Whether something is to be written again before anything is written behind it.
    pub(crate) fn has_prelude(&self) -> bool {
        !self.prelude.is_empty()
    }

    /// What became of a group, if it is known.
    fn outcome(&self, number: u64, sync: bool) -> Option<Result<()>> {
        if self.refused.binary_search(&number).is_ok() {
            let (path, needed) = self.full.clone().unzip();
            return Some(Err(Error::DiskFull { path: path.unwrap_or_default(), needed }));
        }
        if number <= if sync { self.synced_number } else { self.written_number } {
            return Some(Ok(()));
        }
        let reason = self.poisoned.as_ref()?;
        Some(Err(if number <= self.poisoned_number {
            Error::OutcomeUnknown { reason: reason.to_string() }
        } else {
            self.refusal(reason)
        }))
    }

    /// Takes out the wakers of the tasks whose outcome is known now. They run code of others, which
    /// may commit, so they are woken after the writer is unlocked.
    fn take_wakers(&mut self) -> Vec<Waker> {
        let known = if self.poisoned.is_some() { u64::MAX } else { self.written_number };
        self.wakers.extract_if(.., |(group, _)| *group <= known).map(|(_, waker)| waker).collect()
    }

    /// Whether a snapshot can be saved, and nobody who waits for its commit does that.
    pub(crate) fn has_due_snapshots(&self) -> bool {
        self.snapshots.any_due(self.synced_number)
    }

    /// Keeps a commit's snapshots until its group is durable. One of group 0 wrote nothing, but what
    /// its snapshots are made of may be on its way: they wait for everything accepted so far.
    pub(crate) fn keep_snapshots(&mut self, group: u64, snapshots: Vec<Snapshot>) -> Batch {
        let mut newest = self.collecting_number - u64::from(self.collecting.extents.is_empty());
        while self.refused.binary_search(&newest).is_ok() {
            newest -= 1;
        }
        let group = if group == 0 { newest } else { group };
        self.snapshots.keep(group, snapshots)
    }

    /// Takes out the snapshots whose commits are durable; those of refused commits are gone.
    pub(crate) fn take_due_snapshots(&mut self) -> Due {
        self.snapshots.take_due(self.synced_number, &self.refused)
    }

    fn note_dirty(&mut self, group: &Group, number: u64) {
        for extent in &group.extents {
            match self.dirty.iter_mut().find(|(dirty, _)| Arc::ptr_eq(dirty, &extent.segment)) {
                Some((_, last)) => *last = number,
                None => self.dirty.push((Arc::clone(&extent.segment), number)),
            }
        }
    }
}
