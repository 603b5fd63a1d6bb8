//! The store's directory: what a path holds, the lock, the creation of a store.
//!
//! Must never touch a directory that holds something else.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::names;
use crate::log::rotation::create_segment;
use crate::options::Options;
use crate::storage::{Binding, EntryKind, LockGuard, Storage, is_directory};
use crate::sync::{Instant, thread};

/// Time to wait for another opening that checks the lock, before the next try.
const LOOK: Duration = Duration::from_millis(2);

/// Binds a storage to the directory that a path leads to now, and makes the path absolute; neither
/// where the storage resolves each path anew, as one in memory does.
fn bind_names(dir: &StoreDir, max_open_files: Option<usize>) -> Result<StoreDir> {
    let held = &[names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR];
    let bound = dir.storage().at(dir.root(), Binding { held, max_open_files });
    let bound = bound.map_err(|e| match e.kind() {
        ErrorKind::NotADirectory if matches!(dir.storage().entry_kind(dir.root()), Ok(Some(_))) => {
            not_a_store(dir.root(), "it is not a directory")
        }
        _ => Error::io("open", dir.root(), e),
    })?;
    Ok(bound.map_or_else(|| dir.clone(), StoreDir::from))
}

/// Binds to a directory, and shows its cold segments without a source for them.
pub(crate) fn bind(dir: &StoreDir, max_open_files: Option<usize>) -> Result<StoreDir> {
    Ok(bind_names(dir, max_open_files)?.with_cold_segments(None, 0))
}

/// Binds to the directory of an existing store.
pub(crate) fn bind_existing(dir: &StoreDir) -> Result<StoreDir> {
    bind(dir, None).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            not_a_store(dir.root(), "it has no log")
        }
        error => error,
    })
}

/// Binds to the directory of a store. Creates it if it is missing and the options permit that; returns whether it
/// did.
pub(crate) fn bind_or_create(root: &Path, options: &Options) -> Result<(StoreDir, bool)> {
    let dir = StoreDir::new(Arc::clone(&options.storage), root);
    let bind = || {
        let bound = bind_names(&dir, options.max_open_files)?;
        Ok(bound.with_cold_segments(options.cold_source.clone(), options.cold_cache))
    };
    match bind() {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if options.read_only {
                return Err(not_a_store(root, "there is no store to read"));
            }
            if !options.create {
                return Err(not_a_store(root, "there is no store, and Options::create is false"));
            }
            options.storage.create_dir(root).map_err(|e| Error::io("create", root, e))?;
            Ok((bind()?, true))
        }
        bound => Ok((bound?, false)),
    }
}

/// The contents of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathContents {
    Store,
    /// A directory that a creation began and did not finish, or an empty one.
    Unfinished,
    Nothing,
}

/// Looks without touching. A directory that holds anything but a store is refused.
pub(crate) fn look_at(dir: &StoreDir) -> Result<PathContents> {
    let kind =
        dir.storage().entry_kind(dir.root()).map_err(|e| Error::io("look at", dir.root(), e))?;
    match kind {
        None => return Ok(PathContents::Nothing),
        // A link to a directory is permitted; listing it shows what it holds.
        Some(EntryKind::Directory | EntryKind::Other) => {}
        Some(EntryKind::File) => return Err(not_a_store(dir.root(), "it is a file")),
    }
    let entries =
        dir.storage().read_dir(dir.root()).map_err(|e| Error::io("list", dir.root(), e))?;
    if entries.iter().any(|entry| entry.name == names::BACKUP)
        && dir.read_backup().is_ok_and(|manifest| manifest.is_some_and(|it| it.end.is_none()))
    {
        return Err(not_a_store(dir.root(), "it is an unfinished backup: run the backup again"));
    }
    let is_dir =
        |name: &str| entries.iter().any(|e| e.name == name && e.kind == EntryKind::Directory);
    if is_dir(names::LOG_DIR) {
        for name in names::DIRECTORIES {
            let path = dir.join(name);
            is_directory(dir.storage(), &path).map_err(|e| Error::io("use", path, e))?;
        }
        let known = |name: &str| {
            [names::LOCK, names::STATUS].contains(&name)
                || [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR].contains(&name)
        };
        if has_segments(dir)? {
            return Ok(PathContents::Store);
        }
        for directory in [names::INDEX_DIR, names::CHECKPOINT_DIR] {
            refuse_orphans(dir, directory, is_dir(directory))?;
        }
        if let Some(foreign) = entries.iter().find(|entry| !known(&entry.name)) {
            let why = format!("it has no segments, and holds {:?}", foreign.name);
            return Err(not_a_store(dir.root(), why));
        }
        return Ok(PathContents::Unfinished);
    }
    match entries.iter().find(|entry| entry.name != names::LOCK) {
        Some(foreign) => {
            Err(not_a_store(dir.root(), format!("it holds {:?} and no log", foreign.name)))
        }
        None => Ok(PathContents::Unfinished),
    }
}

/// Whether the log has a segment. The complete list is made later, by recovery.
fn has_segments(dir: &StoreDir) -> Result<bool> {
    let first = dir.storage().entry_kind(&dir.segment_path(1));
    Ok(matches!(first, Ok(Some(EntryKind::File))) || !dir.list_segments()?.is_empty())
}

/// Derived files without a log: the log existed and is lost.
fn refuse_orphans(dir: &StoreDir, name: &str, exists: bool) -> Result<()> {
    if !exists {
        return Ok(());
    }
    let directory = dir.join(name);
    let entries =
        dir.storage().read_dir(&directory).map_err(|e| Error::io("list", &directory, e))?;
    let Some(orphan) = entries.first() else { return Ok(()) };
    Err(Error::Corrupt {
        file: dir.segment_path(1),
        offset: 0,
        expected_position: Position::new(1),
        what: "the segment is missing".into(),
        evidence: Some(format!("{name} holds {:?}", orphan.name)),
    })
}

pub(crate) fn not_a_store(root: &Path, why: impl Into<String>) -> Error {
    Error::NotAStore { path: root.into(), why: why.into() }
}

/// Takes the writer's lock, waiting for another writer up to `timeout`.
///
/// Another opening may hold the lock briefly to check it: a writer that ends at once, or a reader,
/// which shares it until it is scheduled again. This is waited for even without a timeout; a shared
/// lock is waited for longer, because there may be many readers that check often.
pub(crate) fn take_lock(dir: &StoreDir, timeout: Duration) -> Result<Arc<dyn LockGuard>> {
    const OF_A_WRITER: u32 = 4;
    const OF_READERS: u32 = 500;
    let path = dir.join(names::LOCK);
    let started = Instant::now();
    let (mut looks, mut writers, mut readers) = (0, 0, 0);
    loop {
        let lock = dir.storage().try_lock(&path).map_err(|e| Error::io("lock", &path, e))?;
        if let Some(lock) = lock {
            return Ok(lock);
        }
        let left = timeout.saturating_sub(started.elapsed());
        if !left.is_zero() {
            looks += 1;
            thread::sleep(pause(dir.storage(), looks).min(left));
            continue;
        }
        if dir.storage().is_locked(&path).map_err(|e| Error::io("look at the lock", &path, e))? {
            writers += 1;
        } else {
            readers += 1;
        }
        if writers > OF_A_WRITER || readers > OF_READERS {
            let holder = dir.storage().lock_holder(&path);
            return Err(Error::Locked { path: dir.root().into(), holder });
        }
        thread::sleep(LOOK);
    }
}

/// The wait before attempt number `looks` at a held lock: longer with each attempt, up to 25 ms. The
/// length is random, so that waiting processes do not run in step, and bounded, so that none tries much
/// more rarely than another.
fn pause(storage: &dyn Storage, looks: u32) -> Duration {
    let most = LOOK.saturating_mul(looks.clamp(1, 10)) + Duration::from_millis(5);
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(most / 2 + storage.random_u64() % (most / 2))
}

/// Removes what a failed creation of a store has made. This opening created `root`, and holds its lock.
/// What cannot be removed stays, and the next opening for writing continues from there.
pub(crate) fn take_back(dir: &StoreDir) {
    if !matches!(has_segments(dir), Ok(false)) {
        return;
    }
    for name in [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR] {
        let _ = dir.storage().remove_dir(&dir.join(name));
    }
    // The lock file is removed only with the directory: a lock on a removed file would exclude no other
    // process.
    let entries = dir.storage().read_dir(dir.root());
    if entries.is_ok_and(|entries| entries.iter().all(|entry| entry.name == names::LOCK)) {
        let _ = dir.storage().remove_file(&dir.join(names::LOCK));
        let _ = dir.storage().remove_dir(dir.root());
    }
}

/// Finishes the creation of a store that has no segment yet. The lock is held.
///
/// The names of one that has a segment are synced before its first commit, or by the recovery: an
/// opening of a store that was closed cleanly changes nothing and waits for no disk.
pub(crate) fn create_if_empty(dir: &StoreDir, options: &Options) -> Result<bool> {
    for name in [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR] {
        let directory = dir.join(name);
        dir.storage().create_dir(&directory).map_err(|e| Error::io("create", &directory, e))?;
    }
    if has_segments(dir)? {
        return Ok(false);
    }
    dir.sync_names()?;
    let mut store_id = [0; 16];
    store_id[..8].copy_from_slice(&dir.storage().random_u64().to_le_bytes());
    store_id[8..].copy_from_slice(&dir.storage().random_u64().to_le_bytes());
    let store_id = uuid::Builder::from_random_bytes(store_id).into_uuid().into_bytes();
    create_segment(dir, 1, store_id, options.capacity())?;
    Ok(true)
}
