//! The directory of a store: the storage it lies on, the names of its files, and the status file.
//!
//! Owns no file; a copy is cheap. Must never decide what a file means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cold::{ColdSegments, SegmentSource, over};
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::backup::{self, LogEnd, Manifest};
use crate::format::status::{STATUS_LEN, Status};
use crate::format::{Defect, names};
use crate::storage::{Bound, DirEntry, EntryKind, OpenMode, Storage, read_exact_at};

/// The directory of a store, on a storage.
#[derive(Debug, Clone)]
pub(crate) struct StoreDir {
    storage: Arc<dyn Storage>,
    root: Arc<Path>,
    /// `None`: cold segments seem to be missing.
    cold: Option<Arc<ColdSegments>>,
}

impl From<Bound> for StoreDir {
    fn from(bound: Bound) -> Self {
        Self { storage: bound.storage, root: bound.root.into(), cold: None }
    }
}

impl StoreDir {
    pub(crate) fn new(storage: Arc<dyn Storage>, root: &Path) -> Self {
        Self { storage, root: root.into(), cold: None }
    }

    /// The same directory, with its cold segments in their places. `cache_bytes`: the memory for those that are read
    /// back.
    pub(crate) fn with_cold_segments(
        &self,
        source: Option<Arc<dyn SegmentSource>>,
        cache_bytes: u64,
    ) -> Self {
        let below = self.cold.as_ref().map_or(&self.storage, |cold| cold.storage());
        let (storage, cold) = over(below, &self.root, source, cache_bytes);
        Self { storage, root: Arc::clone(&self.root), cold: Some(cold) }
    }

    /// The cold segments, if this shows them.
    pub(crate) fn cold(&self) -> Option<&Arc<ColdSegments>> {
        self.cold.as_ref()
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// The storage, for a file that is opened later or by another thread.
    pub(crate) fn shared_storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The path of the directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of an entry.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn segment_path(&self, number: u64) -> PathBuf {
        names::segment_path(&self.root, number)
    }

    pub(crate) fn index_path(&self, segment: u64) -> PathBuf {
        names::index_path(&self.root, segment)
    }

    /// The path of the level file that indexes the segments from `first` to `last`.
    pub(crate) fn level_path(&self, first: u64, last: u64) -> PathBuf {
        names::level_path(&self.root, first, last)
    }

    pub(crate) fn checkpoint_path(&self, number: u64) -> PathBuf {
        names::checkpoint_path(&self.root, number)
    }

    /// The numbers of the segments in the store's directory, ascending, and the entries that have the
    /// name of a segment but are no regular files.
    pub(crate) fn segment_numbers(&self) -> Result<(Vec<u64>, Vec<PathBuf>)> {
        let directory = self.join(names::LOG_DIR);
        let entries =
            self.storage.read_dir(&directory).map_err(|e| Error::io("list", &directory, e))?;
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        for entry in &entries {
            let of_segment = names::parse_numbered(&entry.name, names::SEGMENT_SUFFIX);
            let of_stub = names::parse_numbered(&entry.name, names::STUB_SUFFIX);
            match of_segment.or(of_stub) {
                Some(number) if entry.kind == EntryKind::File => numbers.push(number),
                Some(_) => others.push(directory.join(&entry.name)),
                None => {}
            }
        }
        numbers.sort_unstable();
        // A segment may have a stub that is not used: one of the two was about to be removed.
        numbers.dedup();
        Ok((numbers, others))
    }

    /// The numbers of the cold segments, ascending: they have a stub and no file.
    pub(crate) fn cold_numbers(&self) -> Result<Vec<u64>> {
        let directory = self.join(names::LOG_DIR);
        let entries =
            self.storage.read_dir(&directory).map_err(|e| Error::io("list", &directory, e))?;
        let files = || entries.iter().filter(|entry| entry.kind == EntryKind::File);
        let with =
            |suffix| files().filter_map(move |entry| names::parse_numbered(&entry.name, suffix));
        let own: std::collections::BTreeSet<u64> = with(names::SEGMENT_SUFFIX).collect();
        let mut cold: Vec<u64> = with(names::STUB_SUFFIX).filter(|it| !own.contains(it)).collect();
        cold.sort_unstable();
        Ok(cold)
    }

    /// The numbers of the segments: from 1, without a gap. A link, or anything else that is no regular
    /// file, is refused instead of skipped: without it the log could seem to end earlier.
    pub(crate) fn list_segments(&self) -> Result<Vec<u64>> {
        let (numbers, others) = self.segment_numbers()?;
        if let Some(other) = others.into_iter().next() {
            let kind = std::io::ErrorKind::InvalidInput;
            let why = std::io::Error::new(kind, "it is not a regular file");
            return Err(Error::io("use", other, why));
        }
        for (&number, expected) in numbers.iter().zip(1..) {
            if number != expected {
                return Err(Error::Corrupt {
                    file: self.segment_path(expected),
                    offset: 0,
                    expected_position: Position::START,
                    what: "the segment is missing".into(),
                    evidence: Some(format!("segment {number} is there")),
                });
            }
        }
        Ok(numbers)
    }

    /// The ranges that level files cover by their names, the widest first.
    pub(crate) fn levels(&self) -> Result<Vec<(u64, u64)>> {
        let directory = self.join(names::INDEX_DIR);
        match self.storage.read_dir(&directory) {
            Ok(entries) => Ok(levels_among(&entries)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io("list", &directory, e)),
        }
    }

    /// The numbers of the checkpoint files, newest first.
    pub(crate) fn checkpoints(&self) -> Result<Vec<u64>> {
        let directory = self.join(names::CHECKPOINT_DIR);
        let entries = match self.storage.read_dir(&directory) {
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

    /// The status file's contents, if they are whole.
    pub(crate) fn read_status(&self) -> Option<Status> {
        let file = self.storage.open(&self.join(names::STATUS), OpenMode::Read).ok()?;
        // A torn read brings nothing new: the next one is whole.
        (0..8).find_map(|_| {
            let mut bytes = [0; STATUS_LEN];
            read_exact_at(&*file, &mut bytes, 0).ok()?;
            Status::decode(&bytes).ok()
        })
    }

    /// The manifest, if the directory holds a backup.
    pub(crate) fn read_backup(&self) -> Result<Option<Manifest>> {
        let path = self.join(names::BACKUP);
        let file = match self.storage.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let mut bytes = [0; backup::LEN];
        let defect = match read_exact_at(&*file, &mut bytes, 0) {
            Ok(()) => match Manifest::decode(&bytes) {
                Ok(manifest) => return Ok(Some(manifest)),
                Err(Defect::Unsupported(what)) => return Err(Error::Unsupported { path, what }),
                Err(defect) => defect,
            },
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Defect::TooShort,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        Err(Error::BackupRefused {
            path: self.root().into(),
            why: format!("its manifest is damaged ({defect}); use another directory"),
        })
    }

    /// Makes a backup a store of its own, before its first change: it takes no more backups from the store that it is a
    /// copy of.
    pub(crate) fn end_backup(&self) -> Result<()> {
        let path = self.join(names::BACKUP);
        match self.storage.remove_file(&path) {
            Ok(()) => self.sync_root(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove", path, e)),
        }
    }

    /// The end of the log that an intact manifest names, if the directory holds a whole backup.
    pub(crate) fn backup_end(&self) -> Option<LogEnd> {
        self.read_backup().ok().flatten()?.end
    }

    /// Syncs the directory entries of the segments, the directories and the store itself. An earlier
    /// process may have created some and ended before it synced them, and a copy of a store may never
    /// have been synced.
    pub(crate) fn sync_names(&self) -> Result<()> {
        for name in [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR] {
            let directory = self.join(name);
            self.storage.sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;
        }
        self.sync_root_and_parent()
    }

    /// Makes durable which names the store's own directory holds, and its own name.
    pub(crate) fn sync_root_and_parent(&self) -> Result<()> {
        self.sync_root()?;
        self.sync_parent()
    }

    /// Makes durable which names the store's own directory holds.
    pub(crate) fn sync_root(&self) -> Result<()> {
        self.storage.sync_dir(&self.root).map_err(|e| Error::io("sync", self.root(), e))
    }

    /// A root directory without a nameable parent, such as the working directory, is not synced by the
    /// store.
    fn sync_parent(&self) -> Result<()> {
        let Some(parent) = self.root.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match self.storage.sync_dir(parent) {
            // A process that may not open the parent did not create the root either.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced.map_err(|e| Error::io("sync", parent, e)),
        }
    }
}

/// The ranges that level files cover by their names, the widest first.
pub(crate) fn levels_among(entries: &[DirEntry]) -> Vec<(u64, u64)> {
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let mut ranges: Vec<_> = files.filter_map(|entry| names::parse_level(&entry.name)).collect();
    ranges.sort_unstable_by_key(|(first, last)| (std::cmp::Reverse(last - first), *first));
    ranges
}
