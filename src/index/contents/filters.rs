//! Which terms and ids an index may hold, by its filters, and where an id may be.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::IndexContents;
use crate::format::Defect;
use crate::format::container::Section;
use crate::format::hashes::HASH_HALF;
use crate::format::index_file::{self as layout, FILTER_BLOCK, Probe, hash_id};
use crate::format::level_file;
use crate::index::block_file::Reads;

/// An id to look up in many files.
#[derive(Debug)]
pub(crate) struct HashedId {
    hash: u64,
    /// Its bits in the filters of index files, and in those of level files.
    in_index: Probe,
    in_level: Probe,
}

impl HashedId {
    pub(crate) fn new(id: &[u8; 16]) -> Self {
        let hash = hash_id(id);
        let in_level = Probe::new(level_file::filter_hash(hash));
        Self { hash, in_index: Probe::new(hash), in_level }
    }
}

impl IndexContents {
    /// The ordinals of the events that may have this id: those whose ids share its hash's upper
    /// half. Nearly always none or one.
    pub(in crate::index) fn candidates(&self, id: &HashedId) -> Result<Vec<u32>, Defect> {
        let hash = id.hash;
        if !self.may_hold_id(id)? {
            return Ok(Vec::new());
        }
        let ids = self.file.section(layout::IDS);
        let count = ids.count(8);
        let entry = |i| Ok::<_, Defect>(LE::read_u64(self.file.entry(ids, i, 8)?));
        let wanted = hash & HASH_HALF;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if entry(middle)? < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        while low < count {
            let next = entry(low)?;
            if next & HASH_HALF != wanted {
                break;
            }
            found.push(u32::try_from(next & 0xFFFF_FFFF).unwrap_or(u32::MAX));
            low += 1;
        }
        Ok(found)
    }

    /// Whether the filter of ids may contain an id.
    pub(in crate::index) fn may_hold_id(&self, id: &HashedId) -> Result<bool, Defect> {
        let section = self.file.section(layout::FILTER);
        let (probe, block) = self.probe_of(id, filter_size(section));
        self.passes(Reads::Any, section, probe, block)
    }

    /// Prefetches what [`IndexContents::may_hold_id`] reads.
    pub(in crate::index) fn prefetch_id(&self, id: &HashedId) {
        let section = self.file.section(layout::FILTER);
        let (_, block) = self.probe_of(id, filter_size(section));
        self.file.prefetch(section.offset + block as u64, FILTER_BLOCK);
    }

    /// The bits of an id and the offset of its block, in a filter of this length.
    fn probe_of<'i>(&self, id: &'i HashedId, len: usize) -> (&'i Probe, usize) {
        if self.level == 0 {
            return (&id.in_index, id.in_index.block(len));
        }
        (&id.in_level, level_file::filter_block(id.hash, len))
    }

    /// Whether any event may have a term.
    pub(in crate::index) fn may_hold(&self, term: &Probe) -> Result<bool, Defect> {
        self.may_hold_with(Reads::Any, term)
    }

    /// Prefetches what [`IndexContents::may_hold`] reads.
    pub(in crate::index) fn prefetch(&self, term: &Probe) {
        let section = self.term_filter;
        if section.len > 0 {
            let block = term.block(filter_size(section));
            self.file.prefetch(section.offset + block as u64, FILTER_BLOCK);
        }
    }

    pub(super) fn may_hold_with(&self, reads: Reads, term: &Probe) -> Result<bool, Defect> {
        let section = self.term_filter;
        Ok(section.len == 0 || {
            let block = term.block(filter_size(section));
            self.passes(reads, section, term, block)?
        })
    }

    fn passes(
        &self,
        reads: Reads,
        filter: Section,
        probe: &Probe,
        block: usize,
    ) -> Result<bool, Defect> {
        if filter_size(filter) == 0 {
            return Ok(false);
        }
        Ok(probe.passes(self.file.get_with(reads, filter, block as u64, FILTER_BLOCK)?))
    }
}

/// The bytes of a filter's whole blocks.
fn filter_size(section: Section) -> usize {
    section.count(FILTER_BLOCK) * FILTER_BLOCK
}
