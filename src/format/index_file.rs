//! The contents of an index file (`.idx`): the index of one sealed segment.
//!
//! A container with the magic "ANNALIDX" and these sections:
//!
//! ```text
//! 1 META        64 bytes: segment number u64, salt u64, base position u64, seal offset u64,
//!               event count u32, link u32, zero 24
//! 2 STREAMS     sorted by name, 32 bytes each: name offset u32 and name length u16 (in NAMES),
//!               zero u16, event count u32, list offset u32 (in LISTS), first version u64,
//!               previous position u64 (of the stream's last event before this segment; 0: none)
//! 3 TYPES       sorted by name, 16 bytes each: name offset u32, name length u16, zero u16,
//! 4 TAGS        event count u32, list offset u32
//! 5 CATEGORIES
//! 6 NAMES       the names' bytes
//! 7 LISTS       a list is ascending ordinals: the first, then differences, as LEB128
//! 8 IDS         sorted, 8 bytes an event: the upper 32 bits of the id's hash << 32 | ordinal
//! 9 FILTER      a blocked Bloom filter over the ids: 64-byte blocks, six bits an id
//! 10 CHANGES    the number of the segment's first change u64, then its changes, as in metadata; the
//!               number of changes in the place of those of records
//! 11 TERM FILTER  the same kind of filter over the entries of 2 to 5; may be absent
//! 13 TABLES     of each list of more than 1024 ordinals, by list offset: list offset u32, number of
//!               its first entry u32; after those the entries, like the tables of level files. In front:
//!               the number of lists u32, zero u32. May be absent
//! 14 RECORDS    the newest change of each record, sorted by key, 32 bytes each: key offset u32 and key
//!               length u16 (in NAMES), 1 if it is deleted u16, value length u32, offset of the change
//!               in its segment u32, version u64, segment number u64. Absent if there is none
//! 15 HASHES     sorted, 8 bytes a stream: the upper 32 bits of its name's hash << 32 | its place in
//!               STREAMS. May be absent
//! 16 BUCKETS    4 bytes each: the place in HASHES of the first entry of the bucket or of a later one
//! 17 RECORD HASHES   like 15, with places in 14. May be absent
//! 18 RECORD BUCKETS  like 16
//! ```
//!
//! An ordinal is an event's place in its segment, from 0: position minus base position. The hash
//! of an id is `mix(lo ^ mix(hi))` over its two little-endian halves, with the finalizer of
//! `SplitMix64` (Steele, Lea, Flood 2014); that of an entry's name is `mix(fnv_1a(name) ^
//! mix(section))`.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::fnv_1a;
use super::metadata::{MAX_RECORD_VALUE_LEN, RecordEntry};
use super::{Defect, MAX_NUMBER};

pub(crate) const META: u32 = 1;
pub(crate) const STREAMS: u32 = 2;
pub(crate) const TYPES: u32 = 3;
pub(crate) const TAGS: u32 = 4;
pub(crate) const CATEGORIES: u32 = 5;
pub(crate) const NAMES: u32 = 6;
pub(crate) const LISTS: u32 = 7;
pub(crate) const IDS: u32 = 8;
pub(crate) const FILTER: u32 = 9;
pub(crate) const CHANGES: u32 = 10;
pub(crate) const TERM_FILTER: u32 = 11;
pub(crate) const TABLES: u32 = 13;
pub(crate) const RECORDS: u32 = 14;
pub(crate) const HASHES: u32 = 15;
pub(crate) const BUCKETS: u32 = 16;
pub(crate) const RECORD_HASHES: u32 = 17;
pub(crate) const RECORD_BUCKETS: u32 = 18;

pub(crate) const META_LEN: usize = 64;
pub(crate) const STREAM_LEN: usize = 32;
pub(crate) const TERM_LEN: usize = 16;
pub(crate) const RECORD_LEN: usize = 32;
/// The header of TABLES, and its entry for one list.
pub(crate) const TABLES_HEADER_LEN: usize = 8;
pub(crate) const TABLE_LEN: usize = 8;
pub(crate) const FILTER_BLOCK: usize = 64;
/// Bits of the filter per id; with six probes about 1 in 100 absent ids pass.
const FILTER_BITS_PER_ID: usize = 10;

/// Binds an index file to one exact segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexMeta {
    pub(crate) segment: u64,
    pub(crate) salt: u64,
    pub(crate) base_position: u64,
    pub(crate) seal_offset: u64,
    pub(crate) event_count: u32,
    pub(crate) link: u32,
}

impl IndexMeta {
    pub(crate) fn encode(&self) -> [u8; META_LEN] {
        let mut b = [0; META_LEN];
        LE::write_u64(&mut b[0..], self.segment);
        LE::write_u64(&mut b[8..], self.salt);
        LE::write_u64(&mut b[16..], self.base_position);
        LE::write_u64(&mut b[24..], self.seal_offset);
        LE::write_u32(&mut b[32..], self.event_count);
        LE::write_u32(&mut b[36..], self.link);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..META_LEN).ok_or(Defect::TooShort)?;
        let meta = Self {
            segment: LE::read_u64(&b[0..]),
            salt: LE::read_u64(&b[8..]),
            base_position: LE::read_u64(&b[16..]),
            seal_offset: LE::read_u64(&b[24..]),
            event_count: LE::read_u32(&b[32..]),
            link: LE::read_u32(&b[36..]),
        };
        if meta.segment > MAX_NUMBER || meta.base_position > MAX_NUMBER {
            return Err(Defect::Invalid("the segment of an index is out of range"));
        }
        Ok(meta)
    }
}

/// An entry of STREAMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) name_offset: u32,
    pub(crate) name_len: u16,
    pub(crate) count: u32,
    pub(crate) list_offset: u32,
    pub(crate) first_version: u64,
    pub(crate) previous_position: u64,
}

impl StreamEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        TermEntry {
            name_offset: self.name_offset,
            name_len: self.name_len,
            count: self.count,
            list_offset: self.list_offset,
        }
        .encode(out);
        out.extend_from_slice(&self.first_version.to_le_bytes());
        out.extend_from_slice(&self.previous_position.to_le_bytes());
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..STREAM_LEN).ok_or(Defect::TooShort)?;
        let term = TermEntry::decode(b)?;
        if LE::read_u64(&b[16..]) > MAX_NUMBER || LE::read_u64(&b[24..]) > MAX_NUMBER {
            return Err(Defect::Invalid("a stream's version or position is out of range"));
        }
        Ok(Self {
            name_offset: term.name_offset,
            name_len: term.name_len,
            count: term.count,
            list_offset: term.list_offset,
            first_version: LE::read_u64(&b[16..]),
            previous_position: LE::read_u64(&b[24..]),
        })
    }
}

/// An entry of TYPES, TAGS or CATEGORIES, and the front of one of STREAMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TermEntry {
    pub(crate) name_offset: u32,
    pub(crate) name_len: u16,
    pub(crate) count: u32,
    pub(crate) list_offset: u32,
}

impl TermEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name_offset.to_le_bytes());
        out.extend_from_slice(&self.name_len.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.list_offset.to_le_bytes());
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..TERM_LEN).ok_or(Defect::TooShort)?;
        Ok(Self {
            name_offset: LE::read_u32(b),
            name_len: LE::read_u16(&b[4..]),
            count: LE::read_u32(&b[8..]),
            list_offset: LE::read_u32(&b[12..]),
        })
    }
}

/// An entry of RECORDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamedRecord {
    pub(crate) name_offset: u32,
    pub(crate) name_len: u16,
    pub(crate) entry: RecordEntry,
}

impl NamedRecord {
    pub(crate) fn encode(&self) -> [u8; RECORD_LEN] {
        let RecordEntry { version, deleted, segment, offset, value_len } = self.entry;
        let mut b = [0; RECORD_LEN];
        LE::write_u32(&mut b, self.name_offset);
        LE::write_u16(&mut b[4..], self.name_len);
        LE::write_u16(&mut b[6..], deleted.into());
        LE::write_u32(&mut b[8..], value_len);
        LE::write_u32(&mut b[12..], offset);
        LE::write_u64(&mut b[16..], version);
        LE::write_u64(&mut b[24..], segment);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..RECORD_LEN).ok_or(Defect::TooShort)?;
        let entry = RecordEntry {
            version: LE::read_u64(&b[16..]),
            deleted: b[6] & 1 != 0,
            segment: LE::read_u64(&b[24..]),
            offset: LE::read_u32(&b[12..]),
            value_len: LE::read_u32(&b[8..]),
        };
        if entry.version == 0 || entry.value_len as usize > MAX_RECORD_VALUE_LEN {
            return Err(Defect::Invalid("a record is out of range"));
        }
        Ok(Self { name_offset: LE::read_u32(b), name_len: LE::read_u16(&b[4..]), entry })
    }
}

/// The hash of an event id.
pub(crate) fn hash_id(id: &[u8; 16]) -> u64 {
    mix(LE::read_u64(&id[..8]) ^ mix(LE::read_u64(&id[8..])))
}

/// The hash of the name of an entry in one of the sections STREAMS, TYPES, TAGS, CATEGORIES and RECORDS.
pub(crate) fn hash_term(section: u32, name: &str) -> u64 {
    mix(fnv_1a(name.as_bytes()) ^ mix(u64::from(section)))
}

const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The length of the filter for this many ids: whole blocks, none for no ids.
pub(crate) fn filter_len(ids: usize) -> usize {
    (ids * FILTER_BITS_PER_ID).div_ceil(FILTER_BLOCK * 8) * FILTER_BLOCK
}

/// Where in a filter of `filter_len` bytes the block of a hash begins: its lower half, scaled.
pub(crate) fn filter_block(hash: u64, filter_len: usize) -> usize {
    let blocks = (filter_len / FILTER_BLOCK) as u64;
    // Below 2^32 blocks, so the product fits.
    let block = ((hash & 0xFFFF_FFFF) * blocks) >> 32;
    usize::try_from(block).unwrap_or(0) * FILTER_BLOCK
}

/// Enters a hash into a filter that has blocks.
pub(crate) fn filter_add(filter: &mut [u8], hash: u64) {
    let block = filter_block(hash, filter.len());
    let block = &mut filter[block..block + FILTER_BLOCK];
    for bit in filter_bits(hash) {
        block[bit / 8] |= 1 << (bit % 8);
    }
}

/// A hash to look up in many filters, with its bits precomputed.
#[derive(Debug)]
pub(crate) struct Probe {
    hash: u64,
    mask: [u64; FILTER_BLOCK / 8],
}

impl Probe {
    pub(crate) fn new(hash: u64) -> Self {
        let mut mask = [0; FILTER_BLOCK / 8];
        for bit in filter_bits(hash) {
            mask[bit / 64] |= 1 << (bit % 64);
        }
        Self { hash, mask }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The offset of its block in a filter of `filter_len` bytes.
    pub(crate) fn block(&self, filter_len: usize) -> usize {
        filter_block(self.hash, filter_len)
    }

    /// Whether all of its bits are set in its block.
    pub(crate) fn passes(&self, block: &[u8]) -> bool {
        let words = block.chunks_exact(8).map(LE::read_u64);
        words.zip(&self.mask).fold(0, |missing, (word, mask)| missing | (mask & !word)) == 0
    }
}

/// The six bits of a hash within its block: nine bits each of a second mixing.
pub(crate) fn filter_bits(hash: u64) -> [usize; 6] {
    let second = mix(hash);
    [0, 9, 18, 27, 36, 45].map(|shift| ((second >> shift) & 0x1FF) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_file_entries_round_trip() {
        let entry = StreamEntry {
            name_offset: 1,
            name_len: 2,
            count: 3,
            list_offset: 4,
            first_version: 5,
            previous_position: 6,
        };
        let mut out = Vec::new();
        entry.encode(&mut out);
        assert_eq!(out.len(), STREAM_LEN);
        assert_eq!(StreamEntry::decode(&out), Ok(entry));
        let meta = IndexMeta {
            segment: 1,
            salt: 2,
            base_position: 3,
            seal_offset: 4,
            event_count: 5,
            link: 6,
        };
        assert_eq!(IndexMeta::decode(&meta.encode()), Ok(meta));
    }

    #[test]
    fn id_hash_equals_the_one_of_the_specification() {
        assert_eq!(mix(0), 0);
        assert_eq!(mix(1), 0x5692_161D_100B_05E5);
        assert_eq!(hash_id(&[0; 16]), 0);
        assert_eq!(hash_term(TAGS, "owner:42"), 0xBC47_0CAD_FD8E_28B3);
    }
}
