//! Reads the log into a catalog, as far as it is valid.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{LoadedLog, Mode, Unproven, checkpoints, list_segments};
use crate::catalog::{Part, PartIndex, part_of};
use crate::error::{Error, Result};
use crate::format::checkpoint as layout;
use crate::format::container::INDEX_MAGIC;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::index_file::IndexMeta;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, names};
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::block_file::BlockFile;
use crate::index::build::IndexBuilder;
use crate::index::heads::{HeadTable, Heads};
use crate::index::sealed::SealedIndex;
use crate::log::rotation::{SealPoint, seal_segment, write_derived};
use crate::log::scan::{ScanEnd, ScanState, ScannedFrame, Window, for_each_record, scan};
use crate::log::segment::{Segment, SegmentFile};
use crate::storage::{OpenMode, Storage, read_exact_at};

struct Loader<'a> {
    storage: &'a dyn Storage,
    root: &'a Path,
    mode: Mode,
    checkpoint: Option<Arc<HeadTable>>,
    parts: Vec<Part>,
    heads: Heads,
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
    let mut files = open_segments(storage, root, &numbers, mode)?;
    let first = files
        .first()
        .ok_or_else(|| Error::NotAStore { path: root.into(), why: "there is no segment".into() })?;
    let (store_id, created_at) = (first.header.store_id, first.header.created_at);
    let newest = checkpoints::newest(storage, root, store_id)?;
    let checkpoint_number = newest.as_ref().map_or(0, |(number, _)| *number);
    let checkpoint_position = newest.as_ref().map_or(0, |(_, table)| table.meta.position);
    let usable = newest.map(|(_, table)| table).filter(|table| is_of_log(table, &files));
    let mut loader = Loader {
        storage,
        root,
        mode,
        heads: Heads::with_base(usable.clone()),
        commits: usable.as_ref().map_or(0, |table| table.meta.commits),
        checkpoint: usable,
        parts: Vec::new(),
        state: ScanState {
            offset: DATA_START,
            link: 0,
            next_position: 1,
            recorded_at: 0,
            proven: 0,
        },
        last_frame: 0,
        pending: VecDeque::new(),
        unproven: Vec::new(),
        last_kind: None,
        rebuilt: 0,
    };
    let (walk, active_index) = loader.walk_segments(&files)?;
    let clean = loader.last_kind == Some(FrameKind::Close)
        && loader.state.proven + 1 == loader.state.next_position
        && walk.end == ScanEnd::Invalid(Defect::Zero);
    let empty = loader.state.next_position == 1 && loader.state.offset == DATA_START;
    let verified_to = loader.verified_to(&files[active_index]);
    let files = files.split_off(active_index);
    loader.collect_unproven(&files[0]);
    let end = match &walk.end {
        ScanEnd::Invalid(defect) => defect.to_string(),
        ScanEnd::EndOfFile | ScanEnd::Limit => "the file ends".into(),
        ScanEnd::Sealed => "the segment is sealed, the next one is missing".into(),
    };
    Ok(LoadedLog {
        files,
        parts: loader.parts,
        heads: loader.heads,
        index: walk.index,
        state: loader.state,
        last_frame: loader.last_frame,
        end,
        clean,
        empty,
        unproven: loader.unproven,
        verified_to,
        commits: loader.commits,
        rebuilt: loader.rebuilt,
        created_at,
        checkpoint_number,
        checkpoint_position,
    })
}

/// Opens all segments; those that are not sealed for writing, if that is the mode.
fn open_segments(
    storage: &dyn Storage,
    root: &Path,
    numbers: &[u64],
    mode: Mode,
) -> Result<Vec<SegmentFile>> {
    let mut files: Vec<SegmentFile> = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let mut file = SegmentFile::open(storage, root, number, OpenMode::Read, 0)?;
        if mode == Mode::Write && file.trailer()?.is_none() {
            file = SegmentFile::open(storage, root, number, OpenMode::ReadWrite, 0)?;
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
        return meta.offset == DATA_START;
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

    fn take_sealed(
        &mut self,
        file: &SegmentFile,
        trailer: crate::format::seal::Trailer,
    ) -> Result<()> {
        let covered = self.checkpoint.as_ref().is_some_and(|c| c.meta.segment > file.header.number);
        let last_position = trailer.base_position + u64::from(trailer.event_count) - 1;
        self.state = ScanState {
            offset: trailer.seal_offset,
            link: trailer.link,
            next_position: last_position + 1,
            recorded_at: trailer.last_recorded_at.max(self.state.recorded_at),
            proven: last_position,
        };
        self.pending.clear();
        let commits = u64::from(trailer.commit_count);
        let end = trailer.seal_offset;
        let segment =
            Arc::new(Segment::new(file.clone(), trailer.base_position, Some(trailer), end)?);
        let index = match open_index(self.storage, self.root, &segment) {
            Some(index) => index,
            None => {
                self.rebuilt += 1;
                rebuild_index(self.storage, self.root, &segment, &self.parts, self.mode)?
            }
        };
        if !covered {
            // The checkpoint may cover the beginning of this segment.
            let before = self.checkpoint.as_ref().filter(|c| c.meta.segment == file.header.number);
            self.commits += commits - before.map_or(0, |c| c.meta.segment_commits.min(commits));
            merge_heads(&mut self.heads, &index).map_err(|d| segment.corrupt(0, 0, &d))?;
        }
        self.parts.push(Part { segment, index: PartIndex::Sealed(index) });
        Ok(())
    }

    /// Walks through a segment that is not sealed, from where the checkpoint ends if it ends here.
    fn walk(&mut self, file: &SegmentFile) -> Result<Walk> {
        self.state.offset = DATA_START;
        self.last_frame = 0;
        let mut index = ActiveIndex::new(self.state.next_position);
        let checkpoint = self.checkpoint.clone();
        if let Some(table) = checkpoint.filter(|c| c.meta.segment == file.header.number)
            && let Some(restored) = restore(&table)
        {
            index = restored;
            let meta = &table.meta;
            self.state = ScanState {
                offset: meta.offset,
                link: meta.link,
                next_position: meta.position + 1,
                recorded_at: meta.recorded_at,
                proven: meta.position,
            };
            self.last_frame = meta.last_frame;
            self.last_kind = last_frame(&table, file).map(|header| header.kind);
        }
        let len = file.len()?;
        let mut window = Window::new(Arc::clone(&file.file), len);
        let (heads, pending, commits) = (&mut self.heads, &mut self.pending, &mut self.commits);
        let (last_frame, last_kind) = (&mut self.last_frame, &mut self.last_kind);
        let number = file.header.number;
        let visit = |frame: &ScannedFrame<'_>| {
            *commits += u64::from(frame.header.kind == FrameKind::Commit);
            load_frame(heads, &mut index, frame).map_err(|defect| Error::Corrupt {
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

    /// Takes a segment that is full but was not sealed, or whose seal is damaged. It is sealed at
    /// once if all of it is proven durable; else later, once it is.
    fn freeze(&mut self, file: &SegmentFile, index: ActiveIndex) -> Result<()> {
        let end = self.state.offset;
        let base = index.base_position();
        let segment = Segment::new(file.clone(), base, None, end)?;
        let point = SealPoint { link: self.state.link, recorded_at: self.state.recorded_at };
        let unproven = self.pending.iter().find(|p| p.0 == file.header.number).map(|p| p.1);
        if self.mode == Mode::Write && unproven.is_none() {
            self.rebuilt += 1;
            let sealed = Arc::new(seal_segment(&segment, &index, point)?);
            let index = build_index(self.storage, self.root, &sealed, &index, self.mode)?;
            self.parts.push(Part { segment: sealed, index: PartIndex::Sealed(index) });
            return Ok(());
        }
        if let Some(from) = unproven {
            let (path, file) = (file.path.clone(), Arc::clone(&file.file));
            self.unproven.push(Unproven { path, file, from, to: end });
        }
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

/// The index of the active segment, if a clean close left one that describes what it covers.
fn restore(table: &HeadTable) -> Option<ActiveIndex> {
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
    Some(index)
}

/// Opens the index file of a sealed segment; `None` if it is missing, damaged or of another one.
pub(crate) fn open_index(
    storage: &dyn Storage,
    root: &Path,
    segment: &Segment,
) -> Option<Arc<SealedIndex>> {
    let file = storage.open(&names::index_path(root, segment.number()), OpenMode::Read).ok()?;
    let file = BlockFile::open(file, INDEX_MAGIC).ok()?;
    let meta = index_meta(segment)?;
    SealedIndex::new(file, segment.header.store_id, &meta).ok().flatten().map(Arc::new)
}

fn index_meta(segment: &Segment) -> Option<IndexMeta> {
    let trailer = segment.trailer.as_ref()?;
    Some(IndexMeta {
        segment: segment.number(),
        salt: segment.header.salt,
        base_position: trailer.base_position,
        seal_offset: trailer.seal_offset,
        event_count: trailer.event_count,
        link: trailer.link,
    })
}

/// Builds the index of a segment that was just sealed, whose index is still in memory.
pub(crate) fn build_index(
    storage: &dyn Storage,
    root: &Path,
    segment: &Segment,
    active: &ActiveIndex,
    mode: Mode,
) -> Result<Arc<SealedIndex>> {
    index_from_log(storage, root, segment, mode, |_, _, ordinal| {
        Ok(active.previous(ordinal as usize))
    })
}

/// Builds the index of a sealed segment whose index file is missing or damaged. `before` are the
/// parts before the segment.
pub(crate) fn rebuild_index(
    storage: &dyn Storage,
    root: &Path,
    segment: &Segment,
    before: &[Part],
    mode: Mode,
) -> Result<Arc<SealedIndex>> {
    index_from_log(storage, root, segment, mode, |name, version, _| {
        previous_position(before, name, version)
    })
}

/// Reads and proves a sealed segment, and writes its index file when writing is allowed.
fn index_from_log(
    storage: &dyn Storage,
    root: &Path,
    segment: &Segment,
    mode: Mode,
    previous: impl FnMut(&str, u64, u32) -> Result<u64>,
) -> Result<Arc<SealedIndex>> {
    let unsealed = || segment.corrupt(0, segment.base_position, &Defect::Invalid("not sealed"));
    let meta = index_meta(segment).ok_or_else(unsealed)?;
    let mut first = [0; frame::HEADER_LEN];
    segment.read(&mut first, DATA_START)?;
    let link = FrameHeader::decode(&first, segment.seed, DATA_START).map_or(0, |(h, _)| h.link);
    let mut state = ScanState {
        offset: DATA_START,
        link,
        next_position: segment.base_position,
        recorded_at: 0,
        proven: 0,
    };
    let mut builder = IndexBuilder::new();
    let mut window = Window::new(Arc::clone(&segment.file), meta.seal_offset);
    let end = scan(&mut window, segment.seed, &mut state, u64::MAX, &segment.path, |frame| {
        for_each_record(frame, |_, _, record| builder.add(record))
            .map_err(|d| segment.corrupt(frame.offset, frame.header.first_position, &d))
    })?;
    if state.offset != meta.seal_offset || state.link != meta.link {
        let defect = match end {
            ScanEnd::Invalid(defect) => defect,
            _ => Defect::Invalid("the frames contradict the seal"),
        };
        return Err(segment.corrupt(state.offset, state.next_position, &defect));
    }
    let bytes = builder.finish(segment.header.store_id, &meta, previous)?;
    if mode == Mode::Write {
        write_derived(storage, &names::index_path(root, segment.number()), &bytes)?;
    }
    let file = BlockFile::from_bytes(bytes, INDEX_MAGIC);
    let index = file.and_then(|file| SealedIndex::new(file, segment.header.store_id, &meta));
    match index {
        Ok(Some(index)) => Ok(Arc::new(index)),
        Ok(None) => Err(unsealed()),
        Err(defect) => Err(segment.corrupt(0, segment.base_position, &defect)),
    }
}

/// The position of the stream's event before its `version`, looked up in the parts before.
pub(crate) fn previous_position(before: &[Part], stream: &str, version: u64) -> Result<u64> {
    if version <= 1 {
        return Ok(0);
    }
    for part in before.iter().rev() {
        let base = part.segment.base_position;
        match &part.index {
            PartIndex::Sealed(index) => {
                let run = index.stream(stream).map_err(|d| part.segment.corrupt(0, base, &d))?;
                if let Some(last) = run.and_then(|run| run.ordinals.last().copied()) {
                    return Ok(base + u64::from(last));
                }
            }
            PartIndex::Frozen { index, .. } => {
                for ordinal in (0..index.len()).rev() {
                    let position = base + ordinal as u64;
                    let offset = u64::from(index.offset(ordinal).unwrap_or(0));
                    let (bytes, layout) = part.segment.record(offset, position, true)?;
                    if bytes.record(layout).stream() == stream {
                        return Ok(position);
                    }
                }
            }
        }
    }
    // The caller's segment begins with a version above 1, so one of the parts must have had it.
    let file = part_of(before, u64::MAX).map(|part| part.segment.path.clone()).unwrap_or_default();
    Err(Error::Corrupt {
        file,
        offset: 0,
        expected_position: 0.into(),
        what: format!("stream {stream:?} has no version {}", version - 1),
        evidence: None,
    })
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

/// Adds a proven frame's events to heads and index.
pub(crate) fn load_frame(
    heads: &mut Heads,
    index: &mut ActiveIndex,
    frame: &ScannedFrame<'_>,
) -> Result<(), Defect> {
    if frame.header.kind == FrameKind::Commit {
        index.note_commit(frame.header.recorded_at);
    }
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
