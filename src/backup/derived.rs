//! The files of a backup that could be rebuilt from its log, or are disposable: index and level files, a checkpoint,
//! snapshots.
//!
//! Owns the choice of files. Must never take one that covers more than the copy's log: it would prove a loss.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy::Copier;
use crate::derived::newest;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::backup::LogEnd;
use crate::format::names;
use crate::index::heads::HeadTable;
use crate::log::rotation::remove_leftover;
use crate::log::segment::Segment;
use crate::storage::EntryKind;

/// Paths of files to copy, relative to the store's directory.
#[derive(Debug, Default)]
pub(super) struct DerivedFiles {
    checkpoint: Option<Arc<HeadTable>>,
    files: BTreeSet<PathBuf>,
    bytes: u64,
}

impl DerivedFiles {
    /// Lists snapshots and chooses the newest checkpoint. Both cover only what is durable now.
    pub(super) fn list(dir: &StoreDir, store_id: [u8; 16]) -> Result<Self> {
        let checkpoint = newest(dir, store_id)?.map(|(_, table)| table);
        let mut this = Self { checkpoint, ..Self::default() };
        for path in snapshots(dir)? {
            this.add(dir, path);
        }
        Ok(this)
    }

    fn add(&mut self, dir: &StoreDir, path: PathBuf) {
        // A file that is gone is skipped when it is copied.
        self.bytes += dir.storage().file_len(&dir.join(&path)).unwrap_or(0);
        self.files.insert(path);
    }

    /// The number of bytes of the listed files.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// Drops a checkpoint that covers more than the log up to `end`: a writer in another process may have written it
    /// since this reader read the log.
    pub(super) fn drop_after(&mut self, end: &LogEnd) {
        let fits = |table: &Arc<HeadTable>| {
            let changes = table.metadata().map(|(metadata, _)| metadata.last_change().get());
            table.meta.position <= end.position
                && table.meta.segment <= end.segment
                && changes.is_ok_and(|change| change <= end.change)
        };
        self.checkpoint = self.checkpoint.take().filter(fits);
    }

    /// Lists the checkpoint, and the index and level files of sealed segments of the copy.
    pub(super) fn list_indexes(&mut self, dir: &StoreDir, log: &[Arc<Segment>]) -> Result<()> {
        if let Some(table) = &self.checkpoint {
            let name = names::numbered(table.number, names::CHECKPOINT_SUFFIX);
            self.add(dir, Path::new(names::CHECKPOINT_DIR).join(name));
        }
        let sealed: BTreeSet<u64> = log
            .iter()
            .filter(|segment| segment.trailer.is_some())
            .map(|segment| segment.number())
            .collect();
        for name in file_names(dir, Path::new(names::INDEX_DIR))? {
            let of_one = names::parse_numbered(&name, names::INDEX_SUFFIX);
            let range = of_one.map(|number| (number, number)).or_else(|| names::parse_level(&name));
            let is_sealed =
                |(first, last): (u64, u64)| (first..=last).all(|number| sealed.contains(&number));
            if range.is_some_and(|range| range.1 <= log.len() as u64 && is_sealed(range)) {
                self.add(dir, Path::new(names::INDEX_DIR).join(name));
            }
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, copier: &mut Copier<'_>, to: &StoreDir) -> Result<()> {
        let files = std::mem::take(&mut self.files);
        for path in files {
            if let Some(parent) = path.parent() {
                let parent = to.join(parent);
                to.storage().create_dir(&parent).map_err(|e| Error::io("create", &parent, e))?;
            }
            if copier.take_file(&path)? {
                self.files.insert(path);
            }
        }
        Ok(())
    }

    /// Removes the derived files of earlier backups that the store no longer has.
    pub(super) fn remove_others(&self, to: &StoreDir) -> Result<()> {
        let mut there = snapshots(to)?;
        for directory in [names::INDEX_DIR, names::CHECKPOINT_DIR] {
            let directory = Path::new(directory);
            there.extend(file_names(to, directory)?.iter().map(|name| directory.join(name)));
        }
        for path in there.into_iter().filter(|path| !self.files.contains(path)) {
            remove_leftover(to.storage(), &to.join(path))?;
        }
        Ok(())
    }
}

/// The names of the files in a directory of the store; none if there is no such directory.
fn file_names(dir: &StoreDir, directory: &Path) -> Result<Vec<String>> {
    Ok(entries(dir, directory)?
        .into_iter()
        .filter(|(name, kind)| *kind == EntryKind::File && !is_temporary(name))
        .map(|(name, _)| name)
        .collect())
}

fn is_temporary(name: &str) -> bool {
    name.ends_with(names::TEMPORARY_SUFFIX)
}

fn entries(dir: &StoreDir, directory: &Path) -> Result<Vec<(String, EntryKind)>> {
    let path = dir.join(directory);
    match dir.storage().read_dir(&path) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", path, e)),
    }
}

/// All files of snapshots: packs and their level files, and those with a file of their own, one directory below.
fn snapshots(dir: &StoreDir) -> Result<Vec<PathBuf>> {
    let root = Path::new(names::SNAPSHOT_DIR);
    let mut found = Vec::new();
    for (name, kind) in entries(dir, root)? {
        let path = root.join(&name);
        match kind {
            EntryKind::Directory => {
                found.extend(file_names(dir, &path)?.iter().map(|name| path.join(name)));
            }
            EntryKind::File if !is_temporary(&name) => found.push(path),
            EntryKind::File | EntryKind::Other => {}
        }
    }
    Ok(found)
}
