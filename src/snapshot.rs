//! Snapshots: callers' states, kept beside the log and disposable.
//!
//! One file a snapshot, under a name made of its key's hash and its mark, so that loading is a
//! look at one small directory and opening a store touches none. A file is written beside and
//! renamed, never synced: what a power loss tears is found by its checksum and skipped, and replay
//! gives the right state. Must never be needed to answer anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{EventData, Position, Timestamp};
use crate::format::names;
use crate::format::record::MAX_STREAM_LEN;
use crate::format::snapshot::{SnapshotFile, hash_key};
use crate::storage::{EntryKind, OpenMode, Storage, is_directory, read_exact_at, write_all_at};

/// How many snapshots of a key are kept; older ones go when a newer one is saved.
const KEPT: usize = 2;
/// The largest state, in bytes.
const MAX_STATE: u64 = 256 << 20;

/// What a snapshot is the state after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mark {
    /// A version of the stream that is the snapshot's key.
    Version(u64),
    /// A position of the store; the key is a free name.
    Position(Position),
}

impl From<u64> for Mark {
    fn from(version: u64) -> Self {
        Self::Version(version)
    }
}

impl From<Position> for Mark {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl Mark {
    fn number(self) -> u64 {
        match self {
            Self::Version(version) => version,
            Self::Position(position) => position.get(),
        }
    }

    fn is_position(self) -> bool {
        matches!(self, Self::Position(_))
    }
}

/// A caller's state at a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    key: String,
    mark: Mark,
    state: Bytes,
    schema_version: u32,
    saved_at: Timestamp,
}

impl Snapshot {
    /// The state of the stream `key` at a version, or of anything named `key` at a position.
    pub fn new(key: impl Into<String>, mark: impl Into<Mark>, state: impl EventData) -> Self {
        Self {
            key: key.into(),
            mark: mark.into(),
            state: state.into_bytes(),
            schema_version: 0,
            saved_at: Timestamp::default(),
        }
    }

    /// The version of the state's schema. Default: 0.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What it is the state after.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The state.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// The version of the state's schema, as it was saved.
    pub fn saved_schema_version(&self) -> u32 {
        self.schema_version
    }

    /// When it was saved; the epoch for one that was not.
    pub fn saved_at(&self) -> Timestamp {
        self.saved_at
    }
}

/// The snapshots of a store; see [`Store::snapshots`](crate::Store::snapshots).
#[derive(Debug, Clone)]
pub struct Snapshots {
    engine: Arc<Engine>,
}

impl Snapshots {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Saves a snapshot; atomic. The two newest of a key are kept.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotAhead`] if the stream, or the store, has not come to its mark yet;
    /// [`Error::LimitExceeded`], [`Error::InvalidArgument`], [`Error::ReadOnly`], [`Error::Io`],
    /// [`Error::DiskFull`].
    pub fn save(&self, snapshot: &Snapshot) -> Result<()> {
        let engine = &*self.engine;
        engine.check_writable()?;
        check_key(&snapshot.key)?;
        let size = snapshot.state.len() as u64;
        if size > MAX_STATE {
            let what = "a snapshot's state in bytes";
            return Err(Error::LimitExceeded { what, size, max: MAX_STATE });
        }
        self.check_mark(snapshot)?;
        let file = SnapshotFile {
            store_id: engine.store_id,
            mark: snapshot.mark.number(),
            is_position: snapshot.mark.is_position(),
            saved_at: engine.storage.now_micros(),
            schema_version: snapshot.schema_version,
            key: &snapshot.key,
            state: &snapshot.state,
        };
        let directory = self.directory(&snapshot.key);
        for path in [engine.root.join(names::SNAPSHOT_DIR), directory.clone()] {
            let created = engine.storage.create_dir(&path);
            created.map_err(|e| Error::io("create", &path, e))?;
        }
        let name = file_name(&snapshot.key, snapshot.mark);
        write_beside(&*engine.storage, &directory, &name, &file.encode())?;
        let kind = snapshot.mark.is_position();
        for (_, old) in self.files(&snapshot.key, kind)?.into_iter().skip(KEPT) {
            // Superseded: whether it goes now or with the next one makes no difference.
            let _ = engine.storage.remove_file(&directory.join(old));
        }
        Ok(())
    }

    /// The newest whole snapshot of a key: by version, or else by position.
    pub fn load(&self, key: &str) -> Result<Option<Snapshot>> {
        let by_version = self.load_at_most(key, Mark::Version(u64::MAX))?;
        if by_version.is_some() {
            return Ok(by_version);
        }
        self.load_at_most(key, Position::new(u64::MAX))
    }

    /// The newest whole snapshot of a key whose mark is of the same kind, and at or below.
    pub fn load_at_most(&self, key: &str, mark: impl Into<Mark>) -> Result<Option<Snapshot>> {
        self.engine.check_open()?;
        check_key(key)?;
        let most = mark.into();
        for (mark, name) in self.files(key, most.is_position())? {
            if mark <= most.number()
                && let Some(snapshot) = self.read(key, &name)?
            {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    /// Deletes all snapshots of a key; tells whether there were any.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.engine.check_writable()?;
        check_key(key)?;
        let mut files = self.files(key, false)?;
        files.extend(self.files(key, true)?);
        for (_, name) in &files {
            let path = self.directory(key).join(name);
            self.engine.storage.remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
        Ok(!files.is_empty())
    }

    /// A snapshot of what is not durable could outlive it, and be taken for the state of another
    /// history.
    fn check_mark(&self, snapshot: &Snapshot) -> Result<()> {
        let mark = snapshot.mark.number();
        if mark > self.reached(snapshot)? {
            self.engine.sync_all()?;
        }
        let reached = self.reached(snapshot)?;
        if mark > reached {
            return Err(Error::SnapshotAhead { key: snapshot.key.clone(), mark, reached });
        }
        Ok(())
    }

    /// The stream's version, or the store's head, as far as it is durable.
    fn reached(&self, snapshot: &Snapshot) -> Result<u64> {
        let durable = self.engine.durable.get();
        match snapshot.mark {
            Mark::Version(_) => {
                let head = self.engine.lookup(|catalog| catalog.head_at(&snapshot.key, durable))?;
                Ok(head.version)
            }
            Mark::Position(_) => Ok(durable),
        }
    }

    fn directory(&self, key: &str) -> PathBuf {
        let fan_out = format!("{:02x}", hash_key(key) >> 56);
        self.engine.root.join(names::SNAPSHOT_DIR).join(fan_out)
    }

    /// The files that may hold snapshots of a key by one kind of mark, highest first.
    fn files(&self, key: &str, by_position: bool) -> Result<Vec<(u64, String)>> {
        let (storage, directory) = (&*self.engine.storage, self.directory(key));
        // Both levels: what a link leads to is not the store's to load, or to delete.
        for path in [&self.engine.root.join(names::SNAPSHOT_DIR), &directory] {
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
                Some((names::parse_numbered(rest, names::SNAPSHOT_SUFFIX)?, entry.name))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// Reads a file; `None` if it is torn, damaged, of another store or of another key.
    fn read(&self, key: &str, name: &str) -> Result<Option<Snapshot>> {
        let path = self.directory(key).join(name);
        let Some(bytes) = read_file(&*self.engine.storage, &path)? else { return Ok(None) };
        let Ok(file) = SnapshotFile::decode(&bytes) else { return Ok(None) };
        if file.store_id != self.engine.store_id || file.key != key {
            return Ok(None);
        }
        let mark = if file.is_position {
            Mark::Position(Position::new(file.mark))
        } else {
            Mark::Version(file.mark)
        };
        let (saved_at, schema_version) = (file.saved_at, file.schema_version);
        let start = crate::format::snapshot::HEADER_LEN + key.len();
        let state = start..start + file.state.len();
        Ok(Some(Snapshot {
            key: key.into(),
            mark,
            state: Bytes::from(bytes).slice(state),
            schema_version,
            saved_at: Timestamp::from_micros(saved_at),
        }))
    }
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        let why = "must not be empty".into();
        return Err(Error::InvalidArgument { what: "snapshot key", why });
    }
    let (size, max) = (key.len() as u64, MAX_STREAM_LEN as u64);
    if size > max {
        return Err(Error::LimitExceeded { what: "a snapshot key in bytes", size, max });
    }
    Ok(())
}

fn file_prefix(key: &str, by_position: bool) -> String {
    let kind = if by_position { 'p' } else { 'v' };
    format!("{:016x}-{kind}", hash_key(key))
}

fn file_name(key: &str, mark: Mark) -> String {
    let number = names::numbered(mark.number(), names::SNAPSHOT_SUFFIX);
    format!("{}{number}", file_prefix(key, mark.is_position()))
}

fn write_beside(storage: &dyn Storage, directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    // Two savers of the same snapshot must not write into one file.
    let temporary =
        directory.join(format!("{:016x}{}", storage.random_u64(), names::TEMPORARY_SUFFIX));
    let written = storage
        .open(&temporary, OpenMode::CreateNew)
        .and_then(|file| write_all_at(&*file, bytes, 0))
        .and_then(|()| storage.rename(&temporary, &directory.join(name)));
    written.map_err(|e| {
        // The space it may have taken is worth more than the reason why this fails too.
        let _ = storage.remove_file(&temporary);
        Error::io("write", &temporary, e)
    })
}

/// A whole file, if it is there and no larger than a snapshot can be.
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
