//! The records of a checkpoint: the newest change of each one in the segment that the checkpoint ends in, which
//! is read in place.
//!
//! Must never be asked with a lock held: it reads a file.

use std::ops::Bound;
use std::sync::Arc;

use super::block_file::{BlockFile, Reads};
use super::hashes::HashSections;
use super::heads::HeadTable;
use super::records::{PageStart, RecordPage};
use super::search_names;
use crate::format::Defect;
use crate::format::checkpoint as layout;
use crate::format::container::Section;
use crate::format::hashes::{HASH_HALF, encode_hashes};
use crate::format::index_file::{NamedRecord, RECORD_LEN, RECORDS, hash_term};
use crate::format::metadata::RecordEntry;

/// The places of the sections of a checkpoint that have the records.
#[derive(Debug)]
pub(super) struct RecordTable {
    records: Section,
    names: Section,
    hashes: HashSections,
}

impl RecordTable {
    pub(super) fn of(file: &BlockFile) -> Self {
        Self {
            records: file.section(layout::RECORDS),
            names: file.section(layout::RECORD_NAMES),
            hashes: HashSections::of(file, layout::RECORD_HASHES, layout::RECORD_BUCKETS),
        }
    }

    fn len(&self) -> usize {
        self.records.count(RECORD_LEN)
    }

    fn named<'a>(&self, file: &'a BlockFile, at: usize) -> Result<(&'a [u8], RecordEntry), Defect> {
        let entry = file.entry(self.records, at, RECORD_LEN)?;
        let NamedRecord { name_offset, name_len, entry } = NamedRecord::decode(entry)?;
        Ok((file.get(self.names, name_offset.into(), name_len.into())?, entry))
    }

    pub(super) fn get(&self, file: &BlockFile, key: &str) -> Result<Option<RecordEntry>, Defect> {
        let is_it = |at| Ok(self.named(file, at)?.0 == key.as_bytes());
        let found = self.hashes.find(file, Reads::Any, hash_term(RECORDS, key), is_it)?;
        found.map(|at| Ok(self.named(file, at)?.1)).transpose()
    }

    /// Calls `each` with up to `most` records from `start` on, by key.
    pub(super) fn page(
        &self,
        file: &BlockFile,
        start: PageStart<'_>,
        most: usize,
        mut each: impl FnMut(&str, RecordEntry),
    ) -> Result<(), Defect> {
        let find =
            |key: &str| search_names(self.len(), key.as_bytes(), |at| Ok(self.named(file, at)?.0));
        let at = match start.bound() {
            Bound::Included(key) => find(key)?.unwrap_or_else(|at| at),
            Bound::Excluded(key) => find(key)?.map_or_else(|at| at, |at| at + 1),
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

/// The sections of a checkpoint that have the records. Empty if there are none.
#[derive(Debug, Default)]
pub(crate) struct RecordSections {
    pub(crate) records: Vec<u8>,
    pub(crate) names: Vec<u8>,
    pub(crate) hashes: Vec<u8>,
    pub(crate) buckets: Vec<u8>,
}

/// The records of one segment, those of a checkpoint not read yet.
#[derive(Debug, Default)]
pub(crate) struct RecordsCopy {
    /// Changed since the checkpoint.
    pub(crate) newer: RecordPage,
    pub(crate) base: Option<Arc<HeadTable>>,
}

impl RecordsCopy {
    /// The newest change of each record. Reads the checkpoint.
    pub(crate) fn encode(self) -> Result<RecordSections, Defect> {
        let (mut sections, mut hashes) = (RecordSections::default(), Vec::new());
        let mut put = |key: &str, entry: RecordEntry| {
            let named = NamedRecord {
                // The keys are in frames of one segment, which is smaller than 4 GiB.
                name_offset: u32::try_from(sections.names.len()).unwrap_or(u32::MAX),
                name_len: u16::try_from(key.len()).unwrap_or(u16::MAX),
                entry,
            };
            hashes.push(hash_term(RECORDS, key) & HASH_HALF | hashes.len() as u64);
            sections.records.extend_from_slice(&named.encode());
            sections.names.extend_from_slice(key.as_bytes());
        };
        let mut newer = self.newer.into_iter().peekable();
        if let Some(base) = &self.base {
            base.record_page(PageStart { prefix: "", after: "" }, usize::MAX, |key, entry| {
                while let Some((new, entry)) = newer.next_if(|(new, _)| **new < *key) {
                    put(&new, entry);
                }
                match newer.next_if(|(new, _)| **new == *key) {
                    Some((_, newer)) => put(key, newer),
                    None => put(key, entry),
                }
            })?;
        }
        newer.for_each(|(key, entry)| put(&key, entry));
        (sections.hashes, sections.buckets) = encode_hashes(hashes);
        Ok(sections)
    }
}
