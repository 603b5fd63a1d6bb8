//! Merging the indexes of neighbouring segments into level files, so that what a look-up touches
//! grows with the logarithm of the number of segments and not with the number.
//!
//! Owns which files are merged when, and the order of the steps: a level file is written under a
//! temporary name, synced, renamed, its directory synced; only then the catalog uses it and its
//! inputs go. Must never touch a segment, and never remove an index file before what stands for it is
//! durable. A crash at any point leaves the inputs, the result, or both.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Part, PartIndex, units};
use crate::derived::open_level;
use crate::engine::contents::{Contents, covers_of};
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::format::{Defect, names};
use crate::index::level_file::{MergeError, Pace};
use crate::index::merge::{MergeSize, merge};
use crate::index::sealed::SealedIndex;
use crate::log::rotation::{remove_leftover, temporary_path};
use crate::storage::{EntryKind, OpenMode};
use crate::sync::{Instant, Mutex, Rank};
use crate::trace;

/// Number of files of one tier that are merged into one file of the next tier.
const FAN_IN: usize = 8;
/// Factor by which the rest after a piece of background work is longer than the work.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The rest after a piece of background work that took this long.
pub(super) fn rest_after(took: Duration) -> Duration {
    took.saturating_mul(REST).min(LONGEST_REST)
}

/// What [`Store::compact`](crate::Store::compact) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Compacted {
    /// Level files written.
    pub merges: u64,
    /// Index files and level files that were merged into them.
    pub merged_files: u64,
    /// The bytes of the level files written.
    pub bytes_written: u64,
}

/// The outcome of a merge.
enum MergeOutcome {
    Done(u64),
    Stopped,
    /// The index that holds this segment is damaged.
    Damaged(u64, Error),
}

/// The merging of index files.
#[derive(Debug)]
pub(super) struct Compaction {
    shared: Arc<Shared>,
    contents: Arc<Contents>,
    /// Held while level files are written.
    compacting: Mutex<()>,
}

impl Compaction {
    pub(super) fn new(shared: &Arc<Shared>, contents: &Arc<Contents>) -> Self {
        Self {
            shared: Arc::clone(shared),
            contents: Arc::clone(contents),
            compacting: Mutex::new(Rank::Compacting, ()),
        }
    }

    /// Merges all that can be merged, now.
    pub(super) fn compact(&self) -> Result<Compacted> {
        self.shared.check_writable()?;
        let _compacting = self.compacting.lock();
        self.drop_superseded()?;
        let mut total = Compacted::default();
        let mut rebuilt = Vec::new();
        loop {
            let inputs = match widest(self) {
                Ok(Some(inputs)) => inputs,
                Ok(None) => return Ok(total),
                Err((segment, error)) => {
                    self.rebuild_once(segment, error, &mut rebuilt)?;
                    continue;
                }
            };
            let mut pace = |_| match self.shared.check_open() {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let merged_files = inputs.len() as u64;
            match self.merge(inputs, &mut pace)? {
                MergeOutcome::Done(bytes) => {
                    total.merges += 1;
                    total.merged_files += merged_files;
                    total.bytes_written += bytes;
                }
                MergeOutcome::Stopped => return Err(Error::Closed),
                MergeOutcome::Damaged(segment, error) => {
                    self.rebuild_once(segment, error, &mut rebuilt)?;
                }
            }
        }
    }

    /// Builds a damaged index again, unless that was done before and did not help.
    fn rebuild_once(&self, segment: u64, error: Error, rebuilt: &mut Vec<u64>) -> Result<()> {
        if rebuilt.contains(&segment) {
            return Err(error);
        }
        rebuilt.push(segment);
        self.contents.rebuild(segment).map(drop)
    }

    /// Merges what is due, one level file, with rests between pieces of work. Returns whether there was
    /// anything to do. `pause` waits for the time it is given, and stops the work by `Break`.
    pub(super) fn compact_in_background(
        &self,
        pause: impl Fn(Duration) -> ControlFlow<()>,
    ) -> Result<bool> {
        if !self.shared.options().compaction {
            return Ok(false);
        }
        let inputs = match due(self) {
            Ok(Some(inputs)) => inputs,
            Ok(None) => return Ok(false),
            Err((segment, _)) => return self.contents.rebuild(segment).map(|_| false),
        };
        // Another thread is compacting.
        let Some(_compacting) = self.compacting.try_lock() else { return Ok(false) };
        self.drop_superseded()?;
        let mut since = Instant::now();
        let mut pace = |_| {
            let go_on = pause(rest_after(since.elapsed()));
            since = Instant::now();
            go_on
        };
        match self.merge(inputs, &mut pace)? {
            MergeOutcome::Done(_) => Ok(true),
            MergeOutcome::Stopped => Ok(false),
            // The merge is not tried again now: an index that is damaged repeatedly would make this
            // loop endless.
            MergeOutcome::Damaged(segment, _) => self.contents.rebuild(segment).map(|_| false),
        }
    }

    /// Writes the level file of neighbours, and then uses it instead of them. Takes the inputs, so that
    /// they are no longer mapped when their files are removed, unless a read still uses them.
    fn merge(&self, inputs: Vec<Arc<SealedIndex>>, pace: &mut Pace<'_>) -> Result<MergeOutcome> {
        self.contents.bound_mappings();
        let first = *inputs[0].segments().start();
        let last = *inputs[inputs.len() - 1].segments().end();
        let _span = trace::merging(self.shared.root(), first, last);
        let (watch, files) = (trace::Watch::start(), inputs.len() as u64);
        let path = self.shared.dir().level_path(first, last);
        let temporary = temporary_path(&path);
        if let Some(outcome) = self.write_level(&inputs, &temporary, pace)? {
            remove_leftover(self.shared.storage(), &temporary)?;
            return Ok(outcome);
        }
        let outcome = self.contents.with_index_files(|| self.install(inputs, &temporary, path))?;
        if let MergeOutcome::Done(bytes) = &outcome {
            trace::merged(self.shared.root(), (first, last), files, *bytes, watch.took());
        }
        Ok(outcome)
    }

    /// Gives a level file that is written and synced its name, uses it and removes its inputs.
    fn install(
        &self,
        inputs: Vec<Arc<SealedIndex>>,
        temporary: &Path,
        path: PathBuf,
    ) -> Result<MergeOutcome> {
        let segments = *inputs[0].segments().start()..=*inputs[inputs.len() - 1].segments().end();
        let io = |operation: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |e| Error::io(operation, path, e)
        };
        self.shared.storage().rename(temporary, &path).map_err(io("rename", temporary))?;
        let directory = self.shared.dir().join(names::INDEX_DIR);
        self.shared.storage().sync_dir(&directory).map_err(io("sync", &directory))?;
        let covers = covers_of(&self.contents.parts(), segments);
        let level =
            covers.and_then(|covers| open_level(self.shared.dir(), self.shared.store_id(), covers));
        let Some(level) = level else {
            // The file just written cannot be read: the inputs stay.
            remove_leftover(self.shared.storage(), &path)?;
            let what = "a level file that was just written cannot be read".into();
            let expected_position = inputs[0].base_position().into();
            let (offset, evidence) = (0, None);
            return Err(Error::Corrupt { file: path, offset, expected_position, what, evidence });
        };
        self.contents.change_catalog(|catalog| catalog.share_index(&level));
        self.shared.counters().compactions.add(1);
        self.shared.counters().compacted_bytes.add(level.file_len());
        let superseded: Vec<_> = inputs.iter().map(|input| self.path_of(input)).collect();
        drop(inputs);
        for path in superseded {
            // Windows removes no file that a read of this process, or a reader beside it, has mapped.
            // The next merge tries again.
            let _ = remove_leftover(self.shared.storage(), &path);
        }
        Ok(MergeOutcome::Done(level.file_len()))
    }

    /// Writes and syncs a level file under its temporary name; `None` if it is whole.
    fn write_level(
        &self,
        inputs: &[Arc<SealedIndex>],
        temporary: &Path,
        pace: &mut Pace<'_>,
    ) -> Result<Option<MergeOutcome>> {
        remove_leftover(self.shared.storage(), temporary)?;
        let file = self.shared.storage().open(temporary, OpenMode::CreateNew);
        let file = file.map_err(|e| Error::io("create", temporary, e))?;
        match merge(inputs, self.shared.store_id(), &*file, pace) {
            Ok(()) => Ok(None),
            Err(MergeError::Stopped) => Ok(Some(MergeOutcome::Stopped)),
            Err(MergeError::Io(error)) => {
                // The space of the unfinished file is freed.
                let _ = remove_leftover(self.shared.storage(), temporary);
                Err(Error::io("write", temporary, error))
            }
            Err(MergeError::Input { at, defect }) => {
                let index = &inputs[at];
                let error = self.damage(index, &defect);
                Ok(Some(MergeOutcome::Damaged(*index.segments().start(), error)))
            }
        }
    }

    fn damage(&self, index: &SealedIndex, defect: &Defect) -> Error {
        Error::Corrupt {
            file: self.path_of(index),
            offset: 0,
            expected_position: index.base_position().into(),
            what: defect.to_string(),
            evidence: None,
        }
    }

    fn extent_of(&self, index: &SealedIndex) -> std::result::Result<MergeSize, (u64, Error)> {
        let damaged = |defect| (*index.segments().start(), self.damage(index, &defect));
        MergeSize::of(index).map_err(damaged)
    }

    fn path_of(&self, index: &SealedIndex) -> PathBuf {
        let (first, last) = index.segments().into_inner();
        if index.is_level() {
            self.shared.dir().level_path(first, last)
        } else {
            self.shared.dir().index_path(first)
        }
    }

    /// Removes level files that recovery found damaged or foreign, and the other leftovers. Does
    /// nothing if recovery found none.
    pub(super) fn drop_unused_levels(&self) -> Result<()> {
        // A running compaction removes them itself before it merges.
        let Some(_compacting) = self.compacting.try_lock() else { return Ok(()) };
        let levels = self.shared.dir().levels()?;
        let used: Vec<_> = self.contents.with_catalog(|catalog| {
            units(&catalog.parts).filter_map(level_of).map(|level| level.segments()).collect()
        });
        if levels.iter().all(|(first, last)| used.contains(&(*first..=*last))) {
            return Ok(());
        }
        self.drop_superseded()
    }

    /// Removes what a crash left: level files that are unused or unfinished, and index files of
    /// segments that a level file covers.
    fn drop_superseded(&self) -> Result<()> {
        self.contents.with_index_files(|| self.remove_superseded())
    }

    fn remove_superseded(&self) -> Result<()> {
        let used: Vec<_> = self
            .contents
            .with_catalog(|catalog| units(&catalog.parts).filter_map(level_of).cloned().collect());
        // A level file that turns out damaged does not justify removing its inputs.
        let over = |first: u64, last: u64| {
            let apart = |level: &SealedIndex| {
                *level.segments().end() < first || last < *level.segments().start()
            };
            used.iter()
                .find(|level| !apart(level))
                .map(|level| (level.segments(), level.is_there()))
        };
        let directory = self.shared.dir().join(names::INDEX_DIR);
        let entries = self.shared.storage().read_dir(&directory);
        for entry in entries.map_err(|e| Error::io("list", &directory, e))? {
            let superseded = match names::parse_level(&entry.name) {
                Some((first, last)) => over(first, last)
                    .is_none_or(|(segments, there)| segments != (first..=last) && there),
                None => match names::parse_numbered(&entry.name, names::INDEX_SUFFIX) {
                    Some(number) => over(number, number).is_some_and(|(_, there)| there),
                    None => {
                        let unfinished = entry.name.strip_suffix(names::TEMPORARY_SUFFIX);
                        unfinished.is_some_and(|name| names::parse_level(name).is_some())
                    }
                },
            };
            if superseded && entry.kind == EntryKind::File {
                // One that cannot be removed is tried again by the next merge.
                let _ = remove_leftover(self.shared.storage(), &directory.join(&entry.name));
            }
        }
        Ok(())
    }
}

/// The level file that a part's index is.
fn level_of(part: &Part) -> Option<&Arc<SealedIndex>> {
    match &part.index {
        PartIndex::Sealed(index) if index.is_level() => Some(index),
        _ => None,
    }
}

/// Runs of neighbours' indexes, oldest first, none in memory.
fn runs(parts: &[Part]) -> Vec<Vec<Arc<SealedIndex>>> {
    let mut runs = vec![Vec::new()];
    let units: Vec<&Part> = units(parts).collect();
    for part in units.into_iter().rev() {
        match &part.index {
            PartIndex::Sealed(index) => {
                let run: &mut Vec<Arc<SealedIndex>> = match runs.last_mut() {
                    Some(run) => run,
                    None => return runs,
                };
                // An index that was rebuilt while its neighbours still share another.
                let follows =
                    run.last().is_none_or(|l| l.segments().end() + 1 == *index.segments().start());
                if follows {
                    run.push(Arc::clone(index));
                } else {
                    runs.push(vec![Arc::clone(index)]);
                }
            }
            PartIndex::Frozen { .. } => runs.push(Vec::new()),
        }
    }
    runs
}

/// Selects the neighbours to merge. Opens only the files that the decision needs; a damaged one is
/// named by its first segment.
type Chosen = std::result::Result<Option<Vec<Arc<SealedIndex>>>, (u64, Error)>;

// An open index stays mapped, so the functions below take indexes from the catalog a few at a time,
// never all.

/// The first and longest run of neighbours that fits one level file, limited by the number of files
/// that may be mapped together.
fn widest(compaction: &Compaction) -> Chosen {
    let most = compaction.shared.options().max_mappings / 2;
    let mut from = 0;
    loop {
        let rest =
            compaction.contents.with_catalog(|catalog| neighbours(&catalog.parts, from, most));
        let Some(mut rest) = rest else { return Ok(None) };
        let (mut extent, mut count) = (MergeSize::default(), 0);
        for index in &rest {
            let Some(sum) = extent.with(compaction.extent_of(index)?) else { break };
            (extent, count) = (sum, count + 1);
        }
        if count > 1 {
            rest.truncate(count);
            return Ok(Some(rest));
        }
        from = *rest[0].segments().start() + 1;
    }
}

/// The first neighbours at or after segment `from`: at least two, and `most` at most.
fn neighbours(parts: &[Part], from: u64, most: usize) -> Option<Vec<Arc<SealedIndex>>> {
    runs(parts).iter().find_map(|run| {
        let begin = run.partition_point(|index| *index.segments().start() < from);
        let rest = &run[begin..];
        (rest.len() > 1).then(|| rest[..rest.len().min(most)].to_vec())
    })
}

/// The tier of an index over this many segments: the number of merges of [`FAN_IN`] that lead to it.
fn tier(index: &SealedIndex) -> u32 {
    let segments = index.segments();
    (segments.end() - segments.start() + 1).ilog(FAN_IN as u64)
}

/// The neighbours of one tier to merge next: the first [`FAN_IN`] that fit one file; where these are too
/// large for one, as many of them as fit. So no two neighbours that are done fit one file, and the number
/// of files follows from the number of events and the limits of a file. No other index is opened.
fn due(compaction: &Compaction) -> Chosen {
    let mut from = 0;
    loop {
        let window =
            compaction.contents.with_catalog(|catalog| window_of_one_tier(&catalog.parts, from));
        let Some(mut window) = window else { return Ok(None) };
        let mut extents = Vec::with_capacity(window.len());
        for index in &window {
            extents.push(compaction.extent_of(index)?);
        }
        let count = fitting(&extents);
        if count > 1 {
            window.truncate(count);
            return Ok(Some(window));
        }
        from = *window[0].segments().start() + 1;
    }
}

/// The number of indexes of these sizes, from the first on, that fit one file together.
fn fitting(sizes: &[MergeSize]) -> usize {
    let mut sum = MergeSize::default();
    let fits = sizes.iter().take_while(|&&size| match sum.with(size) {
        Some(larger) => {
            sum = larger;
            true
        }
        None => false,
    });
    fits.count()
}

/// The first [`FAN_IN`] neighbours of one tier at or after segment `from`, of which the first two fit one
/// file by their numbers of events.
fn window_of_one_tier(parts: &[Part], from: u64) -> Option<Vec<Arc<SealedIndex>>> {
    let fits = |window: &&[Arc<SealedIndex>]| {
        let pair = [0, 1].map(|at| MergeSize::of_events(&window[at]));
        *window[0].segments().start() >= from
            && window.iter().all(|index| tier(index) == tier(&window[0]))
            && fitting(&pair) == 2
    };
    runs(parts).iter().find_map(|run| run.windows(FAN_IN).find(fits).map(<[_]>::to_vec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::merge::MAX_EVENTS;

    /// Merges what is due until nothing is, of indexes with a number of segments and of events each.
    fn merged(segments: usize, events: u64) -> Vec<(u64, u64)> {
        let mut files: Vec<(u64, u64)> = Vec::new();
        for _ in 0..segments {
            files.push((1, events));
            loop {
                let tier_of = |file: &(u64, u64)| file.0.ilog(FAN_IN as u64);
                let due = files.windows(FAN_IN).enumerate().find_map(|(at, window)| {
                    let sizes: Vec<_> = window.iter().map(|&(_, n)| MergeSize::events(n)).collect();
                    let one_tier = window.iter().all(|file| tier_of(file) == tier_of(&window[0]));
                    (one_tier && fitting(&sizes) > 1).then(|| at..at + fitting(&sizes))
                });
                let Some(due) = due else { break };
                let sum = files[due.clone()].iter().fold((0, 0), |s, f| (s.0 + f.0, s.1 + f.1));
                files.splice(due, [sum]);
            }
        }
        files
    }

    #[test]
    fn merged_files_are_as_few_as_their_limit_permits() {
        // Segments of 128 MiB with events of 64 bytes; 10^9 events, then 10^10.
        for segments in [1_104, 11_038] {
            let files = merged(segments, 906_000);
            let events = segments as u64 * 906_000;
            assert_eq!(files.iter().map(|file| file.1).sum::<u64>(), events);
            let least = usize::try_from(events.div_ceil(MAX_EVENTS)).unwrap();
            assert!(files.len() <= least * 5 / 4 + 3 * FAN_IN, "{} of {least}", files.len());
        }
    }
}
