//! Checkpoint files: which there are, writing one, dropping superseded ones.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::checkpoint::{self as layout, CheckpointMeta};
use crate::format::container::{self, CHECKPOINT_MAGIC};
use crate::format::names;
use crate::index::active::ActiveIndex;
use crate::index::block_file::BlockFile;
use crate::index::heads::{FrozenHeads, HeadTable};
use crate::log::rotation::{remove_leftover, write_derived};
use crate::storage::{EntryKind, OpenMode, Storage};

/// The numbers of the checkpoint files, newest first.
pub(crate) fn list_checkpoints(storage: &dyn Storage, root: &Path) -> Result<Vec<u64>> {
    let directory = root.join(names::CHECKPOINT_DIR);
    let entries = match storage.read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", &directory, e)),
    };
    let mut numbers: Vec<u64> = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::File)
        .filter_map(|entry| names::parse_numbered(&entry.name, names::CHECKPOINT_SUFFIX))
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// The newest checkpoint that is whole and of this store.
pub(crate) fn newest(
    storage: &dyn Storage,
    root: &Path,
    store_id: [u8; 16],
) -> Result<Option<(u64, Arc<HeadTable>)>> {
    for number in list_checkpoints(storage, root)? {
        let path = names::checkpoint_path(root, number);
        let Ok(file) = storage.open(&path, OpenMode::Read) else {
            continue;
        };
        let table = BlockFile::open(file, CHECKPOINT_MAGIC).and_then(|file| {
            file.verify()?;
            HeadTable::new(file)
        });
        if let Ok(table) = table
            && table.file().store_id() == store_id
        {
            return Ok(Some((number, Arc::new(table))));
        }
    }
    Ok(None)
}

/// What a checkpoint is written from.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) meta: CheckpointMeta,
    pub(crate) heads: &'a FrozenHeads,
    /// The section METADATA.
    pub(crate) metadata: &'a [u8],
    /// Given at a clean close: the index of the segment that `meta` names.
    pub(crate) active: Option<&'a ActiveIndex>,
}

/// Writes checkpoint `number` and drops all but the one before it. All that it covers is durable
/// already.
pub(crate) fn write_checkpoint(
    storage: &dyn Storage,
    root: &Path,
    number: u64,
    store_id: [u8; 16],
    image: Image<'_>,
) -> Result<Arc<HeadTable>> {
    let Image { mut meta, heads, metadata, active } = image;
    let path = names::checkpoint_path(root, number);
    let damaged = |defect: crate::format::Defect| Error::Corrupt {
        file: path.clone(),
        offset: 0,
        expected_position: meta.position.into(),
        what: defect.to_string(),
        evidence: None,
    };
    let (table, names_section, streams) = heads.encode().map_err(damaged)?;
    meta.streams = streams;
    let (mut offsets, mut previous) = (Vec::new(), Vec::new());
    if let Some(index) = active {
        offsets.extend(index.offsets().iter().flat_map(|offset| offset.to_le_bytes()));
        previous.extend(index.previous_positions().iter().flat_map(|p| p.to_le_bytes()));
    }
    let ids = active.map_or(&[][..], |index| index.ids().as_flattened());
    let meta_section = meta.encode();
    let sections: [(u32, &[u8]); 7] = [
        (layout::META, &meta_section),
        (layout::HEADS, &table),
        (layout::NAMES, &names_section),
        (layout::OFFSETS, &offsets),
        (layout::PREVIOUS, &previous),
        (layout::IDS, ids),
        (layout::METADATA, metadata),
    ];
    let bytes = container::encode(CHECKPOINT_MAGIC, store_id, &sections);
    let file = write_derived(storage, &path, &bytes)?;
    drop(bytes);
    let table =
        BlockFile::open(file, CHECKPOINT_MAGIC).and_then(HeadTable::new).map_err(damaged)?;
    for old in list_checkpoints(storage, root)? {
        if old + 1 < number {
            remove_leftover(storage, &names::checkpoint_path(root, old))?;
        }
    }
    Ok(Arc::new(table))
}
