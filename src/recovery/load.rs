//! Reads the log into a catalog, as far as it is valid.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::derive::{index_in_memory, open_index};
use super::levels::{Levels, list_levels};
use super::{LoadedLog, Mode, Unproven, checkpoints, list_segments};
use crate::catalog::{Part, PartIndex};
use crate::error::{Error, Result};
use crate::follow::read_status;
use crate::format::checkpoint as layout;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, names};
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::heads::{HeadTable, Heads};
use crate::index::metadata::Metadata;
use crate::index::sealed::SealedIndex;
use crate::log::rotation::SealPoint;
use crate::log::scan::{ScanEnd, ScanState, ScannedFrame, Window, for_each_record, scan};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::{OpenMode, Storage, read_exact_at};

struct Loader<'a> {
    storage: &'a dyn Storage,
    root: &'a Path,
    mode: Mode,
    checkpoint: Option<Arc<HeadTable>>,
    levels: Levels,
    /// The last segment whose heads and changes were entered from an index.
    entered: u64,
    parts: Vec<Part>,
    heads: Heads,
    metadata: Metadata,
    state: ScanState,
    last_frame: u64,
    /// Frames not proven durable yet: segment, offset, the durable position that would prove it.
    pending: VecDeque<(u64, u64, u64)>,
    unproven: Vec<Unproven>,
    last_kind: Option<FrameKind>,
    commits: u64,
    rebuilt: u64,
}

/// A walk through one segment that is not sealed.
struct Walk {
    index: ActiveIndex,
    end: ScanEnd,
}

pub(super) fn load(storage: &dyn Storage, root: &Path, mode: Mode) -> Result<LoadedLog> {
    let numbers = list_segments(storage, root)?;
    let files = open_segments(storage, root, &numbers, mode)?;
    load_files(storage, root, mode, files)
}

/// Likewise, from these segments: the first ones, without a gap.
pub(super) fn load_files(
    storage: &dyn Storage,
    root: &Path,
    mode: Mode,
    files: Vec<SegmentFile>,
) -> Result<LoadedLog> {
    if mode != Mode::Write {
        return load_beside(storage, root, mode, files);
    }
    load_once(storage, root, mode, files)
}

/// Likewise, where a writer may be merging index files: one that is gone may have become part of a
/// level file since those were listed.
fn load_beside(
    storage: &dyn Storage,
    root: &Path,
    mode: Mode,
    files: Vec<SegmentFile>,
) -> Result<LoadedLog> {
    for _ in 0..3 {
        let listed = list_levels(storage, root)?;
        let log = load_once(storage, root, mode, files.clone())?;
        if log.rebuilt == 0 || listed == list_levels(storage, root)? {
            return Ok(log);
        }
    }
    load_once(storage, root, mode, files)
}

fn load_once(
    storage: &dyn Storage,
    root: &Path,
    mode: Mode,
    files: Vec<SegmentFile>,
) -> Result<LoadedLog> {
    let levels = Levels::open(storage, root, &files)?;
    if !levels.is_empty() {
        // Where the log is not what they say, or they are damaged, it is read without them.
        let log = load_with(storage, root, mode, files.clone(), levels);
        if let Ok(Some(log)) = log {
            return Ok(log);
        }
    }
    let log = load_with(storage, root, mode, files, Levels::default())?;
    log.ok_or_else(|| Error::NotAStore { path: root.into(), why: "there is no segment".into() })
}

/// Likewise, with these level files; `None` if they know of more than the log has.
fn load_with(
    storage: &dyn Storage,
    root: &Path,
    mode: Mode,
    mut files: Vec<SegmentFile>,
    levels: Levels,
) -> Result<Option<LoadedLog>> {
    let first = files
        .first()
        .ok_or_else(|| Error::NotAStore { path: root.into(), why: "there is no segment".into() })?;
    let (store_id, created_at) = (first.header.store_id, first.header.created_at);
    let newest = checkpoints::newest(storage, root, store_id)?;
    let checkpoint_number = newest.as_ref().map_or(0, |(number, _)| *number);
    let checkpoint_position = newest.as_ref().map_or(0, |(_, table)| table.meta.position);
    let metadata_at_checkpoint =
        newest.as_ref().and_then(|(_, table)| Some(table.metadata().ok()?.0)).unwrap_or_default();
    let checkpoint_change = metadata_at_checkpoint.last_change();
    let usable = newest
        .map(|(_, table)| table)
        .filter(|table| is_of_log(table, &files) && table.metadata().is_ok());
    let mut loader = Loader {
        storage,
        root,
        mode,
        heads: Heads::with_base(usable.clone()),
        metadata: if usable.is_some() { metadata_at_checkpoint } else { Metadata::default() },
        commits: usable.as_ref().map_or(0, |table| table.meta.commits),
        checkpoint: usable,
        levels,
        entered: 0,
        parts: Vec::new(),
        state: ScanState::START,
        last_frame: 0,
        pending: VecDeque::new(),
        unproven: Vec::new(),
        last_kind: None,
        rebuilt: 0,
    };
    let (walk, active_index) = loader.walk_segments(&files)?;
    if !loader.levels.are_whole(&loader.parts) {
        return Ok(None);
    }
    let closed = loader.last_kind == Some(FrameKind::Close)
        && loader.state.proven + 1 == loader.state.next_position
        && matches!(walk.end, ScanEnd::Invalid(Defect::Zero) | ScanEnd::EndOfFile);
    let trusted = read_status(storage, root).is_some_and(|status| {
        status.clean
            && status.link == loader.state.link
            && status.visible.checked_add(1) == Some(loader.state.next_position)
    });
    let empty = loader.state.next_position == 1 && loader.state.offset == DATA_START;
    let verified_to = loader.verified_to(&files[active_index]);
    let files = files.split_off(active_index);
    loader.collect_unproven(&files[0]);
    let end = match &walk.end {
        ScanEnd::Invalid(defect) => defect.to_string(),
        ScanEnd::EndOfFile | ScanEnd::Limit => "the file ends".into(),
        ScanEnd::Sealed => "the segment is sealed, the next one is missing".into(),
    };
    Ok(Some(LoadedLog {
        files,
        parts: loader.parts,
        heads: loader.heads,
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
    }))
}

/// Opens all segments, for writing if that is the mode: sealed ones may have to be sealed again.
fn open_segments(
    storage: &dyn Storage,
    root: &Path,
    numbers: &[u64],
    mode: Mode,
) -> Result<Vec<SegmentFile>> {
    let open_mode = if mode == Mode::Write { OpenMode::ReadWrite } else { OpenMode::Read };
    let mut files: Vec<SegmentFile> = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let file = SegmentFile::open(storage, root, number, open_mode, 0)?;
        if mode == Mode::Write && file.header.ro_features != 0 {
            let bits = file.header.ro_features;
            let what = format!("unknown features {bits:#x} permit reading only");
            return Err(Error::Unsupported { path: file.path, what });
        }
        if let Some(first) = files.first()
            && first.header.store_id != file.header.store_id
        {
            return Err(Error::Corrupt {
                file: file.path,
                offset: 32,
                expected_position: 0.into(),
                what: "the segment belongs to another store".into(),
                evidence: None,
            });
        }
        files.push(file);
    }
    Ok(files)
}

/// Whether a checkpoint can stand for the log up to where it ends: the frame it ends with is
/// there, and all segments before are sealed. If not, the log is walked without it, and it still
/// counts as evidence.
fn is_of_log(table: &HeadTable, files: &[SegmentFile]) -> bool {
    let meta = &table.meta;
    let Some(file) = files.iter().find(|file| file.header.number == meta.segment) else {
        return false;
    };
    let before = files.iter().filter(|file| file.header.number < meta.segment);
    if !before.map(SegmentFile::trailer).all(|trailer| matches!(trailer, Ok(Some(_)))) {
        return false;
    }
    if meta.last_frame == 0 {
        let before = files.iter().find(|file| file.header.number + 1 == meta.segment);
        let link = before.and_then(|file| file.trailer().ok().flatten()).map_or(0, |t| t.link);
        return meta.offset == DATA_START && meta.link == link;
    }
    last_frame(table, file).is_some_and(|header| {
        header.next_position() == meta.position + 1
            && meta.last_frame + header.frame_len() == meta.offset
    })
}

/// The frame that a checkpoint ends with, if it is the one the checkpoint means.
fn last_frame(table: &HeadTable, file: &SegmentFile) -> Option<FrameHeader> {
    let mut bytes = [0; frame::HEADER_LEN];
    read_exact_at(&*file.file, &mut bytes, table.meta.last_frame).ok()?;
    let decoded = FrameHeader::decode(&bytes, file.header.seed(), table.meta.last_frame);
    decoded.ok().filter(|(_, link)| *link == table.meta.link).map(|(header, _)| header)
}

impl Loader<'_> {
    /// Walks on from segment to segment, for as long as each follows from the one before. Returns
    /// the walk through the active one and its index among `files`.
    fn walk_segments(&mut self, files: &[SegmentFile]) -> Result<(Walk, usize)> {
        let mut open: Option<(Walk, usize)> = None;
        for (i, file) in files.iter().enumerate() {
            let follows = i == 0 || self.follows(file)?;
            if !follows && open.is_some() {
                break;
            }
            if let Some((walk, before)) = open.take() {
                self.freeze(&files[before], walk.index)?;
            }
            match file.trailer()? {
                Some(trailer) if follows && trailer.base_position == self.state.next_position => {
                    self.take_sealed(file, trailer)?;
                }
                _ => open = Some((self.walk(file)?, i)),
            }
        }
        open.ok_or_else(|| {
            let last = files.last().map_or(0, |file| file.header.number);
            Error::Corrupt {
                file: names::segment_path(self.root, last + 1),
                offset: 0,
                expected_position: self.state.next_position.into(),
                what: "the segment is missing".into(),
                evidence: Some(format!("segment {last} is sealed")),
            }
        })
    }

    /// Whether the segment's first frame is the one that follows.
    fn follows(&self, file: &SegmentFile) -> Result<bool> {
        let mut bytes = [0; frame::HEADER_LEN];
        if file.len()? < DATA_START + frame::HEADER_LEN as u64 {
            return Ok(false);
        }
        read_exact_at(&*file.file, &mut bytes, DATA_START)
            .map_err(|e| Error::io("read", &file.path, e))?;
        let first = FrameHeader::decode(&bytes, file.header.seed(), DATA_START);
        Ok(first.is_ok_and(|(header, _)| {
            header.link == self.state.link && header.first_position == self.state.next_position
        }))
    }

    /// Takes a sealed segment. The index file is written once the seal is durable, so without one
    /// the seal proves nothing: the segment is indexed in memory, and sealed again later.
    fn take_sealed(&mut self, file: &SegmentFile, trailer: Trailer) -> Result<()> {
        let number = file.header.number;
        let last_position = trailer.base_position + u64::from(trailer.event_count) - 1;
        self.state = ScanState {
            offset: trailer.seal_offset,
            link: trailer.link,
            next_position: last_position + 1,
            recorded_at: trailer.last_recorded_at.max(self.state.recorded_at),
            proven: last_position,
            next_change: self.state.next_change + u64::from(trailer.change_count),
        };
        self.pending.clear();
        let (base, commits) = (trailer.base_position, u64::from(trailer.commit_count));
        let end = trailer.seal_offset;
        let segment = Arc::new(Segment::new(file.clone(), base, Some(trailer), end)?);
        let covered = self.checkpoint.as_ref().is_some_and(|c| c.meta.segment > number);
        if !covered {
            // The checkpoint may cover the beginning of this segment.
            let before = self.checkpoint.as_ref().filter(|c| c.meta.segment == number);
            self.commits += commits - before.map_or(0, |c| c.meta.segment_commits.min(commits));
        }
        let corrupt = |d: Defect| segment.corrupt(0, base, &d);
        let shared = self.levels.of(number);
        if let Some(index) = shared.or_else(|| open_index(self.storage, self.root, &segment)) {
            if !covered && number > self.entered {
                self.entered = *index.segments().end();
                merge_heads(&mut self.heads, &index).map_err(corrupt)?;
                let apply = |number, change| self.metadata.apply(number, &change);
                index.for_each_change(apply).map_err(corrupt)?;
            }
            self.parts.push(Part { segment, index: PartIndex::Sealed(index) });
            return Ok(());
        }
        self.rebuilt += 1;
        let metadata = &mut self.metadata;
        let index = index_in_memory(&segment, &self.parts, |number, change| {
            metadata.apply(number, &change);
        })?;
        let unsealed = Arc::new(Segment::new(file.clone(), base, None, end)?);
        if !covered {
            self.merge_from_log(&unsealed, &index)?;
        }
        let point = SealPoint { link: self.state.link, recorded_at: self.state.recorded_at };
        let index = PartIndex::Frozen { index: Arc::new(index), point };
        self.parts.push(Part { segment: unsealed, index });
        Ok(())
    }

    /// Enters the streams of a segment that is indexed in memory into the heads.
    fn merge_from_log(&mut self, segment: &Arc<Segment>, index: &ActiveIndex) -> Result<()> {
        for ordinal in 0..index.len() {
            let position = segment.base_position + ordinal as u64;
            let offset = u64::from(index.offset(ordinal).unwrap_or(0));
            let (bytes, layout) = segment.record(offset, position, true)?;
            let record = bytes.record(layout);
            let head = Head { version: record.version(), last_position: position };
            let corrupt = |d: Defect| segment.corrupt(offset, position, &d);
            let slot = self.heads.find(record.stream()).map_err(corrupt)?;
            if slot.head().version < head.version {
                self.heads.set(slot, record.stream(), slot.head().version, head);
            }
        }
        Ok(())
    }

    /// Walks through a segment that is not sealed, from where the checkpoint ends if it ends here.
    fn walk(&mut self, file: &SegmentFile) -> Result<Walk> {
        self.state.offset = DATA_START;
        self.last_frame = 0;
        let mut index = ActiveIndex::new(self.state.next_position);
        let checkpoint = self.checkpoint.clone();
        if let Some(table) = checkpoint.filter(|c| c.meta.segment == file.header.number)
            && let Some((restored, restored_change)) = restore(&table)
        {
            index = restored;
            let meta = &table.meta;
            self.state = ScanState {
                offset: meta.offset,
                link: meta.link,
                next_position: meta.position + 1,
                recorded_at: meta.recorded_at,
                proven: meta.position,
                next_change: restored_change + 1,
            };
            self.last_frame = meta.last_frame;
            self.last_kind = last_frame(&table, file).map(|header| header.kind);
        }
        let len = file.len()?;
        let mut window = Window::new(Arc::clone(&file.file), len);
        let (heads, pending, commits) = (&mut self.heads, &mut self.pending, &mut self.commits);
        let metadata = &mut self.metadata;
        let (last_frame, last_kind) = (&mut self.last_frame, &mut self.last_kind);
        let number = file.header.number;
        let visit = |frame: &ScannedFrame<'_>| {
            *commits += u64::from(frame.header.kind == FrameKind::Commit);
            load_frame(heads, metadata, &mut index, frame).map_err(|defect| Error::Corrupt {
                file: file.path.clone(),
                offset: frame.offset,
                expected_position: frame.header.first_position.into(),
                what: defect.to_string(),
                evidence: None,
            })?;
            *last_frame = frame.offset;
            *last_kind = Some(frame.header.kind);
            // A frame without events is proven by what is durable behind it: the durable position it
            // carries was reached without it.
            let proven_by =
                frame.header.first_position + u64::from(frame.header.event_count.max(1)) - 1;
            pending.push_back((number, frame.offset, proven_by));
            while pending.front().is_some_and(|p| p.2 <= frame.header.durable_position) {
                pending.pop_front();
            }
            Ok(())
        };
        let limit = self.mode.limit();
        let seed = file.header.seed();
        let end = scan(&mut window, seed, &mut self.state, limit, &file.path, visit)?;
        Ok(Walk { index, end })
    }

    /// Takes a segment that is full but was not sealed, or whose seal is damaged. It is sealed
    /// later: recovery changes nothing before it has looked at everything.
    fn freeze(&mut self, file: &SegmentFile, index: ActiveIndex) -> Result<()> {
        let end = self.state.offset;
        let segment = Segment::new(file.clone(), index.base_position(), None, end)?;
        let point = SealPoint { link: self.state.link, recorded_at: self.state.recorded_at };
        if let Some(from) = self.pending.iter().find(|p| p.0 == file.header.number).map(|p| p.1) {
            let (path, file) = (file.path.clone(), Arc::clone(&file.file));
            self.unproven.push(Unproven { path, file, from, to: end });
        }
        self.rebuilt += 1;
        let index = PartIndex::Frozen { index: Arc::new(index), point };
        self.parts.push(Part { segment: Arc::new(segment), index });
        Ok(())
    }

    fn verified_to(&self, file: &SegmentFile) -> u64 {
        let restored = self.checkpoint.as_ref().filter(|c| c.meta.segment == file.header.number);
        // What a checkpoint covers was not walked.
        if restored.is_some_and(|c| c.meta.offset > DATA_START) {
            DATA_START
        } else {
            self.state.offset
        }
    }

    fn collect_unproven(&mut self, active: &SegmentFile) {
        let number = active.header.number;
        if let Some(&(_, from, _)) = self.pending.iter().find(|p| p.0 == number) {
            self.unproven.push(Unproven {
                path: active.path.clone(),
                file: Arc::clone(&active.file),
                from,
                to: self.state.offset,
            });
        }
    }
}

/// The index of the active segment, if a clean close left one that describes what it covers, and
/// the last change that it covers.
fn restore(table: &HeadTable) -> Option<(ActiveIndex, u64)> {
    let (file, meta) = (table.file(), &table.meta);
    let events = usize::try_from(meta.position + 1 - meta.base_position).ok()?;
    let bytes = |kind, size: usize| {
        let section = file.section(kind);
        let len = events.checked_mul(size)?;
        (section.len == len as u64).then(|| file.get(section, 0, len).ok()).flatten()
    };
    let offsets = bytes(layout::OFFSETS, 4)?.chunks_exact(4).map(LE::read_u32).collect();
    let previous = bytes(layout::PREVIOUS, 8)?.chunks_exact(8).map(LE::read_u64).collect();
    let ids = bytes(layout::IDS, 16)?.as_chunks::<16>().0.to_vec();
    let mut index = ActiveIndex::restore(meta.base_position, offsets, previous, ids);
    index.commits = meta.segment_commits;
    index.first_recorded_at = meta.first_recorded_at;
    index.last_recorded_at = meta.recorded_at;
    let (metadata, changes) = table.metadata().ok()?;
    index.changes = changes;
    Some((index, metadata.last_change()))
}

fn merge_heads(heads: &mut Heads, index: &SealedIndex) -> Result<(), Defect> {
    let mut failure = None;
    index.for_each_head(|name, head| match heads.get(name) {
        Ok(before) if before.version < head.version => {
            failure = failure.take().or(heads.put(name, head).err());
        }
        Ok(_) => {}
        Err(defect) => failure = Some(defect),
    })?;
    failure.map_or(Ok(()), Err)
}

/// Adds a proven frame's events to heads and index, and its changes to the metadata.
pub(crate) fn load_frame(
    heads: &mut Heads,
    metadata: &mut Metadata,
    index: &mut ActiveIndex,
    frame: &ScannedFrame<'_>,
) -> Result<(), Defect> {
    if frame.header.kind == FrameKind::Commit {
        index.note_commit(frame.header.recorded_at);
    }
    let changes = frame.for_each_change(|number, change| metadata.apply(number, &change))?;
    index.changes += u64::from(changes);
    let mut failure = None;
    for_each_record(frame, |offset, position, record| {
        let stream = record.stream();
        match heads.find(stream) {
            Ok(slot) if slot.head().version + 1 == record.version() => {
                let before = slot.head();
                let head = Head { version: record.version(), last_position: position };
                heads.set(slot, stream, before.version, head);
                // A segment is smaller than 4 GiB.
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                index.push(offset, before.last_position, record.id());
            }
            Ok(_) => failure = Some(Defect::Invalid("a version is not the next of its stream")),
            Err(defect) => failure = Some(defect),
        }
    })?;
    failure.map_or(Ok(()), Err)
}
