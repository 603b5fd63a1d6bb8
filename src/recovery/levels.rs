//! Level files: which there are, and which of them stand for index files.
//!
//! A level file is taken if each segment that it names is sealed just as it says. It is written once
//! the seals are durable, as index files are, and proves as much.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::derive::meta_of;
use crate::catalog::{Part, PartIndex};
use crate::error::{Error, Result};
use crate::format::container::LEVEL_MAGIC;
use crate::format::index_file::IndexMeta;
use crate::format::names;
use crate::index::block_file::BlockFile;
use crate::index::sealed::SealedIndex;
use crate::log::segment::SegmentFile;
use crate::storage::{EntryKind, OpenMode, Storage};

/// The ranges that level files cover by their names, the widest first.
pub(crate) fn list_levels(storage: &dyn Storage, root: &Path) -> Result<Vec<(u64, u64)>> {
    let directory = root.join(names::INDEX_DIR);
    let entries = match storage.read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", &directory, e)),
    };
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let mut ranges: Vec<_> = files.filter_map(|entry| names::parse_level(&entry.name)).collect();
    ranges.sort_unstable_by_key(|(first, last)| (std::cmp::Reverse(last - first), *first));
    Ok(ranges)
}

/// Opens a level file; `None` if it is missing, damaged, or not of these segments. `expected` gives
/// what the index file of each would be tied to, and its number of changes.
pub(crate) fn open_level(
    storage: &dyn Storage,
    root: &Path,
    store_id: [u8; 16],
    range: (u64, u64),
    expected: impl FnMut(u64) -> Option<(IndexMeta, u64)>,
) -> Option<Arc<SealedIndex>> {
    let file = storage.open(&names::level_path(root, range.0, range.1), OpenMode::Read).ok()?;
    let file = BlockFile::open(file, LEVEL_MAGIC).ok()?;
    let index = SealedIndex::new_level(file, store_id, expected).ok().flatten()?;
    (index.segments() == (range.0..=range.1)).then(|| Arc::new(index))
}

/// Level files that are used, none of which covers what another does.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// By the last segment they cover.
    by_end: BTreeMap<u64, Arc<SealedIndex>>,
}

impl Levels {
    pub(super) fn open(storage: &dyn Storage, root: &Path, files: &[SegmentFile]) -> Result<Self> {
        let mut this = Self::default();
        let Some(first) = files.first() else { return Ok(this) };
        for (from, to) in list_levels(storage, root)? {
            let free =
                this.by_end.range(from..).next().is_none_or(|(_, i)| *i.segments().start() > to);
            let expected = |number| {
                let at = files.binary_search_by_key(&number, |file| file.header.number).ok()?;
                let trailer = files[at].trailer().ok().flatten()?;
                let changes = u64::from(trailer.change_count);
                Some((meta_of(&files[at].header, &trailer), changes))
            };
            let store_id = first.header.store_id;
            if free && let Some(index) = open_level(storage, root, store_id, (from, to), expected) {
                this.by_end.insert(to, index);
            }
        }
        Ok(this)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// The one that covers a segment.
    pub(super) fn of(&self, segment: u64) -> Option<Arc<SealedIndex>> {
        let (_, index) = self.by_end.range(segment..).next()?;
        index.segments().contains(&segment).then(|| Arc::clone(index))
    }

    /// Whether everything that the level files cover was taken as a sealed segment: they know of
    /// events that are not there otherwise.
    pub(super) fn are_whole(&self, parts: &[Part]) -> bool {
        self.by_end.values().all(|level| {
            level.segments().all(|number| {
                let at = parts.binary_search_by_key(&number, |part| part.segment.number());
                at.is_ok_and(
                    |at| matches!(&parts[at].index, PartIndex::Sealed(i) if Arc::ptr_eq(i, level)),
                )
            })
        })
    }
}
