//! Background work: preparing segments, sealing full ones, indexes, checkpoints, and the syncs of
//! buffered stores.
//!
//! Uses three threads: one flushes and syncs, so that a submitted commit never waits for a checkpoint; one prepares
//! space, so that appends do not wait for a seal unless many segments wait for theirs; one maintains. Must never be
//! needed for correctness: work that is unfinished when the process ends is done at the next opening. In a simulation
//! there are no threads; commits do the work themselves, in a fixed order.

mod checkpoints;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Part, PartIndex};
use crate::derived::{Output, build_index};
use crate::engine::commit::Commits;
use crate::engine::compaction::{Compacted, Compaction, rest_after};
use crate::engine::contents::Contents;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::engine::snapshots::SnapshotFiles;
use crate::error::{Error, Maintenance as Task, Result};
use crate::index::active::ActiveIndex;
use crate::log::rotation::{create_unnamed, name_segment, seal_segment};
use crate::log::segment::Segment;
use crate::log::writer::Spare;
use crate::log::zeros;
use crate::recovery::check_segment;
use crate::sync::Instant;
use crate::trace;

/// Pause after each piece of zeros, which has 256 KiB: at most 400 MiB a second, so that filling monopolizes neither
/// the disk nor a core.
const FILL_PAUSE: Duration = Duration::from_micros(600);
/// The shortest piece of a merge of snapshots that is followed by a rest.
const PIECE: Duration = Duration::from_millis(1);
/// Number of segments that are compared with a checkpoint before other work gets its turn.
const CHECKED_AT_ONCE: usize = 64;

/// The background work.
#[derive(Debug)]
pub(crate) struct Maintainer {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    commits: Arc<Commits>,
    snapshots: Arc<SnapshotFiles>,
    compaction: Compaction,
}

impl Maintainer {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        commits: &Arc<Commits>,
        snapshots: &Arc<SnapshotFiles>,
    ) -> Self {
        let compaction = Compaction::new(shared, contents);
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            commits: Arc::clone(commits),
            snapshots: Arc::clone(snapshots),
            compaction,
        }
    }

    /// The flushing thread.
    pub(super) fn run_flusher(&self) {
        self.commits.run_flusher(|| self.snapshots.save_due());
    }

    /// The preparing thread.
    pub(super) fn run_preparer(&self) {
        self.commits.run_preparer(|| {
            if !self.prepare() {
                self.shared.counters().maintenance_failures.add(1);
            }
        });
    }

    /// The maintaining thread.
    pub(super) fn run(&self) {
        self.commits.run_maintenance(|| self.try_maintain(), || self.try_compact());
    }

    /// Accepts the segments that an earlier writer left to seal.
    pub(super) fn start(&self) {
        self.commits.adopt_frozen(&self.contents.parts());
    }

    /// Merges all index files and all packs of snapshots that can be merged, now.
    pub(super) fn compact(&self) -> Result<Compacted> {
        let compacted = self.compaction.compact()?;
        self.snapshots.merge_all(&mut |_| match self.shared.check_open() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })?;
        // What failed in the background before is done now.
        if self.commits.note_attempt(Task::Compaction, self.drop_leftovers()) {
            self.commits.note_outcome(Task::Compaction, Ok(()));
        }
        self.commits.note_outcome(Task::SnapshotMerge, Ok(()));
        Ok(compacted)
    }

    /// Creates the next segment and fills it with zeros until the segment is about to be needed.
    fn create_filled(&self, number: u64) -> Result<Spare> {
        let capacity = self.shared.options().capacity();
        let dir = self.shared.dir();
        let unnamed = create_unnamed(dir, number, self.shared.store_id(), capacity)?;
        let filled = zeros::fill(&unnamed, || self.pause_filling()).inspect_err(|_| {
            // After the failure its contents on disk are unknown.
            let _ = dir.storage().remove_file(&unnamed.path);
        })?;
        if filled.failed.is_some() {
            self.shared.counters().maintenance_failures.add(1);
        }
        let file = name_segment(dir, unnamed)?;
        file.file.keep_open(true);
        Ok(Spare::new(file, filled.to))
    }

    /// Does the urgent work in the caller's thread. Returns whether all of it was done.
    fn maintain(&self) -> bool {
        self.commits.report_rollovers();
        // With threads, one of its own prepares.
        let prepared = self.shared.options().background || self.prepare();
        if self.commits.has_due_snapshots() {
            self.snapshots.save_due();
        }
        let sealed = self.seal_full();
        let written = self.commits.note_attempt(Task::Checkpoint, self.checkpoint());
        let dropped = self.commits.note_attempt(Task::Compaction, self.drop_leftovers());
        let checked = self.check_segments().is_ok();
        // With threads, packs are merged while there is no other work.
        let merged = self.shared.options().background || self.try_merge_snapshots().is_some();
        merged && prepared && sealed && written && dropped && checked
    }

    /// Compares some of the segments that the opening took from a checkpoint with their files. If one
    /// is missing or different, nothing more is written, and the next opening checks all of them.
    fn check_segments(&self) -> Result<()> {
        let (entries, from) = self.commits.unchecked_segments();
        let to = entries.len().min(from + CHECKED_AT_ONCE);
        let mut checks = (from..to).map(|at| check_segment(self.shared.dir(), &entries, at));
        let failed = checks.find_map(Result::err);
        self.commits.note_checked(to, to == entries.len() || failed.is_some());
        match failed {
            // The usual cause is too many open files. A read checks the segment before it uses it.
            Some(Error::Io { source, .. }) if source.kind() != ErrorKind::NotFound => Ok(()),
            Some(error) => self.commits.stop_writing(&error),
            None => Ok(()),
        }
    }

    /// Does the urgent work. A failure is counted and affects nothing that was acknowledged: the
    /// remaining work is done later, at the latest by the next opening.
    pub(super) fn try_maintain(&self) -> bool {
        let done = self.maintain();
        if !done {
            self.shared.counters().maintenance_failures.add(1);
        }
        done
    }

    /// Prepares space for the next frames. Returns whether all of it was done: a segment that could not be prepared is
    /// created when it is needed.
    fn prepare(&self) -> bool {
        self.prepare_pages();
        self.prepare_spare().is_ok()
    }

    /// Prepares pages for the next frames. Without them, an append prepares some, or is written positionally.
    fn prepare_pages(&self) {
        if let Some((mapped, end)) = self.commits.take_pages() {
            mapped.prepare_ahead(end);
        }
    }

    /// Pauses between two pieces of zeros, in which pages are prepared too. Returns whether to go on.
    fn pause_filling(&self) -> bool {
        self.prepare_pages();
        self.commits.pause_filling(FILL_PAUSE)
    }

    fn prepare_spare(&self) -> Result<()> {
        let Some(number) = self.commits.begin_preparing() else { return Ok(()) };
        let created = if self.shared.options().fills() {
            self.create_filled(number)
        } else {
            self.commits.create(number).map(|spare| Spare::new(spare, 0))
        };
        let created = created.map(|mut spare| {
            spare.map_ahead(self.shared.options().maps_writes());
            spare
        });
        self.commits.end_preparing(created)
    }

    /// Returns whether there were leftovers. After a failure they are looked for again.
    fn drop_leftovers(&self) -> Result<bool> {
        let looks = self.commits.take_leftovers();
        if looks && let Err(error) = self.compaction.drop_unused_levels() {
            self.commits.look_for_leftovers();
            return Err(error);
        }
        Ok(looks)
    }

    /// Seals and indexes full segments, oldest first, up to the first failure. Returns whether there
    /// was none.
    fn seal_full(&self) -> bool {
        loop {
            drop(self.commits.take_retired());
            let Some(number) = self.commits.next_to_seal() else { return true };
            let done = self.seal_and_index(number);
            self.commits.note_sealed(done);
            if !done {
                return false;
            }
        }
    }

    /// Seals and indexes one full segment. Returns whether that succeeded.
    fn seal_and_index(&self, number: u64) -> bool {
        let _span = trace::sealing(self.shared.root(), number);
        let watch = trace::Watch::start();
        let seal = Task::Seal { segment: number };
        let sealed = match self.seal(number) {
            Ok(sealed) => sealed,
            Err(error) => return self.commits.note_outcome(seal, Err(error)),
        };
        self.commits.note_outcome(seal, Ok(()));
        let task = Task::Index { segment: number };
        sealed.is_none_or(|(sealed, index)| {
            let (events, bytes) = sealed
                .trailer
                .as_ref()
                .map_or((0, 0), |trailer| (u64::from(trailer.event_count), trailer.file_len()));
            let indexed = self.commits.note_outcome(task, self.index_sealed(sealed, &index));
            if indexed {
                trace::sealed(self.shared.root(), number, events, bytes, watch.took());
            }
            indexed
        })
    }

    /// Seals one full segment, once all of it is durable. Returns it with the data to index; `None` if
    /// it was sealed before.
    fn seal(&self, number: u64) -> Result<Option<(Arc<Segment>, Arc<ActiveIndex>)>> {
        let parts = self.contents.parts();
        let part = parts.iter().find(|part| part.segment.number() == number).cloned();
        drop(parts);
        let Some(Part { segment, index: PartIndex::Frozen { index, point, .. } }) = part else {
            return Ok(None);
        };
        if let Some(kept) = index.kept_in()
            && !Arc::ptr_eq(&self.contents.sound(kept)?, kept)
        {
            // This part was replaced by a rebuilt one.
            return self.seal(number);
        }
        self.commits.sync_full(number)?;
        let sealed = Arc::new(seal_segment(&segment, &index, point)?);
        Ok(Some((sealed, index)))
    }

    /// Writes the index file of a segment that was just sealed, and uses it from now on.
    fn index_sealed(&self, sealed: Arc<Segment>, index: &ActiveIndex) -> Result<()> {
        let index = build_index(self.shared.dir(), &sealed, index, Output::Disk)?;
        let part = Part { segment: sealed, index: PartIndex::Sealed(index) };
        let number = part.segment.number();
        self.contents.change_all(|catalog, metadata| {
            catalog.replace_part(part);
            metadata.drop_records(number);
        });
        self.shared.counters().sealed.add(1);
        self.contents.bound_mappings();
        Ok(())
    }

    /// Merges the packs of snapshots that are full. Returns whether there were any.
    fn merge_snapshots(&self) -> Result<bool> {
        let mut since = Instant::now();
        self.snapshots.merge_due(&mut |_| {
            let took = since.elapsed();
            if !self.shared.options().background || took < PIECE {
                return ControlFlow::Continue(());
            }
            // No rest while several full packs take memory.
            let rest = if self.snapshots.is_behind() { Duration::ZERO } else { rest_after(took) };
            let go_on = self.commits.rest(rest, || self.try_maintain());
            since = Instant::now();
            go_on
        })
    }

    /// Merges the packs of snapshots that are full. Returns whether there were any; `None` after a failure.
    fn try_merge_snapshots(&self) -> Option<bool> {
        let merged = self.merge_snapshots();
        let more = merged.as_ref().ok().copied();
        self.commits.note_attempt(Task::SnapshotMerge, merged);
        more
    }

    /// Compacts while there is no other work. Returns whether there may be more to compact.
    fn try_compact(&self) -> bool {
        let merged = self.try_merge_snapshots();
        if merged.is_none() {
            self.shared.counters().maintenance_failures.add(1);
        }
        let done = self
            .compaction
            .compact_in_background(|rest| self.commits.rest(rest, || self.try_maintain()));
        if done.is_err() {
            self.shared.counters().maintenance_failures.add(1);
        }
        let more = matches!(done, Ok(true));
        self.commits.note_attempt(Task::Compaction, done);
        more || merged == Some(true)
    }
}
