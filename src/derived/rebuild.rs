//! A checkpoint that turned out damaged while it was in use, written again from the log.
//!
//! What a checkpoint covers was durable when it was written and is in segments that no longer change,
//! so the same checkpoint can be rebuilt at any time, whatever was appended since. Must never decide
//! from the damaged file: only META and METADATA are taken from it, which were read and checked when
//! the store was opened.

use std::sync::Arc;

use super::Output;
use super::checkpoint_files::{CheckpointImage, sealed_segments};
use super::enter::{load_frame, merge_heads};
use super::index_files::walk;
use crate::catalog::{Part, PartIndex};
use crate::dir::StoreDir;
use crate::error::Result;
use crate::format::Defect;
use crate::format::container::CHECKPOINT_MAGIC;
use crate::format::segment_header::DATA_START;
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::block_file::BlockFile;
use crate::index::heads::{HeadTable, Heads};
use crate::index::metadata::Metadata;
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
    let (mut heads, mut entered) = (Heads::default(), 0);
    for part in before {
        if part.segment.number() <= entered {
            continue;
        }
        match &part.index {
            // A level file may reach past the end of the checkpoint. What was entered before the damage
            // was met is correct, and is entered again.
            PartIndex::Sealed(index)
                if *index.segments().end() < segment.number()
                    && merge_heads(&mut heads, index).is_ok() =>
            {
                entered = *index.segments().end();
            }
            _ => heads_from_log(&mut heads, &part.segment)?,
        }
    }
    let mut index = ActiveIndex::new(segment.base_position);
    if meta.offset > DATA_START {
        let mut ignored = Metadata::default();
        let (state, _) = walk(segment, meta.offset, |frame| {
            load_frame(&mut heads, &mut ignored, &mut index, frame, meta.segment)
                .map_err(|d| segment.corrupt(frame.offset, frame.header.first_position, &d))
        })?;
        if state.offset != meta.offset || state.link != meta.link {
            return Err(corrupt(Defect::Invalid("the frames contradict a checkpoint")));
        }
    }
    if segment.base_position + index.len() as u64 != meta.position + 1 {
        return Err(corrupt(Defect::Invalid("the frames contradict a checkpoint")));
    }
    let frozen = heads.freeze().ok_or_else(|| corrupt(Defect::Invalid("no heads")))?;
    let metadata = damaged.metadata_bytes().map_err(corrupt)?;
    let (meta, active) = (meta.clone(), Some(index.encode().map_err(corrupt)?));
    let segments = sealed_segments(before, meta.segment);
    let image = CheckpointImage { meta, heads: &frozen, metadata, segments, active };
    let bytes = image.encode(segment.header.store_id).map_err(corrupt)?;
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

/// Enters the streams of a full segment into the heads, from its frames.
fn heads_from_log(heads: &mut Heads, segment: &Segment) -> Result<()> {
    let end = segment.trailer.as_ref().map_or_else(|| segment.end(), |t| t.seal_offset);
    let (state, _) = walk(segment, end, |frame| {
        let mut failure = None;
        for_each_record(frame, |LogPlace { position, .. }, record| {
            let head = Head { version: record.version(), last_position: position };
            failure = failure.take().or(heads.put(record.stream(), head).err());
        })
        .and_then(|()| failure.map_or(Ok(()), Err))
        .map_err(|d| segment.corrupt(frame.offset, frame.header.first_position, &d))
    })?;
    if state.offset != end {
        let defect = Defect::Invalid("the frames end too early");
        return Err(segment.corrupt(state.offset, state.next_position, &defect));
    }
    Ok(())
}
