//! The lists of work for the maintaining and the preparing thread.
//!
//! Lives under the writer's lock. Must never do I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Commits, Writer};
use crate::catalog::{Part, PartIndex};
use crate::error::Result;
use crate::format::checkpoint::{CheckpointMeta, SegmentEntry};
use crate::index::metadata::EncodedMetadata;
use crate::log::mapped::MappedTail;
use crate::log::writer::{SegmentWrite, Spare};
use crate::sync::Instant;
use crate::trace;

/// The number of full segments that may wait to be sealed. An append that needs another one then waits until one is
/// sealed: each takes memory for its index, and a walk by the next opening after a kill.
pub(super) const MAX_UNSEALED: usize = 8;

/// The work of the maintaining and the preparing thread.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "duties that have nothing to do with each other")]
pub(in crate::engine) struct Work {
    /// Full segments to seal, oldest first.
    pub(super) seals: VecDeque<u64>,
    /// The last attempt to seal the oldest one failed: no thread waits for it.
    sealing_fails: bool,
    /// Segments that were taken into use and are still to be reported, each with its first position.
    pub(super) rollovers: Vec<(u64, u64)>,
    pub(super) checkpoint: Option<PendingCheckpoint>,
    /// The number of the newest checkpoint file.
    pub(super) checkpoint_number: u64,
    pub(super) prepare: bool,
    preparing: bool,
    /// Mappings for writing that are not used any more: unmapping one takes too long for an append.
    pub(super) retired: Vec<Arc<MappedTail>>,
    /// The mapping of which pages are to be prepared, after frames that end there.
    pages: Option<(Arc<MappedTail>, u64)>,
    /// Level files that the opening could not use may be there.
    leftovers: bool,
    /// There may be more to compact since the last attempt began.
    pub(super) compactable: bool,
    /// Sealed segments as a checkpoint records them, and the number of them that were compared with
    /// their files.
    unchecked: Arc<[SegmentEntry]>,
    checked: usize,
}

impl Work {
    pub(in crate::engine) fn new(checkpoint_number: u64, unchecked: Vec<SegmentEntry>) -> Self {
        Self {
            seals: VecDeque::new(),
            sealing_fails: false,
            rollovers: Vec::new(),
            checkpoint: None,
            checkpoint_number,
            prepare: false,
            preparing: false,
            retired: Vec::new(),
            pages: None,
            leftovers: true,
            compactable: false,
            unchecked: unchecked.into(),
            checked: 0,
        }
    }

    /// Whether a thread is creating the next segment.
    pub(in crate::engine) fn is_preparing(&self) -> bool {
        self.preparing
    }

    /// Whether as many full segments wait to be sealed as may, and waiting helps.
    pub(in crate::engine) fn lags(&self) -> bool {
        self.seals.len() >= MAX_UNSEALED && !self.sealing_fails
    }

    /// Whether the maintaining thread has nothing to do.
    fn is_empty(&self) -> bool {
        let nothing_to_write = self.seals.is_empty() && self.checkpoint.is_none();
        nothing_to_write && !self.leftovers && self.checked == self.unchecked.len()
    }

    /// Whether the preparing thread has something to do.
    pub(super) fn has_preparations(&self) -> bool {
        self.prepare || self.pages.is_some()
    }
}

/// A checkpoint of everything before a segment.
#[derive(Debug)]
pub(in crate::engine) struct PendingCheckpoint {
    pub(in crate::engine) metadata: EncodedMetadata,
    pub(in crate::engine) meta: CheckpointMeta,
}

impl Writer {
    /// Whether the maintaining thread has something to do that other threads wait for.
    pub(super) fn has_work(&self) -> bool {
        !self.work.is_empty() || self.has_due_snapshots()
    }
}

impl Commits {
    /// Takes on what an earlier writer left to seal.
    pub(in crate::engine) fn adopt_frozen(&self, parts: &[Part]) {
        let frozen = parts.iter().filter(|part| matches!(part.index, PartIndex::Frozen { .. }));
        self.writer.lock().work.seals.extend(frozen.map(|part| part.segment.number()));
        self.maintenance_wanted.notify_one();
    }

    /// Reports the rollovers since the last report: the thread that rolls over holds the writer's lock.
    pub(in crate::engine) fn report_rollovers(&self) {
        if !trace::ENABLED {
            return;
        }
        let rollovers = std::mem::take(&mut self.writer.lock().work.rollovers);
        for (segment, first_position) in rollovers {
            trace::rolled_over(self.shared.root(), segment, first_position);
        }
    }

    /// The sealed segments that a checkpoint records and that are still to be compared with their
    /// files, and the number of those that were.
    pub(in crate::engine) fn unchecked_segments(&self) -> (Arc<[SegmentEntry]>, usize) {
        let writer = self.writer.lock();
        (Arc::clone(&writer.work.unchecked), writer.work.checked)
    }

    /// Records that `checked` of the segments were compared; `ends`: the rest are not compared.
    pub(in crate::engine) fn note_checked(&self, checked: usize, ends: bool) {
        let work = &mut self.writer.lock().work;
        work.checked = checked;
        if ends {
            work.unchecked = Arc::default();
            work.checked = 0;
        }
    }

    /// Begins to prepare the next segment, if one is wanted; returns its number.
    pub(in crate::engine) fn begin_preparing(&self) -> Option<u64> {
        let mut writer = self.writer.lock();
        if !std::mem::take(&mut writer.work.prepare) || writer.spare.is_some() {
            return None;
        }
        writer.work.preparing = true;
        Some(writer.log.active().number() + 1)
    }

    /// Takes on the segment that was prepared.
    pub(in crate::engine) fn end_preparing(&self, created: Result<Spare>) -> Result<()> {
        let mut writer = self.writer.lock();
        writer.work.preparing = false;
        if writer.room_waiters > 0 {
            self.room.notify_all();
        }
        writer.spare = Some(created?);
        Ok(())
    }

    /// Takes out the mappings for writing that no group in flight has any more.
    pub(in crate::engine) fn take_retired(&self) -> Vec<Arc<MappedTail>> {
        let retired = &mut self.writer.lock().work.retired;
        retired.extract_if(.., |mapped| Arc::strong_count(mapped) == 1).collect()
    }

    /// Pauses the filling of the next segment, so that other threads get the disk. Returns whether to go
    /// on: not when the segment is waited for, or will be before what is filled can be synced.
    pub(in crate::engine) fn pause_filling(&self, pause: Duration) -> bool {
        let mut writer = self.writer.lock();
        let goes_on = |writer: &Writer| {
            let nearly_full = writer.log.active().header.capacity / 4 * 3;
            !writer.shutdown && writer.room_waiters == 0 && writer.log.tip.offset < nearly_full
        };
        if self.shared.options().background && goes_on(&writer) {
            self.preparation_wanted.wait_until(&mut writer, Instant::now() + pause);
        }
        goes_on(&writer)
    }

    /// Asks for pages for the frames after a write that was stored into a mapping, if there are few.
    pub(super) fn want_pages(&self, writer: &mut Writer, write: &SegmentWrite) {
        if self.shared.options().background
            && writer.work.pages.is_none()
            && let Some(mapped) = write.lacking_pages()
        {
            writer.work.pages = Some((Arc::clone(mapped), write.end()));
            self.preparation_wanted.notify_one();
        }
    }

    /// Takes out the mapping of which pages are to be prepared, and the end of the frames in it.
    pub(in crate::engine) fn take_pages(&self) -> Option<(Arc<MappedTail>, u64)> {
        self.writer.lock().work.pages.take()
    }

    /// Whether left-over level files are to be looked for. They are not looked for again, unless
    /// [`Commits::look_for_leftovers`] is called.
    pub(in crate::engine) fn take_leftovers(&self) -> bool {
        std::mem::take(&mut self.writer.lock().work.leftovers)
    }

    /// Has left-over level files looked for.
    pub(in crate::engine) fn look_for_leftovers(&self) {
        self.writer.lock().work.leftovers = true;
    }

    /// Wakes the maintaining thread if it has nothing to do: there may be something to compact.
    pub(in crate::engine) fn look_for_compaction(&self) {
        self.writer.lock().work.compactable = true;
        self.maintenance_wanted.notify_one();
    }

    /// The oldest full segment that is not sealed.
    pub(in crate::engine) fn next_to_seal(&self) -> Option<u64> {
        self.writer.lock().work.seals.front().copied()
    }

    /// The oldest full segment was sealed, or could not be.
    pub(in crate::engine) fn note_sealed(&self, done: bool) {
        let mut writer = self.writer.lock();
        writer.work.sealing_fails = !done;
        if done {
            writer.work.seals.pop_front();
        }
        if writer.room_waiters > 0 {
            self.room.notify_all();
        }
    }

    /// Takes out the checkpoint that a rollover began, with the number of its file.
    pub(in crate::engine) fn take_checkpoint(&self) -> Option<(PendingCheckpoint, u64)> {
        let work = &mut self.writer.lock().work;
        let pending = work.checkpoint.take()?;
        Some((pending, work.checkpoint_number + 1))
    }

    /// The checkpoint file with this number is written.
    pub(in crate::engine) fn note_checkpoint(&self, number: u64) {
        self.writer.lock().work.checkpoint_number = number;
    }
}
