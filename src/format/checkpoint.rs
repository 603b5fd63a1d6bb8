//! The contents of a checkpoint (`.ckp`): the engine's index up to a position.
//!
//! A container with the magic "ANNALCKP" and these sections:
//!
//! ```text
//! 1 META        96 bytes: position u64, recorded at u64, link u32, zero u32, segment number u64,
//!               offset of the next frame u64, base position of that segment u64, stream count u64,
//!               commit count u64, commits of that segment u64, offset of its last
//!               frame u64 (0: it has none), first recorded at in it u64, zero 8
//! 2 HEADS       of the streams with events in the segment that META names (in files of version 1, of
//!               all streams), sorted by name, 24 bytes each: name offset << 16 | name length u64 (in NAMES),
//!               version u64, last position u64
//! 3 NAMES       the names' bytes
//! 4 OFFSETS     of the segment that META names, for each event before the offset: the offset of
//!               its record, u32
//! 5 PREVIOUS    like OFFSETS: the position of the stream's previous event, u64; 0: none
//! 6 IDS         like OFFSETS: the event's id, 16 bytes
//! 7 METADATA    number of the last change u64, changes in the segment that META names u64, then
//!               changes that lead from nothing to the cursors and rules there are
//! 8 ORDER       of the entries of IDS, sorted, 8 bytes each: the upper 32 bits of the id's hash (as
//!               in index files) << 32 | its ordinal
//! 9 SEGMENTS    of sealed segments, from the first on, all before the one that META names, 104 bytes
//!               each: of the segment's header the salt u64, capacity u64, created at u64, features
//!               u64 and ro-compatible features u64, then a copy of its trailer, 64 bytes
//! 10 SHORTCUTS  like 4: the ordinal of an older event of the same stream that a look-up may go to at
//!               once, u32; 2^32 - 1: none
//! 11 HASHES     as in index files, with places in HEADS
//! 12 BUCKETS    as in index files
//! 13 RECORDS    as in index files, of the segment that META names; 13 to 16 are absent if it has none
//! 14 RECORD NAMES    the bytes of their keys
//! 15 RECORD HASHES   like 11, with places in 13
//! 16 RECORD BUCKETS  like 12
//! 17 CURSOR TIMES    for each change in METADATA that sets a cursor, in order: when it was recorded, u64;
//!                    0: that is not known
//! ```
//!
//! Everything that a checkpoint covers was durable before it was written.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::record::MAX_STREAM_LEN;
use super::seal::{TRAILER_LEN, Trailer};
use super::segment_header::{FEATURES, SegmentHeader};
use super::{Defect, MAX_NUMBER};

pub(crate) const META: u32 = 1;
pub(crate) const HEADS: u32 = 2;
pub(crate) const NAMES: u32 = 3;
pub(crate) const OFFSETS: u32 = 4;
pub(crate) const PREVIOUS: u32 = 5;
pub(crate) const IDS: u32 = 6;
pub(crate) const METADATA: u32 = 7;
pub(crate) const ORDER: u32 = 8;
pub(crate) const SEGMENTS: u32 = 9;
pub(crate) const SHORTCUTS: u32 = 10;
pub(crate) const HASHES: u32 = 11;
pub(crate) const BUCKETS: u32 = 12;
pub(crate) const RECORDS: u32 = 13;
pub(crate) const RECORD_NAMES: u32 = 14;
pub(crate) const RECORD_HASHES: u32 = 15;
pub(crate) const RECORD_BUCKETS: u32 = 16;
pub(crate) const CURSOR_TIMES: u32 = 17;

/// The length of the header before the changes in METADATA.
pub(crate) const METADATA_HEADER_LEN: usize = 16;

pub(crate) const META_LEN: usize = 96;
pub(crate) const HEAD_LEN: usize = 24;
pub(crate) const SEGMENT_LEN: usize = 40 + TRAILER_LEN;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointMeta {
    /// The last covered position.
    pub(crate) position: u64,
    pub(crate) recorded_at: u64,
    /// The expected link of the next frame.
    pub(crate) link: u32,
    /// The expected offset of the next frame.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) base_position: u64,
    pub(crate) streams: u64,
    /// Commits in the whole store, and of those, in the segment named.
    pub(crate) commits: u64,
    pub(crate) segment_commits: u64,
    /// The offset of the frame of the link, if it is in that segment; otherwise 0.
    pub(crate) last_frame: u64,
    /// The time of the segment's first commit.
    pub(crate) first_recorded_at: u64,
}

impl CheckpointMeta {
    pub(crate) fn encode(&self) -> [u8; META_LEN] {
        let mut b = [0; META_LEN];
        LE::write_u64(&mut b[0..], self.position);
        LE::write_u64(&mut b[8..], self.recorded_at);
        LE::write_u32(&mut b[16..], self.link);
        LE::write_u64(&mut b[24..], self.segment);
        LE::write_u64(&mut b[32..], self.offset);
        LE::write_u64(&mut b[40..], self.base_position);
        LE::write_u64(&mut b[48..], self.streams);
        LE::write_u64(&mut b[56..], self.commits);
        LE::write_u64(&mut b[64..], self.segment_commits);
        LE::write_u64(&mut b[72..], self.last_frame);
        LE::write_u64(&mut b[80..], self.first_recorded_at);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..META_LEN).ok_or(Defect::TooShort)?;
        let meta = Self {
            position: LE::read_u64(&b[0..]),
            recorded_at: LE::read_u64(&b[8..]),
            link: LE::read_u32(&b[16..]),
            segment: LE::read_u64(&b[24..]),
            offset: LE::read_u64(&b[32..]),
            base_position: LE::read_u64(&b[40..]),
            streams: LE::read_u64(&b[48..]),
            commits: LE::read_u64(&b[56..]),
            segment_commits: LE::read_u64(&b[64..]),
            last_frame: LE::read_u64(&b[72..]),
            first_recorded_at: LE::read_u64(&b[80..]),
        };
        let numbers = [meta.position, meta.base_position, meta.streams, meta.commits, meta.offset];
        if meta.base_position == 0
            || meta.position.saturating_add(1) < meta.base_position
            || numbers.iter().any(|&number| number > MAX_NUMBER)
            || meta.segment_commits > meta.commits
            || meta.last_frame > meta.offset
        {
            return Err(Defect::Invalid("checkpoint numbers out of range"));
        }
        Ok(meta)
    }
}

/// An entry of HEADS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadEntry {
    pub(crate) name_offset: u64,
    pub(crate) name_len: u16,
    pub(crate) version: u64,
    pub(crate) last_position: u64,
}

impl HeadEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.name_offset << 16 | u64::from(self.name_len)).to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.last_position.to_le_bytes());
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..HEAD_LEN).ok_or(Defect::TooShort)?;
        let name = LE::read_u64(b);
        let name_len = usize::from(LE::read_u16(b));
        if LE::read_u64(&b[8..]) > MAX_NUMBER
            || LE::read_u64(&b[16..]) > MAX_NUMBER
            || name_len > MAX_STREAM_LEN
        {
            return Err(Defect::Invalid("a head is out of range"));
        }
        Ok(Self {
            name_offset: name >> 16,
            name_len: LE::read_u16(b),
            version: LE::read_u64(&b[8..]),
            last_position: LE::read_u64(&b[16..]),
        })
    }
}

/// An entry of SEGMENTS: the contents of a sealed segment's header and trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) header: SegmentHeader,
    pub(crate) trailer: Trailer,
}

impl SegmentEntry {
    pub(crate) fn encode(header: &SegmentHeader, trailer: &Trailer, out: &mut Vec<u8>) {
        let SegmentHeader { salt, capacity, created_at, features, ro_features, .. } = *header;
        for number in [salt, capacity, created_at, features, ro_features] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&trailer.encode(header.seed()));
    }

    /// Decodes the entry of segment `number`.
    pub(crate) fn decode(b: &[u8], store_id: [u8; 16], number: u64) -> Result<Self, Defect> {
        let b = b.get(..SEGMENT_LEN).ok_or(Defect::TooShort)?;
        let header = SegmentHeader {
            store_id,
            number,
            salt: LE::read_u64(&b[0..]),
            capacity: LE::read_u64(&b[8..]),
            created_at: LE::read_u64(&b[16..]),
            features: LE::read_u64(&b[24..]),
            ro_features: LE::read_u64(&b[32..]),
        };
        let trailer = Trailer::decode_copy(&b[40..], header.seed())?;
        if header.features & !FEATURES != 0 || header.ro_features != 0 {
            return Err(Defect::Invalid("a segment with unknown features"));
        }
        if header.capacity > u64::from(u32::MAX) || trailer.file_len() > header.longest_file() {
            return Err(Defect::Invalid("a segment is longer than its capacity allows"));
        }
        Ok(Self { header, trailer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_entries_round_trip() {
        let meta = CheckpointMeta {
            position: 40,
            recorded_at: 2,
            link: 3,
            segment: 4,
            offset: 5,
            base_position: 6,
            streams: 7,
            commits: 8,
            segment_commits: 8,
            last_frame: 4,
            first_recorded_at: 11,
        };
        assert_eq!(CheckpointMeta::decode(&meta.encode()), Ok(meta));
        let head = HeadEntry { name_offset: 70_000, name_len: 9, version: 1, last_position: 2 };
        let mut out = Vec::new();
        head.encode(&mut out);
        assert_eq!(HeadEntry::decode(&out), Ok(head));
        let header = SegmentHeader {
            store_id: [7; 16],
            number: 3,
            salt: 1 << 60,
            capacity: 1 << 16,
            created_at: 12,
            features: 1,
            ro_features: 0,
        };
        let trailer = Trailer {
            event_count: 10,
            commit_count: 9,
            base_position: 100,
            seal_offset: 65_000,
            first_recorded_at: 13,
            last_recorded_at: 14,
            link: 15,
            table_checksum: 16,
            change_count: 17,
        };
        let mut out = Vec::new();
        SegmentEntry::encode(&header, &trailer, &mut out);
        assert_eq!(out.len(), SEGMENT_LEN);
        let decoded = SegmentEntry::decode(&out, [7; 16], 3).unwrap();
        assert_eq!((decoded.header, decoded.trailer), (header, trailer));
        out[0] ^= 1;
        assert_eq!(SegmentEntry::decode(&out, [7; 16], 3), Err(Defect::Checksum));
    }
}
