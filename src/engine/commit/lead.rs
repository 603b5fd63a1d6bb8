//! Waiting for a group, leading one, syncing.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

#[cfg(feature = "async")]
use super::Batch;
use super::{Commits, Group, GroupNumber, Writer};
use crate::error::{Result, is_displaced};
use crate::format::metadata::ChangeNumber;
use crate::log::segment::Segment;
use crate::log::writer::{CommitPoint, SegmentWrite};
use crate::log::zeros;
use crate::sync::{Instant, MutexGuard};
use crate::trace;

/// The locked writer.
pub(in crate::engine) type Guard<'a> = MutexGuard<'a, Writer>;

impl Commits {
    /// Waits until group `number` is written, or durable if `sync`; leads it if there is no leader.
    pub(in crate::engine) fn wait_for_group<'a>(
        &'a self,
        mut writer: Guard<'a>,
        number: GroupNumber,
        sync: bool,
    ) -> (Guard<'a>, Result<()>) {
        loop {
            if writer.has_done(number, sync) {
                return (writer, Ok(()));
            }
            if let Some(outcome) = writer.outcome(number, sync) {
                return (writer, outcome);
            }
            if writer.has_no_leader() && writer.collecting_number == number {
                writer = match self.gather(writer) {
                    Ok(writer) => self.write_collecting(writer),
                    Err(writer) => writer,
                };
            } else {
                self.group_done[number.parity()].wait(&mut writer);
            }
        }
    }

    /// Like [`Commits::wait_for_group`], for a task: `None` if it has to wait, and `waker` is kept.
    /// A store with threads saves the commit's snapshots in one of them, and the task waits for that too.
    #[cfg(feature = "async")]
    pub(in crate::engine) fn poll_group(
        &self,
        number: GroupNumber,
        sync: bool,
        snapshots: Batch,
        waker: &Waker,
    ) -> Option<Result<()>> {
        let mut writer = self.writer.lock();
        let outcome = writer.outcome(number, sync);
        let synced = writer.synced_number;
        if matches!(outcome, Some(Ok(()))) {
            let waits =
                self.shared.options().background && writer.snapshots.poll(snapshots, synced, waker);
            return if waits { None } else { outcome };
        }
        if outcome.is_none() {
            writer.wakers.retain(|(n, known)| *n != number || !known.will_wake(waker));
            writer.wakers.push((number, waker.clone()));
        }
        outcome
    }

    /// Writes the collecting group with the writer unlocked. No other group is being written.
    pub(in crate::engine) fn lead<'a>(&'a self, mut writer: Guard<'a>) -> Guard<'a> {
        let group = writer.take_collecting();
        let members = self.take_members();
        let number = writer.collecting_number;
        writer.collecting_number = number.next();
        writer.writing = Some(Arc::clone(&group));
        let last = writer.log.tip.point();
        writer.writing_to = Some(last);
        let begun = writer.log.tip.clone();
        writer.flush_requested = false;
        let others = if group.sync { writer.dirty.clone() } else { Vec::new() };
        let looks = writer.begins_to_look();
        drop(writer);

        if looks && let Some(error) = self.shared.storage().check_place().err().filter(is_displaced)
        {
            return self.refuse_group(group, number, &error);
        }
        let written = group.writes.iter().try_for_each(|write| write.perform(group.sync));
        if written.is_ok() && group.sync {
            self.fill_ahead(&group);
        }
        let synced = match &written {
            Ok(()) if group.sync => Some(self.sync_group(&group, &others)),
            _ => None,
        };

        self.report_failures(&written, synced.as_ref());
        let mut writer = self.writer.lock();
        match (written, synced) {
            // A sync beside this one failed: nothing may be published any more.
            _ if writer.poisoned.is_some() => {}
            (Err(error), _) => self.write_failed(&mut writer, &group, number, &error),
            (Ok(()), Some(Err(error))) => self.poison(&mut writer, number, &error),
            (Ok(()), synced) => {
                writer.group_tip = begun;
                self.note_writes(&mut writer, &group.writes, number, synced.is_none());
                self.publish_written(&mut writer, number, last);
                if let Some(Ok(took)) = synced {
                    let link = writer.group_tip.link;
                    self.publish_durable(&mut writer, number, last, link);
                    writer.gathering.note_synced(members, self.members(), took);
                }
            }
        }
        self.end_group(writer, group, number)
    }

    /// Called without locks.
    fn report_failures(&self, written: &io::Result<()>, synced: Option<&io::Result<Duration>>) {
        if let Err(error) = written {
            trace::write_failed(self.shared.root(), error);
        }
        if let Some(Err(error)) = synced {
            trace::sync_failed(self.shared.root(), error);
        }
    }

    /// The directory is not in its place any more: the group is not written.
    fn refuse_group(&self, group: Arc<Group>, number: GroupNumber, error: &io::Error) -> Guard<'_> {
        trace::writer_stopped(self.shared.root(), error);
        let mut writer = self.writer.lock();
        self.stop_displaced(&mut writer, number.previous(), error);
        self.end_group(writer, group, number)
    }

    fn end_group<'a>(
        &'a self,
        mut writer: Guard<'a>,
        group: Arc<Group>,
        number: GroupNumber,
    ) -> Guard<'a> {
        writer.writing = None;
        writer.writing_to = None;
        writer.recycle(group);
        self.announce_group(writer, number)
    }

    /// Notes what a written group leaves to be done: a sync, pages for the next frames.
    pub(super) fn note_writes(
        &self,
        writer: &mut Guard<'_>,
        performed: &[SegmentWrite],
        number: GroupNumber,
        is_unsynced: bool,
    ) {
        if is_unsynced && !writer.is_dirty() {
            self.flush_wanted.notify_one();
        }
        for write in performed {
            writer.note_dirty(write, number);
        }
        if let Some(write) = performed.last()
            && is_unsynced
        {
            self.want_pages(writer, write);
        }
    }

    /// A group is written: reads that do not wait for a sync may see it.
    pub(super) fn publish_written(
        &self,
        writer: &mut Guard<'_>,
        number: GroupNumber,
        last: CommitPoint,
    ) {
        writer.written_number = number;
        let events = last.position.saturating_sub(self.positions.written());
        self.positions.raise_written(last.position);
        writer.changes.written = last.change;
        if !self.shared.options().durability.is_sync() {
            self.publish_changes(writer, last.change);
        }
        let counters = self.shared.counters();
        counters.groups.add_locked(1);
        counters.group_events.count_locked(events);
    }

    /// Wakes the threads and tasks that wait for a group.
    pub(super) fn announce_group<'a>(
        &'a self,
        mut writer: Guard<'a>,
        number: GroupNumber,
    ) -> Guard<'a> {
        self.notify_threads(&writer, number);
        let wakers = writer.take_wakers();
        if !wakers.is_empty() || self.positions.watch().is_watched() {
            drop(writer);
            wakers.into_iter().for_each(Waker::wake);
            self.positions.announce();
            writer = self.writer.lock();
        }
        writer
    }

    fn notify_threads(&self, writer: &Writer, number: GroupNumber) {
        self.group_done[number.parity()].notify_all();
        self.group_done[number.next().parity()].notify_one();
        if writer.room_waiters > 0 {
            self.room.notify_all();
        }
        if writer.flush_requested && writer.wants_leader() {
            self.flush_wanted.notify_one();
        }
    }

    /// Fills the space for the next groups, since a sync is due anyway. Done before the group counts as
    /// written, because sealing and writing to the segment wait for that.
    fn fill_ahead(&self, group: &Group) {
        if let Some(write) = group.writes.last()
            && self.shared.options().fills()
            && zeros::fill_ahead(&write.segment, write.end()).is_err()
        {
            self.shared.counters().maintenance_failures.add(1);
        }
    }

    /// Syncs older segments first, so that nothing in a later segment is durable before them. Returns how long it took.
    fn sync_group(
        &self,
        group: &Group,
        others: &[(Arc<Segment>, GroupNumber)],
    ) -> io::Result<Duration> {
        let older = others.iter().map(|(segment, _)| segment).filter(|segment| {
            !group.writes.iter().any(|write| Arc::ptr_eq(&write.segment, segment))
        });
        self.sync_segments(older.chain(group.writes.iter().map(|write| &write.segment)))
    }

    /// One sync at a time, and none after one that failed: the kernel reports a lost page once, and
    /// a second sync would succeed over it. Returns how long the syncs took.
    fn sync_segments<'s>(
        &self,
        mut segments: impl Iterator<Item = &'s Arc<Segment>>,
    ) -> io::Result<Duration> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            return Err(io::Error::other("an earlier sync failed"));
        }
        let synced = segments.try_fold(Duration::ZERO, |before, segment| {
            let began = Instant::now();
            let synced = segment.file.sync_data();
            let took = self.shared.counters().end_sync(began);
            synced.map(|()| before + took)
        });
        *failed = synced.is_err();
        synced
    }

    fn publish_changes(&self, writer: &mut Guard<'_>, upto: ChangeNumber) {
        if writer.changes.any_up_to(upto) {
            self.contents.change_metadata(|metadata| writer.changes.publish(upto, metadata));
        }
    }

    /// `link`: the header checksum of the last frame before `last`.
    fn publish_durable(
        &self,
        writer: &mut Guard<'_>,
        number: GroupNumber,
        last: CommitPoint,
        link: u32,
    ) {
        // A sync that ends after a later one brings nothing new.
        if last.position >= self.positions.durable() && last.change >= writer.changes.durable {
            writer.durable_link = link;
        }
        writer.synced_number = writer.synced_number.max(number);
        writer.dirty.retain(|(_, last)| *last > number);
        self.positions.raise_durable(last.position);
        writer.changes.durable = writer.changes.durable.max(last.change);
        self.publish_changes(writer, last.change);
        self.ask_to_save_snapshots(writer);
        self.positions.write_status(writer.durable_link);
    }

    /// Wakes the thread that saves the snapshots of durable commits: the maintaining one, or the
    /// flushing one while the other is at work, which may take long.
    pub(in crate::engine) fn ask_to_save_snapshots(&self, writer: &Writer) {
        if !writer.has_due_snapshots() {
            return;
        }
        if writer.snapshots.saver_is_busy {
            self.flush_wanted.notify_one();
        } else {
            self.maintenance_wanted.notify_one();
        }
    }

    /// Syncs what is written, while the next group may be written.
    pub(in crate::engine) fn sync_written(&self) -> Result<()> {
        let (dirty, number, last, link) = {
            let writer = self.writer.lock();
            writer.check_usable()?;
            let position = self.positions.written();
            let last = CommitPoint { position, change: writer.changes.written };
            (writer.dirty.clone(), writer.written_number, last, writer.group_tip.link)
        };
        let mut writer = self.sync_outside(dirty.iter().map(|(segment, _)| segment))?;
        self.publish_durable(&mut writer, number, last, link);
        drop(writer);
        self.positions.announce();
        Ok(())
    }

    /// Syncs segments with the writer unlocked, and locks it.
    fn sync_outside<'s>(
        &self,
        segments: impl Iterator<Item = &'s Arc<Segment>>,
    ) -> Result<Guard<'_>> {
        let synced = self.sync_segments(segments);
        self.report_failures(&Ok(()), Some(&synced));
        let mut writer = self.writer.lock();
        let Err(error) = synced else { return Ok(writer) };
        let in_flight = writer.collecting_number.previous();
        self.poison(&mut writer, in_flight, &error);
        let (wakers, outcome) = (writer.take_wakers(), writer.check_usable());
        drop(writer);
        wakers.into_iter().for_each(Waker::wake);
        outcome.map(|()| self.writer.lock())
    }

    /// Makes everything accepted before the call durable.
    pub(in crate::engine) fn sync_all(&self) -> Result<()> {
        self.check_place()?;
        let mut writer = self.writer.lock();
        writer.check_usable()?;
        let idle = writer.collecting.writes.is_empty()
            && writer.writing.is_none()
            && writer.dirty.is_empty();
        if idle {
            return Ok(());
        }
        writer.collecting.sync = true;
        let number = writer.collecting_number;
        self.wait_for_group(writer, number, true).1
    }

    /// Makes everything in a full segment durable, and all before it; commits can be written during the sync. The
    /// segment in use is not synced: that would write out the pages that are prepared in it, and the next commits would
    /// wait for the file system's journal.
    pub(in crate::engine) fn sync_full(&self, segment: u64) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.check_usable()?;
        if writer.has_pending_up_to(segment) {
            let number = writer.newest_with_bytes();
            let (guard, written) = self.wait_for_group(writer, number, false);
            written?;
            writer = guard;
        }
        let mut dirty = writer.dirty.clone();
        let (number, position) = (writer.written_number, self.positions.written());
        let last = CommitPoint { position, change: writer.changes.written };
        let link = writer.group_tip.link;
        drop(writer);
        let is_full = |(dirty, _): &(Arc<Segment>, GroupNumber)| dirty.number() <= segment;
        let has_all = dirty.iter().all(is_full);
        dirty.retain(is_full);
        let mut writer = self.sync_outside(dirty.iter().map(|(segment, _)| segment))?;
        if has_all && !dirty.is_empty() {
            // Nothing written before lies elsewhere, and no other sync may follow.
            self.publish_durable(&mut writer, number, last, link);
            drop(writer);
            self.positions.announce();
        } else {
            // Nothing was written to a full segment meanwhile.
            writer.dirty.retain(|dirty| !is_full(dirty));
        }
        Ok(())
    }
}
