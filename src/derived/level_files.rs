//! Index files and level files by their names, and which level files stand for index files.
//!
//! A level file is used if each segment that it names is sealed exactly as the file records. It is
//! written once the seals are durable, as index files are, and is evidence of that.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::catalog::{Part, PartIndex};
use crate::dir::{StoreDir, levels_among};
use crate::format::container::{INDEX_MAGIC, LEVEL_MAGIC};
use crate::format::names;
use crate::index::Head;
use crate::index::block_file::BlockFile;
use crate::index::covers::Covers;
use crate::index::sealed::SealedIndex;
use crate::storage::{EntryKind, OpenMode};

/// The files in the directory of indexes, by their names.
#[derive(Debug, Default)]
pub(crate) struct ListedIndexes {
    /// The segments that have an index file.
    pub(crate) indexes: HashSet<u64>,
    /// The ranges of segments that level files cover, the widest first.
    pub(crate) levels: Vec<(u64, u64)>,
}

impl ListedIndexes {
    /// A directory that cannot be read is treated as empty: all of it is derived.
    pub(crate) fn list(dir: &StoreDir) -> Self {
        let entries = dir.storage().read_dir(&dir.join(names::INDEX_DIR)).unwrap_or_default();
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let numbers = files.filter_map(|e| names::parse_numbered(&e.name, names::INDEX_SUFFIX));
        Self { indexes: numbers.collect(), levels: levels_among(&entries) }
    }
}

/// Opens a level file; `None` if it is missing, damaged, or not of exactly these segments.
pub(crate) fn open_level(
    dir: &StoreDir,
    store_id: [u8; 16],
    covers: Covers,
) -> Option<Arc<SealedIndex>> {
    let (first, last) = covers.segments().into_inner();
    let file = dir.storage().open(&dir.level_path(first, last), OpenMode::Read).ok()?;
    let file = BlockFile::open(file, LEVEL_MAGIC).ok()?;
    SealedIndex::new_level(file, store_id, covers).ok().flatten().map(Arc::new)
}

/// Calls `each` with the heads that the index files and level files of a store record, as far as they can be
/// read, whether or not the log still has the segments.
pub(crate) fn recorded_heads(dir: &StoreDir, store_id: [u8; 16], mut each: impl FnMut(&str, Head)) {
    let ListedIndexes { indexes, levels } = ListedIndexes::list(dir);
    let indexes = indexes.into_iter().map(|number| (dir.index_path(number), INDEX_MAGIC));
    let levels = levels.into_iter().map(|(from, to)| (dir.level_path(from, to), LEVEL_MAGIC));
    for (path, magic) in indexes.chain(levels) {
        let Ok(file) = dir.storage().open(&path, OpenMode::Read) else { continue };
        let index = BlockFile::open(file, magic)
            .and_then(|file| SealedIndex::of_named_segments(file, store_id));
        if let Ok(Some(index)) = index {
            // Heads before a damaged one are right.
            let _ = index.for_each_head("", &mut each);
        }
    }
}

/// The level files in use; none covers a segment of another.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// By the last segment they cover.
    by_end: BTreeMap<u64, Arc<SealedIndex>>,
}

impl Levels {
    /// Of these ranges, the widest first, those that can be opened, now or later.
    pub(crate) fn choose(
        ranges: &[(u64, u64)],
        mut open: impl FnMut((u64, u64)) -> Option<Arc<SealedIndex>>,
    ) -> Self {
        let mut this = Self::default();
        for &(from, to) in ranges {
            let free =
                this.by_end.range(from..).next().is_none_or(|(_, i)| *i.segments().start() > to);
            if free && let Some(index) = open((from, to)) {
                this.by_end.insert(to, index);
            }
        }
        this
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// The one that covers a segment.
    pub(crate) fn of(&self, segment: u64) -> Option<Arc<SealedIndex>> {
        let (_, index) = self.by_end.range(segment..).next()?;
        index.segments().contains(&segment).then(|| Arc::clone(index))
    }

    /// Stops using the level file that covers this segment, for segments from this one on: it is
    /// damaged.
    pub(crate) fn give_up(&mut self, segment: u64) {
        if let Some(index) = self.of(segment) {
            self.by_end.remove(index.segments().end());
        }
    }

    /// Whether every segment that the level files cover was found sealed. If not, they record events
    /// that the log lacks.
    pub(crate) fn are_whole(&self, parts: &[Part]) -> bool {
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
