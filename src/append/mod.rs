//! The path of an append: prepare → (lock) check, assign, encode → (unlock) group commit.
//!
//! Owns what makes a commit acceptable. All checks come before the first change, so a refused
//! commit leaves nothing behind.
//!
//! - [`prepare`]: what needs no lock.
//! - [`repeat`]: events that are in the store already.
//! - [`encode`]: positions, versions, bytes.
//!
//! Records are encoded under the lock, straight into the group's buffer. Encoding outside and
//! copying under the lock would shorten the time under it, but costs a second pass over the bytes,
//! and the checksum covers the version and position that are only known under it.

mod encode;
mod prepare;
mod repeat;

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::error::{Error, FailedCheck, Result};
use crate::event::{Position, Timestamp};
use crate::format::Defect;
use crate::format::frame;
use crate::format::segment_header::DATA_START;
use crate::group_commit::Writer;
use crate::index::heads::{Heads, Slot};
use crate::sync::MutexGuard;

pub(crate) use prepare::{Operation, Prepared, prepare};

/// What was decided about a commit, and the group to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequenced {
    pub(crate) group: u64,
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    pub(crate) recorded_at: Timestamp,
    pub(crate) already_recorded: bool,
}

impl Engine {
    /// Checks a commit against everything accepted before, and adds it to the collecting group.
    /// Returns the locked writer, for the caller to wait or to leave. `versions` has a place for
    /// each operation.
    pub(crate) fn sequence(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        versions: &mut [u64],
    ) -> Result<(MutexGuard<'_, Writer>, Sequenced)> {
        let mut writer = self.writer.lock();
        // Under the lock, so that nothing joins behind the last group of a close.
        self.check_writable()?;
        writer.check_usable()?;
        let max = self.options.max_pending_bytes;
        while writer.pending_bytes() as u64 + commit.body_len as u64 > max
            && !writer.collecting.extents.is_empty()
        {
            writer = self.wait_for_room(writer)?;
        }
        // From here on the lock is held: what is looked up stays true. A rollover also swaps the
        // layers of the heads, so it comes before the slots are looked up.
        if commit.event_count > 0 {
            writer = self.make_room(writer, commit.body_len + frame::HEADER_LEN)?;
        }
        if commit.has_ids
            && let Some(known) = self.find_recorded(&mut writer, commit, versions)?
        {
            self.counters.already_recorded.fetch_add(1, Ordering::Relaxed);
            // What is durable already needs no wait.
            let durable = known.last_position.get() <= self.durable.get();
            let group = if durable { 0 } else { writer.collecting_number };
            writer.collecting.sync |= sync && !durable;
            return Ok((writer, Sequenced { group, ..known }));
        }
        if commit.event_count > 0 && !writer.tip.session_begun {
            // From now on an opening has to look for a tail.
            self.mark_clean(false, 0, self.durable.get())?;
        }
        let mut catalog = self.catalog.write();
        let mut slots = std::mem::take(&mut writer.slots);
        slots.clear();
        let checked = check(&catalog.heads, commit.operations, versions, &mut slots);
        if checked.is_ok() && commit.event_count > 0 {
            let sequenced = self.encode(&mut writer, &mut catalog, commit, versions, &slots);
            drop(catalog);
            writer.slots = slots;
            writer.collecting.sync |= sync;
            self.counters.appends.fetch_add(1, Ordering::Relaxed);
            self.want_spare(&mut writer);
            return Ok((writer, sequenced));
        }
        drop(catalog);
        writer.slots = slots;
        self.answer(writer, checked)
    }

    /// The answer to a commit of checks alone, or the conflict.
    fn answer<'a>(
        &'a self,
        writer: MutexGuard<'a, Writer>,
        checked: Result<(), Refusal>,
    ) -> Result<(MutexGuard<'a, Writer>, Sequenced)> {
        match checked {
            Ok(()) => {
                let head = Position::new(writer.tip.next_position - 1);
                let sequenced = Sequenced {
                    group: 0,
                    first_position: head,
                    last_position: head,
                    recorded_at: Timestamp::from_micros(writer.tip.recorded_at),
                    already_recorded: false,
                };
                Ok((writer, sequenced))
            }
            Err(Refusal::Conflict(failed)) => {
                self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                Err(Error::Conflict { failed })
            }
            Err(Refusal::Heads(defect)) => Err(self.heads_error(&defect)),
        }
    }

    /// Waits until the collecting group has been taken; takes it if nobody is at work.
    fn wait_for_room<'a>(
        &'a self,
        mut writer: MutexGuard<'a, Writer>,
    ) -> Result<MutexGuard<'a, Writer>> {
        if writer.writing.is_none() {
            writer = self.lead(writer);
        } else {
            writer.room_waiters += 1;
            self.room.wait(&mut writer);
            writer.room_waiters -= 1;
        }
        writer.check_usable()?;
        Ok(writer)
    }

    /// Makes sure that a frame of this many bytes fits the active segment, behind the session frame
    /// if that is still to come. May let go of the lock to wait.
    fn make_room<'a>(
        &'a self,
        mut writer: MutexGuard<'a, Writer>,
        len: usize,
    ) -> Result<MutexGuard<'a, Writer>> {
        loop {
            let session = if writer.tip.session_begun { 0 } else { frame::SESSION_LEN };
            let needed = (len + session) as u64;
            if writer.tip.offset + needed <= writer.active.header.capacity {
                return Ok(writer);
            }
            if writer.work.is_preparing() {
                writer.room_waiters += 1;
                self.room.wait(&mut writer);
                writer.room_waiters -= 1;
                self.check_writable()?;
                writer.check_usable()?;
                continue;
            }
            // A spare may have been prepared with a smaller size than is set now; a new one of the
            // same number takes its place.
            writer.spare.take_if(|spare| spare.header.capacity < DATA_START + needed);
            self.roll_over(&mut writer)?;
        }
    }
}

/// Why operations were refused.
enum Refusal {
    Conflict(Vec<FailedCheck>),
    Heads(Defect),
}

/// Checks every operation, in order, each against the stream as those before leave it. Keeps each
/// one's slot among the heads.
fn check(
    heads: &Heads,
    operations: &[Operation<'_>],
    versions: &mut [u64],
    slots: &mut Vec<Slot>,
) -> Result<(), Refusal> {
    let mut failed = Vec::new();
    let mut earlier = std::collections::HashMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let slot = heads.find(operation.stream).map_err(Refusal::Heads)?;
        slots.push(slot);
        let mut actual = slot.head().version;
        if operations.len() > 1 {
            actual = earlier.get(operation.stream).copied().unwrap_or(actual);
        }
        if !operation.expected.holds_for(actual) {
            let (stream, expected) = (operation.stream.to_owned(), operation.expected);
            failed.push(FailedCheck::WrongExpectedVersion { index, stream, expected, actual });
        }
        versions[index] = actual + operation.events.len() as u64;
        if operations.len() > 1 {
            earlier.insert(operation.stream, versions[index]);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Refusal::Conflict(failed)) }
}
