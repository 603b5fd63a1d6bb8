//! The path of an append: prepare → (lock) check, assign, encode → (unlock) group commit.
//!
//! Owns what makes a commit acceptable. All checks come before the first change, so a refused
//! commit leaves nothing behind.
//!
//! - [`prepare`]: what needs no lock.
//! - [`repeat`]: events that are in the store already.
//! - [`remaining`]: what a commit of such events still changes.
//! - [`boundary`]: queries that must match nothing.
//! - [`check`]: versions, cursors.
//! - [`clock`]: the time, and clocks that are not believed.
//! - [`encode`]: positions, versions, bytes.
//! - [`hurry`]: what a task, which must not wait, leaves to a thread.
//! - [`conflict`]: what a refused commit waits for before it is told.
//!
//! Records are encoded under the lock, straight into the group's buffer. Encoding outside and
//! copying under the lock would shorten the time under it, but costs a second pass over the bytes,
//! and the checksum covers the version and position that are only known under it.

mod boundary;
mod check;
mod clock;
mod conflict;
mod encode;
mod hurry;
mod prepare;
mod remaining;
mod repeat;

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::commit::Writer;
use crate::error::Result;
use crate::event::{Applied, Position, Timestamp};
use crate::format::align;
use crate::format::frame;
use crate::format::metadata::SECTION_HEADER_LEN;
use crate::format::segment_header::{DATA_START, FEATURE_METADATA};
use crate::recovery::sync_names;
use crate::sync::MutexGuard;

use check::{Checked, Refusal};
pub(crate) use prepare::{Boundary, From, Operation, Prepared, Request, prepare};

/// The writer, for the caller of [`Engine::sequence`] to wait with or to leave.
pub(crate) type LockedWriter<'a> = MutexGuard<'a, Writer>;

/// What was decided about a commit, and the group to wait for.
#[derive(Debug, Clone)]
pub(crate) struct Sequenced {
    pub(crate) group: u64,
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    pub(crate) recorded_at: Timestamp,
    pub(crate) already_recorded: bool,
    /// Of a commit whose events were recorded before: what it changed all the same.
    pub(crate) applied: Vec<Applied>,
}

/// What was decided about a commit, with the writer still locked.
pub(crate) enum Decision<'a> {
    Accepted(LockedWriter<'a>, Sequenced),
    Refused(LockedWriter<'a>, Refusal),
    /// Nothing yet: it takes a wait, or work that takes long, and the caller has no time for that.
    TakesLong,
}

/// Whether the caller of [`Engine::decide`] may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Waits,
    /// It is a task, which holds up others.
    #[cfg(feature = "async")]
    InAHurry,
}

impl Patience {
    fn hurries(self) -> bool {
        self != Self::Waits
    }
}

impl Engine {
    /// Checks a commit against everything accepted before, and adds it to the collecting group.
    /// Returns the locked writer, for the caller to wait or to leave. `versions` has a place for
    /// each operation. A refusal may be for commits that are still on their way to disk.
    pub(crate) fn decide(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        versions: &mut [u64],
        patience: Patience,
    ) -> Result<Decision<'_>> {
        if patience.hurries() && self.boundaries_take_long(commit.boundaries) {
            return Ok(Decision::TakesLong);
        }
        let scanned = self.scan_boundaries(commit.boundaries)?;
        let mut writer = self.writer.lock();
        // Under the lock, so that nothing joins behind the last group of a close.
        self.check_writable()?;
        writer.check_usable()?;
        let max = self.options.max_pending_bytes;
        let body_len = commit.body_len + commit.metadata_len;
        while writer.pending_bytes() as u64 + body_len as u64 > max
            && !writer.collecting.extents.is_empty()
        {
            if patience.hurries() {
                return Ok(Decision::TakesLong);
            }
            writer = self.wait_for_room(writer)?;
        }
        if patience.hurries() && self.takes_long(&writer, commit) {
            return Ok(Decision::TakesLong);
        }
        // From here on the lock is held: what is looked up stays true. A rollover also swaps the
        // layers of the heads, so it comes before the slots are looked up.
        if commit.writes() {
            writer = self.make_room(writer, frame_len(commit), !commit.requests.is_empty())?;
        }
        if commit.has_ids
            && let Some(known) = self.find_recorded(&mut writer, commit, versions)?
        {
            return Ok(match self.sequence_remaining(&mut writer, commit, sync, known)? {
                Ok(answer) => Decision::Accepted(writer, answer),
                Err(refusal) => Decision::Refused(writer, refusal),
            });
        }
        self.check_time(&writer, commit)?;
        let mut refusal = self.check_boundaries(&writer, commit.boundaries, scanned)?;
        if commit.writes() && !writer.tip.session_begun && refusal.failed.is_empty() {
            self.begin_session(&mut writer)?;
        }
        let mut catalog = self.catalog.write();
        let slots = std::mem::take(&mut writer.slots);
        let refused = refusal.failed.len();
        let mut checked =
            self.check(&writer, &catalog.heads, commit, versions, slots, &mut refusal);
        if checked.is_err() {
            // A block of the checkpoint is damaged: the same checks, with what takes its place.
            drop(catalog);
            self.mend_checkpoints()?;
            refusal.failed.truncate(refused);
            catalog = self.catalog.write();
            let slots = Vec::new();
            checked = self.check(&writer, &catalog.heads, commit, versions, slots, &mut refusal);
        }
        let checked = checked.map_err(|defect| self.heads_error(&defect))?;
        if !refusal.failed.is_empty() {
            drop(catalog);
            writer.slots = checked.slots;
            return Ok(Decision::Refused(writer, refusal));
        }
        if !commit.writes() {
            drop(catalog);
            writer.slots = checked.slots;
            let answer = answer(&mut writer, sync);
            return Ok(Decision::Accepted(writer, answer));
        }
        let time = self.time_to_record(&mut writer, commit.recorded_at)?;
        let sequenced = self.encode(&mut writer, &mut catalog, commit, versions, checked, time);
        drop(catalog);
        writer.collecting.sync |= sync;
        self.counters.appends.fetch_add(1, Ordering::Relaxed);
        self.want_spare(&mut writer);
        Ok(Decision::Accepted(writer, sequenced))
    }

    /// Answers a commit whose events are recorded, after applying what it still changes beside
    /// them.
    fn sequence_remaining(
        &self,
        writer: &mut LockedWriter<'_>,
        commit: &Prepared<'_>,
        sync: bool,
        known: Sequenced,
    ) -> Result<std::result::Result<Sequenced, Refusal>> {
        let changes = match self.remaining_changes(writer, commit)? {
            Ok(changes) => changes,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.counters.already_recorded.fetch_add(1, Ordering::Relaxed);
        if changes.is_empty() {
            // What is durable already needs no wait.
            let durable = known.last_position.get() <= self.durable.get();
            let group = if durable { 0 } else { writer.group_of_all(sync) };
            return Ok(Ok(Sequenced { group, ..known }));
        }
        if !writer.tip.session_begun {
            self.begin_session(writer)?;
        }
        let applied = changes.iter().map(remaining::to_applied).collect();
        let checked = Checked { slots: Vec::new(), changes };
        let mut rest = commit.without_events(&[]);
        rest.recorded_at = self.nearest_time(writer, commit);
        let time = self.time_to_record(writer, rest.recorded_at)?;
        let mut catalog = self.catalog.write();
        let group = self.encode(writer, &mut catalog, &rest, &[], checked, time).group;
        drop(catalog);
        writer.collecting.sync |= sync;
        self.counters.appends.fetch_add(1, Ordering::Relaxed);
        Ok(Ok(Sequenced { group, applied, ..known }))
    }

    /// Before the first frame of this writer.
    fn begin_session(&self, writer: &mut Writer) -> Result<()> {
        if !writer.names_synced {
            sync_names(&*self.storage, &self.root)?;
            writer.names_synced = true;
        }
        // From now on an opening has to look for a tail.
        self.mark_clean(false, 0, self.visible_elsewhere())
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
    /// if that is still to come, and that the segment may hold changes if there are some. May let go
    /// of the lock to wait.
    fn make_room<'a>(
        &'a self,
        mut writer: MutexGuard<'a, Writer>,
        len: usize,
        changes: bool,
    ) -> Result<MutexGuard<'a, Writer>> {
        loop {
            if fits(&writer, len, changes) {
                return Ok(writer);
            }
            // Without threads the commits themselves seal, each before the next.
            let seals = self.options.background && writer.work.lags();
            let prepares = writer.work.is_preparing();
            if prepares || seals {
                if !prepares {
                    self.counters.seal_waits.fetch_add(1, Ordering::Relaxed);
                }
                writer.room_waiters += 1;
                // It may be resting between two pieces of zeros.
                self.maintenance_wanted.notify_one();
                self.room.wait(&mut writer);
                writer.room_waiters -= 1;
                self.check_writable()?;
                writer.check_usable()?;
                continue;
            }
            // A spare may have been prepared with a smaller size than is set now, or by a version
            // that knew no changes; a new one of the same number takes its place.
            let needed = needed(writer.tip.session_begun, len);
            writer.spare.take_if(|spare| {
                spare.header.capacity < DATA_START + needed
                    || spare.header.features & FEATURE_METADATA == 0
            });
            self.roll_over(&mut writer)?;
        }
    }
}

/// The bytes of a commit's frame.
fn frame_len(commit: &Prepared<'_>) -> usize {
    // Any frame may have to tell how many changes are durable.
    let metadata_len = commit.metadata_len.max(SECTION_HEADER_LEN);
    frame::HEADER_LEN + align(commit.body_len + metadata_len)
}

/// The bytes that a frame takes with the session frame that may have to come before it.
fn needed(session_begun: bool, len: usize) -> u64 {
    let session = if session_begun { 0 } else { frame::SESSION_LEN };
    (len + session) as u64
}

/// Whether a frame fits the active segment, which has to hold changes if there are some.
fn fits(writer: &Writer, len: usize, changes: bool) -> bool {
    let header = &writer.active.header;
    let may = !changes || header.features & FEATURE_METADATA != 0;
    may && writer.tip.offset + needed(writer.tip.session_begun, len) <= header.capacity
}

/// The answer to a commit that writes nothing; given once what it was checked against is durable.
fn answer(writer: &mut Writer, sync: bool) -> Sequenced {
    let in_flight = !writer.collecting.extents.is_empty() || writer.writing.is_some();
    let head = Position::new(writer.tip.next_position - 1);
    Sequenced {
        group: if in_flight { writer.group_of_all(sync) } else { 0 },
        first_position: head,
        last_position: head,
        recorded_at: Timestamp::from_micros(writer.tip.recorded_at),
        already_recorded: false,
        applied: Vec::new(),
    }
}
