//! Packs (`.pack`) and level files (`.lvl`) of snapshots.
//!
//! ```text
//!   0  magic "ANNALPCK"          8     16  store id                  16
//!   8  format version = 1        u16   32  number of the pack        u64
//!  10  minimum reader version    u16   40  snapshots kept            u32
//!  12  header length = 64        u32   44  zero                      16
//!                                      60  CRC-32 of the 60 bytes before it   u32
//! ```
//!
//! The entries of a pack follow, one directly after the other: snapshots in the form of a snapshot file that is
//! bound to a history, and deletions. The first entry that is not whole ends the pack.
//!
//! A level file has what several packs had. It is a container with the magic "ANNALSNL":
//!
//! ```text
//!  1 META      16 bytes: the number of the first pack u64, and of the last one u64
//!  2 ENTRIES   by hash: hash of the key u64, mark u64, offset in DATA u64, length in DATA u32,
//!              kind u8 (0 a version, 1 a position, 2 a deletion), zero 3
//!  3 DATA      the entries of the packs, in the order of ENTRIES
//! ```
//!
//! All of it is disposable: what is damaged is skipped.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::crc32;
use super::{Defect, MAX_NUMBER};

const MAGIC: [u8; 8] = *b"ANNALPCK";
const VERSION: u16 = 1;
pub(crate) const HEADER_LEN: usize = 64;

pub(crate) const META: u32 = 1;
pub(crate) const ENTRIES: u32 = 2;
pub(crate) const DATA: u32 = 3;
pub(crate) const META_LEN: usize = 16;
pub(crate) const ENTRY_LEN: usize = 32;

/// The header of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) number: u64,
    /// The number of snapshots of a key and kind that its writer kept.
    pub(crate) kept: u32,
}

impl PackHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut b = [0; HEADER_LEN];
        b[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], VERSION);
        LE::write_u16(&mut b[10..], VERSION);
        LE::write_u32(&mut b[12..], 64);
        b[16..32].copy_from_slice(&self.store_id);
        LE::write_u64(&mut b[32..], self.number);
        LE::write_u32(&mut b[40..], self.kept);
        let checksum = crc32(0, &b[..60]);
        LE::write_u32(&mut b[60..], checksum);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
        if b[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(0, &b[..60]) != LE::read_u32(&b[60..]) {
            return Err(Defect::Checksum);
        }
        if LE::read_u16(&b[10..]) > VERSION {
            return Err(Defect::Unsupported("a newer version of the file format".into()));
        }
        if LE::read_u32(&b[12..]) as usize != HEADER_LEN {
            return Err(Defect::Invalid("the header of a pack has an unknown length"));
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&b[16..32]);
        Ok(Self { store_id, number: LE::read_u64(&b[32..]), kept: LE::read_u32(&b[40..]) })
    }
}

/// META: the packs whose entries a level file has.
pub(crate) fn encode_meta(first: u64, last: u64) -> [u8; META_LEN] {
    let mut b = [0; META_LEN];
    LE::write_u64(&mut b[0..], first);
    LE::write_u64(&mut b[8..], last);
    b
}

pub(crate) fn decode_meta(b: &[u8]) -> Result<(u64, u64), Defect> {
    let b = b.get(..META_LEN).ok_or(Defect::TooShort)?;
    let (first, last) = (LE::read_u64(&b[0..]), LE::read_u64(&b[8..]));
    if first > last || last > MAX_NUMBER {
        return Err(Defect::Invalid("the packs of a level file are out of range"));
    }
    Ok((first, last))
}

/// What an entry is: a snapshot by its kind of mark, or a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Version,
    Position,
    Deletion,
}

impl Kind {
    pub(crate) fn of_mark(by_position: bool) -> Self {
        if by_position { Self::Position } else { Self::Version }
    }
}

/// An entry of the section ENTRIES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelEntry {
    pub(crate) hash: u64,
    pub(crate) kind: Kind,
    pub(crate) mark: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl LevelEntry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut b = [0; ENTRY_LEN];
        LE::write_u64(&mut b[0..], self.hash);
        LE::write_u64(&mut b[8..], self.mark);
        LE::write_u64(&mut b[16..], self.offset);
        LE::write_u32(&mut b[24..], self.len);
        b[28] = self.kind as u8;
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..ENTRY_LEN).ok_or(Defect::TooShort)?;
        let kind = match (b[28], &b[29..]) {
            (0, [0, 0, 0]) => Kind::Version,
            (1, [0, 0, 0]) => Kind::Position,
            (2, [0, 0, 0]) => Kind::Deletion,
            _ => return Err(Defect::Invalid("an entry of an unknown kind")),
        };
        Ok(Self {
            hash: LE::read_u64(&b[0..]),
            kind,
            mark: LE::read_u64(&b[8..]),
            offset: LE::read_u64(&b[16..]),
            len: LE::read_u32(&b[24..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_a_pack_round_trips_and_every_flipped_bit_is_refused() {
        let header = PackHeader { store_id: [3; 16], number: 7, kept: 2 };
        let bytes = header.encode();
        assert_eq!(PackHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(PackHeader::decode(&bad).is_err(), "bit {bit}");
        }
        assert!(PackHeader::decode(&bytes[..63]).is_err());
    }

    #[test]
    fn parts_of_a_level_file_round_trip_and_bad_ones_are_refused() {
        assert_eq!(decode_meta(&encode_meta(3, 3)), Ok((3, 3)));
        assert!(decode_meta(&encode_meta(4, 3)).is_err());
        assert!(decode_meta(&encode_meta(0, u64::MAX)).is_err());
        for kind in [Kind::Version, Kind::Position, Kind::Deletion] {
            let entry = LevelEntry { hash: 1, kind, mark: 2, offset: 3, len: 4 };
            let mut bytes = entry.encode();
            assert_eq!(LevelEntry::decode(&bytes), Ok(entry));
            bytes[29] = 1;
            assert!(LevelEntry::decode(&bytes).is_err());
            bytes[29] = 0;
            bytes[28] = 3;
            assert!(LevelEntry::decode(&bytes).is_err());
        }
    }
}
