//! The pool of a store's open files, with a maximum size.
//!
//! A file that is not used for a while is closed, and opened again when it is needed. It must then
//! be the same file: another file under its name is an error, and is never read or written. Not
//! closed are files with unsynced writes, since an error that the system reports later could be
//! lost, and files without a name, since they could not be opened again.
//!
//! Files are closed in the order in which they were opened; one that was used since it was last
//! considered is skipped once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::DiskFile;
use super::bound::{Identity, Place};
use crate::storage::{DISPLACED, File, Mapping, Mappings, OpenMode, read_exact_at};
#[cfg(target_os = "linux")]
use crate::storage::{WriteMapping, mmap::WritableMapping};
use crate::sync::{Mutex, Rank};

/// Order of locks: a file's slot, `clock`, `names`. With `clock` held, slots are only tried.
pub(super) struct Pool {
    limit: usize,
    open: AtomicUsize,
    mapped: Arc<AtomicUsize>,
    maps: AtomicUsize,
    /// The open files, in the order in which they are considered.
    clock: Mutex<VecDeque<Weak<PoolEntry>>>,
    /// All files, open or not, by their names.
    names: Mutex<HashMap<PathBuf, Vec<Weak<PoolEntry>>>>,
}

/// A file, open or not.
struct PoolEntry {
    place: Arc<Place>,
    pool: Arc<Pool>,
    path: Mutex<PathBuf>,
    identity: Identity,
    writable: bool,
    slot: Mutex<OpenState>,
    used: AtomicBool,
    keep: AtomicBool,
    /// Bytes may be stored through a mapping, so that the handle has to stay open.
    stored_to: AtomicBool,
    nameless: AtomicBool,
    /// Counts the beginnings and the ends of writes; compared with its value at the start of the
    /// last successful sync.
    writes: AtomicU64,
    synced: AtomicU64,
    /// A sync has failed.
    broken: AtomicBool,
}

/// Entries of handles that are gone, beyond the number of open files, after which they are dropped.
const SPARE_ENTRIES: usize = 64;

/// The first bytes identify a file: all files of a store begin with a header with the store's id,
/// and segments with a random number.
const HEAD_LEN: usize = 128;

struct OpenState {
    file: Option<Arc<DiskFile>>,
    /// The first bytes of a closed file. An overlay gives a file that it copies up another identity.
    head: Option<[u8; HEAD_LEN]>,
}

/// A handle of a file in a pool.
struct PooledFile(Arc<PoolEntry>);

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            open: AtomicUsize::new(0),
            mapped: Arc::default(),
            maps: AtomicUsize::new(0),
            clock: Mutex::new(Rank::OpenFiles, VecDeque::new()),
            names: Mutex::new(Rank::FileNames, HashMap::new()),
        }
    }

    /// The number of entries of open files, and of files that are gone.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.clock.lock().len().max(self.names.lock().values().map(Vec::len).sum())
    }

    /// The number of mappings.
    pub(super) fn mappings(&self) -> Mappings {
        let (now, ever) = (self.mapped.load(Ordering::Relaxed), self.maps.load(Ordering::Relaxed));
        Mappings { now, ever }
    }

    /// Opens a file of a store.
    pub(super) fn open(
        self: &Arc<Self>,
        place: &Arc<Place>,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<Arc<dyn File>> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::ReadWrite => OFlags::RDWR,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        self.make_room();
        let file = self.opening(|| place.open_file(path, flags))?;
        let identity = Identity::of(&file.metadata()?);
        let slot = OpenState { file: Some(Arc::new(DiskFile { file })), head: None };
        let entry = Arc::new(PoolEntry {
            place: Arc::clone(place),
            pool: Arc::clone(self),
            path: Mutex::new(Rank::FileName, path.to_owned()),
            identity,
            writable: mode != OpenMode::Read,
            slot: Mutex::new(Rank::OpenFile, slot),
            used: AtomicBool::new(true),
            keep: AtomicBool::new(false),
            stored_to: AtomicBool::new(false),
            nameless: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.names.lock().entry(path.to_owned()).or_default().push(Arc::downgrade(&entry));
        self.add_to_clock(&entry);
        Ok(Arc::new(PooledFile(entry)))
    }

    /// Enters a file into the clock. A reader beside a writer opens the status file for each read: entries of handles that
    /// are gone are dropped here, or each would keep its memory for as long as the store is open.
    fn add_to_clock(&self, entry: &Arc<PoolEntry>) {
        let mut clock = self.clock.lock();
        if clock.len() >= self.open.load(Ordering::Relaxed) * 2 + SPARE_ENTRIES {
            clock.retain(|entry| entry.strong_count() > 0);
        }
        clock.push_back(Arc::downgrade(entry));
    }

    /// Runs an operation that opens a file; if the process or the system has too many open, closes
    /// some files and tries again.
    pub(super) fn opening<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if is_out_of_files(&error) && self.close_one() => {}
                opened => return opened,
            }
        }
    }

    fn make_room(&self) {
        while self.open.load(Ordering::Relaxed) >= self.limit && self.close_one() {}
    }

    /// Closes a file; `false` if none can be closed. One that must be synced first is the last choice.
    fn close_one(&self) -> bool {
        self.close_one_of(PoolEntry::may_be_closed)
            || self.close_one_of(PoolEntry::syncs_before_it_is_closed)
    }

    fn close_one_of(&self, may_be_closed: impl Fn(&PoolEntry, &DiskFile) -> bool) -> bool {
        let mut clock = self.clock.lock();
        // Goes around twice: in the second round no file counts as used.
        for _ in 0..clock.len() * 2 {
            let Some(weak) = clock.pop_front() else { return false };
            let Some(entry) = weak.upgrade() else { continue };
            if !entry.used.swap(false, Ordering::Relaxed)
                && let Some(mut slot) = entry.slot.try_lock()
            {
                let Some(file) = slot.file.take_if(|file| may_be_closed(&entry, file)) else {
                    if slot.file.is_some() {
                        clock.push_back(weak);
                    }
                    continue;
                };
                slot.head = head_of(&file).ok();
                self.open.fetch_sub(1, Ordering::Relaxed);
                return true;
            }
            clock.push_back(weak);
        }
        false
    }

    /// Removes a name, or gives it to another file. Files with that name are opened first if they
    /// are closed, because they could not be opened afterwards.
    pub(super) fn losing_name(
        &self,
        path: &Path,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let named = self.names.lock().get(path).cloned().unwrap_or_default();
        let named: Vec<_> = named.iter().filter_map(Weak::upgrade).collect();
        for entry in &named {
            entry.nameless.store(true, Ordering::Relaxed);
            // A file that cannot be opened returns the error when it is used.
            let _ = entry.file();
        }
        let removed = remove();
        if removed.is_err() {
            for entry in &named {
                entry.nameless.store(false, Ordering::Relaxed);
            }
        }
        removed
    }

    /// Records that a file has another name.
    pub(super) fn renamed(&self, from: &Path, to: &Path) {
        let mut names = self.names.lock();
        let Some(moved) = names.remove(from) else { return };
        let entries: Vec<_> = moved.iter().filter_map(Weak::upgrade).collect();
        for entry in &entries {
            to.clone_into(&mut entry.path.lock());
        }
        names.entry(to.to_owned()).or_default().extend(moved);
        // Dropped outside: the last handle of a file takes the lock.
        drop(names);
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

fn head_of(file: &DiskFile) -> io::Result<[u8; HEAD_LEN]> {
    let mut head = [0; HEAD_LEN];
    let len = usize::try_from(file.len()?).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    read_exact_at(file, &mut head[..len], 0)?;
    Ok(head)
}

impl PoolEntry {
    /// The open file.
    fn file(self: &Arc<Self>) -> io::Result<Arc<DiskFile>> {
        let mut slot = self.slot.lock();
        self.used.store(true, Ordering::Relaxed);
        if let Some(file) = &slot.file {
            return Ok(Arc::clone(file));
        }
        let flags = if self.writable { OFlags::RDWR } else { OFlags::RDONLY };
        let path = self.path.lock().clone();
        self.pool.make_room();
        let file = self.pool.opening(|| self.place.open_file(&path, flags))?;
        let identity = Identity::of(&file.metadata()?);
        let file = Arc::new(DiskFile { file });
        if identity != self.identity && slot.head != Some(head_of(&file)?) {
            let what = format!("{} was replaced while the store was open", path.display());
            return Err(io::Error::new(DISPLACED, what));
        }
        slot.file = Some(Arc::clone(&file));
        self.pool.open.fetch_add(1, Ordering::Relaxed);
        self.pool.add_to_clock(self);
        Ok(file)
    }

    /// Whether closing the handle loses nothing. Its slot is locked, so that no write begins.
    fn may_be_closed(&self, _file: &DiskFile) -> bool {
        self.can_be_opened_again()
            && self.writes.load(Ordering::Acquire) == self.synced.load(Ordering::Acquire)
    }

    /// Whether closing the handle loses nothing after a sync, which is done here. An error is stored
    /// for the next sync, because the system reports it once.
    fn syncs_before_it_is_closed(&self, file: &DiskFile) -> bool {
        let writes = self.writes.load(Ordering::Acquire);
        // A write in progress is counted again when it ends.
        if !self.can_be_opened_again() || writes % 2 == 1 || self.broken.load(Ordering::Acquire) {
            return false;
        }
        if file.sync_data().is_err() {
            self.broken.store(true, Ordering::Release);
            return false;
        }
        self.synced.fetch_max(writes, Ordering::AcqRel);
        self.writes.load(Ordering::Acquire) == writes
    }

    fn can_be_opened_again(&self) -> bool {
        let kept = [&self.keep, &self.stored_to, &self.nameless];
        kept.iter().all(|kept| !kept.load(Ordering::Acquire))
    }

    /// Changes the file, which then counts as unsynced.
    fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&DiskFile) -> io::Result<T>,
    ) -> io::Result<T> {
        // Counted before the handle is taken and after the change: a sync in between does not cover
        // the change.
        self.writes.fetch_add(1, Ordering::AcqRel);
        let changed = self.file().and_then(|file| change(&file));
        self.writes.fetch_add(1, Ordering::AcqRel);
        changed
    }
}

impl Drop for PoolEntry {
    fn drop(&mut self) {
        if self.slot.get_mut().file.is_some() {
            self.pool.open.fetch_sub(1, Ordering::Relaxed);
        }
        let mut names = self.pool.names.lock();
        let path = self.path.get_mut();
        if let Some(named) = names.get_mut(path) {
            named.retain(|entry| entry.strong_count() > 0);
            if named.is_empty() {
                names.remove(path);
            }
        }
    }
}

impl File for PooledFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.file()?.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.change(|file| file.write_at(buf, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        let writes = self.0.writes.load(Ordering::Acquire);
        let file = self.0.file()?;
        if self.0.broken.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        file.sync_data()?;
        self.0.synced.fetch_max(writes, Ordering::AcqRel);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.file()?.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change(|file| file.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.change(|file| file.allocate(len))
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        let mapping = self.0.file()?.map(len, live)?;
        let pool = &self.0.pool;
        pool.maps.fetch_add(usize::from(mapping.is_some()), Ordering::Relaxed);
        Ok(mapping.map(|mapping| mapping.counted_by(&pool.mapped)))
    }

    #[cfg(target_os = "linux")]
    fn map_for_writes(&self, len: u64, always: bool) -> io::Result<Option<Box<dyn WriteMapping>>> {
        // It may reserve space.
        let mapping = self.0.change(|file| file.writable_mapping(len, always))?;
        Ok(mapping.map(|mapping| -> Box<dyn WriteMapping> {
            self.0.stored_to.store(true, Ordering::Relaxed);
            Box::new(PooledMapping { entry: Arc::clone(&self.0), mapping })
        }))
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let path = self.0.path.lock().clone();
        Ok(self.0.place.identity(&path)? == Some(self.0.identity))
    }

    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        let path = self.0.path.lock().clone();
        self.0.pool.open(&self.0.place, &path, OpenMode::Read).map(Some)
    }

    fn keep_open(&self, keep: bool) {
        self.0.keep.store(keep, Ordering::Relaxed);
    }
}

/// The mapping of a file in a pool for writing, of which there is one at a time. The handle is open for as long as it is
/// there, so all its stores count as one write of the file, at its end.
#[cfg(target_os = "linux")]
struct PooledMapping {
    entry: Arc<PoolEntry>,
    mapping: WritableMapping,
}

#[cfg(target_os = "linux")]
impl WriteMapping for PooledMapping {
    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        self.mapping.prepare(from, to)
    }

    fn store(&self, bytes: &[u8], offset: u64) {
        self.mapping.store(bytes, offset);
    }
}

#[cfg(target_os = "linux")]
impl Drop for PooledMapping {
    fn drop(&mut self) {
        // As the beginning and the end of a write, before the handle may be closed.
        self.entry.writes.fetch_add(2, Ordering::AcqRel);
        self.entry.stored_to.store(false, Ordering::Release);
    }
}

#[cfg(target_os = "linux")]
impl fmt::Debug for PooledMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledMapping").field(&*self.entry.path.lock()).finish()
    }
}

impl fmt::Debug for PooledFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledFile").field(&*self.0.path.lock()).finish()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("limit", &self.limit).finish_non_exhaustive()
    }
}
