//! Snapshots: states that the application computed, kept beside the log and disposable.

// One file per snapshot, under a name made of its key's hash and its mark, so that loading lists one small
// directory and opening a store reads none. A file is written under a temporary name and renamed, and not
// synced: a file that a power loss tore is found by its checksum and skipped, and replay computes the state
// again. Must never be needed to answer anything.

mod binding;
mod files;

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Applied, EventData, Position, Timestamp};
use crate::format::record::MAX_STREAM_LEN;

pub(crate) use files::read_file;

/// The largest state, in bytes.
const MAX_STATE: u64 = 256 << 20;

/// What a snapshot is the state after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
    pub(crate) fn number(self) -> u64 {
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

    /// Sets the version of the state's schema. Default: 0.
    pub fn with_schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Checks what needs no store.
    pub(crate) fn check(&self) -> Result<()> {
        check_key(&self.key)?;
        let size = self.state.len() as u64;
        if size > MAX_STATE {
            let what = "a snapshot's state in bytes";
            return Err(Error::LimitExceeded { what, size, max: MAX_STATE });
        }
        Ok(())
    }

    /// What it is called where a repeated commit saves it.
    pub(crate) fn to_applied(&self) -> Applied {
        Applied::Snapshot { key: self.key.clone(), mark: self.mark.number() }
    }

    /// What it is the state after.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The state.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// The version of the state's schema.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// When it was saved; the epoch for one that was not.
    pub fn saved_at(&self) -> Timestamp {
        self.saved_at
    }
}

/// A snapshot of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its key.
    pub key: String,
    /// What it is the state after.
    pub mark: Mark,
    /// The length of the state, in bytes.
    pub state_len: u64,
    /// The version of the state's schema.
    pub schema_version: u32,
    /// When it was saved.
    pub saved_at: Timestamp,
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

    /// Saves a snapshot; atomic. The newest ones of a key are kept, as many as
    /// [`Options::snapshots_kept`](crate::Options::snapshots_kept) says. To save one with a commit:
    /// [`Transaction::snapshot`](crate::Transaction::snapshot).
    ///
    /// A key has one snapshot at a mark. Saving the same state again succeeds and changes nothing; a
    /// state of a higher schema version takes the place of the one that is there; any other state is
    /// refused. So of threads that race to save different states at one mark, one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotExists`] if another state is saved at the mark;
    /// [`Error::SnapshotAhead`] if the stream, or the store, has not come to its mark yet;
    /// [`Error::LimitExceeded`], [`Error::InvalidArgument`], [`Error::ReadOnly`], [`Error::Io`],
    /// [`Error::DiskFull`].
    pub fn save(&self, snapshot: &Snapshot) -> Result<()> {
        self.engine.check_writable()?;
        snapshot.check()?;
        self.check_mark(snapshot)?;
        self.engine.save_snapshot(snapshot)
    }

    /// The newest whole snapshot of a key: by version, or else by position. One that is ahead of its
    /// stream or of the store, or that was taken of another history, is skipped: an older log may have
    /// been put under it.
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
        self.engine.refresh()?;
        let most = mark.into();
        for (mark, name) in self.engine.snapshot_files(key, most.is_position())? {
            if mark <= most.number()
                && let Some(snapshot) = self.engine.read_snapshot(key, &name)?
            {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    /// All whole snapshots whose keys begin with `prefix`, in no particular order. Looks at every
    /// snapshot there is: for inspection.
    pub fn list(&self, prefix: &str) -> Result<Vec<SnapshotInfo>> {
        self.engine.check_open()?;
        self.engine.refresh()?;
        let mut found = Vec::new();
        self.engine.for_each_snapshot(|snapshot| {
            if snapshot.key.starts_with(prefix) {
                found.push(SnapshotInfo {
                    state_len: snapshot.state.len() as u64,
                    mark: snapshot.mark,
                    schema_version: snapshot.schema_version,
                    saved_at: snapshot.saved_at,
                    key: snapshot.key,
                });
            }
        })?;
        Ok(found)
    }

    /// Deletes all snapshots of a key; tells whether there were any.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.engine.check_writable()?;
        check_key(key)?;
        let mut files = self.engine.snapshot_files(key, false)?;
        files.extend(self.engine.snapshot_files(key, true)?);
        for (_, name) in &files {
            let path = self.engine.snapshot_directory(key).join(name);
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
