//! The packs and level files of a store: which there are, and where the snapshots of a key are in them.
//!
//! Owns their names, what is appended to, and what a merge replaces. Snapshots are appended to one pack; when
//! it is full, another one is begun, and the full one is merged into a level file. Nothing is read before the first
//! use. Must never append to a pack of an earlier session: its end may be torn. The holder of the right to save
//! snapshots alone lists, opens and writes these files; any thread may read a place that was found.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::level::{SnapshotLevel, unless_damaged};
use super::pack::{Entry, Pack, entries_from};
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::snapshot::MAX_PACKED_STATE;
use crate::format::snapshot_pack::{Kind, LevelEntry, PackHeader};
use crate::storage::{
    DirEntry, EntryKind, File, OpenMode, is_directory, read_exact_at, write_all_at,
};
use crate::sync::{Mutex, Rank};

/// The largest size of a pack at which it is full.
const PACK_SIZE: u64 = 16 << 20;
/// The part of a full pack from which on a state is stored in a file of its own: the cost of a file is small beside
/// that of its bytes, and no merge copies it.
const OWN_FILE: u64 = PACK_SIZE / MAX_PACKED_STATE;

/// How often a reader lists the files again because one of them was gone.
const RELISTS: usize = 8;

/// Where a snapshot is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Pack(Arc<dyn File>, Entry),
    Level(Arc<SnapshotLevel>, LevelEntry),
}

impl Place {
    /// The bytes there, not verified; none if that part of a level file is damaged.
    pub(super) fn bytes(&self) -> std::io::Result<Bytes> {
        match self {
            Self::Pack(file, entry) => {
                let mut bytes = vec![0; entry.len as usize];
                read_exact_at(&**file, &mut bytes, entry.offset)?;
                Ok(bytes.into())
            }
            Self::Level(level, entry) => {
                let bytes = unless_damaged(level.data(entry))?;
                Ok(bytes.map(Bytes::copy_from_slice).unwrap_or_default())
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Packs {
    shared: Arc<Shared>,
    set: Mutex<PackSet>,
}

/// Each range of packs is in one of both.
#[derive(Debug, Default)]
pub(super) struct PackSet {
    /// The directory was listed.
    opened: bool,
    /// Oldest first. All are newer than the level files.
    pub(super) packs: Vec<Pack>,
    /// Oldest first.
    pub(super) levels: Vec<Arc<SnapshotLevel>>,
    /// The pack that is appended to.
    pub(super) appended: Option<u64>,
    /// The number of the next pack.
    next: u64,
    /// The directories of snapshot files, as the writer of the store knows them.
    pub(super) fan_outs: HashSet<String>,
}

/// The names in the directory of snapshots.
#[derive(Debug, Default)]
struct Names {
    packs: Vec<u64>,
    /// The widest first.
    levels: Vec<(u64, u64)>,
    fan_outs: HashSet<String>,
    /// The last pack by any name, also by that of a link or directory.
    last: u64,
}

impl Names {
    fn of(entries: Vec<DirEntry>) -> Self {
        let mut this = Self::default();
        for DirEntry { name, kind } in entries {
            let pack = names::parse_numbered(&name, names::PACK_SUFFIX);
            let level = names::parse_snapshot_level(&name);
            let last = level.map(|(_, last)| last).max(pack);
            this.last = this.last.max(last.unwrap_or(0));
            if kind == EntryKind::File {
                this.packs.extend(pack);
                this.levels.extend(level);
            } else {
                // What is in the place of a directory is refused when it is used.
                this.fan_outs.insert(name);
            }
        }
        this.packs.sort_unstable();
        this.levels.sort_unstable_by_key(|(first, last)| (std::cmp::Reverse(last - first), *first));
        this
    }
}

impl Packs {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let set = Mutex::new(Rank::SnapshotPacks, PackSet::default());
        Self { shared: Arc::clone(shared), set }
    }

    fn is_writer(&self) -> bool {
        !self.shared.options().read_only
    }

    /// The number of snapshots of a key and kind that are kept, in a writer.
    fn kept(&self) -> Option<usize> {
        self.is_writer().then_some(self.shared.options().snapshots_kept)
    }

    /// The size at which a pack is full: a small part of a segment.
    pub(super) fn pack_size(&self) -> u64 {
        (self.shared.options().capacity() / 8).min(PACK_SIZE)
    }

    /// The size of a state from which on it is stored in a file of its own.
    pub(super) fn own_file_from(&self) -> u64 {
        self.pack_size() / OWN_FILE
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.shared.dir().join(names::SNAPSHOT_DIR)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory().join(names::numbered(number, names::PACK_SUFFIX))
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut PackSet) -> T) -> T {
        act(&mut self.set.lock())
    }

    /// Whether the files have to be listed before they are asked: a reader does so each time.
    pub(super) fn is_stale(&self) -> bool {
        !self.is_writer() || !self.set.lock().opened
    }

    /// Finds the files. The caller holds the right to save snapshots.
    pub(super) fn refresh(&self) -> Result<()> {
        if !self.is_stale() {
            return Ok(());
        }
        // A writer beside this reader may merge files after they are listed.
        for _ in 0..RELISTS {
            if self.list_files()? {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether all files that were listed were still there.
    fn list_files(&self) -> Result<bool> {
        let names = Names::of(self.list()?);
        let (levels, mut all) = self.open_levels(&names)?;
        let newest = levels.last().map_or(0, |level| *level.packs().end());
        let kept = self.kept();
        let (mut opened, mut grown) = (Vec::new(), Vec::new());
        let numbers: Vec<_> = names.packs.iter().copied().filter(|&n| n > newest).collect();
        for &number in &numbers {
            let path = self.path(number);
            let unreadable = |e| Error::io("read", &path, e);
            let known = self.with(|set| {
                let pack = set.packs.iter().find(|pack| pack.number == number);
                pack.map(|pack| (Arc::clone(&pack.file), pack.end))
            });
            if let Some((file, end)) = known {
                grown.push((number, entries_from(&*file, end).map_err(unreadable)?));
            } else if let Some(file) = self.open(&path)? {
                let pack = Pack::open(file, number, self.shared.store_id(), kept);
                opened.extend(pack.map_err(unreadable)?);
            } else {
                all = false;
            }
        }
        self.with(|set| {
            set.packs.retain(|pack| numbers.contains(&pack.number));
            for (number, (entries, end)) in grown {
                if let Some(pack) = set.packs.iter_mut().find(|pack| pack.number == number) {
                    pack.add(entries, end);
                }
            }
            set.packs.extend(opened);
            set.packs.sort_unstable_by_key(|pack| pack.number);
            set.levels = levels;
            set.next = set.next.max(names.last + 1);
            set.fan_outs = names.fan_outs;
            set.opened = true;
        });
        Ok(all)
    }

    /// The entries of the directory of snapshots; none if there is no directory.
    fn list(&self) -> Result<Vec<DirEntry>> {
        let (storage, directory) = (self.shared.storage(), self.directory());
        // The target of a link does not belong to the store.
        if !is_directory(storage, &directory).map_err(|e| Error::io("use", &directory, e))? {
            return Ok(Vec::new());
        }
        storage.read_dir(&directory).map_err(|e| Error::io("list", &directory, e))
    }

    /// Opens a file; `None` if it is gone.
    fn open(&self, path: &Path) -> Result<Option<Arc<dyn File>>> {
        match self.shared.storage().open(path, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

    /// The level files that can be used, oldest first, and whether all that were listed are still there. Of those
    /// that overlap, the widest was written last, and has everything that the others have.
    fn open_levels(&self, names: &Names) -> Result<(Vec<Arc<SnapshotLevel>>, bool)> {
        let known = self.with(|set| set.levels.clone());
        let (mut levels, mut all): (Vec<Arc<SnapshotLevel>>, _) = (Vec::new(), true);
        for &(first, last) in &names.levels {
            let apart = |level: &Arc<SnapshotLevel>| {
                last < *level.packs().start() || *level.packs().end() < first
            };
            if !levels.iter().all(apart) {
                continue;
            }
            if let Some(known) = known.iter().find(|level| level.packs() == (first..=last)) {
                levels.push(Arc::clone(known));
                continue;
            }
            let path = self.level_path(first, last);
            let Some(file) = self.open(&path)? else {
                all = false;
                continue;
            };
            let level = SnapshotLevel::open(file, self.shared.store_id(), (first, last));
            let level = unless_damaged(level).map_err(|e| Error::io("read", &path, e))?;
            levels.extend(level.map(Arc::new));
        }
        levels.sort_unstable_by_key(|level| *level.packs().start());
        Ok((levels, all))
    }

    pub(super) fn level_path(&self, first: u64, last: u64) -> PathBuf {
        self.directory().join(names::level_name(first, last))
    }

    /// The snapshots of a key by one kind of mark, with their marks, those of the newest file first. Those of another
    /// key with the same hash may be among them.
    pub(super) fn places(&self, key: &str, kind: Kind) -> Result<Vec<(u64, Place)>> {
        let mut found = Vec::new();
        let levels = self.with(|set| {
            for pack in set.packs.iter().rev() {
                let Some(of_key) = pack.keys.get(key) else { continue };
                for &entry in of_key.found.iter().rev().filter(|entry| entry.kind == kind) {
                    found.push((entry.mark, Place::Pack(Arc::clone(&pack.file), entry)));
                }
                if of_key.deletion.is_some() {
                    return Vec::new();
                }
            }
            set.levels.clone()
        });
        for level in levels.iter().rev() {
            let of_key = unless_damaged(level.find(key)).map_err(|e| self.unreadable(e))?;
            let of_key = of_key.unwrap_or_default();
            let entries = of_key.entries.into_iter().filter(|entry| entry.kind == kind);
            found.extend(entries.map(|entry| (entry.mark, Place::Level(Arc::clone(level), entry))));
            if of_key.deleted {
                break;
            }
        }
        Ok(found)
    }

    /// The error for a part of a level file that cannot be read.
    fn unreadable(&self, error: std::io::Error) -> Error {
        Error::io("read", self.directory(), error)
    }

    /// The keys that begin with `prefix`.
    pub(super) fn keys(&self, prefix: &str) -> Result<BTreeSet<SmolStr>> {
        let mut keys = BTreeSet::new();
        let levels = self.with(|set| {
            for pack in &set.packs {
                keys.extend(pack.keys.keys().filter(|key| key.starts_with(prefix)).cloned());
            }
            set.levels.clone()
        });
        for level in levels {
            for at in 0..level.len() {
                let key = level.entry(at).and_then(|entry| level.key(&entry));
                let key = unless_damaged(key).map_err(|e| self.unreadable(e))?;
                let key = key.and_then(|key| std::str::from_utf8(key).ok());
                keys.extend(key.filter(|key| key.starts_with(prefix)).map(SmolStr::new));
            }
        }
        Ok(keys)
    }

    /// Appends entries: `bytes`, with each one's offset in them. The caller holds the right to save snapshots, and
    /// has called [`Packs::refresh`]. Returns whether a pack was begun or is full now, so that packs may be merged.
    pub(super) fn append(&self, bytes: &[u8], entries: Vec<(SmolStr, Entry)>) -> Result<bool> {
        let appended = self.with(|set| {
            let pack = set.packs.iter().find(|pack| Some(pack.number) == set.appended);
            pack.map(|pack| (pack.number, Arc::clone(&pack.file), pack.end))
        });
        let begins = appended.is_none();
        let (number, file, end) = match appended {
            Some(appended) => appended,
            None => self.create()?,
        };
        let path = || self.path(number);
        if let Err(error) = write_all_at(&*file, bytes, end) {
            // What of it was written is unknown, and a reader may have seen it.
            self.with(|set| set.appended = None);
            return Err(Error::io("write", path(), error).wanting(bytes.len() as u64));
        }
        let is_full = end + bytes.len() as u64 >= self.pack_size();
        self.with(|set| {
            if is_full {
                set.appended = None;
            }
            if let Some(pack) = set.packs.iter_mut().find(|pack| pack.number == number) {
                let place = |entry: Entry| Entry { offset: end + entry.offset, ..entry };
                let entries = entries.into_iter().map(|(key, entry)| (key, place(entry)));
                pack.add(entries, end + bytes.len() as u64);
            }
        });
        Ok(begins || is_full)
    }

    /// Begins a pack; returns its number, its file and its end.
    fn create(&self) -> Result<(u64, Arc<dyn File>, u64)> {
        let (storage, directory) = (self.shared.storage(), self.directory());
        storage.create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
        let number = self.with(|set| {
            set.next += 1;
            set.next - 1
        });
        let path = self.path(number);
        let file = storage.open(&path, OpenMode::CreateNew);
        let file = file.map_err(|e| Error::io("create", &path, e))?;
        let kept = self.shared.options().snapshots_kept;
        let header = PackHeader {
            store_id: self.shared.store_id(),
            number,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
        }
        .encode();
        write_all_at(&*file, &header, 0).map_err(|e| {
            // Frees the space. If this fails too, the first error is returned.
            let _ = storage.remove_file(&path);
            Error::io("write", &path, e).wanting(header.len() as u64)
        })?;
        let pack = Pack::new(Arc::clone(&file), number, kept);
        let end = pack.end;
        self.with(|set| {
            set.packs.push(pack);
            set.appended = Some(number);
        });
        Ok((number, file, end))
    }
}
