//! The manifest of a backup: the place in the log up to which a directory holds a copy.
//!
//! The 96 bytes of the file `BACKUP`. It is written when everything before that place is durable in the copy, so an
//! intact manifest proves that what it names was there.
//!
//! ```text
//!   0  magic "ANBK"              4     48  segment                   u64
//!   4  checksum of 8..96         u32   56  offset of the end         u64
//!   8  format version: 1         u16   64  offset of the last frame  u64
//!  10  minimum reader version: 1 u16   72  link                      u32
//!  12  state: 0 begun, 1 whole   u32   76  zero                      u32
//!  16  store id                  16    80  taken at, in µs           u64
//!  32  position                  u64   88  zero                      u64
//!  40  change                    u64
//! ```

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::crc32;
use super::segment_header::DATA_START;
use super::{Defect, MAX_NUMBER, check_start};

pub(crate) const LEN: usize = 96;
const MAGIC: [u8; 4] = *b"ANBK";
const VERSION: u16 = 1;

/// A place in the log, after a commit: format-spec, sections 3 and 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogEnd {
    /// The position of the last event before it; 0: none.
    pub position: u64,
    /// The number of the last change of the metadata before it; 0: none.
    pub change: u64,
    /// The number of the segment, from 1.
    pub segment: u64,
    /// The offset in that segment, in bytes.
    pub offset: u64,
    /// The offset of the last frame in that segment; 0: it has none.
    pub last_frame: u64,
    /// The header checksum of the last frame, which covers everything before it.
    pub link: u32,
}

impl LogEnd {
    /// Whether a log can end there.
    pub(crate) fn is_possible(&self) -> bool {
        self.position <= MAX_NUMBER
            && self.change <= MAX_NUMBER
            && (1..=MAX_NUMBER).contains(&self.segment)
            && self.offset >= DATA_START
            && self.last_frame < self.offset
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_id: [u8; 16],
    /// `None`: the first backup into the directory has begun and is not whole.
    pub(crate) end: Option<LogEnd>,
    /// When the place was taken, in µs since 1970.
    pub(crate) taken_at: u64,
}

impl Manifest {
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        b[..4].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], VERSION);
        LE::write_u16(&mut b[10..], VERSION);
        b[16..32].copy_from_slice(&self.store_id);
        if let Some(end) = &self.end {
            LE::write_u32(&mut b[12..], 1);
            LE::write_u64(&mut b[32..], end.position);
            LE::write_u64(&mut b[40..], end.change);
            LE::write_u64(&mut b[48..], end.segment);
            LE::write_u64(&mut b[56..], end.offset);
            LE::write_u64(&mut b[64..], end.last_frame);
            LE::write_u32(&mut b[72..], end.link);
        }
        LE::write_u64(&mut b[80..], self.taken_at);
        let checksum = crc32(0, &b[8..]);
        LE::write_u32(&mut b[4..], checksum);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..LEN).ok_or(Defect::TooShort)?;
        check_start(b, MAGIC, VERSION, "the manifest of the backup")?;
        let end = match LE::read_u32(&b[12..]) {
            0 => None,
            1 => Some(LogEnd {
                position: LE::read_u64(&b[32..]),
                change: LE::read_u64(&b[40..]),
                segment: LE::read_u64(&b[48..]),
                offset: LE::read_u64(&b[56..]),
                last_frame: LE::read_u64(&b[64..]),
                link: LE::read_u32(&b[72..]),
            }),
            _ => return Err(Defect::Invalid("the state of a backup's manifest is unknown")),
        };
        if end.is_some_and(|end| !end.is_possible()) {
            return Err(Defect::Invalid("the place in a backup's manifest is impossible"));
        }
        Ok(Self {
            store_id: b[16..32].try_into().unwrap_or_default(),
            end,
            taken_at: LE::read_u64(&b[80..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_round_trips_and_every_flipped_bit_is_refused() {
        let end = LogEnd {
            position: 7,
            change: 3,
            segment: 2,
            offset: 8264,
            last_frame: 8192,
            link: 0xDEAD_BEEF,
        };
        for end in [None, Some(end)] {
            let manifest = Manifest { store_id: [9; 16], end, taken_at: 11 };
            let bytes = manifest.encode();
            assert_eq!(Manifest::decode(&bytes), Ok(manifest));
            for bit in 0..LEN * 8 {
                let mut bad = bytes;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
            }
        }
        let impossible = LogEnd { last_frame: 8264, ..end };
        let manifest = Manifest { store_id: [9; 16], end: Some(impossible), taken_at: 11 };
        assert!(Manifest::decode(&manifest.encode()).is_err());
    }
}
