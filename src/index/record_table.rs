//! The records in a file: the newest change of each one in the segments of an index file or level file, or in
//! the segment that a checkpoint ends in. They are read in place.
//!
//! Must never be asked with a lock held: it reads a file.

use std::ops::Bound;
use std::sync::Arc;

use super::block_file::{BlockFile, Reads};
use super::hashes::HashSections;
use super::heads::HeadTable;
use super::layers::{NamedSections, SectionsBuilder, newest_by_name};
use super::records::{PageStart, RecordMap};
use super::search_names;
use crate::format::container::Section;
use crate::format::index_file::{self, NamedRecord, Probe, RECORD_LEN, RECORDS, hash_term};
use crate::format::metadata::RecordEntry;
use crate::format::{Defect, checkpoint};

/// A key to look up in many files, with its hash.
#[derive(Debug)]
pub(crate) struct RecordKey<'a> {
    name: &'a str,
    probe: Probe,
}

impl<'a> RecordKey<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, probe: Probe::new(hash_term(RECORDS, name)) }
    }

    /// For the filter of terms.
    pub(super) fn probe(&self) -> &Probe {
        &self.probe
    }
}

/// What of a key is compared with those in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// The key.
    Key,
    /// The half of its hash that files keep, where they have one: the record in the log has to be compared.
    HalfHash,
}

/// The places of the sections.
#[derive(Debug)]
pub(super) struct RecordTable {
    records: Section,
    names: Section,
    hashes: HashSections,
}

impl RecordTable {
    pub(super) fn of_checkpoint(file: &BlockFile) -> Self {
        let hashes = HashSections::of(file, checkpoint::RECORD_HASHES, checkpoint::RECORD_BUCKETS);
        Self {
            records: file.section(checkpoint::RECORDS),
            names: file.section(checkpoint::RECORD_NAMES),
            hashes,
        }
    }

    pub(super) fn of_index(file: &BlockFile) -> Self {
        let (records, names) = (file.section(RECORDS), file.section(index_file::NAMES));
        let hashes = HashSections::of(file, index_file::RECORD_HASHES, index_file::RECORD_BUCKETS);
        Self { records, names, hashes }
    }

    pub(super) fn len(&self) -> usize {
        self.records.count(RECORD_LEN)
    }

    /// The key and entry at a place.
    pub(super) fn named<'a>(
        &self,
        file: &'a BlockFile,
        at: usize,
    ) -> Result<(&'a [u8], RecordEntry), Defect> {
        let NamedRecord { name_offset, name_len, entry } = self.entry(file, at)?;
        Ok((file.get(self.names, name_offset.into(), name_len.into())?, entry))
    }

    fn entry(&self, file: &BlockFile, at: usize) -> Result<NamedRecord, Defect> {
        NamedRecord::decode(file.entry(self.records, at, RECORD_LEN)?)
    }

    fn search(&self, file: &BlockFile, key: &str) -> Result<Result<usize, usize>, Defect> {
        search_names(self.len(), key.as_bytes(), |at| Ok(self.named(file, at)?.0))
    }

    pub(super) fn get(
        &self,
        file: &BlockFile,
        key: &RecordKey<'_>,
        by: Match,
    ) -> Result<Option<RecordEntry>, Defect> {
        let found = if self.hashes.are_missing() {
            // An index file of an earlier version.
            self.search(file, key.name)?.ok()
        } else {
            let is_it =
                |at| Ok(by == Match::HalfHash || self.named(file, at)?.0 == key.name.as_bytes());
            self.hashes.find(file, Reads::Any, key.probe.hash(), is_it)?
        };
        found.map(|at| self.entry(file, at).map(|named| named.entry)).transpose()
    }

    /// Calls `each` with up to `most` records from `start` on, by key.
    pub(super) fn page(
        &self,
        file: &BlockFile,
        start: PageStart<'_>,
        most: usize,
        mut each: impl FnMut(&str, RecordEntry),
    ) -> Result<(), Defect> {
        let at = match start.bound() {
            Bound::Included(key) => self.search(file, key)?.unwrap_or_else(|at| at),
            Bound::Excluded(key) => self.search(file, key)?.map_or_else(|at| at, |at| at + 1),
            Bound::Unbounded => 0,
        };
        for at in (at..self.len()).take(most) {
            let (name, entry) = self.named(file, at)?;
            let key = std::str::from_utf8(name)
                .map_err(|_| Defect::Invalid("a record's key is not UTF-8"))?;
            if !start.takes(key) {
                break;
            }
            each(key, entry);
        }
        Ok(())
    }
}

/// The records of one segment, those of a checkpoint not read yet.
#[derive(Debug, Default)]
pub(crate) struct RecordsCopy {
    /// Changed since the checkpoint.
    pub(crate) newer: RecordMap,
    pub(crate) base: Option<Arc<HeadTable>>,
}

impl RecordsCopy {
    /// The sections of a checkpoint that have them. Reads the checkpoint before.
    pub(crate) fn encode(self) -> Result<NamedSections, Defect> {
        let mut sections = SectionsBuilder::new(RECORDS);
        let Self { newer, base } = self;
        let older = |each: &mut dyn FnMut(&str, RecordEntry)| {
            let all = PageStart { prefix: "", after: "" };
            base.map_or(Ok(()), |base| base.record_page(all, usize::MAX, each))
        };
        let mut newer: Vec<_> = newer.into_iter().collect();
        newer.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        newest_by_name(newer, older, |key, entry| {
            sections.add(key, |offset, name_len, out| {
                // The keys are in frames of one segment, which is smaller than 4 GiB.
                let name_offset = u32::try_from(offset).unwrap_or(u32::MAX);
                out.extend_from_slice(&NamedRecord { name_offset, name_len, entry }.encode());
            });
        })?;
        Ok(sections.finish())
    }
}
