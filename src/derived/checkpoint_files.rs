//! Checkpoint files: finding the newest, writing one, removing superseded ones.

use std::sync::Arc;

use crate::catalog::{Part, PartIndex};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::Defect;
use crate::format::checkpoint::{self as layout, CheckpointMeta, SegmentEntry};
use crate::format::container::{self, CHECKPOINT_MAGIC};
use crate::index::active::ActiveSections;
use crate::index::block_file::BlockFile;
use crate::index::checkpointed::order_of;
use crate::index::heads::HeadTable;
use crate::index::layers::NamedSections;
use crate::log::rotation::{remove_leftover, write_derived};
use crate::storage::OpenMode;

/// The newest checkpoint of this store whose beginning and METADATA are whole.
///
/// Its other sections are checked block by block when they are first needed, so that opening reads only
/// what it uses; a section that then turns out damaged is rebuilt from the log. It is still valid
/// evidence: the first block holds the header, the section table and META, and has a checksum of its
/// own. A checkpoint gets its name once all of it is durable, so an intact META proves that everything
/// it records was durable, whatever state the rest of the file is in.
pub(crate) fn newest(dir: &StoreDir, store_id: [u8; 16]) -> Result<Option<(u64, Arc<HeadTable>)>> {
    for number in dir.checkpoints()? {
        let path = dir.checkpoint_path(number);
        let Ok(file) = dir.storage().open(&path, OpenMode::Read) else {
            continue;
        };
        let table = BlockFile::open(file, CHECKPOINT_MAGIC).and_then(HeadTable::new);
        if let Ok(mut table) = table
            && table.file().store_id() == store_id
            && table.metadata_bytes().is_ok()
        {
            table.number = number;
            return Ok(Some((number, Arc::new(table))));
        }
    }
    Ok(None)
}

/// The inputs of a checkpoint.
#[derive(Debug)]
pub(crate) struct CheckpointImage<'a> {
    pub(crate) meta: CheckpointMeta,
    /// The heads of the segment that `meta` names.
    pub(crate) heads: NamedSections,
    /// The records of that segment.
    pub(crate) records: NamedSections,
    /// The section METADATA.
    pub(crate) metadata: &'a [u8],
    /// The section CURSOR TIMES.
    pub(crate) cursor_times: &'a [u8],
    /// The section SEGMENTS, of the segments before the one that `meta` names.
    pub(crate) segments: Vec<u8>,
    /// Given at a clean close: the index of the segment that `meta` names.
    pub(crate) active: Option<ActiveSections>,
}

impl CheckpointImage<'_> {
    /// The file's bytes.
    pub(crate) fn encode(self, store_id: [u8; 16]) -> Vec<u8> {
        let CheckpointImage { meta, heads, records, metadata, cursor_times, segments, active } =
            self;
        let ActiveSections { offsets, previous, ids, shortcuts } = active.unwrap_or_default();
        let order: Vec<u8> = order_of(&ids).iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let meta_section = meta.encode();
        // The parts that opening reads come first, so that they fit the first block, or nearly.
        let mut sections: Vec<(u32, &[u8])> = vec![
            (layout::META, &meta_section),
            (layout::METADATA, metadata),
            (layout::SEGMENTS, &segments),
            (layout::HEADS, &heads.entries),
            (layout::NAMES, &heads.names),
            (layout::HASHES, &heads.hashes),
            (layout::BUCKETS, &heads.buckets),
            (layout::OFFSETS, &offsets),
            (layout::PREVIOUS, &previous),
            (layout::IDS, &ids),
            (layout::ORDER, &order),
            (layout::SHORTCUTS, &shortcuts),
        ];
        if !cursor_times.is_empty() {
            sections.insert(2, (layout::CURSOR_TIMES, cursor_times));
        }
        if !records.entries.is_empty() {
            sections.extend([
                (layout::RECORDS, &records.entries[..]),
                (layout::RECORD_NAMES, &records.names),
                (layout::RECORD_HASHES, &records.hashes),
                (layout::RECORD_BUCKETS, &records.buckets),
            ]);
        }
        container::encode(CHECKPOINT_MAGIC, store_id, &sections)
    }
}

/// The section SEGMENTS of the segments below `end`: the first ones, for as long as they are sealed.
pub(crate) fn sealed_segments(parts: &[Part], end: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (part, number) in parts.iter().zip(1..end) {
        let PartIndex::Sealed(_) = &part.index else { break };
        let Some(trailer) = &part.segment.trailer else { break };
        if part.segment.number() != number {
            break;
        }
        SegmentEntry::encode(&part.segment.header, trailer, &mut out);
    }
    out
}

/// Writes checkpoint `number` and removes all but the one before it. All that it covers is durable
/// already. An older one that cannot be removed stays until the next checkpoint is written: Windows
/// removes no file while it is mapped, here or in another process.
pub(crate) fn write_checkpoint(
    dir: &StoreDir,
    number: u64,
    store_id: [u8; 16],
    image: CheckpointImage<'_>,
) -> Result<Arc<HeadTable>> {
    let path = dir.checkpoint_path(number);
    let position = image.meta.position;
    let damaged = |defect: Defect| Error::Corrupt {
        file: path.clone(),
        offset: 0,
        expected_position: position.into(),
        what: defect.to_string(),
        evidence: None,
    };
    let bytes = image.encode(store_id);
    let file = write_derived(dir.storage(), &path, &bytes)?;
    drop(bytes);
    let mut table =
        BlockFile::open(file, CHECKPOINT_MAGIC).and_then(HeadTable::new).map_err(damaged)?;
    table.number = number;
    for old in dir.checkpoints()? {
        if old + 1 < number {
            let _ = remove_leftover(dir.storage(), &dir.checkpoint_path(old));
        }
    }
    Ok(Arc::new(table))
}
