//! What happens beside appends: preparing segments, sealing full ones, indexes, checkpoints, and
//! the syncs of buffered stores.
//!
//! Two threads, so that a commit that was submitted never waits behind a checkpoint: one flushes
//! and syncs, the other maintains. Nothing here is needed for correctness: what is not done when
//! the process ends is done at the next opening. In a simulation there are no threads; commits do
//! the work themselves, in a fixed order.

mod checkpoints;
mod outcome;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::checkpoints::PendingCheckpoint;
use crate::catalog::{ActivePart, Part, PartIndex};
use crate::engine::Engine;
use crate::engine::commit::Writer;
use crate::error::{Error, Maintenance, Result};
use crate::format::checkpoint::SegmentEntry;
use crate::format::segment_header::DATA_START;
use crate::index::active::ActiveIndex;
use crate::log::rotation::{SealPoint, create_segment, create_unnamed, name_segment, seal_segment};
use crate::log::segment::{Segment, SegmentFile};
use crate::log::zeros;
use crate::recovery::{Mode, build_index, check_segment};
use crate::sync::{Instant, MutexGuard};

/// After each mebibyte of zeros: at most 400 MiB a second, so that filling takes neither the disk
/// nor a core for itself.
const FILL_PAUSE: Duration = Duration::from_micros(2_500);
/// The number of full segments that may wait to be sealed. An append that needs another one then waits until one is
/// sealed: each takes memory for its index, and a walk by the next opening after a kill.
pub(crate) const MAX_UNSEALED: usize = 8;
/// So many segments are looked at before other work gets its turn.
const CHECKED_AT_ONCE: usize = 64;

/// What the maintaining thread has to do.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "duties that have nothing to do with each other")]
pub(crate) struct Work {
    /// Full segments to seal, oldest first.
    seals: VecDeque<u64>,
    /// The oldest could not be sealed when that was tried last: nobody waits for it.
    sealing_fails: bool,
    checkpoint: Option<PendingCheckpoint>,
    /// The number of the newest checkpoint file.
    pub(crate) checkpoint_number: u64,
    prepare: bool,
    preparing: bool,
    /// How far the spare was filled with zeros, if this process did so.
    spare_filled_to: u64,
    /// Level files that the opening could not use may be there.
    leftovers: bool,
    /// Sealed segments as a checkpoint tells of them, and how many were compared with that.
    unchecked: Arc<[SegmentEntry]>,
    checked: usize,
}

impl Work {
    pub(crate) fn new(checkpoint_number: u64, unchecked: Vec<SegmentEntry>) -> Self {
        Self {
            seals: VecDeque::new(),
            sealing_fails: false,
            checkpoint: None,
            checkpoint_number,
            prepare: false,
            preparing: false,
            spare_filled_to: 0,
            leftovers: true,
            unchecked: unchecked.into(),
            checked: 0,
        }
    }

    /// Takes on the full segments that an earlier writer left.
    pub(crate) fn adopt_frozen(&mut self, parts: &[Part]) {
        let frozen = parts.iter().filter(|part| matches!(part.index, PartIndex::Frozen { .. }));
        self.seals.extend(frozen.map(|part| part.segment.number()));
    }

    /// Somebody is creating the next segment.
    pub(crate) fn is_preparing(&self) -> bool {
        self.preparing
    }

    /// Whether as many full segments wait to be sealed as may, and waiting helps.
    pub(crate) fn lags(&self) -> bool {
        self.seals.len() >= MAX_UNSEALED && !self.sealing_fails
    }

    fn is_empty(&self) -> bool {
        let nothing_to_write = self.seals.is_empty() && self.checkpoint.is_none() && !self.prepare;
        nothing_to_write && !self.leftovers && self.checked == self.unchecked.len()
    }
}

impl Writer {
    /// The maintaining thread has something to do that others wait for.
    fn has_work(&self) -> bool {
        !self.work.is_empty() || self.has_due_snapshots()
    }
}

impl Engine {
    /// Takes the next segment into use. It is prepared already, unless appends were faster than
    /// that; then it is created here. Nobody is preparing one.
    pub(crate) fn roll_over(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<()> {
        let (number, base) = {
            let catalog = self.catalog.read();
            (catalog.active.segment.number() + 1, writer.tip.next_position)
        };
        if writer.has_prelude() {
            writer.buffer();
        }
        let filled_to = std::mem::take(&mut writer.work.spare_filled_to);
        let (spare, filled_to) = match writer.spare.take() {
            Some(spare) => (spare, filled_to),
            None => (self.create(number)?, 0),
        };
        let segment = Arc::new(Segment::new(spare, base, None, DATA_START)?);
        segment.note_filled(filled_to);
        segment.file.keep_open(true);
        writer.active = Arc::clone(&segment);
        let mut catalog = self.catalog.write();
        let mut index = ActiveIndex::new(base);
        if catalog.active.index.keeps_terms() {
            index.keep_terms();
        }
        let active = ActivePart { segment, index };
        let full = std::mem::replace(&mut catalog.active, active);
        let point = SealPoint { link: writer.tip.link, recorded_at: writer.tip.recorded_at };
        full.segment.file.keep_open(false);
        writer.work.seals.push_back(full.segment.number());
        let index = PartIndex::Frozen { index: Arc::new(full.index), point };
        Arc::make_mut(&mut catalog.parts).push(Part { segment: full.segment, index });
        writer.tip.turn_to(number);
        self.begin_checkpoint(writer, &mut catalog, base);
        drop(catalog);
        self.maintenance_wanted.notify_one();
        Ok(())
    }

    fn create(&self, number: u64) -> Result<SegmentFile> {
        let capacity = self.options.capacity();
        let file = create_segment(&*self.storage, &self.root, number, self.store_id, capacity)?;
        file.file.keep_open(true);
        Ok(file)
    }

    /// Creates the next segment and fills it with zeros, for as long as nobody needs it soon.
    /// Also tells how far.
    fn create_filled(&self, number: u64) -> Result<(SegmentFile, u64)> {
        let capacity = self.options.capacity();
        let (storage, root) = (&*self.storage, &self.root);
        let unnamed = create_unnamed(storage, root, number, self.store_id, capacity)?;
        let filled = zeros::fill(&unnamed, || self.pause_filling()).inspect_err(|_| {
            // What the disk has of it is not known any more.
            let _ = storage.remove_file(&unnamed.path);
        })?;
        if filled.failed.is_some() {
            self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
        }
        let file = name_segment(storage, root, unnamed)?;
        file.file.keep_open(true);
        Ok((file, filled.to))
    }

    /// Lets others have the disk for a while. Whether the filling is to go on: not when the segment
    /// is waited for, or will be before what is filled can be synced.
    fn pause_filling(&self) -> bool {
        let mut writer = self.writer.lock();
        let goes_on = |writer: &Writer| {
            let nearly_full = writer.active.header.capacity / 4 * 3;
            !writer.shutdown && writer.room_waiters == 0 && writer.tip.offset < nearly_full
        };
        if self.options.background && goes_on(&writer) {
            let until = Instant::now() + FILL_PAUSE;
            self.maintenance_wanted.wait_until(&mut writer, until);
        }
        goes_on(&writer)
    }

    /// Asks for the next segment once half of the active one is used, or a quarter if it is going to
    /// be filled, which takes a while.
    pub(crate) fn want_spare(&self, writer: &mut MutexGuard<'_, Writer>) {
        let part = if self.options.fills() { 4 } else { 2 };
        let enough = self.options.capacity() / part;
        if writer.spare.is_none() && !writer.work.prepare && writer.tip.offset > enough {
            writer.work.prepare = true;
            self.maintenance_wanted.notify_one();
        }
    }

    /// Does what has to be done now, in the caller's thread. Whether all of it was done.
    fn maintain(&self) -> bool {
        if self.writer.lock().has_due_snapshots() {
            self.save_snapshots();
        }
        // A segment that could not be prepared is created when it is needed.
        let prepared = self.prepare_spare().is_ok();
        let sealed = self.seal_full();
        let written = self.note_attempt(Maintenance::Checkpoint, self.checkpoint());
        let dropped = self.note_attempt(Maintenance::Compaction, self.drop_leftovers());
        let checked = self.check_segments().is_ok();
        prepared && sealed && written && dropped && checked
    }

    /// Compares some of the segments that the opening took a checkpoint's word for with that. If one is
    /// another, or none, nothing is written any more, and the next opening looks at all of them.
    fn check_segments(&self) -> Result<()> {
        let (entries, from) = {
            let writer = self.writer.lock();
            (Arc::clone(&writer.work.unchecked), writer.work.checked)
        };
        let to = entries.len().min(from + CHECKED_AT_ONCE);
        let mut checks =
            (from..to).map(|at| check_segment(&*self.storage, &self.root, &entries, at));
        let failed = checks.find_map(Result::err);
        let mut writer = self.writer.lock();
        writer.work.checked = to;
        if to == entries.len() || failed.is_some() {
            writer.work.unchecked = Arc::default();
            writer.work.checked = 0;
        }
        drop(writer);
        match failed {
            // Most likely there are too many open files. A reader looks before it reads.
            Some(Error::Io { source, .. }) if source.kind() != ErrorKind::NotFound => Ok(()),
            Some(error) => self.stop_writing(&error),
            None => Ok(()),
        }
    }

    /// Does what has to be done now. A failure is counted and costs nothing that was acknowledged: what
    /// is left is done later, at the latest by the next opening.
    pub(crate) fn try_maintain(&self) -> bool {
        let done = self.maintain();
        if !done {
            self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    fn prepare_spare(&self) -> Result<()> {
        let number = {
            let mut writer = self.writer.lock();
            if !std::mem::take(&mut writer.work.prepare) || writer.spare.is_some() {
                return Ok(());
            }
            writer.work.preparing = true;
            self.catalog.read().active.segment.number() + 1
        };
        let created = if self.options.fills() {
            self.create_filled(number)
        } else {
            self.create(number).map(|spare| (spare, 0))
        };
        let mut writer = self.writer.lock();
        writer.work.preparing = false;
        if writer.room_waiters > 0 {
            self.room.notify_all();
        }
        let (spare, filled_to) = created?;
        writer.work.spare_filled_to = filled_to;
        writer.spare = Some(spare);
        Ok(())
    }

    /// Whether there was something to look for. After a failure it is looked for again.
    fn drop_leftovers(&self) -> Result<bool> {
        let looks = std::mem::take(&mut self.writer.lock().work.leftovers);
        if looks && let Err(error) = self.drop_unused_levels() {
            self.writer.lock().work.leftovers = true;
            return Err(error);
        }
        Ok(looks)
    }

    /// Seals and indexes full segments, oldest first, up to the first that fails. Whether none did.
    fn seal_full(&self) -> bool {
        loop {
            let Some(number) = self.writer.lock().work.seals.front().copied() else {
                return true;
            };
            let done = self.seal_and_index(number);
            let mut writer = self.writer.lock();
            writer.work.sealing_fails = !done;
            if done {
                writer.work.seals.pop_front();
            }
            if writer.room_waiters > 0 {
                self.room.notify_all();
            }
            drop(writer);
            if !done {
                return false;
            }
        }
    }

    /// Seals and indexes one full segment. Whether that worked.
    fn seal_and_index(&self, number: u64) -> bool {
        let seal = Maintenance::Seal { segment: number };
        let sealed = match self.seal(number) {
            Ok(sealed) => sealed,
            Err(error) => return self.note_outcome(seal, Err(error)),
        };
        self.note_outcome(seal, Ok(()));
        let task = Maintenance::Index { segment: number };
        sealed.is_none_or(|(sealed, index)| {
            self.note_outcome(task, self.index_sealed(sealed, &index))
        })
    }

    /// Seals one full segment, once all of it is durable. Returns it with what is to be indexed; `None`
    /// if that was done before.
    fn seal(&self, number: u64) -> Result<Option<(Arc<Segment>, Arc<ActiveIndex>)>> {
        let part = {
            let catalog = self.catalog.read();
            catalog.parts.iter().find(|part| part.segment.number() == number).cloned()
        };
        let Some(Part { segment, index: PartIndex::Frozen { index, point } }) = part else {
            return Ok(None);
        };
        if let Some(kept) = index.kept_in()
            && !Arc::ptr_eq(&self.sound(kept)?, kept)
        {
            // Another part has taken the place of this one, with what was rebuilt.
            return self.seal(number);
        }
        self.flush_and_sync()?;
        let sealed = Arc::new(seal_segment(&segment, &index, point)?);
        Ok(Some((sealed, index)))
    }

    /// Writes the index file of a segment that was just sealed, and uses it from now on.
    fn index_sealed(&self, sealed: Arc<Segment>, index: &ActiveIndex) -> Result<()> {
        let index = build_index(&*self.storage, &self.root, &sealed, index, Mode::Write)?;
        let part = Part { segment: sealed, index: PartIndex::Sealed(index) };
        self.catalog.write().replace_part(part);
        self.counters.sealed.fetch_add(1, Ordering::Relaxed);
        self.bound_mappings();
        Ok(())
    }

    /// Makes everything accepted so far durable; the sync itself keeps no commit from being
    /// written.
    fn flush_and_sync(&self) -> Result<()> {
        let writer = self.writer.lock();
        writer.check_usable()?;
        if writer.collecting.extents.is_empty() && writer.writing.is_none() {
            drop(writer);
        } else {
            let number = writer.collecting_number - u64::from(writer.collecting.extents.is_empty());
            let (writer, written) = self.wait_for_group(writer, number, false);
            drop(writer);
            written?;
        }
        self.sync_written()
    }

    /// The flushing thread.
    pub(crate) fn run_flusher(&self) {
        let mut due = None;
        let mut writer = self.writer.lock();
        while !writer.shutdown {
            if writer.flush_requested && writer.writing.is_none() && writer.wants_leader() {
                writer = self.lead(writer);
            } else if writer.snapshots.saver_is_busy && writer.has_due_snapshots() {
                drop(writer);
                self.save_snapshots();
                writer = self.writer.lock();
            } else if writer.is_dirty() {
                let due_at = *due
                    .get_or_insert_with(|| Instant::now().checked_add(writer.buffered_interval));
                match due_at {
                    Some(at) if Instant::now() >= at => {
                        drop(writer);
                        // A failure has poisoned the writer, which says so to its callers.
                        let _ = self.sync_written();
                        due = None;
                        writer = self.writer.lock();
                    }
                    Some(at) => {
                        self.flush_wanted.wait_until(&mut writer, at);
                    }
                    None => self.flush_wanted.wait(&mut writer),
                }
            } else {
                due = None;
                self.flush_wanted.wait(&mut writer);
            }
        }
    }

    /// Waits, doing what cannot: called between pieces of work that can. Says to stop when the store
    /// is closed.
    pub(crate) fn rest(&self, rest: Duration) -> ControlFlow<()> {
        let mut writer = self.writer.lock();
        let until = Instant::now().checked_add(rest);
        while !writer.shutdown {
            if writer.has_work() {
                drop(writer);
                if !self.try_maintain() {
                    // It is tried again once this is done.
                    return ControlFlow::Break(());
                }
                writer = self.writer.lock();
                continue;
            }
            match until {
                Some(until) if Instant::now() < until => {
                    self.maintenance_wanted.wait_until(&mut writer, until);
                }
                _ => return ControlFlow::Continue(()),
            }
        }
        ControlFlow::Break(())
    }

    /// Compacts while there is nothing else to do. Tells whether there may be more to compact.
    fn try_compact(&self) -> bool {
        let done = self.compact_in_background();
        if done.is_err() {
            self.counters.maintenance_failures.fetch_add(1, Ordering::Relaxed);
        }
        let more = matches!(done, Ok(true));
        self.note_attempt(Maintenance::Compaction, done);
        more
    }

    /// The maintaining thread.
    pub(crate) fn run_maintenance(&self) {
        let mut writer = self.writer.lock();
        while !writer.shutdown {
            if !writer.has_work() {
                drop(writer);
                let more = self.try_compact();
                writer = self.writer.lock();
                if !more && !writer.shutdown && !writer.has_work() {
                    self.maintenance_wanted.wait(&mut writer);
                }
                continue;
            }
            writer.snapshots.saver_is_busy = true;
            drop(writer);
            let failed = !self.try_maintain();
            writer = self.writer.lock();
            writer.snapshots.saver_is_busy = false;
            if failed && !writer.shutdown && !writer.has_due_snapshots() {
                // Most likely the disk is full. What is left is tried again at the next rollover.
                self.maintenance_wanted.wait(&mut writer);
            }
        }
    }
}
