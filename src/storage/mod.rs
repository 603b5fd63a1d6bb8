//! The interface between the engine and the outside world: files, directories, the clock and
//! randomness.
//!
//! Everything the engine does to the outside world goes through [`Storage`] and [`File`], so that a
//! simulated disk can replace the real one and fail in every way that a real one does.
//! Implementations must not interpret the bytes: no checksums, no formats, no retries other than
//! those in a method's contract.

#![cfg_attr(
    not(feature = "testing"),
    allow(unreachable_pub, dead_code, reason = "the seam is public for tests alone")
)]

mod disk;
mod mmap;
#[cfg(feature = "testing")]
mod sim;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use disk::DiskStorage;
pub use mmap::Mapping;
#[cfg(feature = "testing")]
pub use sim::{Crash, DirectoryModel, Fault, Keep, Operation, SimStats, SimStorage};

/// The mode in which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, a device or anything else; the engine never follows or opens one.
    Other,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, with bytes that are not UTF-8 replaced: such a name is foreign in any case.
    pub name: String,
    /// The kind of the entry.
    pub kind: EntryKind,
}

/// The directory that [`Storage::at`] binds to.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// The names of the root's directories that must stay in place after their first use.
    pub held: &'static [&'static str],
    /// The maximum number of open files; `None`: a default that depends on the limits of the
    /// process.
    pub max_open_files: Option<usize>,
}

/// A storage that is bound to one directory, and its absolute path, for messages and for the
/// storage's methods.
#[derive(Debug)]
pub struct Bound {
    /// Accepts paths under `root`, and its parent for [`Storage::sync_dir`]; refuses all others.
    pub storage: Arc<dyn Storage>,
    /// The directory.
    pub root: PathBuf,
}

/// The number of mappings of a storage's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Existing mappings.
    pub now: usize,
    /// Mappings that were ever created.
    pub ever: usize,
}

/// The kind of the error for an opened directory or file that is no longer in its place: it was
/// removed, or another one has its name.
pub const DISPLACED: io::ErrorKind = io::ErrorKind::StaleNetworkFileHandle;

/// A disk, a clock and a source of randomness.
pub trait Storage: Debug + Send + Sync + 'static {
    /// A storage for the directory that `root` leads to now, independent of its path later: the
    /// working directory may change, and names on the path may lead elsewhere. `None`: this storage
    /// needs no binding, or has one.
    fn at(&self, _root: &Path, _binding: Binding) -> io::Result<Option<Bound>> {
        Ok(None)
    }

    /// The storage for paths outside of the bound directory; `None`: this one accepts all paths.
    fn unbound(&self) -> Option<Arc<dyn Storage>> {
        None
    }

    /// Checks that the bound directory is in its place: the held directories and the locked file
    /// still have their names, and the path of the root does not lead to another directory. If not,
    /// an error of the kind [`DISPLACED`].
    fn check_place(&self) -> io::Result<()> {
        Ok(())
    }

    /// The number of mappings of its files; zero if mappings are not limited.
    fn mappings(&self) -> Mappings {
        Mappings::default()
    }

    /// Opens a file. Does not sync the directory: a created name is not durable.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// The kind of the entry at `path`, or `None` if there is none.
    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>>;

    /// The length in bytes of the file at `path`, without opening it if the system allows that.
    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.open(path, OpenMode::Read)?.len()
    }

    /// The entries of a directory, in any order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Creates one directory; not durable before its parent is synced. Succeeds if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing a file with the new name; not durable before the directory is
    /// synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must be free and may be in another directory; not durable before that is
    /// synced.
    ///
    /// # Errors
    ///
    /// `Unsupported`, or any other error of the system, if the file cannot have that name: it then keeps its only one.
    fn hard_link(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file; not durable before the directory is synced.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory; not durable before its parent is synced. Refused by a storage whose
    /// directories must stay in place.
    fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive advisory lock on the file `path`, creating the file if it is missing.
    /// `None`: the lock is held elsewhere. Held until the guard is dropped or the process ends.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>>;

    /// Whether the lock on the file `path` is held now. Keeps no lock; meanwhile a
    /// [`try_lock`](Self::try_lock) elsewhere may fail.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;

    /// The id of the process that holds the exclusive lock on the file `path`, as this process sees it.
    /// `None` if the lock is not held, or if the holder cannot be determined with certainty.
    fn lock_holder(&self, _path: &Path) -> Option<u32> {
        None
    }

    /// Microseconds since the Unix epoch. May be set back.
    fn now_micros(&self) -> u64;

    /// Microseconds on a clock that is never set, with any origin. It may stop while the machine is
    /// suspended.
    fn monotonic_micros(&self) -> u64 {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        let passed = BEGINNING.get_or_init(Instant::now).elapsed();
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
    }

    /// A random number.
    fn random_u64(&self) -> u64;
}

/// A held lock. The locked file stays empty: on some systems no other handle can read it.
pub trait LockGuard: Debug + Send + Sync {}

/// An open file. All access is positional; there is no cursor.
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: Debug + Send + Sync {
    /// Reads into `buf` at `offset`; returns fewer bytes only at the end of the file or after an
    /// interruption.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes `buf` at `offset`, possibly only its beginning. Extends the file if necessary.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the contents, and the size if it is needed to read them, durable. After an error the
    /// state of everything written since the last success is unknown.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends the file; new bytes read as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Extends the file to `len` with reserved space that reads as zero, where the file system
    /// can; elsewhere only the length changes.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Maps the first `len` bytes for reading. `None` if a mapping is not possible, or if `live`
    /// requires one that shows later writes and it would not: the caller then reads positionally.
    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>>;

    /// Maps the first `len` bytes for [`WriteMapping::store`], reserving the space that they lack. `None` if that is not
    /// possible, or, unless `always`, if a store could meet a full disk: on file systems that do not write to the
    /// space that was reserved.
    fn map_for_writes(
        &self,
        _len: u64,
        _always: bool,
    ) -> io::Result<Option<Box<dyn WriteMapping>>> {
        Ok(None)
    }

    /// Whether the file's name leads to this file. A storage that does not bind directories cannot
    /// find out, and returns true.
    fn is_in_place(&self) -> io::Result<bool> {
        Ok(true)
    }

    /// The file that the name leads to now, opened for reading; `None` on storages whose handles
    /// cannot differ from it.
    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        Ok(None)
    }

    /// Requests that the file is kept open, or permits that it is closed and opened again when it is
    /// needed. A file with unsynced writes, or without a name, is kept open in any case. A storage
    /// without a limit ignores it.
    fn keep_open(&self, _keep: bool) {}

    /// Whether all bytes can be read. False for a cold segment that there is no source for.
    fn is_readable(&self) -> bool {
        true
    }
}

/// A mapping of a file that bytes are written through. They are where a positional write would leave them: reads show
/// them, a sync of the file makes them durable, and the end of the process keeps them.
///
/// An error of the disk cannot be returned by a store; it is a signal that ends the process, as when a page that was
/// prepared was evicted and cannot be read again.
pub trait WriteMapping: Debug + Send + Sync {
    /// Has the pages of a range in memory and writable, with their space reserved, or fails. Pages may be
    /// evicted again, after which a store into them is slower.
    fn prepare(&self, from: u64, to: u64) -> io::Result<()>;

    /// Copies bytes to an offset, all of it in prepared pages. Not to be called by two threads at once, nor for
    /// bytes that a reader was told of.
    ///
    /// # Panics
    ///
    /// Panics if the range is not all inside the mapping.
    fn store(&self, bytes: &[u8], offset: u64);
}

/// Whether the directory exists. Any other entry in its place is an error, and so is a link to a
/// directory, whose target must not be read or removed.
pub fn is_directory(storage: &dyn Storage, path: &Path) -> io::Result<bool> {
    match storage.entry_kind(path)? {
        None => Ok(false),
        Some(EntryKind::Directory) => Ok(true),
        Some(EntryKind::File | EntryKind::Other) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a directory"))
        }
    }
}

/// Whether a file may have been neither removed nor replaced because it is in use: Windows refuses both
/// for a mapped file, and for one that a program has opened without sharing its removal.
pub fn is_in_use(error: &io::Error) -> bool {
    const SHARING_VIOLATION: i32 = 32;
    const USER_MAPPED_FILE: i32 = 1224;
    let by_code = |code| [SHARING_VIOLATION, USER_MAPPED_FILE].contains(&code);
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy)
        || cfg!(windows) && error.raw_os_error().is_some_and(by_code)
}

/// Reads exactly `buf.len()` bytes at `offset`, or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes all of `buf` at `offset`. After an error, any part of it may have been written.
pub fn write_all_at(file: &dyn File, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                buf = &buf[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
