//! The seal: the end of a segment that is full.
//!
//! A seal frame's body is the offset table (a `u32` an event: the file offset of its record), zeros
//! to a multiple of 8, and this trailer, which is then the end of the file:
//!
//! ```text
//!   0  magic "ANNALEND"          8     40  last recorded at (µs)     u64
//!   8  event count               u32   48  link of the last frame    u32
//!  12  commit count              u32   52  offset table checksum     u32
//!  16  base position             u64   56  change count              u32
//!  24  offset of the seal frame  u64   60  trailer checksum          u32
//!  32  first recorded at (µs)    u64
//! ```
//!
//! The change count is the number of metadata changes in the segment. Both checksums are seeded with the
//! segment's salt. The commit count counts commit frames only.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::{Seed, crc32};
use super::{Defect, MAX_NUMBER, align, align_in_file, frame};

pub(crate) const TRAILER_LEN: usize = 64;
const MAGIC: [u8; 8] = *b"ANNALEND";
const CONTRADICTS: Defect = Defect::Invalid("trailer contradicts the file");

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) event_count: u32,
    pub(crate) commit_count: u32,
    pub(crate) base_position: u64,
    pub(crate) seal_offset: u64,
    pub(crate) first_recorded_at: u64,
    pub(crate) last_recorded_at: u64,
    pub(crate) link: u32,
    pub(crate) table_checksum: u32,
    pub(crate) change_count: u32,
}

impl Trailer {
    /// The offset of the offset table in the file.
    pub(crate) fn table_offset(&self) -> u64 {
        self.seal_offset + frame::HEADER_LEN as u64
    }

    /// The end of the file. Does not overflow on a decoded trailer.
    pub(crate) fn file_len(&self) -> u64 {
        self.table_offset() + body_len(self.event_count)
    }

    pub(crate) fn encode(&self, seed: Seed) -> [u8; TRAILER_LEN] {
        let mut b = [0; TRAILER_LEN];
        b[..8].copy_from_slice(&MAGIC);
        LE::write_u32(&mut b[8..], self.event_count);
        LE::write_u32(&mut b[12..], self.commit_count);
        LE::write_u64(&mut b[16..], self.base_position);
        LE::write_u64(&mut b[24..], self.seal_offset);
        LE::write_u64(&mut b[32..], self.first_recorded_at);
        LE::write_u64(&mut b[40..], self.last_recorded_at);
        LE::write_u32(&mut b[48..], self.link);
        LE::write_u32(&mut b[52..], self.table_checksum);
        LE::write_u32(&mut b[56..], self.change_count);
        let checksum = crc32(seed.plain(), &b[..60]);
        LE::write_u32(&mut b[60..], checksum);
        b
    }

    /// Decodes the trailer that ends a file of `file_len` bytes.
    pub(crate) fn decode(b: &[u8], seed: Seed, file_len: u64) -> Result<Self, Defect> {
        let trailer = Self::decode_copy(b, seed)?;
        if trailer.file_len() != file_len {
            return Err(CONTRADICTS);
        }
        Ok(trailer)
    }

    /// Decodes a copy of a trailer that is not in its file.
    pub(crate) fn decode_copy(b: &[u8], seed: Seed) -> Result<Self, Defect> {
        let b = b.get(..TRAILER_LEN).ok_or(Defect::TooShort)?;
        if b[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(seed.plain(), &b[..60]) != LE::read_u32(&b[60..]) {
            return Err(Defect::Checksum);
        }
        let trailer = Self {
            event_count: LE::read_u32(&b[8..]),
            commit_count: LE::read_u32(&b[12..]),
            base_position: LE::read_u64(&b[16..]),
            seal_offset: LE::read_u64(&b[24..]),
            first_recorded_at: LE::read_u64(&b[32..]),
            last_recorded_at: LE::read_u64(&b[40..]),
            link: LE::read_u32(&b[48..]),
            table_checksum: LE::read_u32(&b[52..]),
            change_count: LE::read_u32(&b[56..]),
        };
        if trailer.seal_offset >= 1 << 32 || !(1..=MAX_NUMBER).contains(&trailer.base_position) {
            return Err(CONTRADICTS);
        }
        Ok(trailer)
    }
}

/// The body length of a seal frame for this many events.
pub(crate) fn body_len(event_count: u32) -> u64 {
    align_in_file(u64::from(event_count) * 4) + TRAILER_LEN as u64
}

/// The offset table's bytes, padded.
pub(crate) fn encode_table(mut table: Vec<u8>) -> Vec<u8> {
    table.reserve(8 + TRAILER_LEN);
    table.resize(align(table.len()), 0);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seal_round_trips_and_every_flipped_bit_is_refused() {
        let seed = Seed::of_salt(1);
        let trailer = Trailer {
            event_count: 3,
            commit_count: 2,
            base_position: 10,
            seal_offset: 9000,
            first_recorded_at: 5,
            last_recorded_at: 6,
            link: 77,
            table_checksum: 88,
            change_count: 11,
        };
        let bytes = trailer.encode(seed);
        let len = trailer.file_len();
        assert_eq!(len, 9000 + 48 + 16 + 64);
        assert_eq!(Trailer::decode(&bytes, seed, len), Ok(trailer));
        assert!(Trailer::decode(&bytes, seed, len + 8).is_err());
        for bit in 0..TRAILER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::decode(&bad, seed, len).is_err(), "bit {bit}");
        }
    }
}
