//! Group commit: many commits, one write, one sync.
//!
//! A state machine that owns no thread. Commits join the *collecting* group. Whoever waits for it
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

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use parking_lot::MutexGuard;

use crate::background::Work;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::frame::FrameHeader;
use crate::ids::IdSource;
use crate::index::heads::Slot;
use crate::log::segment::{Segment, SegmentFile};
use crate::recovery::Recovered;
use crate::storage::{Storage, write_all_at};

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
    pub(crate) commits: u64,
    /// A member wants it durable and not only written.
    pub(crate) sync: bool,
}

/// Where the log ends, commits on their way to disk included.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
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
}

impl Tip {
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
    written_number: u64,
    synced_number: u64,
    /// Groups that did not fit the disk, and of which nothing is stored.
    refused: Vec<u64>,
    poisoned: Option<Arc<str>>,
    /// The newest group that may have been written when the writer was poisoned.
    poisoned_number: u64,
    /// Written and not synced since, with the last group written to each.
    dirty: Vec<(Arc<Segment>, u64)>,
    wakers: Vec<(u64, Waker)>,
    spare_buffer: Vec<u8>,
    /// What the first group writes again; see [`Recovered`](crate::recovery::Recovered).
    prelude: Vec<u8>,
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
    pub(crate) shutdown: bool,
}

impl Writer {
    /// Takes its part of a recovered store.
    pub(crate) fn new(recovered: &mut Recovered, storage: &dyn Storage) -> Self {
        let state = &recovered.state;
        let tip = Tip {
            offset: state.offset,
            link: state.link,
            next_position: state.next_position,
            recorded_at: state.recorded_at,
            last_frame: recovered.last_frame,
            commits: recovered.commits,
            session_begun: false,
        };
        Self {
            group_tip: tip.clone(),
            tip,
            active: Arc::clone(&recovered.catalog.active.segment),
            collecting: Group::default(),
            collecting_number: 1,
            writing: None,
            written_number: 0,
            synced_number: 0,
            refused: Vec::new(),
            poisoned: None,
            poisoned_number: 0,
            dirty: Vec::new(),
            wakers: Vec::new(),
            spare_buffer: Vec::new(),
            prelude: std::mem::take(&mut recovered.prelude),
            spare_group: None,
            checksums: Vec::new(),
            slots: Vec::new(),
            buffered_interval: Duration::MAX,
            room_waiters: 0,
            flush_requested: false,
            work: Work::new(recovered.checkpoint),
            spare: recovered.spare.take(),
            ids: IdSource::new(storage),
            shutdown: false,
        }
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
        match &self.poisoned {
            Some(reason) => Err(Error::WriterPoisoned { reason: reason.to_string() }),
            None => Ok(()),
        }
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
        inner.commits = 0;
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
            return Some(Err(Error::DiskFull));
        }
        if number <= if sync { self.synced_number } else { self.written_number } {
            return Some(Ok(()));
        }
        let reason = self.poisoned.as_ref()?.to_string();
        Some(Err(if number <= self.poisoned_number {
            Error::OutcomeUnknown { reason }
        } else {
            Error::WriterPoisoned { reason }
        }))
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

type Guard<'a> = MutexGuard<'a, Writer>;

impl Engine {
    /// Waits until group `number` is written, or durable if `sync`; leads it if nobody else does.
    pub(crate) fn wait_for_group<'a>(
        &'a self,
        mut writer: Guard<'a>,
        number: u64,
        sync: bool,
    ) -> (Guard<'a>, Result<()>) {
        loop {
            if let Some(outcome) = writer.outcome(number, sync) {
                return (writer, outcome);
            }
            if writer.writing.is_none() && writer.collecting_number == number {
                writer = self.lead(writer);
            } else {
                self.group_done[usize::from(!number.is_multiple_of(2))].wait(&mut writer);
            }
        }
    }

    /// Like [`Engine::wait_for_group`], for a task: `None` if it has to wait, and `waker` is kept.
    #[cfg(feature = "async")]
    pub(crate) fn poll_group(&self, number: u64, sync: bool, waker: &Waker) -> Option<Result<()>> {
        let mut writer = self.writer.lock();
        let outcome = writer.outcome(number, sync);
        if outcome.is_none() {
            writer.wakers.retain(|(n, known)| *n != number || !known.will_wake(waker));
            writer.wakers.push((number, waker.clone()));
        }
        outcome
    }

    /// Writes the collecting group. No other group is being written.
    pub(crate) fn lead<'a>(&'a self, mut writer: Guard<'a>) -> Guard<'a> {
        let group = writer.take_collecting();
        let number = writer.collecting_number;
        writer.collecting_number += 1;
        writer.writing = Some(Arc::clone(&group));
        let last_position = writer.tip.next_position - 1;
        let begun = writer.tip.clone();
        writer.flush_requested = false;
        let others = if group.sync { writer.dirty.clone() } else { Vec::new() };
        drop(writer);

        let written = Self::write_group(&group);
        let synced = match &written {
            Ok(()) if group.sync => Some(self.sync_group(&group, &others)),
            _ => None,
        };

        let mut writer = self.writer.lock();
        match (written, synced) {
            // A sync beside this one failed: nothing may be published any more.
            _ if writer.poisoned.is_some() => {}
            (Err(error), _) => self.write_failed(&mut writer, &group, number, &error),
            (Ok(()), Some(Err(error))) => self.poison(&mut writer, number, &error),
            (Ok(()), synced) => {
                writer.written_number = number;
                writer.group_tip = begun;
                if !writer.is_dirty() && synced.is_none() {
                    self.flush_wanted.notify_one();
                }
                writer.note_dirty(&group, number);
                self.written.store(last_position, Ordering::Release);
                if synced.is_some() {
                    self.publish_durable(&mut writer, number, last_position);
                }
                self.counters.groups.fetch_add(1, Ordering::Relaxed);
            }
        }
        writer.writing = None;
        self.finish_group(&mut writer, group, number);
        writer
    }

    fn finish_group(&self, writer: &mut Guard<'_>, group: Arc<Group>, number: u64) {
        writer.recycle(group);
        self.group_done[usize::from(!number.is_multiple_of(2))].notify_all();
        self.group_done[usize::from(number.is_multiple_of(2))].notify_one();
        if writer.room_waiters > 0 {
            self.room.notify_all();
        }
        if writer.flush_requested && !writer.collecting.extents.is_empty() {
            self.flush_wanted.notify_one();
        }
        if !writer.wakers.is_empty() {
            let (done, waiting) =
                std::mem::take(&mut writer.wakers).into_iter().partition(|(n, _)| *n <= number);
            writer.wakers = waiting;
            let done: Vec<(u64, Waker)> = done;
            for (_, waker) in done {
                waker.wake();
            }
        }
        self.announce_visible();
    }

    fn write_group(group: &Group) -> io::Result<()> {
        for extent in &group.extents {
            write_all_at(&*extent.segment.file, &extent.bytes, extent.offset)?;
            extent.segment.set_end(extent.offset + extent.bytes.len() as u64);
        }
        Ok(())
    }

    /// Syncs older segments first: what is durable in a later one must not be so before them.
    fn sync_group(&self, group: &Group, others: &[(Arc<Segment>, u64)]) -> io::Result<()> {
        let older = others.iter().map(|(segment, _)| segment).filter(|segment| {
            !group.extents.iter().any(|extent| Arc::ptr_eq(&extent.segment, segment))
        });
        self.sync_segments(older.chain(group.extents.iter().map(|extent| &extent.segment)))
    }

    /// One sync at a time, and none after one that failed: the kernel reports a lost page once, and
    /// a second sync would succeed over it.
    fn sync_segments<'s>(
        &self,
        mut segments: impl Iterator<Item = &'s Arc<Segment>>,
    ) -> io::Result<()> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let synced = segments.try_for_each(|segment| {
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
            segment.file.sync_data()
        });
        *failed = synced.is_err();
        synced
    }

    fn publish_durable(&self, writer: &mut Guard<'_>, number: u64, last_position: u64) {
        writer.synced_number = writer.synced_number.max(number);
        writer.dirty.retain(|(_, last)| *last > number);
        self.durable.fetch_max(last_position, Ordering::AcqRel);
        self.write_status();
    }

    /// Syncs what is written, beside whatever is being written now.
    pub(crate) fn sync_written(&self) -> Result<()> {
        let (dirty, number, position) = {
            let writer = self.writer.lock();
            writer.check_usable()?;
            let position = self.written.load(Ordering::Acquire);
            (writer.dirty.clone(), writer.written_number, position)
        };
        let synced = self.sync_segments(dirty.iter().map(|(segment, _)| segment));
        let mut writer = self.writer.lock();
        if let Err(error) = synced {
            let in_flight = writer.collecting_number - 1;
            self.poison(&mut writer, in_flight, &error);
            self.group_done.iter().for_each(|done| {
                done.notify_all();
            });
            return writer.check_usable();
        }
        self.publish_durable(&mut writer, number, position);
        drop(writer);
        self.announce_visible();
        Ok(())
    }

    /// Makes everything accepted so far durable.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.check_usable()?;
        let idle = writer.collecting.extents.is_empty()
            && writer.writing.is_none()
            && writer.dirty.is_empty();
        if idle {
            return Ok(());
        }
        writer.collecting.sync = true;
        let number = writer.collecting_number;
        self.wait_for_group(writer, number, true).1
    }

    fn poison(&self, writer: &mut Guard<'_>, number: u64, error: &io::Error) {
        if writer.poisoned.is_none() {
            writer.poisoned = Some(error.to_string().into());
            writer.poisoned_number = number;
        }
        for (_, waker) in std::mem::take(&mut writer.wakers) {
            waker.wake();
        }
        self.room.notify_all();
    }

    /// A full disk is undone where it can be: the bytes become zero again, and every commit that is
    /// not written is taken back. Anything else poisons.
    fn write_failed(
        &self,
        writer: &mut Guard<'_>,
        group: &Arc<Group>,
        number: u64,
        error: &io::Error,
    ) {
        let full = error.kind() == io::ErrorKind::StorageFull;
        let one_segment = |extents: &[Extent]| extents.len() <= 1;
        let undone = full
            && one_segment(&group.extents)
            && writer.collecting.extents.iter().chain(&group.extents).all(|extent| {
                group.extents.first().is_some_and(|e| Arc::ptr_eq(&e.segment, &extent.segment))
            })
            && zero_again(&group.extents[0], writer.group_tip.offset).is_ok()
            && self.take_back(writer, group).is_ok();
        if !undone {
            return self.poison(writer, number, error);
        }
        let collecting = writer.collecting_number;
        writer.refused.extend([number, collecting]);
        writer.collecting = Group::default();
        writer.collecting_number += 1;
        writer.written_number = collecting;
        for (_, waker) in std::mem::take(&mut writer.wakers) {
            waker.wake();
        }
        self.group_done.iter().for_each(|done| {
            done.notify_all();
        });
    }

    /// Takes back every event that is not written, newest first.
    fn take_back(&self, writer: &mut Guard<'_>, group: &Arc<Group>) -> Result<()> {
        let mut catalog = self.catalog.write();
        let written = self.written.load(Ordering::Acquire);
        let base = catalog.active.segment.base_position;
        let Some(keep) = (written + 1).checked_sub(base) else {
            return Err(Error::DiskFull);
        };
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let collecting = &writer.collecting;
        for ordinal in (keep..catalog.active.index.len()).rev() {
            let offset = u64::from(catalog.active.index.offset(ordinal).unwrap_or(0));
            let extents = collecting.extents.iter().chain(&group.extents);
            let stream = extents
                .filter_map(|extent| {
                    let at = usize::try_from(offset.checked_sub(extent.offset)?).ok()?;
                    crate::format::record::RecordRef::parse(extent.bytes.get(at..)?).ok()
                })
                .map(|record| record.stream().to_owned())
                .next()
                .ok_or(Error::DiskFull)?;
            let previous = catalog.active.index.previous(ordinal);
            let head = catalog.heads.get(&stream).map_err(|_| Error::DiskFull)?;
            let before = crate::index::Head { version: head.version - 1, last_position: previous };
            catalog.heads.put(&stream, before).map_err(|_| Error::DiskFull)?;
        }
        catalog.active.index.truncate(keep);
        let lost = writer.tip.commits - writer.group_tip.commits;
        catalog.active.index.commits -= lost;
        catalog.active.index.last_recorded_at = writer.group_tip.recorded_at;
        writer.tip = writer.group_tip.clone();
        Ok(())
    }
}

/// Makes what a failed write may have left behind `from` zero.
fn zero_again(extent: &Extent, from: u64) -> io::Result<()> {
    let end = extent.offset + extent.bytes.len() as u64;
    let zeros = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
    write_all_at(&*extent.segment.file, &zeros, from)?;
    // Otherwise a whole frame of a refused commit could come back after a power loss.
    extent.segment.file.sync_data()
}
