//! Snapshot files: one file for each snapshot, in directories named by the hash of the key.
//!
//! Owns the files and the right to write them. Must never be needed to answer anything. A file's name
//! is made of its key's hash and its mark, so that loading lists one small directory and opening a
//! store reads none. A file is written under a temporary name and renamed, and not synced: a torn file
//! is found by its checksum and skipped, and replay computes the state again.

mod binding;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::commit::Commits;
use crate::engine::contents::Contents;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::event::snapshot::{MAX_STATE, Mark, Snapshot};
use crate::event::{Position, Timestamp};
use crate::format::names;
use crate::format::record::MAX_STREAM_LEN;
use crate::format::snapshot::{CHECKSUM_LEN, SnapshotFile, hash_key};
use crate::storage::{EntryKind, OpenMode, Storage, is_directory, read_exact_at, write_all_at};
use crate::sync::{Mutex, Rank};

/// The snapshot files of an open store.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    commits: Arc<Commits>,
    /// Held while snapshots are saved.
    saving: Mutex<()>,
}

impl SnapshotFiles {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        commits: &Arc<Commits>,
    ) -> Self {
        let saving = Mutex::new(Rank::SavingSnapshots, ());
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            commits: Arc::clone(commits),
            saving,
        }
    }

    /// Saves the snapshots of commits that are durable by now.
    pub(crate) fn save_due(&self) {
        // A thread that waits for a commit must find its snapshot, also while another thread is
        // saving it.
        let _saving = self.saving.lock();
        let due = self.commits.take_due_snapshots();
        if due.batches.is_empty() {
            return;
        }
        for snapshot in &due.snapshots {
            if let Err(error) = self.store(snapshot) {
                self.commits.note_unsaved(snapshot.key(), error);
            }
        }
        self.commits.end_saving(&due.batches);
    }

    /// Whether an intact snapshot of this key and mark exists. An unreadable one counts as missing.
    pub(crate) fn has(&self, snapshot: &Snapshot) -> bool {
        let name = file_name(snapshot.key(), snapshot.mark());
        self.read(snapshot.key(), &name).is_ok_and(|found| found.is_some())
    }

    /// Saves a snapshot whose mark is durable. Of several threads that save one of the same key and
    /// mark, the first wins: see [`Snapshots::save`](super::Snapshots::save).
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<()> {
        let _saving = self.saving.lock();
        self.store(snapshot)
    }

    /// The caller holds the right to save snapshots.
    fn store(&self, snapshot: &Snapshot) -> Result<()> {
        let name = file_name(snapshot.key(), snapshot.mark());
        let path = self.directory(snapshot.key()).join(&name);
        let there =
            self.shared.storage().entry_kind(&path).map_err(|e| Error::io("look at", &path, e))?;
        // A link is no snapshot: it is replaced and not followed.
        if there == Some(EntryKind::File)
            && let Some(found) = self.read(snapshot.key(), &name)?
        {
            let schema_version = found.schema_version();
            if schema_version == snapshot.schema_version() && found.state() == snapshot.state() {
                return Ok(());
            }
            if schema_version >= snapshot.schema_version() {
                let (key, mark) = (snapshot.key().to_owned(), snapshot.mark().number());
                return Err(Error::SnapshotExists { key, mark, schema_version });
            }
        }
        let file = SnapshotFile {
            store_id: self.shared.store_id(),
            mark: snapshot.mark().number(),
            is_position: snapshot.mark().is_position(),
            saved_at: self.shared.storage().now_micros(),
            schema_version: snapshot.schema_version(),
            binding: Some(self.binding_of(snapshot)?),
            key: snapshot.key(),
            state: snapshot.state(),
        };
        let directory = self.directory(snapshot.key());
        for path in [self.shared.dir().join(names::SNAPSHOT_DIR), directory.clone()] {
            let created = self.shared.storage().create_dir(&path);
            created.map_err(|e| Error::io("create", &path, e))?;
        }
        write_beside(self.shared.storage(), &directory, &name, &file.encode())?;
        let kind = snapshot.mark().is_position();
        let mut kept = 0;
        for (mark, old) in self.list(snapshot.key(), kind)? {
            // A snapshot of another history may have a higher mark, and must not supersede this one.
            let counts = mark <= snapshot.mark().number()
                || self.read(snapshot.key(), &old).is_ok_and(|found| found.is_some());
            kept += usize::from(counts);
            if !counts || kept > self.shared.options().snapshots_kept {
                // A superseded file that cannot be removed is removed with the next snapshot.
                let _ = self.shared.storage().remove_file(&directory.join(old));
            }
        }
        self.commits.note_saved(snapshot.key());
        Ok(())
    }

    pub(crate) fn directory(&self, key: &str) -> PathBuf {
        let fan_out = format!("{:03x}", hash_key(key) >> 52);
        self.shared.dir().join(names::SNAPSHOT_DIR).join(fan_out)
    }

    /// The files that may hold snapshots of a key by one kind of mark, highest first.
    pub(crate) fn list(&self, key: &str, by_position: bool) -> Result<Vec<(u64, String)>> {
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
                Some((names::parse_numbered(rest, names::SNAPSHOT_SUFFIX)?, entry.name))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// Reads a file; `None` if it is torn, damaged, of another store, history or key.
    pub(crate) fn read(&self, key: &str, name: &str) -> Result<Option<Snapshot>> {
        let path = self.directory(key).join(name);
        Ok(self.read_file(&path)?.filter(|snapshot| snapshot.key() == key))
    }

    fn read_file(&self, path: &Path) -> Result<Option<Snapshot>> {
        let Some(bytes) = read_file(self.shared.storage(), path)? else { return Ok(None) };
        let Ok(file) = SnapshotFile::decode(&bytes) else { return Ok(None) };
        if file.store_id != self.shared.store_id() || !self.is_of_this_history(&file)? {
            return Ok(None);
        }
        let mark = if file.is_position {
            Mark::Position(Position::new(file.mark))
        } else {
            Mark::Version(file.mark)
        };
        let key = file.key.to_owned();
        let (saved_at, schema_version) = (file.saved_at, file.schema_version);
        // The state ends where the checksum begins.
        let end = bytes.len() - CHECKSUM_LEN;
        let state = end - file.state.len()..end;
        let state = Bytes::from(bytes).slice(state);
        let saved_at = Timestamp::from_micros(saved_at);
        Ok(Some(Snapshot::restore(key, mark, state, schema_version, saved_at)))
    }

    /// Calls `each` with every whole snapshot.
    pub(crate) fn for_each(&self, mut each: impl FnMut(Snapshot)) -> Result<()> {
        let root = self.shared.dir().join(names::SNAPSHOT_DIR);
        let storage = self.shared.storage();
        let list = |path: &Path| {
            if !is_directory(storage, path).map_err(|e| Error::io("use", path, e))? {
                return Ok(Vec::new());
            }
            storage.read_dir(path).map_err(|e| Error::io("list", path, e))
        };
        for fan_out in list(&root)? {
            let directory = root.join(&fan_out.name);
            for entry in list(&directory)? {
                if entry.kind == EntryKind::File
                    && let Some(snapshot) = self.read_file(&directory.join(&entry.name))?
                {
                    each(snapshot);
                }
            }
        }
        Ok(())
    }
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
        // Frees the space. If this fails too, the first error is returned.
        let _ = storage.remove_file(&temporary);
        Error::io("write", &temporary, e).wanting(bytes.len() as u64)
    })
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

/// The checks of a snapshot that need no store.
pub(crate) fn check(snapshot: &Snapshot) -> Result<()> {
    check_key(snapshot.key())?;
    let size = snapshot.state().len() as u64;
    if size > MAX_STATE {
        let what = "a snapshot's state in bytes";
        let hint = "keep a large state elsewhere and refer to it";
        return Err(Error::LimitExceeded { what, size, max: MAX_STATE, hint });
    }
    Ok(())
}

/// Checks a key given by the caller.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        let why = "must not be empty".into();
        return Err(Error::InvalidArgument { what: "snapshot key", why });
    }
    let (size, max) = (key.len() as u64, MAX_STREAM_LEN as u64);
    if size > max {
        let (what, hint) = ("a snapshot key in bytes", "use a shorter one, or a hash of it");
        return Err(Error::LimitExceeded { what, size, max, hint });
    }
    Ok(())
}
