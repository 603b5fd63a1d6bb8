//! Snapshots: most of them in packs, large ones in files of their own.
//!
//! - [`packs`]: the packs and level files of a store; [`pack`] and [`level`]: one of each; [`merge`]
//!   turns packs into level files;
//! - [`files`]: snapshots in files of their own;
//! - [`binding`]: which history a snapshot belongs to.
//!
//! Owns the choice among the snapshots of a key, and the right to save them. Must never be needed to answer
//! anything: nothing is synced when a snapshot is saved, so a power loss may take it, and replay computes the state
//! again. Opening a store reads none of these files.

mod binding;
mod files;
mod level;
mod merge;
mod pack;
mod packs;
mod saving;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::engine::commit::Commits;
use crate::engine::contents::Contents;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::error::{Error, Result};
use crate::event::snapshot::{Mark, Snapshot};
use crate::event::{Position, Timestamp};
use crate::format::record::MAX_STREAM_LEN;
use crate::format::snapshot::{CHECKSUM_LEN, MAX_STATE, Packed, SnapshotFile};
use crate::format::snapshot_pack::Kind;
use crate::sync::{Mutex, Rank};

use files::OwnFiles;
pub(crate) use files::read_file;
pub(crate) use level::SnapshotLevel;
pub(crate) use pack::PackWalk;
use packs::{Packs, Place};

/// The snapshots of an open store.
#[derive(Debug)]
pub(crate) struct SnapshotFiles {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    commits: Arc<Commits>,
    packs: Packs,
    files: OwnFiles,
    /// Held while packs are merged.
    merging: Mutex<()>,
    /// Held while snapshots are saved.
    saving: Mutex<()>,
}

/// A file, or a place in one, that may have a snapshot with this mark.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) mark: u64,
    found: Found,
}

#[derive(Debug)]
enum Found {
    File(PathBuf),
    Packed(Place),
}

impl SnapshotFiles {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        commits: &Arc<Commits>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            commits: Arc::clone(commits),
            packs: Packs::new(shared),
            files: OwnFiles::new(shared),
            merging: Mutex::new(Rank::MergingSnapshots, ()),
            saving: Mutex::new(Rank::SavingSnapshots, ()),
        }
    }

    /// Finds the files, if they may have changed since they were listed.
    fn refresh(&self) -> Result<()> {
        if self.packs.is_stale() {
            let _saving = self.saving.lock();
            self.packs.refresh()?;
        }
        Ok(())
    }

    /// What may be snapshots of a key by one kind of mark, highest first; of one mark, the one that counts
    /// first.
    pub(crate) fn candidates(&self, key: &str, by_position: bool) -> Result<Vec<Candidate>> {
        if !self.packs.is_stale() {
            return self.listed_candidates(key, by_position);
        }
        // A writer beside this reader removes a file after it has appended to a pack what supersedes it: the
        // packs are listed last.
        let files = self.files.list(key, by_position)?;
        self.refresh()?;
        self.with_packed(files, key, by_position)
    }

    /// [`SnapshotFiles::candidates`] once the files are found.
    fn listed_candidates(&self, key: &str, by_position: bool) -> Result<Vec<Candidate>> {
        let fan_out = OwnFiles::fan_out(key);
        let files = if self.packs.with(|set| set.fan_outs.contains(&fan_out)) {
            self.files.list(key, by_position)?
        } else {
            Vec::new()
        };
        self.with_packed(files, key, by_position)
    }

    /// Adds the packed snapshots of a key to those in files of their own.
    fn with_packed(
        &self,
        files: Vec<(u64, PathBuf)>,
        key: &str,
        by_position: bool,
    ) -> Result<Vec<Candidate>> {
        // With the same mark, a file is newer: one that is replaced by a packed snapshot is removed before.
        let files = files.into_iter();
        let mut found: Vec<_> =
            files.map(|(mark, path)| Candidate { mark, found: Found::File(path) }).collect();
        let places = self.packs.places(key, Kind::of_mark(by_position))?.into_iter();
        found.extend(places.map(|(mark, at)| Candidate { mark, found: Found::Packed(at) }));
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.mark));
        Ok(found)
    }

    /// Whether an intact snapshot of this key and mark exists. An unreadable one counts as missing.
    pub(crate) fn has(&self, snapshot: &Snapshot) -> bool {
        let candidates = self.candidates(snapshot.key(), snapshot.mark().is_position());
        candidates.is_ok_and(|candidates| {
            let mut same = candidates.iter().filter(|it| it.mark == snapshot.mark().number());
            same.any(|it| self.read(snapshot.key(), it).is_ok_and(|found| found.is_some()))
        })
    }

    /// Reads a snapshot; `None` if it is torn, damaged, of another store, history or key.
    pub(crate) fn read(&self, key: &str, candidate: &Candidate) -> Result<Option<Snapshot>> {
        let snapshot = match &candidate.found {
            Found::File(path) => self.read_own_file(path)?,
            Found::Packed(place) => self.read_packed(place)?,
        };
        let mark = candidate.mark;
        Ok(snapshot.filter(|it| it.key() == key && it.mark().number() == mark))
    }

    fn read_own_file(&self, path: &Path) -> Result<Option<Snapshot>> {
        let bytes = read_file(self.shared.storage(), path)?;
        bytes.map_or(Ok(None), |bytes| self.restore(&bytes.into()))
    }

    fn read_packed(&self, place: &Place) -> Result<Option<Snapshot>> {
        match place.bytes() {
            Ok(bytes) => self.restore(&bytes),
            Err(error) => Err(Error::io("read", self.packs.directory(), error)),
        }
    }

    /// The snapshot in these bytes, if they are whole and of this store and history.
    fn restore(&self, bytes: &Bytes) -> Result<Option<Snapshot>> {
        let Ok(Packed::Snapshot(file)) = Packed::decode(bytes) else { return Ok(None) };
        if file.store_id != self.shared.store_id() || !self.is_of_this_history(&file)? {
            return Ok(None);
        }
        let mark = if file.is_position {
            Mark::Position(Position::new(file.mark))
        } else {
            Mark::Version(file.mark)
        };
        let SnapshotFile { key, saved_at, schema_version, .. } = file;
        // The state ends where the checksum begins.
        let end = bytes.len() - CHECKSUM_LEN;
        let state = bytes.slice(end - file.state.len()..end);
        let saved_at = Timestamp::from_micros(saved_at);
        Ok(Some(Snapshot::restore(key.to_owned(), mark, state, schema_version, saved_at)))
    }

    /// Calls `each` with every whole snapshot whose key begins with `prefix`.
    pub(crate) fn for_each(&self, prefix: &str, mut each: impl FnMut(Snapshot)) -> Result<()> {
        self.refresh()?;
        let mut keys = BTreeSet::new();
        self.files.for_each(|path| {
            let snapshot = self.read_own_file(path)?.filter(|it| it.key().starts_with(prefix));
            keys.extend(snapshot.map(|it| SmolStr::new(it.key())));
            Ok(())
        })?;
        keys.extend(self.packs.keys(prefix)?);
        for key in keys {
            for by_position in [false, true] {
                let mut last = None;
                for candidate in self.listed_candidates(&key, by_position)? {
                    if last != Some(candidate.mark)
                        && let Some(snapshot) = self.read(&key, &candidate)?
                    {
                        last = Some(candidate.mark);
                        each(snapshot);
                    }
                }
            }
        }
        Ok(())
    }
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
