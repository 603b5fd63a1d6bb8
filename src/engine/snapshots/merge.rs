//! Merging packs into level files, so that a look-up touches few files and superseded snapshots take no space.
//!
//! Owns which files are merged when, and the order of the steps: a level file is written under a temporary
//! name, synced, renamed, its directory synced; only then its inputs go. Must never merge the pack that is appended
//! to. The memory of a merge is a byte for each entry: its inputs are walked several times, in the order of hashes.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use smol_str::SmolStr;

use super::SnapshotFiles;
use super::level::{SnapshotLevel, unless_damaged};
use super::pack::{Entry, Keys};
use super::packs::Place;
use crate::error::{Error, Result};
use crate::format::container::SNAPSHOTS_MAGIC;
use crate::format::names;
use crate::format::snapshot::{Packed, hash_key};
use crate::format::snapshot_pack::{
    DATA, ENTRIES, ENTRY_LEN, Kind, LevelEntry, META, META_LEN, encode_meta,
};
use crate::index::level_file::{LevelWriter, MergeError, Merged, Pace};
use crate::log::rotation::{remove_leftover, temporary_path};
use crate::storage::{EntryKind, File, OpenMode};

/// This many packs are merged, however small they are: each session of a store may leave one.
const MOST_PACKS: usize = 4;
/// A level file is merged with newer files that are together at least this part of its size.
const PART: u64 = 2;

/// The files of a merge, oldest first.
struct Inputs {
    sources: Vec<Source>,
    /// The packs whose entries they have.
    range: (u64, u64),
    /// There are older level files, whose entries the deletions still delete.
    has_older: bool,
}

enum Source {
    Level(Arc<SnapshotLevel>),
    Pack {
        file: Arc<dyn File>,
        keys: Arc<Keys>,
        /// Sorted.
        order: Vec<(u64, SmolStr)>,
    },
}

/// An entry of one of the sources.
struct Item {
    key: SmolStr,
    kind: Kind,
    mark: u64,
    source: usize,
    place: Place,
}

impl Item {
    fn len(&self) -> u32 {
        match &self.place {
            Place::Pack(_, entry) => entry.len,
            Place::Level(_, entry) => entry.len,
        }
    }
}

impl SnapshotFiles {
    /// Merges the packs that are full, if there are enough; returns whether it did. Another thread may merge at
    /// the same time; then this one does not.
    pub(crate) fn merge_due(&self, pace: &mut Pace<'_>) -> Result<bool> {
        let Some(_merging) = self.merging.try_lock() else { return Ok(false) };
        match self.due() {
            Some(inputs) => self.merge(inputs, pace),
            None => Ok(false),
        }
    }

    /// Merges all that there is, now; returns whether there was anything to merge.
    pub(crate) fn merge_all(&self, pace: &mut Pace<'_>) -> Result<bool> {
        let _merging = self.merging.lock();
        // Nothing is being appended to a pack when it ends.
        let saving = self.saving.lock();
        self.packs.refresh()?;
        let inputs = self.packs.with(|set| {
            set.appended = None;
            let nothing = set.packs.is_empty() && set.levels.len() < 2;
            (!nothing).then(|| (set.levels.clone(), set.packs.iter().map(full).collect()))
        });
        drop(saving);
        inputs.map_or(Ok(false), |(levels, packs)| {
            self.merge(Inputs::new(levels, packs, false), pace)
        })
    }

    /// Whether packs wait to be merged, and take memory.
    pub(crate) fn is_behind(&self) -> bool {
        self.packs.with(|set| set.packs.len() > MOST_PACKS)
    }

    fn due(&self) -> Option<Inputs> {
        let full_from = self.packs.pack_size();
        let (levels, packs, has_older) = self.packs.with(|set| {
            let done = set.packs.iter().filter(|pack| Some(pack.number) != set.appended);
            let mut size: u64 = done.clone().map(|pack| pack.end).sum();
            if size < full_from && done.clone().count() < MOST_PACKS {
                return None;
            }
            let mut from = set.levels.len();
            while from > 0 && set.levels[from - 1].file_len() <= size.saturating_mul(PART) {
                from -= 1;
                size += set.levels[from].file_len();
            }
            Some((set.levels[from..].to_vec(), done.map(full).collect(), from > 0))
        })?;
        Some(Inputs::new(levels, packs, has_older))
    }

    fn merge(&self, inputs: Inputs, pace: &mut Pace<'_>) -> Result<bool> {
        let (first, last) = inputs.range;
        let path = self.packs.level_path(first, last);
        let temporary = temporary_path(&path);
        remove_leftover(self.shared.storage(), &temporary)?;
        let written = match self.write(&inputs, &temporary, pace) {
            Ok(written) => written,
            Err(error) => {
                // The space of the unfinished file is freed.
                let _ = remove_leftover(self.shared.storage(), &temporary);
                return match error {
                    MergeError::Stopped => Ok(false),
                    MergeError::Io(error) => Err(Error::io("write", &temporary, error)),
                    MergeError::Input { defect, .. } => {
                        let error = std::io::Error::other(defect.to_string());
                        Err(Error::io("merge snapshots into", &temporary, error))
                    }
                };
            }
        };
        let level =
            if written { Some(self.install(&temporary, &path, inputs.range)?) } else { None };
        self.packs.with(|set| {
            set.packs.retain(|pack| !(first..=last).contains(&pack.number));
            set.levels.retain(|level| !(first..=last).contains(level.packs().start()));
            set.levels.extend(level);
        });
        drop(inputs);
        self.remove_merged(first, last, written)?;
        Ok(true)
    }

    /// Gives a level file that is written and synced its name.
    fn install(
        &self,
        temporary: &Path,
        path: &Path,
        range: (u64, u64),
    ) -> Result<Arc<SnapshotLevel>> {
        let (storage, directory) = (self.shared.storage(), self.packs.directory());
        storage.rename(temporary, path).map_err(|e| Error::io("rename", temporary, e))?;
        storage.sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;
        let file = storage.open(path, OpenMode::Read).map_err(|e| Error::io("open", path, e))?;
        let level = SnapshotLevel::open(file, self.shared.store_id(), range);
        level.map(Arc::new).map_err(|defect| {
            let error = std::io::Error::other(defect.to_string());
            Error::io("use the level file", path, error)
        })
    }

    /// Removes the files that a merge has replaced, and what an earlier one left. One that cannot be removed, since a
    /// reader on Windows uses it, is not used any more, and removed by a later merge.
    fn remove_merged(&self, first: u64, last: u64, written: bool) -> Result<()> {
        let (storage, directory) = (self.shared.storage(), self.packs.directory());
        let entries = storage.read_dir(&directory);
        let mut superseded = Vec::new();
        for entry in entries.map_err(|e| Error::io("list", &directory, e))? {
            let pack = names::parse_numbered(&entry.name, names::PACK_SUFFIX);
            let range = names::parse_snapshot_level(&entry.name).or(pack.map(|n| (n, n)));
            let unfinished = entry.name.strip_suffix(names::TEMPORARY_SUFFIX);
            let is_leftover = match range {
                Some(range) => {
                    let is_result = written && pack.is_none() && range == (first, last);
                    first <= range.0 && range.1 <= last && !is_result
                }
                // Merges come one after the other.
                None => unfinished.and_then(names::parse_snapshot_level).is_some(),
            };
            if is_leftover && entry.kind == EntryKind::File {
                superseded.push((range, entry.name));
            }
        }
        // Oldest first: a deletion goes after what it deletes.
        superseded.sort_unstable();
        for (_, name) in superseded {
            let _ = storage.remove_file(&directory.join(name));
        }
        Ok(())
    }

    /// Writes and syncs a level file; false if nothing is left to write.
    fn write(&self, inputs: &Inputs, path: &Path, pace: &mut Pace<'_>) -> Merged<bool> {
        let kept = self.shared.options().snapshots_kept;
        let mut decisions = Vec::new();
        let (mut count, mut size) = (0_u64, 0_u64);
        let judge = |item: &Item, bound: bool| {
            let usable = self.is_usable(item, bound)?;
            decisions.push(usable);
            Ok(usable)
        };
        inputs.for_each_kept(kept, judge, |_, item| {
            count += 1;
            size += u64::from(item.len());
            match pace(0) {
                std::ops::ControlFlow::Continue(()) => Ok(()),
                std::ops::ControlFlow::Break(()) => Err(MergeError::Stopped),
            }
        })?;
        if count == 0 {
            return Ok(false);
        }
        let file = self.shared.storage().open(path, OpenMode::CreateNew)?;
        let sections = [(META, META_LEN as u64), (ENTRIES, count * ENTRY_LEN as u64), (DATA, size)];
        let store_id = self.shared.store_id();
        let mut writer = LevelWriter::new(&*file, SNAPSHOTS_MAGIC, store_id, &sections, pace);
        writer.push(&encode_meta(inputs.range.0, inputs.range.1))?;
        writer.end_section()?;
        let mut offset = 0;
        let mut decided = decisions.iter().copied();
        let again = |_: &Item, _: bool| Ok(decided.next().unwrap_or(false));
        inputs.for_each_kept(kept, again, |hash, item| {
            let Item { kind, mark, .. } = *item;
            let entry = LevelEntry { hash, kind, mark, offset, len: item.len() };
            offset += u64::from(entry.len);
            writer.push(&entry.encode())
        })?;
        writer.end_section()?;
        let mut decided = decisions.iter().copied();
        let again = |_: &Item, _: bool| Ok(decided.next().unwrap_or(false));
        inputs.for_each_kept(kept, again, |_, item| {
            let bytes = item.place.bytes()?;
            writer.push(&bytes)
        })?;
        writer.end_section()?;
        writer.finish()?;
        Ok(true)
    }

    /// Whether an entry is whole; with `bound`, also whether it belongs to this history. What cannot be read may be
    /// intact: the merge fails.
    fn is_usable(&self, item: &Item, bound: bool) -> Merged<bool> {
        let bytes = item.place.bytes()?;
        if !bound {
            return Ok(Packed::decode(&bytes).is_ok());
        }
        match self.restore(&bytes) {
            Ok(found) => Ok(found.is_some()),
            Err(Error::Io { source, .. }) => Err(source.into()),
            // Where the log is damaged, the snapshot may be of use.
            Err(_) => Ok(true),
        }
    }
}

fn full(pack: &super::pack::Pack) -> (u64, Arc<dyn File>, Arc<Keys>) {
    (pack.number, Arc::clone(&pack.file), Arc::clone(&pack.keys))
}

impl Inputs {
    fn new(
        levels: Vec<Arc<SnapshotLevel>>,
        packs: Vec<(u64, Arc<dyn File>, Arc<Keys>)>,
        has_older: bool,
    ) -> Self {
        let level_ranges = levels.iter().map(|level| level.packs().into_inner());
        let ranges = level_ranges.chain(packs.iter().map(|(number, ..)| (*number, *number)));
        let range = ranges.reduce(|all, own| (all.0.min(own.0), all.1.max(own.1)));
        let mut sources: Vec<_> = levels.into_iter().map(Source::Level).collect();
        sources.extend(packs.into_iter().map(|(_, file, keys)| {
            let mut order: Vec<_> = keys.keys().map(|key| (hash_key(key), key.clone())).collect();
            order.sort_unstable();
            Source::Pack { file, keys, order }
        }));
        Self { sources, range: range.unwrap_or((0, 0)), has_older }
    }

    /// Calls `each` with the entries that stay, and the hash of their key, in the order of hashes. `usable`
    /// decides whether an entry can be used, and, if it gets true, whether it belongs to this history.
    fn for_each_kept(
        &self,
        kept: usize,
        mut usable: impl FnMut(&Item, bool) -> Merged<bool>,
        mut each: impl FnMut(u64, &Item) -> Merged<()>,
    ) -> Merged<()> {
        let mut next = vec![0; self.sources.len()];
        let mut after = 0;
        loop {
            let mut first: Option<u64> = None;
            for (source, at) in self.sources.iter().zip(&mut next) {
                let hash = source.hash(at, after)?;
                first = hash.into_iter().chain(first).min();
            }
            let Some(hash) = first else { return Ok(()) };
            let mut items = Vec::new();
            for (number, (source, at)) in self.sources.iter().zip(&mut next).enumerate() {
                source.take(number, hash, at, &mut items)?;
            }
            items.sort_by(|a, b| (&a.key, Reverse(a.source)).cmp(&(&b.key, Reverse(b.source))));
            for of_key in items.chunk_by(|a, b| a.key == b.key) {
                for item in self.choose(of_key, kept, &mut usable)? {
                    each(hash, item)?;
                }
            }
            let Some(following) = hash.checked_add(1) else { return Ok(()) };
            after = following;
        }
    }

    /// The entries of one key that stay. `items` are all of its entries, those of the newest source first.
    fn choose<'a>(
        &self,
        items: &'a [Item],
        kept: usize,
        usable: &mut impl FnMut(&Item, bool) -> Merged<bool>,
    ) -> Merged<Vec<&'a Item>> {
        let deletion = items.iter().find(|item| item.kind == Kind::Deletion);
        let from = deletion.map_or(0, |deletion| deletion.source);
        let mut chosen = Vec::new();
        for kind in [Kind::Version, Kind::Position] {
            let of_kind = items.iter().filter(|item| item.kind == kind && item.source >= from);
            let mut of_kind: Vec<&Item> = of_kind.collect();
            // Of one mark, the newest is the first.
            of_kind.sort_by_key(|item| Reverse(item.mark));
            let is_bound = of_kind.len() > kept;
            let start = chosen.len();
            for item in of_kind {
                let again = chosen[start..].last().is_some_and(|it: &&Item| it.mark == item.mark);
                if chosen.len() - start < kept && !again && usable(item, is_bound)? {
                    chosen.push(item);
                }
            }
        }
        if let Some(deletion) = deletion.filter(|_| self.has_older)
            && usable(deletion, false)?
        {
            chosen.push(deletion);
        }
        Ok(chosen)
    }
}

impl Source {
    /// The hash of the next entry, at or after `after`. Damaged entries, and those that are not in order, are
    /// passed over.
    fn hash(&self, at: &mut usize, after: u64) -> Merged<Option<u64>> {
        match self {
            Self::Level(level) => {
                while *at < level.len() {
                    match unless_damaged(level.entry(*at))? {
                        Some(entry) if entry.hash >= after => return Ok(Some(entry.hash)),
                        _ => *at += 1,
                    }
                }
                Ok(None)
            }
            Self::Pack { order, .. } => Ok(order.get(*at).map(|(hash, _)| *hash)),
        }
    }

    /// Takes the entries with this hash.
    fn take(&self, source: usize, hash: u64, at: &mut usize, items: &mut Vec<Item>) -> Merged<()> {
        match self {
            Self::Level(level) => {
                while *at < level.len()
                    && let Some(entry) = unless_damaged(level.entry(*at))?
                    && entry.hash == hash
                {
                    *at += 1;
                    let key = unless_damaged(level.key(&entry))?;
                    let key = key.and_then(|key| std::str::from_utf8(key).ok());
                    let Some(key) = key else { continue };
                    let LevelEntry { kind, mark, .. } = entry;
                    let place = Place::Level(Arc::clone(level), entry);
                    items.push(Item { key: SmolStr::new(key), kind, mark, source, place });
                }
            }
            Self::Pack { file, keys, order } => {
                while let Some((own, key)) = order.get(*at)
                    && *own == hash
                {
                    *at += 1;
                    let Some(of_key) = keys.get(key) else { continue };
                    for &entry in of_key.deletion.iter().chain(&of_key.found) {
                        let Entry { kind, mark, .. } = entry;
                        let place = Place::Pack(Arc::clone(file), entry);
                        items.push(Item { key: key.clone(), kind, mark, source, place });
                    }
                }
            }
        }
        Ok(())
    }
}
