//! Reads the valid part of the log into a catalog.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{LoadedLog, Mode, Unproven};
use crate::catalog::{Part, PartIndex};
use crate::derived::{
    InMemory, Levels, ListedIndexes, index_for_later, index_in_memory, meta_of, open_index,
    open_level,
};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber};
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::format::status::Status;
use crate::index::active::ActiveIndex;
use crate::index::checkpointed::CheckpointedActive;
use crate::index::covers::Covers;
use crate::index::heads::{HeadTable, Heads};
use crate::index::metadata::Metadata;
use crate::index::sealed::SealedIndex;
use crate::log::rotation::SealPoint;
use crate::log::scan::{ScanEnd, ScanState};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::read_exact_at;

mod prover;
mod segments;
mod walk;

pub(crate) use segments::check_segment;
pub(super) use segments::{SegmentComparison, load, load_files};

struct Loader<'a> {
    dir: &'a StoreDir,
    mode: Mode,
    checkpoint: Option<Arc<HeadTable>>,
    changes_at_checkpoint: ChangesAtCheckpoint,
    /// The index files in the directory, if they may be opened later.
    indexes: Option<&'a ListedIndexes>,
    levels: Levels,
    /// The last segment whose streams were counted and whose changes were entered from an index.
    entered: u64,
    parts: Vec<Part>,
    streams: u64,
    metadata: Metadata,
    state: ScanState,
    last_frame: u64,
    /// Frames not proven durable yet.
    pending: VecDeque<PendingFrame>,
    unproven: Vec<Unproven>,
    last_kind: Option<FrameKind>,
    commits: u64,
    rebuilt: u64,
}

/// The changes of the metadata that the checkpoint covers.
#[derive(Clone, Copy)]
struct ChangesAtCheckpoint {
    last: ChangeNumber,
    /// The number of changes in the segment that the checkpoint ends in.
    in_segment: u64,
}

/// A frame that is not proven durable yet.
struct PendingFrame {
    segment: u64,
    offset: u64,
    /// A frame that records this position as durable proves it.
    proven_by: u64,
}

/// Index files that stay mapped after opening; the open store unmaps more if its limit is lower.
const MOST_MAPPINGS: usize = 1_024;

/// A walk through one segment that is not sealed.
struct Walk {
    index: ActiveIndex,
    heads: Heads,
    end: ScanEnd,
}

/// Loads the log; `None` if it was to be loaded from the checkpoint alone and the checkpoint does not
/// fit.
fn load_once(
    dir: &StoreDir,
    mode: Mode,
    log: &LogFiles<'_>,
    newest: Option<(u64, Arc<HeadTable>)>,
) -> Result<Option<LoadedLog>> {
    let files = log.files;
    let created_at = files.first().map_or(0, |first| first.header.created_at);
    // Listed before the walk: beside a writer, a segment that has an index file or is covered by a
    // checkpoint is sealed by now.
    let found = ListedIndexes::list(dir);
    let checkpoint_number = newest.as_ref().map_or(0, |(number, _)| *number);
    let checkpoint_position = newest.as_ref().map_or(0, |(_, table)| table.meta.position);
    let at_checkpoint = newest.as_ref().and_then(|(_, table)| table.metadata().ok());
    let checkpoint_change =
        at_checkpoint.as_ref().map_or(ChangeNumber::NONE, |(metadata, _)| metadata.last_change());
    let usable = newest
        .map(|(_, table)| table)
        .zip(at_checkpoint)
        .filter(|(table, _)| is_of_log(table, log));
    if log.known > 0 && usable.is_none() {
        return Ok(None);
    }
    let derived = Derived { found: &found, checkpoint: usable.as_ref() };
    let read = read_log(dir, mode, log, &derived)?;
    let Some((mut loader, walk, active_index)) = read else {
        return Ok(None);
    };
    let closed = loader.last_kind == Some(FrameKind::Close)
        && loader.state.proven + 1 == loader.state.next_position
        && matches!(walk.end, ScanEnd::Invalid(Defect::Zero) | ScanEnd::EndOfFile);
    let status = dir.read_status().filter(|status| status.clean);
    let closed_at = status.and_then(Status::closed_at);
    let trusted = status.is_some_and(|status| {
        status.link == loader.state.link
            && status.visible.checked_add(1) == Some(loader.state.next_position)
    });
    let empty = loader.state.next_position == 1 && loader.state.offset == DATA_START;
    let verified_to = loader.verified_to(&files[active_index]);
    let files = files[active_index..].to_vec();
    loader.collect_unproven(&files[0]);
    let end = match &walk.end {
        ScanEnd::Invalid(defect) => defect.to_string(),
        ScanEnd::EndOfFile | ScanEnd::Limit => "the file ends".into(),
        ScanEnd::Sealed => "the segment is sealed, and the next one is missing".into(),
    };
    Ok(Some(LoadedLog {
        files,
        parts: loader.parts,
        streams: loader.streams,
        heads: walk.heads,
        metadata: loader.metadata,
        index: walk.index,
        state: loader.state,
        last_frame: loader.last_frame,
        end,
        closed: closed || empty,
        trusted,
        unproven: loader.unproven,
        verified_to,
        commits: loader.commits,
        rebuilt: loader.rebuilt,
        created_at,
        checkpoint_number,
        checkpoint_position,
        checkpoint_change,
        closed_at,
        backup: dir.backup_end(),
        unchecked: Vec::new(),
    }))
}

/// The log's files, and what is known of them before the walk.
struct LogFiles<'a> {
    files: &'a [SegmentFile],
    trailers: &'a [Option<Trailer>],
    /// Other threads may do part of the walk.
    threads: bool,
    /// The number of segments, from the first on, that are taken from the checkpoint and not opened yet.
    known: usize,
}

/// The derived files that make the walk shorter.
struct Derived<'a> {
    found: &'a ListedIndexes,
    checkpoint: Option<&'a (Arc<HeadTable>, (Metadata, u64))>,
}

impl LogFiles<'_> {
    /// The segments that a level file over this range has to cover; `None` if they are not all sealed.
    fn covers(&self, (first, last): (u64, u64)) -> Option<Covers> {
        let at = self.files.binary_search_by_key(&first, |file| file.header.number).ok()?;
        Covers::several((first..=last).zip(at..).map(|(number, at)| {
            let file = self.files.get(at).filter(|file| file.header.number == number)?;
            let trailer = self.trailers[at].as_ref()?;
            Some((meta_of(&file.header, trailer), trailer.change_count))
        }))
    }
}

/// Walks the log with checkpoint and level files, and, if one of them turns out to be wrong, without it:
/// a block of the checkpoint may be damaged, or a level file may cover more than the log holds. Only the
/// log is authoritative; damage in it gives the same error in every attempt. Also returns the walk
/// through the active segment and its index among the files; `None` if all attempts failed and unopened
/// segments would have to be opened.
fn read_log<'a>(
    dir: &'a StoreDir,
    mode: Mode,
    log: &LogFiles<'a>,
    derived: &Derived<'a>,
) -> Result<Option<(Loader<'a>, Walk, usize)>> {
    let Derived { checkpoint, found } = *derived;
    let mut levels_fit = true;
    for (with_checkpoint, with_levels) in [(true, true), (false, true), (true, false)] {
        let needs = with_checkpoint && checkpoint.is_none();
        let forbids = !with_checkpoint && log.known > 0;
        if needs || forbids || (with_levels && !levels_fit) {
            continue;
        }
        let checkpoint = checkpoint.filter(|_| with_checkpoint).cloned();
        let mut loader = Loader::new(dir, mode, checkpoint);
        loader.look_for_indexes(log, found, with_levels);
        if with_levels && loader.levels.is_empty() {
            levels_fit = false;
            continue;
        }
        match loader.walk_segments(log) {
            Ok((walk, active)) if loader.levels.are_whole(&loader.parts) => {
                return Ok(Some((loader, walk, active)));
            }
            Ok(_) => levels_fit = false,
            Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if log.known > 0 {
        return Ok(None);
    }
    let mut loader = Loader::new(dir, mode, None);
    let (walk, active) = loader.walk_segments(log)?;
    Ok(Some((loader, walk, active)))
}

/// Whether a checkpoint fits the log up to where it ends: its last frame is there, and all segments
/// before are sealed. If not, the log is walked without it, and the checkpoint still counts as evidence.
fn is_of_log(table: &HeadTable, log: &LogFiles<'_>) -> bool {
    let meta = &table.meta;
    let Ok(at) = log.files.binary_search_by_key(&meta.segment, |file| file.header.number) else {
        return false;
    };
    let (file, before) = (&log.files[at], &log.trailers[..at]);
    if !before.iter().all(Option::is_some) {
        return false;
    }
    if meta.last_frame == 0 {
        let link = before.last().and_then(Option::as_ref).map_or(0, |trailer| trailer.link);
        return meta.offset == DATA_START && meta.link == link;
    }
    last_frame(table, file).is_some_and(|header| {
        header.next_position() == meta.position + 1
            && meta.last_frame + header.frame_len() == meta.offset
    })
}

/// The frame that a checkpoint ends with, if the log holds the same one.
fn last_frame(table: &HeadTable, file: &SegmentFile) -> Option<FrameHeader> {
    let mut bytes = [0; frame::HEADER_LEN];
    read_exact_at(&*file.file, &mut bytes, table.meta.last_frame).ok()?;
    let decoded = FrameHeader::decode(&bytes, file.header.seed(), table.meta.last_frame);
    decoded.ok().filter(|(_, link)| *link == table.meta.link).map(|(header, _)| header)
}

impl<'a> Loader<'a> {
    /// Starts from a checkpoint and its metadata, or from an empty log.
    fn new(
        dir: &'a StoreDir,
        mode: Mode,
        checkpoint: Option<(Arc<HeadTable>, (Metadata, u64))>,
    ) -> Self {
        let (checkpoint, of_metadata) = checkpoint.unzip();
        let (metadata, in_segment) = of_metadata.unwrap_or_default();
        Self {
            dir,
            mode,
            streams: checkpoint.as_ref().map_or(0, |table| table.meta.streams),
            commits: checkpoint.as_ref().map_or(0, |table| table.meta.commits),
            checkpoint,
            changes_at_checkpoint: ChangesAtCheckpoint { last: metadata.last_change(), in_segment },
            metadata,
            indexes: None,
            levels: Levels::default(),
            entered: 0,
            parts: Vec::new(),
            state: ScanState::START,
            last_frame: 0,
            pending: VecDeque::new(),
            unproven: Vec::new(),
            last_kind: None,
            rebuilt: 0,
        }
    }

    /// Records which index files exist. For a segment that the checkpoint covers, the file only has to
    /// exist.
    fn look_for_indexes(
        &mut self,
        log: &LogFiles<'a>,
        found: &'a ListedIndexes,
        with_levels: bool,
    ) {
        let upto = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.meta.segment);
        self.indexes = (upto > 0).then_some(found);
        if !with_levels {
            return;
        }
        let store_id = log.files[0].header.store_id;
        self.levels = Levels::choose(&found.levels, |range| {
            let covers = log.covers(range)?;
            if range.1 >= upto {
                return open_level(self.dir, store_id, covers);
            }
            let path = self.dir.level_path(range.0, range.1);
            let storage = Arc::clone(self.dir.shared_storage());
            Some(Arc::new(SealedIndex::later(storage, path, store_id, covers)))
        });
    }

    /// The index of a sealed segment, from its own file or from a level file.
    fn index_of(&self, segment: &Segment, covered: bool) -> Option<Arc<SealedIndex>> {
        if let Some(level) = self.levels.of(segment.number()) {
            return Some(level);
        }
        match self.indexes {
            Some(found) if covered => found
                .indexes
                .contains(&segment.number())
                .then(|| index_for_later(self.dir, segment))?,
            _ => open_index(self.dir, segment),
        }
    }

    /// Takes the index of a sealed segment, unless it is damaged and part of it is needed now.
    fn take_index(&mut self, segment: &Segment, covered: bool) -> Option<Arc<SealedIndex>> {
        let index = self.index_of(segment, covered)?;
        let number = segment.number();
        if !covered && number > self.entered {
            if self.enter_index(&index).is_err() {
                self.levels.give_up(number);
                return None;
            }
            self.entered = *index.segments().end();
        }
        // Level files are shared by several segments and are few, so they stay mapped.
        if self.dir.storage().mappings().now > MOST_MAPPINGS
            && !index.is_level()
            && let Some(unmapped) = index.unmapped(true)
        {
            return Some(Arc::new(unmapped));
        }
        Some(index)
    }

    /// Counts the streams that begin in an index, and enters the changes that it lists. Changes before a
    /// damaged one are right, and may be entered again.
    fn enter_index(&mut self, index: &SealedIndex) -> Result<(), Defect> {
        let begun = index.streams_begun(self.counted_to())?;
        // Records are found in the index file.
        let metadata = &mut self.metadata;
        let apply = |number, change: Option<Change>| match change {
            Some(change) => metadata.apply(number, &change, 0),
            None => metadata.pass(number),
        };
        index.for_each_change(apply)?;
        self.streams += begun;
        Ok(())
    }

    /// The position up to which the checkpoint counts streams.
    fn counted_to(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |table| table.meta.position)
    }

    /// Indexes in memory the segments whose index files were to be opened later, are needed now, and are
    /// damaged.
    fn settle(&mut self) -> Result<()> {
        settle(&mut self.parts, &mut self.levels, &mut self.rebuilt, &mut self.metadata)
    }
}

/// [`Loader::settle`] for these parts.
fn settle(
    parts: &mut [Part],
    levels: &mut Levels,
    rebuilt: &mut u64,
    metadata: &mut Metadata,
) -> Result<()> {
    for at in 0..parts.len() {
        let (before, rest) = parts.split_at(at);
        let PartIndex::Sealed(index) = &rest[0].index else { continue };
        if index.verify().is_ok() {
            continue;
        }
        let segment = &rest[0].segment;
        let Some(trailer) = &segment.trailer else { continue };
        levels.give_up(segment.number());
        let number = segment.number();
        let InMemory { index, heads, .. } = index_in_memory(segment, before, |_, change, _| {
            if let Change::Record(record) = &change {
                metadata.apply_record(record, number);
            }
        })?;
        let point = SealPoint { link: trailer.link, recorded_at: trailer.last_recorded_at };
        let file = SegmentFile {
            path: segment.path.clone(),
            file: Arc::clone(&segment.file),
            header: segment.header.clone(),
        };
        let (base, end) = (segment.base_position, trailer.seal_offset);
        let unsealed = Arc::new(Segment::new(file, base, None, end)?);
        *rebuilt += 1;
        let (index, heads) = (Arc::new(index), Arc::new(heads));
        let index = PartIndex::Frozen { index, heads, point };
        parts[at] = Part { segment: unsealed, index };
    }
    Ok(())
}

/// The index of the active segment, as a clean close saved it.
fn restore(table: &HeadTable, kept: CheckpointedActive) -> ActiveIndex {
    let meta = &table.meta;
    let mut index = ActiveIndex::restore(meta.base_position, kept);
    index.commits = meta.segment_commits;
    index.first_recorded_at = meta.first_recorded_at;
    index.last_recorded_at = meta.recorded_at;
    index
}
