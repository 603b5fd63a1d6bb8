//! The segment header: the facts about a segment before its first frame.
//!
//! ```text
//!   0  magic "ANNALSEG"          8     48  segment number            u64
//!   8  format version            u16   56  salt                      u64
//!  10  minimum reader version    u16   64  capacity (bytes)          u64
//!  12  header length = 128       u32   72  created at (µs)           u64
//!  16  incompatible features     u64   80  zero                      44
//!  24  ro-compatible features    u64  124  CRC-32 of bytes 0..124    u32
//!  32  store id                  16
//! ```
//!
//! Stored at offset 0 and again at 4096, in separate sectors, so that one bad sector loses nothing.
//! Frames begin at 8192. A segment's header is durable before its first frame is written; that
//! frame has the base position and the link to the previous segment.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::{Seed, crc32};
use super::{Defect, FORMAT_VERSION};

pub(crate) const MAGIC: [u8; 8] = *b"ANNALSEG";
pub(crate) const HEADER_LEN: usize = 128;
/// The offsets of the two copies.
pub(crate) const COPIES: [u64; 2] = [0, 4096];
/// The offset of the first frame.
pub(crate) const DATA_START: u64 = 8192;
/// Incompatible feature bit 0: frames may carry metadata.
pub(crate) const FEATURE_METADATA: u64 = 1;
/// Incompatible feature bit 1: metadata may have changes of records.
pub(crate) const FEATURE_RECORDS: u64 = 1 << 1;
/// Incompatible feature bit 2: events may have an empty type, empty tags, and more and longer tags than
/// earlier versions allowed, and state the origin of their ids.
pub(crate) const FEATURE_EXTENDED_EVENTS: u64 = 1 << 2;
/// Incompatible feature bit 3: values of records may be longer than
/// [`MAX_PLAIN_RECORD_VALUE_LEN`](super::metadata::MAX_PLAIN_RECORD_VALUE_LEN).
pub(crate) const FEATURE_LARGE_RECORDS: u64 = 1 << 3;
/// The incompatible features of segments that are created, which are all that are supported.
pub(crate) const FEATURES: u64 =
    FEATURE_METADATA | FEATURE_RECORDS | FEATURE_EXTENDED_EVENTS | FEATURE_LARGE_RECORDS;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) capacity: u64,
    pub(crate) created_at: u64,
    /// Features that a reader must support: none but [`FEATURES`].
    pub(crate) features: u64,
    /// Features that a reader may ignore and a writer may not. Version 1 sets none.
    pub(crate) ro_features: u64,
}

impl SegmentHeader {
    /// A segment's file is never longer: frames end at the capacity, and a seal has four bytes an
    /// event, which takes far more than that as a record.
    pub(crate) fn longest_file(&self) -> u64 {
        DATA_START + self.capacity.saturating_mul(2)
    }

    pub(crate) fn seed(&self) -> Seed {
        Seed::of_salt(self.salt)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut b = [0; HEADER_LEN];
        b[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], FORMAT_VERSION);
        LE::write_u16(&mut b[10..], FORMAT_VERSION);
        LE::write_u32(&mut b[12..], 128);
        LE::write_u64(&mut b[16..], self.features);
        LE::write_u64(&mut b[24..], self.ro_features);
        b[32..48].copy_from_slice(&self.store_id);
        LE::write_u64(&mut b[48..], self.number);
        LE::write_u64(&mut b[56..], self.salt);
        LE::write_u64(&mut b[64..], self.capacity);
        LE::write_u64(&mut b[72..], self.created_at);
        let crc = crc32(0, &b[..124]);
        LE::write_u32(&mut b[124..], crc);
        b
    }

    /// Decodes one copy. The version is checked after the checksum, so that damage is never
    /// mistaken for a newer format.
    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
        if b.iter().all(|&byte| byte == 0) {
            return Err(Defect::Zero);
        }
        if b[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(0, &b[..124]) != LE::read_u32(&b[124..]) {
            return Err(Defect::Checksum);
        }
        check_version(b)?;
        if LE::read_u32(&b[12..]) != 128 {
            return Err(Defect::Invalid("unexpected header length"));
        }
        if LE::read_u64(&b[64..]) > u64::from(u32::MAX) {
            return Err(Defect::Invalid("the capacity is out of range"));
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&b[32..48]);
        Ok(Self {
            store_id,
            number: LE::read_u64(&b[48..]),
            salt: LE::read_u64(&b[56..]),
            capacity: LE::read_u64(&b[64..]),
            created_at: LE::read_u64(&b[72..]),
            features: LE::read_u64(&b[16..]),
            ro_features: LE::read_u64(&b[24..]),
        })
    }
}

/// Any other incompatible bit is unsupported. Read-only compatible bits are checked by the opening.
fn check_version(b: &[u8]) -> Result<(), Defect> {
    let (version, minimum) = (LE::read_u16(&b[8..]), LE::read_u16(&b[10..]));
    if version == 0 || minimum > FORMAT_VERSION {
        return Err(Defect::Unsupported(format!(
            "format version {version} needs a reader of version {minimum}, and this is version {FORMAT_VERSION}"
        )));
    }
    let incompatible = LE::read_u64(&b[16..]) & !FEATURES;
    if incompatible != 0 {
        return Err(Defect::Unsupported(format!(
            "unknown incompatible features {incompatible:#x}"
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> SegmentHeader {
        SegmentHeader {
            store_id: *b"0123456789abcdef",
            number: 3,
            salt: 0x0102_0304_0506_0708,
            capacity: 1 << 20,
            created_at: 1_700_000_000_000_000,
            features: FEATURES,
            ro_features: 0,
        }
    }

    #[test]
    fn segment_header_round_trips_and_every_flipped_bit_is_refused() {
        let bytes = sample().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(sample()));
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn segment_header_of_a_newer_version_or_feature_is_unsupported_and_not_damage() {
        for (at, value) in [(10, 2), (16, 16), (23, 0x80)] {
            let mut bytes = sample().encode();
            bytes[at] = value;
            let crc = crc32(0, &bytes[..124]);
            LE::write_u32(&mut bytes[124..], crc);
            let got = SegmentHeader::decode(&bytes);
            assert!(matches!(got, Err(Defect::Unsupported(_))), "{at}: {got:?}");
        }
    }
}
