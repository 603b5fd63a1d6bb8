//! A store's directory as it was when it was opened, independent of its path.
//!
//! It owns handles of the root and of the directories that the store writes to, and resolves every
//! name relative to them: even if the working directory changes, or names on the path lead
//! elsewhere, no other directory is accessed. It must never resolve a path of more than one name,
//! except to compare the root with the present target of its path.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::pool::Pool;
use super::{DiskStorage, is_locked, lock, not_regular};
use crate::storage::{
    Binding, Bound, DISPLACED, DirEntry, EntryKind, File, LockGuard, Mappings, OpenMode, Storage,
};
use crate::sync::{Mutex, Rank};

/// The default number of open files, and the minimum.
const MOST_FILES: usize = 256;
const FEWEST_FILES: usize = 8;

/// Binds to the directory of this absolute path.
pub(super) fn open(path: PathBuf, binding: Binding) -> io::Result<Option<Bound>> {
    let storage = Arc::new(Rooted::open(path.clone(), binding)?);
    Ok(Some(Bound { storage, root: path }))
}

/// A quarter of the process's limit: the rest is for other uses and other stores.
fn files_by_default() -> usize {
    let soft = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(soft / 4).unwrap_or(MOST_FILES).min(MOST_FILES)
}

/// The identity of a file or directory while a handle of it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An open directory, and its name in its parent.
#[derive(Debug)]
struct OpenDir {
    name: OsString,
    identity: Identity,
    dir: fs::File,
}

/// The directory and its used subdirectories.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    root: Arc<OpenDir>,
    held: &'static [&'static str],
    kept: Mutex<Vec<Arc<OpenDir>>>,
}

/// The kind of entry that a name in a directory leads to, without following links.
struct EntryStat {
    kind: EntryKind,
    identity: Identity,
    len: u64,
}

#[allow(
    clippy::unnecessary_cast,
    clippy::cast_sign_loss,
    reason = "the fields of `stat` have other types on other systems; the standard library casts too"
)]
fn look(dir: &fs::File, name: &OsStr) -> io::Result<Option<EntryStat>> {
    match retry_on_intr(|| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => {
            let kind = kind_of(FileType::from_raw_mode(stat.st_mode));
            let identity = Identity { device: stat.st_dev as u64, inode: stat.st_ino as u64 };
            Ok(Some(EntryStat { kind, identity, len: stat.st_size as u64 }))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        _ => EntryKind::Other,
    }
}

fn displaced(path: &Path, what: &str) -> io::Error {
    io::Error::new(DISPLACED, format!("{} {what}", path.display()))
}

impl Place {
    /// The parts of a path under the root.
    fn relative<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        let refused = || {
            let what = format!("{} is not in {}", path.display(), self.path.display());
            io::Error::new(ErrorKind::InvalidInput, what)
        };
        let relative = path.strip_prefix(&self.path).map_err(|_| refused())?;
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if plain { Ok(relative) } else { Err(refused()) }
    }

    /// A directory under the root, by its relative path.
    fn directory(&self, relative: &Path) -> io::Result<Arc<OpenDir>> {
        let mut found = Arc::clone(&self.root);
        for (depth, name) in relative.iter().enumerate() {
            let holds = depth == 0 && self.held.iter().any(|held| name == *held);
            found = if holds { self.kept(name)? } else { Arc::new(open_dir(&found.dir, name)?) };
        }
        Ok(found)
    }

    /// A directory that must stay the same as at its first use.
    fn kept(&self, name: &OsStr) -> io::Result<Arc<OpenDir>> {
        let mut kept = self.kept.lock();
        if let Some(known) = kept.iter().find(|known| known.name == *name) {
            self.check_kept(known)?;
            return Ok(Arc::clone(known));
        }
        let opened = Arc::new(open_dir(&self.root.dir, name)?);
        kept.push(Arc::clone(&opened));
        Ok(opened)
    }

    /// Whether a directory still has its name. An overlay may have given it another identity, by name
    /// and by handle.
    fn check_kept(&self, kept: &OpenDir) -> io::Result<()> {
        let checked = self.check(&kept.name, kept.identity);
        if checked.is_err() {
            return self.check(&kept.name, Identity::of(&kept.dir.metadata()?));
        }
        checked
    }

    /// Whether a name in the root still leads to this file or directory.
    fn check(&self, name: &OsStr, identity: Identity) -> io::Result<()> {
        match look(&self.root.dir, name)? {
            Some(entry) if entry.identity == identity => Ok(()),
            Some(_) => {
                Err(displaced(&self.path.join(name), "was replaced while the store was open"))
            }
            None => Err(displaced(&self.path.join(name), "was removed while the store was open")),
        }
    }

    fn check_all(&self) -> io::Result<()> {
        for kept in &*self.kept.lock() {
            self.check_kept(kept)?;
        }
        // A path that leads nowhere is not an error: the directory may have been renamed, or may be
        // invisible to this process. If the path leads to another directory, another store has
        // replaced this one, and bytes that are written here would not be found there.
        #[allow(clippy::disallowed_methods, reason = "this is the module for it")]
        match fs::metadata(&self.path) {
            Ok(metadata)
                if Identity::of(&metadata) != self.root.identity
                    && Identity::of(&metadata) != Identity::of(&self.root.dir.metadata()?) =>
            {
                Err(displaced(&self.path, "is another directory than the one that was opened"))
            }
            _ => Ok(()),
        }
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Arc<OpenDir>, &'p OsStr)> {
        let relative = self.relative(path)?;
        let name = relative.file_name().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.directory(relative.parent().unwrap_or(Path::new("")))?, name))
    }

    /// The entry that a path under the root leads to; `None` if there is none.
    pub(super) fn identity(&self, path: &Path) -> io::Result<Option<Identity>> {
        let (dir, name) = self.parent(path)?;
        Ok(look(&dir.dir, name)?.map(|entry| entry.identity))
    }

    /// Opens a regular file, or fails: a link is not followed, and a device or a pipe is not
    /// opened.
    pub(super) fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<fs::File> {
        let (dir, name) = self.parent(path)?;
        if look(&dir.dir, name)?.is_some_and(|entry| entry.kind != EntryKind::File) {
            return Err(not_regular(path));
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| openat(&dir.dir, name, flags, Mode::from_raw_mode(0o666)));
        let file = match opened {
            Ok(file) => fs::File::from(file),
            Err(Errno::LOOP) => return Err(not_regular(path)),
            Err(error) => return Err(error.into()),
        };
        // Checked again through the handle: another file may have the name now.
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_regular(path)) }
    }
}

fn open_dir(above: &fs::File, name: &OsStr) -> io::Result<OpenDir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = retry_on_intr(|| openat(above, name, flags, Mode::empty()));
    let dir = match dir {
        Ok(dir) => fs::File::from(dir),
        Err(Errno::LOOP) => return Err(ErrorKind::NotADirectory.into()),
        Err(error) => return Err(error.into()),
    };
    Ok(OpenDir { name: name.to_owned(), identity: Identity::of(&dir.metadata()?), dir })
}

/// The storage of a store in a bound directory.
#[derive(Debug)]
struct Rooted {
    place: Arc<Place>,
    pool: Arc<Pool>,
    /// The name and the identity of the locked file, from the first lock on.
    lock: Mutex<Option<(OsString, Identity)>>,
}

impl Rooted {
    fn open(path: PathBuf, binding: Binding) -> io::Result<Self> {
        // Anything else is refused without being opened: opening a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::File::from(retry_on_intr(|| openat(CWD, &path, flags, Mode::empty()))?);
        let metadata = root.metadata()?;
        let root = OpenDir { name: OsString::new(), identity: Identity::of(&metadata), dir: root };
        let limit = binding.max_open_files.unwrap_or_else(files_by_default).max(FEWEST_FILES);
        let place = Place {
            path,
            root: Arc::new(root),
            held: binding.held,
            kept: Mutex::new(Rank::HeldDirectories, Vec::new()),
        };
        let (place, pool) = (Arc::new(place), Arc::new(Pool::new(limit)));
        Ok(Self { place, pool, lock: Mutex::new(Rank::LockFile, None) })
    }

    fn directory(&self, path: &Path) -> io::Result<Arc<OpenDir>> {
        let relative = self.place.relative(path)?;
        self.pool.opening(|| self.place.directory(relative))
    }

    /// The directory of a path, and its name there.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Arc<OpenDir>, &'p OsStr)> {
        self.pool.opening(|| self.place.parent(path))
    }
}

impl Rooted {
    /// The present parent directory of the root.
    fn above(&self) -> io::Result<fs::File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = &self.place.root.dir;
        Ok(self.pool.opening(|| Ok(openat(root, "..", flags, Mode::empty())?))?.into())
    }
}

impl Storage for Rooted {
    fn unbound(&self) -> Option<Arc<dyn Storage>> {
        Some(Arc::new(DiskStorage))
    }

    fn check_place(&self) -> io::Result<()> {
        self.place.check_all()?;
        match &*self.lock.lock() {
            Some((name, identity)) => self.place.check(name, *identity),
            None => Ok(()),
        }
    }

    fn mappings(&self) -> Mappings {
        self.pool.mappings()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.pool.open(&self.place, path, mode)
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        if path == self.place.path {
            return Ok(Some(EntryKind::Directory));
        }
        match self.parent(path) {
            Ok((dir, name)) => Ok(look(&dir.dir, name)?.map(|entry| entry.kind)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.parent(path)?;
        let entry = look(&dir.dir, name)?.ok_or(ErrorKind::NotFound)?;
        if entry.kind == EntryKind::File { Ok(entry.len) } else { Err(not_regular(path)) }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.directory(path)?;
        let mut entries = Vec::new();
        for entry in self.pool.opening(|| Ok(Dir::read_from(&dir.dir)?))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    use std::os::unix::ffi::OsStrExt as _;
                    match look(&dir.dir, OsStr::from_bytes(entry.file_name().to_bytes()))? {
                        Some(found) => found.kind,
                        None => continue,
                    }
                }
                kind => kind_of(kind),
            };
            entries.push(DirEntry { name, kind });
        }
        Ok(entries)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path == self.place.path {
            return Ok(());
        }
        let (dir, name) = self.parent(path)?;
        match mkdirat(&dir.dir, name, Mode::from_raw_mode(0o777)) {
            // A link to a directory is not a directory: the engine never follows links.
            Err(Errno::EXIST)
                if look(&dir.dir, name)?
                    .is_some_and(|found| found.kind == EntryKind::Directory) =>
            {
                Ok(())
            }
            created => Ok(created?),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        self.pool
            .losing_name(to, || Ok(renameat(&from_dir.dir, from_name, &to_dir.dir, to_name)?))?;
        self.pool.renamed(from, to);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        self.pool.losing_name(path, || Ok(unlinkat(&dir.dir, name, AtFlags::empty())?))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if path != self.place.path {
            let (dir, name) = self.parent(path)?;
            unlinkat(&dir.dir, name, AtFlags::REMOVEDIR)?;
            if dir.name.is_empty() {
                self.place.kept.lock().retain(|kept| kept.name != *name);
            }
            return Ok(());
        }
        let above = self.above()?;
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        match look(&above, name)? {
            Some(entry) if entry.identity == self.place.root.identity => {
                Ok(unlinkat(&above, name, AtFlags::REMOVEDIR)?)
            }
            _ => Err(displaced(path, "is not the directory that was opened")),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if Some(path) == self.place.path.parent() {
            return self.above()?.sync_all();
        }
        self.directory(path)?.dir.sync_all()
    }

    /// The lock counts only if its file is the one in the directory: a file that was removed
    /// between its opening and its locking protects nothing.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        const ATTEMPTS: usize = 16;
        let (dir, name) = self.parent(path)?;
        for _ in 0..ATTEMPTS {
            let flags = OFlags::RDWR | OFlags::CREATE;
            let file = self.pool.opening(|| self.place.open_file(path, flags))?;
            let identity = Identity::of(&file.metadata()?);
            let Some(guard) = lock(file)? else { return Ok(None) };
            if look(&dir.dir, name)?.is_some_and(|entry| entry.identity == identity) {
                *self.lock.lock() = Some((name.to_owned(), identity));
                return Ok(Some(guard));
            }
        }
        Ok(None)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match self.pool.opening(|| self.place.open_file(path, OFlags::RDONLY)) {
            Ok(file) => is_locked(&file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cfg(target_os = "linux")]
    fn lock_holder(&self, path: &Path) -> Option<u32> {
        let (dir, name) = self.parent(path).ok()?;
        let entry = look(&dir.dir, name).ok()??;
        super::lock_table::holder_of(entry.identity.device, entry.identity.inode)
    }

    fn now_micros(&self) -> u64 {
        DiskStorage.now_micros()
    }

    fn random_u64(&self) -> u64 {
        DiskStorage.random_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_opened_again_and_again_leaves_nothing_in_the_pool() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let binding = Binding { held: &[], max_open_files: None };
        let storage = Rooted::open(root.clone(), binding).unwrap();
        let path = root.join("STATUS");
        drop(storage.open(&path, OpenMode::CreateNew).unwrap());
        let kept = storage.open(&path, OpenMode::Read).unwrap();
        for _ in 0..10_000 {
            drop(storage.open(&path, OpenMode::Read).unwrap());
        }
        assert!(storage.pool.entries() < 200, "{} entries", storage.pool.entries());
        assert_eq!(kept.len().unwrap(), 0);
    }
}
