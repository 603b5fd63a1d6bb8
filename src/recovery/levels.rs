//! Index files and level files by their names, and which level files stand for index files.
//!
//! A level file is taken if each segment that it names is sealed just as it says. It is written once
//! the seals are durable, as index files are, and proves as much.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Part, PartIndex};
use crate::error::{Error, Result};
use crate::format::container::LEVEL_MAGIC;
use crate::format::names;
use crate::index::block_file::BlockFile;
use crate::index::sealed::{Covers, SealedIndex};
use crate::storage::{DirEntry, EntryKind, OpenMode, Storage};

/// The ranges that level files cover by their names, the widest first.
pub(crate) fn list_levels(storage: &dyn Storage, root: &Path) -> Result<Vec<(u64, u64)>> {
    let directory = root.join(names::INDEX_DIR);
    match storage.read_dir(&directory) {
        Ok(entries) => Ok(levels_among(&entries)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", &directory, e)),
    }
}

fn levels_among(entries: &[DirEntry]) -> Vec<(u64, u64)> {
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let mut ranges: Vec<_> = files.filter_map(|entry| names::parse_level(&entry.name)).collect();
    ranges.sort_unstable_by_key(|(first, last)| (std::cmp::Reverse(last - first), *first));
    ranges
}

/// The files there are in the directory of indexes, by their names.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The segments that have an index file.
    pub(super) indexes: HashSet<u64>,
    /// What level files cover, the widest first.
    pub(super) levels: Vec<(u64, u64)>,
}

impl Found {
    /// A directory that cannot be read is as good as an empty one: all of it is derived.
    pub(super) fn list(storage: &dyn Storage, root: &Path) -> Self {
        let entries = storage.read_dir(&root.join(names::INDEX_DIR)).unwrap_or_default();
        let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let numbers = files.filter_map(|e| names::parse_numbered(&e.name, names::INDEX_SUFFIX));
        Self { indexes: numbers.collect(), levels: levels_among(&entries) }
    }
}

/// Opens a level file; `None` if it is missing, damaged, or not of exactly these segments.
pub(crate) fn open_level(
    storage: &dyn Storage,
    root: &Path,
    store_id: [u8; 16],
    covers: Covers,
) -> Option<Arc<SealedIndex>> {
    let (first, last) = covers.segments().into_inner();
    let file = storage.open(&names::level_path(root, first, last), OpenMode::Read).ok()?;
    let file = BlockFile::open(file, LEVEL_MAGIC).ok()?;
    SealedIndex::new_level(file, store_id, covers).ok().flatten().map(Arc::new)
}

/// Level files that are used, none of which covers what another does.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// By the last segment they cover.
    by_end: BTreeMap<u64, Arc<SealedIndex>>,
}

impl Levels {
    /// Of these ranges, the widest first, those that can be opened, now or later.
    pub(super) fn choose(
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

    pub(super) fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }

    /// The one that covers a segment.
    pub(super) fn of(&self, segment: u64) -> Option<Arc<SealedIndex>> {
        let (_, index) = self.by_end.range(segment..).next()?;
        index.segments().contains(&segment).then(|| Arc::clone(index))
    }

    /// Gives segments from this one on no share any more in the one that covers it: it is damaged.
    pub(super) fn give_up(&mut self, segment: u64) {
        if let Some(index) = self.of(segment) {
            self.by_end.remove(index.segments().end());
        }
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
