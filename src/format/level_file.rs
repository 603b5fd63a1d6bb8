//! The contents of a level file (`.lvl`): the index of several neighbouring sealed segments in one
//! file.
//!
//! A container with the magic "ANNALLVL" and the sections of an index file, with these
//! differences:
//!
//! ```text
//! 1 META        64 bytes: first segment u64, last segment u64, base position u64,
//!               event count u32, level u32, change count u64, zero 24
//! 2 STREAMS     the previous position is that of the stream's last event before the first segment
//! 7 LISTS       a list of more than 1024 ordinals begins with a table
//! 9 FILTER      placed by the upper half of an id's hash, so that it is in the order of IDS
//! 11 TERM FILTER  only where it takes at most 4 MiB
//! 12 SEGMENTS   for each segment the META that its own index file has, 64 bytes each
//! ```
//!
//! An ordinal counts from the base position of the first segment.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::index_file::FILTER_BLOCK;
use super::{Defect, MAX_NUMBER};

pub(crate) const SEGMENTS: u32 = 12;

pub(crate) const META_LEN: usize = 64;
/// The largest filter over terms, which is built in memory.
pub(crate) const MAX_TERM_FILTER: usize = 4 << 20;
/// The number of ordinals of a list that can be read without the preceding ones.
pub(crate) const CHUNK: u32 = 1024;
/// An entry of a list's table.
pub(crate) const SKIP_LEN: usize = 8;

/// The range that a level file covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LevelMeta {
    pub(crate) first_segment: u64,
    pub(crate) last_segment: u64,
    pub(crate) base_position: u64,
    pub(crate) event_count: u32,
    /// One more than the highest level of its inputs; index files have level 0.
    pub(crate) level: u32,
    pub(crate) change_count: u64,
}

impl LevelMeta {
    pub(crate) fn encode(&self) -> [u8; META_LEN] {
        let mut b = [0; META_LEN];
        LE::write_u64(&mut b[0..], self.first_segment);
        LE::write_u64(&mut b[8..], self.last_segment);
        LE::write_u64(&mut b[16..], self.base_position);
        LE::write_u32(&mut b[24..], self.event_count);
        LE::write_u32(&mut b[28..], self.level);
        LE::write_u64(&mut b[32..], self.change_count);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..META_LEN).ok_or(Defect::TooShort)?;
        let meta = Self {
            first_segment: LE::read_u64(&b[0..]),
            last_segment: LE::read_u64(&b[8..]),
            base_position: LE::read_u64(&b[16..]),
            event_count: LE::read_u32(&b[24..]),
            level: LE::read_u32(&b[28..]),
            change_count: LE::read_u64(&b[32..]),
        };
        if meta.first_segment >= meta.last_segment
            || meta.last_segment > MAX_NUMBER
            || meta.base_position > MAX_NUMBER
        {
            return Err(Defect::Invalid("the range of a level file is out of range"));
        }
        Ok(meta)
    }
}

/// The length of the table in front of a list of `count` ordinals.
pub(crate) fn table_len(count: u32) -> usize {
    (count.saturating_sub(1) / CHUNK) as usize * SKIP_LEN
}

/// An entry of the table: for a chunk but the first, the ordinal before it and where its bytes
/// begin, counted from the end of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) before: u32,
    pub(crate) offset: u32,
}

impl Skip {
    pub(crate) fn encode(self) -> [u8; SKIP_LEN] {
        let mut b = [0; SKIP_LEN];
        LE::write_u32(&mut b, self.before);
        LE::write_u32(&mut b[4..], self.offset);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..SKIP_LEN).ok_or(Defect::TooShort)?;
        Ok(Self { before: LE::read_u32(b), offset: LE::read_u32(&b[4..]) })
    }
}

/// Where in a level's filter of `filter_len` bytes the block of a hash begins: its upper half,
/// scaled. IDS is sorted by it, so a filter can be written from front to back.
pub(crate) fn filter_block(hash: u64, filter_len: usize) -> usize {
    let blocks = (filter_len / FILTER_BLOCK) as u64;
    // Below 2^32 blocks, so the product fits.
    usize::try_from(((hash >> 32) * blocks) >> 32).unwrap_or(0) * FILTER_BLOCK
}

/// The hash that selects the bits within a block: the lower half of the id's hash is not stored.
pub(crate) fn filter_hash(hash: u64) -> u64 {
    hash & 0xFFFF_FFFF_0000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_file_meta_round_trips() {
        let meta = LevelMeta {
            first_segment: 1,
            last_segment: 2,
            base_position: 3,
            event_count: 4,
            level: 5,
            change_count: 6,
        };
        assert_eq!(LevelMeta::decode(&meta.encode()), Ok(meta.clone()));
        for first_segment in [2, 3] {
            let bad = LevelMeta { first_segment, ..meta.clone() };
            assert!(LevelMeta::decode(&bad.encode()).is_err());
        }
    }

    #[test]
    fn ordinal_list_has_a_table_only_if_it_is_long() {
        assert_eq!([0, 1, 1024, 1025, 2048, 2049].map(table_len), [0, 0, 0, 8, 8, 16]);
    }
}
