//! The index of a sealed segment, read from its file or built from the log.

use std::sync::Arc;

use super::Output;
use crate::catalog::{Part, head_in, part_of};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::container::INDEX_MAGIC;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::index_file::IndexMeta;
use crate::format::metadata::{Change, ChangeNumber};
use crate::format::record::RecordRef;
use crate::format::seal::Trailer;
use crate::format::segment_header::{DATA_START, SegmentHeader};
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::block_file::{BlockFile, Reads};
use crate::index::build::{IndexBuilder, PreviousEvent};
use crate::index::covers::Covers;
use crate::index::heads::Heads;
use crate::index::jumps::Steps;
use crate::index::sealed::SealedIndex;
use crate::log::rotation::write_derived;
use crate::log::scan::{ScanEnd, ScanState, ScannedFrame, Window, for_each_record, scan};
use crate::log::segment::{LogPlace, Segment};
use crate::storage::{OpenMode, is_in_use};

/// Opens the index file of a sealed segment; `None` if it is missing, damaged or of another one.
pub(crate) fn open_index(dir: &StoreDir, segment: &Segment) -> Option<Arc<SealedIndex>> {
    let file = dir.storage().open(&dir.index_path(segment.number()), OpenMode::Read).ok()?;
    let file = BlockFile::open(file, INDEX_MAGIC).ok()?;
    let meta = index_meta(segment)?;
    let index = SealedIndex::new(file, segment.header.store_id, &meta).ok().flatten()?;
    let changes = segment.trailer.as_ref().map_or(0, |trailer| trailer.change_count);
    (index.for_each_change(|_, _| {}) == Ok(u64::from(changes))).then(|| Arc::new(index))
}

/// The index file of a sealed segment, opened when it is first needed. It exists; damage in it is found
/// at that time.
pub(crate) fn index_for_later(dir: &StoreDir, segment: &Segment) -> Option<Arc<SealedIndex>> {
    let path = dir.index_path(segment.number());
    let changes = segment.trailer.as_ref().map_or(0, |trailer| trailer.change_count);
    let covers = Covers::one(index_meta(segment)?, changes);
    let id = segment.header.store_id;
    Some(Arc::new(SealedIndex::later(Arc::clone(dir.shared_storage()), path, id, covers)))
}

pub(crate) fn index_meta(segment: &Segment) -> Option<IndexMeta> {
    Some(meta_of(&segment.header, segment.trailer.as_ref()?))
}

pub(crate) fn meta_of(header: &SegmentHeader, trailer: &Trailer) -> IndexMeta {
    IndexMeta {
        segment: header.number,
        salt: header.salt,
        base_position: trailer.base_position,
        seal_offset: trailer.seal_offset,
        event_count: trailer.event_count,
        link: trailer.link,
    }
}

/// Builds the index of a segment that was just sealed, whose index is still in memory.
pub(crate) fn build_index(
    dir: &StoreDir,
    segment: &Segment,
    active: &ActiveIndex,
    output: Output,
) -> Result<Arc<SealedIndex>> {
    let corrupt = |d| segment.corrupt(0, segment.base_position, &d);
    // The stream of each event is kept from its append, which saves looking up its name.
    let before = |ordinal| {
        let previous = active.previous(ordinal as usize).map_err(corrupt)?;
        let inside = previous.checked_sub(segment.base_position);
        Ok(match inside.and_then(|before| u32::try_from(before).ok()) {
            Some(before) if before < ordinal => PreviousEvent::At(before),
            Some(_) => PreviousEvent::Unknown,
            None => PreviousEvent::Outside,
        })
    };
    index_from_log(dir, segment, output, before, |_, _, ordinal| {
        active.previous(ordinal as usize).map_err(corrupt)
    })
}

/// Builds the index of a sealed segment whose index file is missing or damaged. `before` are the
/// parts before the segment.
pub(crate) fn rebuild_index(
    dir: &StoreDir,
    segment: &Segment,
    before: &[Part],
    output: Output,
) -> Result<Arc<SealedIndex>> {
    let unknown = |_| Ok(PreviousEvent::Unknown);
    index_from_log(dir, segment, output, unknown, |name, version, _| {
        previous_position(before, name, version)
    })
}

/// Reads and proves a sealed segment, and writes its index file when writing is allowed.
fn index_from_log(
    dir: &StoreDir,
    segment: &Segment,
    output: Output,
    before: impl Fn(u32) -> Result<PreviousEvent>,
    previous: impl FnMut(&str, u64, u32) -> Result<u64>,
) -> Result<Arc<SealedIndex>> {
    let unsealed = || segment.corrupt(0, segment.base_position, &Defect::Invalid("not sealed"));
    let meta = index_meta(segment).ok_or_else(unsealed)?;
    let mut builder = IndexBuilder::new();
    walk_sealed(segment, |frame| {
        let mut failed = None;
        let add = |LogPlace { position, .. }, record: &RecordRef<'_>| {
            let ordinal = position - segment.base_position;
            match before(u32::try_from(ordinal).unwrap_or(u32::MAX)) {
                Ok(before) => builder.add(record, before),
                Err(error) => failed = failed.take().or(Some(error)),
            }
        };
        for_each_record(frame, add)
            .and_then(|()| {
                frame.for_each_change(|number, change| {
                    builder.add_change(number, &change, segment.number());
                })
            })
            .map_err(|d| segment.corrupt(frame.offset, frame.header.first_position, &d))?;
        failed.map_or(Ok(()), Err)
    })?;
    let bytes = builder.finish(segment.header.store_id, &meta, previous)?;
    let file = if output == Output::Disk {
        let path = dir.index_path(segment.number());
        match write_derived(dir.storage(), &path, &bytes) {
            // Mapped, so that nothing of it stays in memory for as long as the store is open.
            Ok(file) => BlockFile::open(file, INDEX_MAGIC),
            // The damaged file is mapped, here or by a reader, on a system that replaces no such
            // file. It is replaced when an opening or a merge meets it again.
            Err(Error::Io { operation: "rename", source, .. }) if is_in_use(&source) => {
                BlockFile::from_bytes(bytes, INDEX_MAGIC)
            }
            Err(error) => return Err(error),
        }
    } else {
        BlockFile::from_bytes(bytes, INDEX_MAGIC)
    };
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
    // The caller's segment begins with a version above 1, so one of the parts must have had it.
    let corrupt = |what: String| Error::Corrupt {
        file: part_of(before, u64::MAX).map(|part| part.segment.path.clone()).unwrap_or_default(),
        offset: 0,
        expected_position: 0.into(),
        what,
        evidence: None,
    };
    match head_in(before, stream, Reads::Any) {
        Ok(head) if head.version > 0 => Ok(head.last_position),
        Ok(_) => Err(corrupt(format!("stream {stream:?} has no version {}", version - 1))),
        Err(failure) => Err(failure.into_error(|defect| corrupt(defect.to_string()))),
    }
}

/// The index of a segment that is indexed in memory, and the heads of its streams.
#[derive(Debug)]
pub(crate) struct InMemory {
    pub(crate) index: ActiveIndex,
    pub(crate) heads: Heads,
    /// The positions at which streams begin in the segment, ascending.
    pub(crate) begun: Vec<u64>,
}

/// The index in memory of a sealed segment whose index file is missing, from the log. The segment
/// is proven on the way. `change` is called with its changes, their numbers and when they were recorded.
pub(crate) fn index_in_memory(
    segment: &Segment,
    before: &[Part],
    mut change: impl FnMut(ChangeNumber, Change, u64),
) -> Result<InMemory> {
    let mut index = ActiveIndex::new(segment.base_position);
    let (mut heads, mut begun) = (Heads::default(), Vec::new());
    walk_sealed(segment, |frame| {
        let FrameHeader { kind, recorded_at, .. } = frame.header;
        if matches!(kind, FrameKind::Commit | FrameKind::Metadata) {
            index.note_commit(recorded_at, kind == FrameKind::Commit);
        }
        let corrupt = |d| segment.corrupt(frame.offset, frame.header.first_position, &d);
        let changes = frame.for_each_change(|number, it| change(number, it, recorded_at));
        index.changes += u64::from(changes.map_err(corrupt)?);
        let mut failure = None;
        for_each_record(frame, |LogPlace { offset, position }, record| {
            let stream = record.stream();
            let previous = match heads.get(stream) {
                Ok(Some(head)) => head.last_position,
                // Without a checkpoint, heads are in memory.
                Ok(None) | Err(_) => previous_position(before, stream, record.version())
                    .unwrap_or_else(|error| {
                        failure.get_or_insert(error);
                        0
                    }),
            };
            if record.version() == 1 {
                begun.push(position);
            }
            heads.put(stream, Head { version: record.version(), last_position: position });
            let version = record.version().saturating_sub(1);
            let before = Head { version, last_position: previous };
            // A segment is smaller than 4 GiB.
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            index.push(offset, before, Steps::UNKNOWN, record.id());
        })
        .map_err(corrupt)?;
        failure.map_or(Ok(()), Err)
    })?;
    Ok(InMemory { index, heads, begun })
}

/// Walks through a sealed segment up to its seal, and proves that it is what was sealed.
fn walk_sealed(
    segment: &Segment,
    visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
) -> Result<()> {
    let unsealed = || segment.corrupt(0, segment.base_position, &Defect::Invalid("not sealed"));
    let trailer = segment.trailer.as_ref().ok_or_else(unsealed)?;
    let (state, end) = walk(segment, trailer.seal_offset, visit)?;
    if state.offset != trailer.seal_offset || state.link != trailer.link {
        let defect = match end {
            ScanEnd::Invalid(defect) => defect,
            _ => Defect::Invalid("the frames contradict the seal"),
        };
        return Err(segment.corrupt(state.offset, state.next_position, &defect));
    }
    // Reads need not prove the segment again.
    segment.note_walked(state.offset);
    Ok(())
}

/// Walks through the frames of a segment that lie before `end`. Returns the point reached and the
/// reason the walk ended.
pub(crate) fn walk(
    segment: &Segment,
    end: u64,
    visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
) -> Result<(ScanState, ScanEnd)> {
    let mut first = [0; frame::HEADER_LEN];
    segment.read(&mut first, DATA_START)?;
    let link = FrameHeader::decode(&first, segment.seed, DATA_START).map_or(0, |(h, _)| h.link);
    let mut state = ScanState {
        offset: DATA_START,
        link,
        next_position: segment.base_position,
        recorded_at: 0,
        proven: 0,
        next_change: ChangeNumber::NONE,
    };
    let mut window = Window::new(Arc::clone(&segment.file), end);
    let end = scan(&mut window, segment.seed, &mut state, u64::MAX, &segment.path, visit)?;
    Ok((state, end))
}
