//! Real files.
//!
//! This module owns every call that touches the file system, the clock or the system's chance.
//! It must never follow a symbolic link at the end of a path, open anything but a regular file,
//! retry what failed (except a call that a signal interrupted before it did anything), or turn
//! an error of the disk into something else.
//!
//! The directories above the last component may be links, and so may a directory that is listed or
//! synced.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the module that the rest of the crate must go through"
)]

use std::fs::{self, Metadata, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use super::WriteMapping;
#[cfg(target_os = "linux")]
use super::mmap::WritableMapping;
use super::{Binding, Bound, DirEntry, EntryKind, File, LockGuard, Mapping, OpenMode, Storage};

#[cfg_attr(unix, path = "disk/rooted.rs")]
#[cfg_attr(not(unix), path = "disk/held.rs")]
mod bound;
#[cfg(unix)]
mod pool;

/// The file system of the machine, its clock and its source of randomness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStorage;

impl Storage for DiskStorage {
    fn at(&self, root: &Path, binding: Binding) -> io::Result<Option<Bound>> {
        let root = std::path::absolute(root)?;
        bound::open(root, binding)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(DiskFile { file: open_regular(path, &mut options)? }))
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        Ok(metadata_of_link(path)?.map(|metadata| kind_of(metadata.file_type())))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    kind: kind_of(entry.file_type()?),
                })
            })
            .collect()
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        match metadata_of_link(path)? {
            Some(metadata) if metadata.is_file() => Ok(metadata.len()),
            Some(_) => Err(ErrorKind::InvalidInput.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            // A link to a directory is not a directory: the engine never follows links.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                match self.entry_kind(path)? {
                    Some(EntryKind::Directory) => Ok(()),
                    _ => Err(error),
                }
            }
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    /// Windows cannot flush a directory opened for reading, and NTFS writes changes of names to
    /// its journal in order: there is nothing to do that would add a guarantee.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        lock(open_regular(path, &mut options)?)
    }

    /// There is no call that only queries a lock, so this takes a shared lock and releases it at
    /// once. A writer that tries to lock meanwhile fails; it finds in the same way that no process
    /// holds the exclusive lock, and may try again.
    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match open_regular(path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        is_locked(&file)
    }

    #[cfg(target_os = "linux")]
    fn lock_holder(&self, path: &Path) -> Option<u32> {
        lock_table::holder(path)
    }

    fn now_micros(&self) -> u64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            // The clock is set to before 1970; times in the log never decrease anyway.
            Err(_) => 0,
        }
    }

    /// The standard library seeds its hash maps with random numbers of the system, from which this
    /// number is derived: unpredictable enough that two stores, or two openings of one, do not get
    /// the same. It is used for salts, store ids and event ids, which are stored in the clear and
    /// protect from accidents only, so that a cryptographic generator is not needed.
    fn random_u64(&self) -> u64 {
        // Within a thread, `RandomState::new` only increments its key; the counter and the clock
        // distinguish calls even if the hash were weak.
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        RandomState::new().hash_one((call, self.now_micros()))
    }
}

/// Takes the lock on a file, unless it is held.
fn lock(file: fs::File) -> io::Result<Option<Arc<dyn LockGuard>>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Arc::new(DiskLock { file: DiskFile { file } }))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the lock on a file is held.
fn is_locked(file: &fs::File) -> io::Result<bool> {
    match file.try_lock_shared() {
        // The result is known; an error of the unlock would not change it, and closing the file
        // unlocks it too. On Windows the standard library unlocks twice, since a handle can hold a
        // shared and an exclusive lock at once, and expects a certain error from the second call;
        // Wine 8 returns another.
        Ok(()) => {
            let _ = file.unlock();
            Ok(false)
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Opens a regular file, or fails. Nothing else is opened, not even briefly, if the system has a
/// way to request that.
fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<fs::File> {
    // A file that is replaced by a rename between the check and the opening is checked again.
    const ATTEMPTS: usize = 16;
    refuse_links(options);
    for _ in 0..ATTEMPTS {
        // Checked before the opening, so that a device or a pipe is not opened.
        let before = metadata_of_link(path)?;
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            return Err(not_regular(path));
        }
        let file = options.open(path)?;
        // Checked again through the handle: another file may have the name now.
        let opened = file.metadata()?;
        if !opened.is_file() {
            return Err(not_regular(path));
        }
        if before.is_none_or(|before| same_file(&before, &opened)) {
            return Ok(file);
        }
    }
    Err(not_regular(path))
}

/// On Linux, opening a link fails, and opening a pipe does not wait.
#[cfg(target_os = "linux")]
fn refuse_links(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
}

/// On Windows, a link is opened itself instead of its target, and is then recognised as not a file.
#[cfg(windows)]
fn refuse_links(options: &mut OpenOptions) {
    use std::os::windows::fs::OpenOptionsExt as _;
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
}

/// On other systems the flags have different values; [`same_file`] makes the check.
#[cfg(not(any(target_os = "linux", windows)))]
fn refuse_links(_options: &mut OpenOptions) {}

/// Whether the opened file is the one that was checked: if not, a link may have been followed.
#[cfg(all(unix, not(target_os = "linux")))]
fn same_file(before: &Metadata, opened: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (before.dev(), before.ino()) == (opened.dev(), opened.ino())
}

/// The opening itself refuses links.
#[cfg(not(all(unix, not(target_os = "linux"))))]
fn same_file(_before: &Metadata, _opened: &Metadata) -> bool {
    true
}

fn not_regular(path: &Path) -> io::Error {
    let message = format!("{} is not a regular file", path.display());
    io::Error::new(ErrorKind::InvalidInput, message)
}

fn metadata_of_link(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn kind_of(kind: fs::FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

#[derive(Debug)]
struct DiskFile {
    file: fs::File,
}

impl File for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(&self.file, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset);
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::write_at(&self.file, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_write(&self.file, buf, offset);
    }

    /// `fdatasync`; on Apple's systems the standard library uses `F_FULLFSYNC`, without which the
    /// drive keeps the data in its cache.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? >= len || reserve(&self.file, len)? {
            return Ok(());
        }
        self.file.set_len(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        // On other systems a mapping may lag behind writes through the file, or prevent them.
        if len == 0 || (live && !cfg!(target_os = "linux")) {
            return Ok(None);
        }
        if self.len()? < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Ok(len) = usize::try_from(len) else {
            return Ok(None);
        };
        // The failure concerns the mapping, not the file: address space, a limit, a file system
        // without mappings. Positional reads still work, and report errors of the file.
        Ok(Mapping::of_file(&self.file, len).ok())
    }

    #[cfg(target_os = "linux")]
    fn map_for_writes(&self, len: u64, always: bool) -> io::Result<Option<Box<dyn WriteMapping>>> {
        Ok(self
            .writable_mapping(len, always)?
            .map(|mapping| Box::new(mapping) as Box<dyn WriteMapping>))
    }
}

#[cfg(target_os = "linux")]
impl DiskFile {
    /// [`File::map_for_writes`].
    fn writable_mapping(&self, len: u64, always: bool) -> io::Result<Option<WritableMapping>> {
        // Space that a copy of the store lacks is reserved here: a store into a hole could meet a full disk.
        if !(always || keeps_reserved_space(&self.file))
            || self.len()? < len
            || !reserve(&self.file, len)?
        {
            return Ok(None);
        }
        let Ok(len) = usize::try_from(len) else {
            return Ok(None);
        };
        Ok(WritableMapping::of_file(&self.file, len).ok())
    }
}

/// Whether the file system writes reserved space in its place, so that a store into it cannot meet a full disk. XFS
/// does not for files that share blocks with a copy.
#[cfg(target_os = "linux")]
fn keeps_reserved_space(file: &fs::File) -> bool {
    const EXT: u64 = 0xEF53;
    const TMPFS: u64 = 0x0102_1994;
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the field has other types on other processors"
    )]
    let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type as u64);
    kind.is_ok_and(|kind| [EXT, TMPFS].contains(&kind))
}

/// Reserves the space of the first `len` bytes and extends the file to them. `false`: the file
/// system does not support it, and nothing was done.
#[cfg(target_os = "linux")]
fn reserve(file: &fs::File, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    // Without KEEP_SIZE: the file gets its final length now, so that a later sync of data does not
    // write a new length each time.
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::unnecessary_wraps, reason = "same shape as where it can fail")]
fn reserve(_file: &fs::File, _len: u64) -> io::Result<bool> {
    Ok(false)
}

#[derive(Debug)]
struct DiskLock {
    file: DiskFile,
}

impl LockGuard for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Closing releases the lock too, but not while a forked child shares the handle. If this
        // fails, only closing remains.
        let _ = self.file.file.unlock();
    }
}

#[cfg(target_os = "linux")]
mod lock_table;

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
