//! Handles groups that cannot be written or synced.
//!
//! A full disk is undone if possible. Any other failure ends the writer: the contents on disk are then
//! uncertain, and a repeated sync can succeed although pages were lost.

use std::io;
use std::sync::Arc;

use super::lead::Guard;
use super::{Commits, Group, GroupNumber, Writer};
use crate::catalog::Catalog;
use crate::error::{Error, Result, is_displaced, is_full};
use crate::log::writer::SegmentWrite;
use crate::storage::{read_exact_at, write_all_at};
use crate::trace;

impl Commits {
    /// Nothing is written any more. The caller wakes the tasks that wait, once it holds no lock.
    pub(super) fn poison(&self, writer: &mut Guard<'_>, number: GroupNumber, error: &io::Error) {
        if writer.poisoned.is_none() {
            writer.poisoned = Some(error.to_string().into());
            writer.poisoned_number = number;
        }
        self.room.notify_all();
        // No thread leads the next group any more, so all waiters are woken here.
        self.group_done.iter().for_each(|done| {
            done.notify_all();
        });
    }

    /// The directory is not in its place any more: nothing more is written. `number` is the newest group
    /// that may have been written.
    pub(super) fn stop_displaced(
        &self,
        writer: &mut Guard<'_>,
        number: GroupNumber,
        error: &io::Error,
    ) {
        if writer.poisoned.is_none() {
            writer.gone = Some(self.shared.root().into());
        }
        self.poison(writer, number, error);
    }

    /// Looks whether the store's directory is in its place; if not, nothing more is written.
    pub(in crate::engine) fn check_place(&self) -> Result<()> {
        let Some(error) = self.shared.storage().check_place().err().filter(is_displaced) else {
            return Ok(());
        };
        trace::writer_stopped(self.shared.root(), &error);
        let mut writer = self.writer.lock();
        let in_flight = writer.collecting_number.previous();
        self.stop_displaced(&mut writer, in_flight, &error);
        let wakers = writer.take_wakers();
        drop(writer);
        wakers.into_iter().for_each(std::task::Waker::wake);
        Err(Error::io("find", self.shared.root(), error))
    }

    /// Damage was found outside a commit: nothing more is written. This is recorded durably, so that
    /// the next opening checks the log itself instead of trusting a checkpoint.
    pub(in crate::engine) fn stop_writing(&self, damage: &Error) -> Result<()> {
        let error = io::Error::new(io::ErrorKind::InvalidData, damage.to_string());
        trace::writer_stopped(self.shared.root(), &error);
        let mut writer = self.writer.lock();
        let in_flight = writer.collecting_number.previous();
        self.poison(&mut writer, in_flight, &error);
        let (link, wakers) = (writer.durable_link, writer.take_wakers());
        drop(writer);
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.positions.mark_clean(false, link, self.positions.visible_elsewhere())
    }

    /// Undoes a full disk if possible: the bytes become zero again, and every commit that is not
    /// written is taken back. Any other failure poisons the writer.
    pub(super) fn write_failed(
        &self,
        writer: &mut Guard<'_>,
        group: &Arc<Group>,
        number: GroupNumber,
        error: &io::Error,
    ) {
        if let Some(write) = group.writes.first()
            && write.segment.number() > writer.group_tip.segment
        {
            // The first group of its segment: what it falls back to is the segment's beginning,
            // and not an offset in the segment before.
            writer.group_tip.turn_to(write.segment.number());
        }
        let full = is_full(error);
        let one_segment = |writes: &[SegmentWrite]| writes.len() <= 1;
        let undone = full
            && one_segment(&group.writes)
            && writer.collecting.writes.iter().chain(&group.writes).all(|write| {
                group.writes.first().is_some_and(|e| Arc::ptr_eq(&e.segment, &write.segment))
            })
            && zero_again(&group.writes[0], writer.group_tip.offset).is_ok()
            && self.take_back(writer, group).is_ok();
        if !undone {
            return self.poison(writer, number, error);
        }
        let collecting = writer.collecting_number;
        let wanted = group.writes[0].bytes.len() + writer.pending_bytes();
        writer.full = Some((group.writes[0].segment.path.clone(), wanted as u64));
        writer.refused.extend([number, collecting]);
        writer.collecting = Group::default();
        self.take_members();
        writer.collecting_number = collecting.next();
        writer.written_number = collecting;
        self.group_done.iter().for_each(|done| {
            done.notify_all();
        });
    }

    /// Takes back every event that is not written, newest first.
    fn take_back(&self, writer: &mut Guard<'_>, group: &Arc<Group>) -> io::Result<()> {
        let written = self.positions.written();
        self.contents.change_catalog(|catalog| take_back_from(catalog, writer, group, written))
    }
}

/// Takes every event after `written` back from the catalog, newest first.
fn take_back_from(
    catalog: &mut Catalog,
    writer: &mut Writer,
    group: &Group,
    written: u64,
) -> io::Result<()> {
    let base = catalog.active.segment.base_position;
    let untaken = || io::Error::other("a commit that was not written cannot be found");
    let keep = (written + 1).checked_sub(base).ok_or_else(untaken)?;
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let collecting = &writer.collecting;
    for ordinal in (keep..catalog.active.index.len()).rev() {
        // Events that are not written were appended by this process: no checkpoint is read for them.
        let offset = catalog.active.index.offset(ordinal).ok().flatten().unwrap_or(0);
        let offset = u64::from(offset);
        let pending = collecting.writes.iter().chain(&group.writes);
        let stream = pending
            .filter_map(|write| {
                let at = usize::try_from(offset.checked_sub(write.offset)?).ok()?;
                crate::format::record::RecordRef::parse(write.bytes.get(at..)?).ok()
            })
            .map(|record| record.stream().to_owned())
            .next()
            .ok_or_else(untaken)?;
        let previous = catalog.active.index.previous(ordinal).map_err(|_| untaken())?;
        let head = catalog.active.heads.get(&stream).ok().flatten().ok_or_else(untaken)?;
        let before = crate::index::Head { version: head.version - 1, last_position: previous };
        catalog.streams -= u64::from(before.version == 0);
        catalog.active.heads.put(&stream, before);
    }
    catalog.active.index.truncate(keep);
    let changes = writer.log.tip.next_change.get() - writer.group_tip.next_change.get();
    let lost = writer.log.tip.commits - writer.group_tip.commits;
    catalog.active.index.commits -= lost;
    catalog.active.index.last_recorded_at = writer.group_tip.recorded_at;
    writer.log.tip = writer.group_tip.clone();
    catalog.active.index.changes -= changes;
    writer.changes.take_back();
    Ok(())
}

/// Zeroes the bytes from `from` on that a failed write may have changed.
fn zero_again(write: &SegmentWrite, from: u64) -> io::Result<()> {
    let end = write.offset + write.bytes.len() as u64;
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
    match write_all_at(&*write.segment.file, &bytes, from) {
        // Where space is taken only when it is written to, zeros find no room either; but what the
        // failed write did not reach is zero still.
        Err(e) if is_full(&e) => {
            read_exact_at(&*write.segment.file, &mut bytes, from)?;
            if bytes.iter().any(|&byte| byte != 0) {
                return Err(e);
            }
        }
        written => written?,
    }
    // Otherwise a whole frame of a refused commit could come back after a power loss.
    write.segment.file.sync_data()
}
