//! A store's directory, held open on Windows so that it cannot be renamed or removed.
//!
//! The absolute path then leads to the same directory for as long as the handle lives. On systems
//! where neither this nor opening relative to a handle is known to work, only the absolute path is
//! used.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DiskStorage;
use crate::storage::{Binding, Bound, DirEntry, EntryKind, File, LockGuard, OpenMode, Storage};

pub(super) fn open(path: PathBuf, _binding: Binding) -> io::Result<Option<Bound>> {
    if !fs::metadata(&path)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let storage = Arc::new(HeldDirStorage { _dir: hold(&path)? });
    Ok(Some(Bound { storage, root: path }))
}

/// Other processes may read the directory and create files in it; none may rename or remove it.
#[cfg(windows)]
fn hold(path: &Path) -> io::Result<Option<fs::File>> {
    use std::os::windows::fs::OpenOptionsExt as _;
    const FILE_SHARE_READ: u32 = 1;
    const FILE_SHARE_WRITE: u32 = 2;
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
    let mut options = fs::OpenOptions::new();
    options.read(true).share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE);
    options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path).map(Some)
}

#[cfg(not(windows))]
#[allow(clippy::unnecessary_wraps, reason = "same shape as where it can fail")]
fn hold(_path: &Path) -> io::Result<Option<fs::File>> {
    Ok(None)
}

/// The storage of a store in a bound directory.
#[derive(Debug)]
struct HeldDirStorage {
    _dir: Option<fs::File>,
}

impl Storage for HeldDirStorage {
    fn unbound(&self) -> Option<Arc<dyn Storage>> {
        Some(Arc::new(DiskStorage))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        DiskStorage.open(path, mode)
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        DiskStorage.entry_kind(path)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        DiskStorage.file_len(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        DiskStorage.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DiskStorage.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        DiskStorage.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        DiskStorage.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        DiskStorage.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        DiskStorage.sync_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        DiskStorage.try_lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        DiskStorage.is_locked(path)
    }

    fn now_micros(&self) -> u64 {
        DiskStorage.now_micros()
    }

    fn random_u64(&self) -> u64 {
        DiskStorage.random_u64()
    }
}
