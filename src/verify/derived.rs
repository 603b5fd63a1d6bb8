//! Verification of derived and disposable files, and the search for foreign files.

use std::sync::Arc;

use super::Verifier;
use crate::error::Result;
use crate::format::checkpoint::SegmentEntry;
use crate::format::container::{CHECKPOINT_MAGIC, INDEX_MAGIC, LEVEL_MAGIC};
use crate::format::{Defect, names};
use crate::index::block_file::BlockFile;
use crate::index::heads::HeadTable;
use crate::storage::{DirEntry, EntryKind, File, OpenMode};

impl Verifier<'_> {
    /// Verifies index files and checkpoints: damage in them is a fault, although no event is lost by it.
    pub(super) fn derived(&mut self, segments: &[u64]) -> Result<()> {
        let indexes = if self.has(names::INDEX_DIR) { segments } else { &[] };
        for &number in indexes {
            let path = self.dir.index_path(number);
            let file = match self.dir.storage().open(&path, OpenMode::Read) {
                Ok(file) => file,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => {
                    self.fault(&path, 0, format!("cannot be opened: {e}"));
                    continue;
                }
            };
            self.advance(file.len().unwrap_or(0));
            if let Err(d) = BlockFile::open(file, INDEX_MAGIC).and_then(|file| file.verify()) {
                self.fault(&path, 0, format!("{d}; the first read that meets the damage rebuilds it, and an opening if it is missing"));
            }
        }
        let levels = if self.has(names::INDEX_DIR) { self.dir.levels()? } else { Vec::new() };
        for (first, last) in levels {
            let path = self.dir.level_path(first, last);
            // A writer may have merged this file into a level file meanwhile.
            let Ok(file) = self.dir.storage().open(&path, OpenMode::Read) else {
                continue;
            };
            self.advance(file.len().unwrap_or(0));
            if let Err(d) = BlockFile::open(file, LEVEL_MAGIC).and_then(|file| file.verify()) {
                self.fault(
                    &path,
                    0,
                    format!("{d}; its segments are indexed again when a read meets the damage"),
                );
            }
        }
        let checkpoints =
            if self.has(names::CHECKPOINT_DIR) { self.dir.checkpoints()? } else { Vec::new() };
        for number in checkpoints {
            let path = self.dir.checkpoint_path(number);
            let Ok(file) = self.dir.storage().open(&path, OpenMode::Read) else {
                continue;
            };
            self.advance(file.len().unwrap_or(0));
            match self.checkpoint_of(file) {
                Ok(None) => {}
                Ok(Some(number)) => self.fault(
                    &path,
                    0,
                    format!("it contradicts the seal of segment {number}; a store that is open for writing would stop writing"),
                ),
                Err(d) => self.fault(&path, 0, format!("{d}; it is not used")),
            }
        }
        Ok(())
    }

    /// Verifies a checkpoint. Returns the first segment whose seal differs from its entry in the
    /// checkpoint.
    fn checkpoint_of(&self, file: Arc<dyn File>) -> std::result::Result<Option<u64>, Defect> {
        let file = BlockFile::open(file, CHECKPOINT_MAGIC)?;
        file.verify()?;
        let table = HeadTable::new(file)?;
        if Some(table.file().store_id()) != self.store_id {
            return Ok(None);
        }
        let entries = table.sealed_segments()?;
        let differs = |entry: &&SegmentEntry| {
            let sealed =
                self.sealed.iter().find(|found| found.header.number == entry.header.number);
            sealed.is_some_and(|found| found != *entry)
        };
        Ok(entries.iter().find(differs).map(|entry| entry.header.number))
    }

    /// The entries of one of the store's directories; none if it is missing or is not a directory.
    pub(super) fn entries(&self, directory: &str) -> Vec<DirEntry> {
        if !self.has(directory) {
            return Vec::new();
        }
        self.dir.storage().read_dir(&self.dir.join(directory)).unwrap_or_default()
    }

    pub(super) fn derived_size(&mut self, directory: &str) {
        let path = self.dir.join(directory);
        for entry in self.entries(directory) {
            if let Ok(file) = self.dir.storage().open(&path.join(&entry.name), OpenMode::Read) {
                self.total += file.len().unwrap_or(0);
            }
        }
    }

    pub(super) fn foreign(&mut self) {
        let known: [(&str, &[&str]); 3] = [
            (names::LOG_DIR, &[names::SEGMENT_SUFFIX, names::STUB_SUFFIX]),
            (names::INDEX_DIR, &[names::INDEX_SUFFIX]),
            (names::CHECKPOINT_DIR, &[names::CHECKPOINT_SUFFIX]),
        ];
        for (directory, suffixes) in known {
            let path = self.dir.join(directory);
            for entry in self.entries(directory) {
                let level =
                    directory == names::INDEX_DIR && names::parse_level(&entry.name).is_some();
                let own = level
                    || suffixes.iter().any(|s| names::parse_numbered(&entry.name, s).is_some());
                if !own || entry.kind != EntryKind::File {
                    let note =
                        format!("{}: not a file of the store", path.join(&entry.name).display());
                    self.report.notes.push(note);
                }
            }
        }
    }
}
