//! A storage that calls a hook before it passes every operation on to another storage.
//!
//! It owns only the number of opened files. It must never decide by itself that an operation fails:
//! every difference to the storage below comes from the hook.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Binding, Bound, DirEntry, EntryKind, File, LockGuard, Mapping, Mappings, OpenMode, Operation,
    Storage,
};

/// An operation of a [`HookedStorage`] or of one of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The operation.
    pub operation: Operation,
    /// The path of the operation; for an open file, its path when it was opened; for a rename, the
    /// old one.
    pub path: &'a Path,
    /// The number of the open file, counted from 1 in the order of opening. `None` for an operation
    /// on a path.
    pub handle: Option<u64>,
    /// The first byte that is read or written; 0 for other operations.
    pub offset: u64,
    /// The number of bytes to read or to write; the new or mapped length for [`Operation::SetLen`],
    /// [`Operation::Allocate`] and [`Operation::Map`]; 0 for other operations.
    pub len: u64,
}

impl Call<'_> {
    /// Whether the path ends with the extension of a segment, `seg`.
    pub fn is_segment(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "seg")
    }

    /// Whether the operation changes files or directories, or makes changes durable.
    pub fn changes_the_disk(&self) -> bool {
        match self.operation {
            Operation::Open
            | Operation::ReadDir
            | Operation::Read
            | Operation::Map
            | Operation::Stat => false,
            Operation::Write
            | Operation::SetLen
            | Operation::Allocate
            | Operation::Sync
            | Operation::SyncDir
            | Operation::CreateDir
            | Operation::Rename
            | Operation::Remove => true,
        }
    }
}

/// The hook of a test for the operations of a [`HookedStorage`]. Each method has a default that
/// changes nothing. Methods may be called by many threads at once, and may block.
///
/// Reads of the clock and of random numbers are passed on without a call.
pub trait Hook: Send + Sync + 'static {
    /// Called before every operation.
    ///
    /// # Errors
    ///
    /// An error is the result of the operation, which is then not passed on.
    fn before(&self, _call: Call<'_>) -> io::Result<()> {
        Ok(())
    }

    /// Called in place of a write, after [`before`](Self::before): writes all of `buf`, its beginning
    /// or nothing to `file`, the file of the storage below, and returns the number of bytes written.
    ///
    /// # Errors
    ///
    /// An error is the result of the write.
    fn write(&self, call: Call<'_>, file: &dyn File, buf: &[u8]) -> io::Result<usize> {
        file.write_at(buf, call.offset)
    }

    /// Called after a successful read with the number of bytes that were read.
    fn after_read(&self, _call: Call<'_>, _read: usize) {}

    /// Returns the length to report for a file of `len` bytes.
    fn len_of(&self, _call: Call<'_>, len: u64) -> u64 {
        len
    }

    /// Whether files may be mapped. If not, the engine reads positionally, and `before` sees each read.
    fn permits_mappings(&self) -> bool {
        true
    }
}

/// A storage with a [`Hook`]. Clones share the storage below and the hook.
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use annals::testing::{Call, Hook, HookedStorage, Operation, SimStorage};
/// use annals::{ExpectedVersion, NewEvent, Options};
///
/// /// Counts the syncs of files.
/// #[derive(Default)]
/// struct Syncs(AtomicU64);
///
/// impl Hook for Syncs {
///     fn before(&self, call: Call<'_>) -> io::Result<()> {
///         if call.operation == Operation::Sync {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///         Ok(())
///     }
/// }
///
/// let disk = HookedStorage::new(SimStorage::new(1), Syncs::default());
/// let store = Options::new().storage(Arc::new(disk.clone())).open("/store")?;
/// let before = disk.hook().0.load(Ordering::Relaxed);
/// store.append("stream", ExpectedVersion::Any, [NewEvent::new("Happened", "")])?;
/// assert!(disk.hook().0.load(Ordering::Relaxed) > before);
/// # Ok::<(), annals::Error>(())
/// ```
pub struct HookedStorage<H> {
    below: Arc<dyn Storage>,
    hook: Arc<H>,
    handles: Arc<AtomicU64>,
}

impl<H: Hook> HookedStorage<H> {
    /// A storage that calls `hook` and passes operations on to `below`.
    pub fn new(below: impl Storage, hook: H) -> Self {
        Self { below: Arc::new(below), hook: Arc::new(hook), handles: Arc::default() }
    }

    /// The hook.
    pub fn hook(&self) -> &H {
        &self.hook
    }

    /// Calls the hook before an operation on a path.
    fn before(&self, operation: Operation, path: &Path) -> io::Result<&dyn Storage> {
        self.hook.before(Call { operation, path, handle: None, offset: 0, len: 0 })?;
        Ok(&*self.below)
    }
}

impl<H> Clone for HookedStorage<H> {
    fn clone(&self) -> Self {
        let (below, hook) = (Arc::clone(&self.below), Arc::clone(&self.hook));
        Self { below, hook, handles: Arc::clone(&self.handles) }
    }
}

impl<H> fmt::Debug for HookedStorage<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStorage").field("below", &self.below).finish_non_exhaustive()
    }
}

impl<H: Hook> Storage for HookedStorage<H> {
    fn at(&self, root: &Path, binding: Binding) -> io::Result<Option<Bound>> {
        let Some(bound) = self.below.at(root, binding)? else { return Ok(None) };
        let storage = Self { below: bound.storage, ..self.clone() };
        Ok(Some(Bound { storage: Arc::new(storage), root: bound.root }))
    }

    fn check_place(&self) -> io::Result<()> {
        self.below.check_place()
    }

    fn mappings(&self) -> Mappings {
        self.below.mappings()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.before(Operation::Open, path)?.open(path, mode)?;
        let handle = self.handles.fetch_add(1, Ordering::Relaxed) + 1;
        let hook = Arc::clone(&self.hook);
        Ok(Arc::new(HookedFile { file, hook, handle, path: path.to_path_buf() }))
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        self.before(Operation::Stat, path)?.entry_kind(path)
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let len = self.before(Operation::Stat, path)?.file_len(path)?;
        let operation = Operation::Stat;
        Ok(self.hook.len_of(Call { operation, path, handle: None, offset: 0, len: 0 }, len))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.before(Operation::ReadDir, path)?.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::CreateDir, path)?.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Operation::Rename, from)?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::Remove, path)?.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::Remove, path)?.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::SyncDir, path)?.sync_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        self.before(Operation::Open, path)?.try_lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.before(Operation::Stat, path)?.is_locked(path)
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        self.below.lock_holder(path)
    }

    fn now_micros(&self) -> u64 {
        self.below.now_micros()
    }

    fn monotonic_micros(&self) -> u64 {
        self.below.monotonic_micros()
    }

    fn random_u64(&self) -> u64 {
        self.below.random_u64()
    }
}

struct HookedFile<H> {
    file: Arc<dyn File>,
    hook: Arc<H>,
    handle: u64,
    path: PathBuf,
}

impl<H> fmt::Debug for HookedFile<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<H: Hook> HookedFile<H> {
    /// Calls the hook before an operation on the open file.
    fn before(&self, operation: Operation, offset: u64, len: u64) -> io::Result<Call<'_>> {
        let call = Call { operation, path: &self.path, handle: Some(self.handle), offset, len };
        self.hook.before(call)?;
        Ok(call)
    }
}

impl<H: Hook> File for HookedFile<H> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = self.before(Operation::Read, offset, buf.len() as u64)?;
        let read = self.file.read_at(buf, offset)?;
        self.hook.after_read(call, read);
        Ok(read)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let call = self.before(Operation::Write, offset, buf.len() as u64)?;
        self.hook.write(call, &*self.file, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.before(Operation::Sync, 0, 0)?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        let call = self.before(Operation::Stat, 0, 0)?;
        Ok(self.hook.len_of(call, self.file.len()?))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.before(Operation::SetLen, 0, len)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.before(Operation::Allocate, 0, len)?;
        self.file.allocate(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        if !self.hook.permits_mappings() {
            return Ok(None);
        }
        self.before(Operation::Map, 0, len)?;
        self.file.map(len, live)
    }

    fn is_in_place(&self) -> io::Result<bool> {
        self.file.is_in_place()
    }

    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        let (hook, handle) = (Arc::clone(&self.hook), self.handle);
        let wrap = |file| -> Arc<dyn File> {
            Arc::new(Self { file, hook, handle, path: self.path.clone() })
        };
        Ok(self.file.reopen()?.map(wrap))
    }

    fn keep_open(&self, keep: bool) {
        self.file.keep_open(keep);
    }
}
