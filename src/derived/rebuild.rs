//! A checkpoint that turned out damaged while it was in use, written again from the log.
//!
//! What a checkpoint covers was durable when it was written and is in segments that no longer change,
//! so the same checkpoint can be rebuilt at any time, whatever was appended since. Must never decide
//! from the damaged file: only META, METADATA and CURSOR TIMES are taken from it, which were read and
//! checked when the store was opened; CURSOR TIMES is left out if it is damaged.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::Output;
use super::checkpoint_files::{CheckpointImage, sealed_segments};
use super::enter::{Contents, load_frame};
use super::index_files::walk;
use crate::catalog::{Lookup, LookupError, Part, head_in};
use crate::dir::StoreDir;
use crate::error::Result;
use crate::format::Defect;
use crate::format::container::CHECKPOINT_MAGIC;
use crate::format::segment_header::DATA_START;
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::block_file::{BlockFile, Reads};
use crate::index::heads::{HeadTable, Heads};
use crate::index::metadata::Metadata;
use crate::index::record_table::RecordsCopy;
use crate::log::rotation::write_derived;
use crate::log::scan::for_each_record;
use crate::log::segment::{LogPlace, Segment};

/// The checkpoint that replaces `damaged`. `before` are the parts before the segment that it names.
///
/// When writing is allowed the file is replaced too; where that fails, what was rebuilt is kept in
/// memory, and the next opening meets the same damage again and does the same.
pub(crate) fn rebuild_checkpoint(
    dir: &StoreDir,
    damaged: &HeadTable,
    before: &[Part],
    segment: &Arc<Segment>,
    output: Output,
) -> Result<Arc<HeadTable>> {
    let meta = damaged.meta.clone();
    let corrupt = |d: Defect| segment.corrupt(meta.offset, meta.position, &d);
    let (mut heads, mut index) = (Heads::default(), ActiveIndex::new(segment.base_position));
    let mut metadata = Metadata::default();
    if meta.offset > DATA_START {
        let (mut streams, mut walked) = (0, BTreeMap::new());
        let (state, _) = walk(segment, meta.offset, |frame| {
            let (heads, index) = (&mut heads, &mut index);
            let (metadata, streams) = (&mut metadata, &mut streams);
            let contents = Contents { heads, index, metadata, streams };
            load_frame(contents, frame, meta.segment, |_, stream| {
                older_head(before, &mut walked, stream)
            })
            .map_err(|failure| {
                failure
                    .into_error(|d| segment.corrupt(frame.offset, frame.header.first_position, d))
            })
        })?;
        if state.offset != meta.offset || state.link != meta.link {
            return Err(corrupt(Defect::Invalid("the frames contradict a checkpoint")));
        }
    }
    if segment.base_position + index.len() as u64 != meta.position + 1 {
        return Err(corrupt(Defect::Invalid("the frames contradict a checkpoint")));
    }
    let newer = metadata.records().of_segment(meta.segment);
    let records = RecordsCopy { newer, base: None }.encode().map_err(corrupt)?;
    let metadata = damaged.metadata_bytes().map_err(corrupt)?;
    let cursor_times = damaged.cursor_times();
    let heads = heads.copy().encode(segment.base_position).map_err(corrupt)?;
    let (meta, active) = (meta.clone(), Some(index.encode().map_err(corrupt)?));
    let segments = sealed_segments(before, meta.segment);
    let image = CheckpointImage { meta, heads, records, metadata, cursor_times, segments, active };
    let bytes = image.encode(segment.header.store_id);
    let number = damaged.number;
    if output == Output::Disk && number > 0 {
        let path = dir.checkpoint_path(number);
        if let Ok(file) = write_derived(dir.storage(), &path, &bytes)
            && let Ok(mut table) = BlockFile::open(file, CHECKPOINT_MAGIC).and_then(HeadTable::new)
        {
            table.number = number;
            return Ok(Arc::new(table));
        }
    }
    let file = BlockFile::from_bytes(bytes, CHECKPOINT_MAGIC);
    Ok(Arc::new(file.and_then(HeadTable::new).map_err(corrupt)?))
}

/// The head of a stream after these parts. Segments whose index file is damaged are walked once each, into
/// `walked`.
fn older_head(parts: &[Part], walked: &mut BTreeMap<u64, Heads>, stream: &str) -> Lookup<Head> {
    for part in parts.iter().rev() {
        let heads = match walked.entry(part.segment.number()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match head_in(std::slice::from_ref(part), stream, Reads::Any) {
                Ok(head) if head.version > 0 => return Ok(head),
                Ok(_) => continue,
                Err(LookupError::Store(error)) => return Err(error.into()),
                Err(_) => entry.insert(heads_from_log(&part.segment)?),
            },
        };
        if let Some(head) = heads.get(stream).map_err(LookupError::Heads)? {
            return Ok(head);
        }
    }
    Ok(Head::default())
}

/// The heads of the streams of a full segment, from its frames.
fn heads_from_log(segment: &Segment) -> Result<Heads> {
    let end = segment.trailer.as_ref().map_or_else(|| segment.end(), |t| t.seal_offset);
    let mut heads = Heads::default();
    let (state, _) = walk(segment, end, |frame| {
        for_each_record(frame, |LogPlace { position, .. }, record| {
            let head = Head { version: record.version(), last_position: position };
            heads.put(record.stream(), head);
        })
        .map_err(|d| segment.corrupt(frame.offset, frame.header.first_position, &d))
    })?;
    if state.offset != end {
        let defect = Defect::Invalid("the frames end too early");
        return Err(segment.corrupt(state.offset, state.next_position, &defect));
    }
    Ok(heads)
}
