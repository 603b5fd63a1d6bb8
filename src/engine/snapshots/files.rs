//! Snapshots in files of their own: large ones, and those that earlier versions wrote.
//!
//! Owns these files and their names. A file's name is made of its key's hash and its mark. It is written under a
//! temporary name and renamed, and not synced: a torn file is found by its checksum and skipped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::event::snapshot::Mark;
use crate::format::names;
use crate::format::snapshot::{MAX_STATE, hash_key};
use crate::storage::{EntryKind, OpenMode, Storage, is_directory, read_exact_at, write_all_at};

/// The files of an open store.
#[derive(Debug)]
pub(super) struct OwnFiles {
    shared: Arc<Shared>,
}

impl OwnFiles {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    pub(super) fn path(&self, key: &str, mark: Mark) -> PathBuf {
        let number = names::numbered(mark.number(), names::SNAPSHOT_SUFFIX);
        let name = format!("{}{number}", file_prefix(key, mark.is_position()));
        self.directory(key).join(name)
    }

    /// The directory of a key's files in the directory of snapshots.
    pub(super) fn fan_out(key: &str) -> String {
        format!("{:03x}", hash_key(key) >> 52)
    }

    fn directory(&self, key: &str) -> PathBuf {
        self.shared.dir().join(names::SNAPSHOT_DIR).join(Self::fan_out(key))
    }

    /// The files that may hold snapshots of a key by one kind of mark, highest first.
    pub(super) fn list(&self, key: &str, by_position: bool) -> Result<Vec<(u64, PathBuf)>> {
        let (storage, directory) = (self.shared.storage(), self.directory(key));
        // Checks both levels: the target of a link does not belong to the store, and is neither
        // loaded nor deleted.
        for path in [&self.shared.dir().join(names::SNAPSHOT_DIR), &directory] {
            if !is_directory(storage, path).map_err(|e| Error::io("use", path, e))? {
                return Ok(Vec::new());
            }
        }
        let entries = storage.read_dir(&directory).map_err(|e| Error::io("list", &directory, e))?;
        let prefix = file_prefix(key, by_position);
        let mut files: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::File)
            .filter_map(|entry| {
                let rest = entry.name.strip_prefix(&prefix)?;
                let mark = names::parse_numbered(rest, names::SNAPSHOT_SUFFIX)?;
                Some((mark, directory.join(entry.name)))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// Writes a file.
    pub(super) fn write(&self, key: &str, mark: Mark, bytes: &[u8]) -> Result<()> {
        let (storage, directory) = (self.shared.storage(), self.directory(key));
        for path in [&self.shared.dir().join(names::SNAPSHOT_DIR), &directory] {
            storage.create_dir(path).map_err(|e| Error::io("create", path, e))?;
        }
        let temporary =
            directory.join(format!("{:016x}{}", storage.random_u64(), names::TEMPORARY_SUFFIX));
        let written = storage
            .open(&temporary, OpenMode::CreateNew)
            .and_then(|file| write_all_at(&*file, bytes, 0))
            .and_then(|()| storage.rename(&temporary, &self.path(key, mark)));
        written.map_err(|e| {
            // Frees the space. If this fails too, the first error is returned.
            let _ = storage.remove_file(&temporary);
            Error::io("write", &temporary, e).wanting(bytes.len() as u64)
        })
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.shared.storage().remove_file(path).map_err(|e| Error::io("remove", path, e))
    }

    /// Calls `each` with every file.
    pub(super) fn for_each(&self, mut each: impl FnMut(&Path) -> Result<()>) -> Result<()> {
        let root = self.shared.dir().join(names::SNAPSHOT_DIR);
        let storage = self.shared.storage();
        let list = |path: &Path| {
            if !is_directory(storage, path).map_err(|e| Error::io("use", path, e))? {
                return Ok(Vec::new());
            }
            storage.read_dir(path).map_err(|e| Error::io("list", path, e))
        };
        for fan_out in list(&root)?.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let directory = root.join(&fan_out.name);
            for entry in list(&directory)?.iter().filter(|entry| entry.kind == EntryKind::File) {
                each(&directory.join(&entry.name))?;
            }
        }
        Ok(())
    }
}

fn file_prefix(key: &str, by_position: bool) -> String {
    let kind = if by_position { 'p' } else { 'v' };
    format!("{:016x}-{kind}", hash_key(key))
}

/// The contents of a file, if it exists and is no larger than a snapshot can be.
pub(crate) fn read_file(storage: &dyn Storage, path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let len = file.len().map_err(|e| Error::io("read", path, e))?;
    if len > MAX_STATE + 4096 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    read_exact_at(&*file, &mut bytes, 0).map_err(|e| Error::io("read", path, e))?;
    Ok(Some(bytes))
}
