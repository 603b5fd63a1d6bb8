//! The frame header: the checksummed envelope of one commit.
//!
//! ```text
//!   0  magic AF 4E               2     16  first position            u64
//!   2  kind                      u8    24  durable position          u64
//!   3  zero                      u8    32  recorded at (µs)          u64
//!   4  body length (bytes)       u32   40  body checksum             u32
//!   8  event count               u32   44  header checksum           u32
//!  12  link                      u32   48  body, padded to 8 bytes
//! ```
//!
//! The header checksum covers bytes 0..44, seeded with the segment's salt and the frame's file
//! offset: stale, shifted or transplanted bytes never validate. The link is the header checksum
//! of the frame before, across segments too: since a header covers its body's checksum and its
//! own link, the log is one chain.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::{Seed, crc32};
use super::{ALIGNMENT, Defect, MAX_NUMBER, align_in_file};

pub(crate) const HEADER_LEN: usize = 48;
pub(crate) const MAGIC: [u8; 2] = [0xAF, 0x4E];

const _: () = assert!(HEADER_LEN.is_multiple_of(ALIGNMENT));

/// The length of a session frame: its body is a random number.
pub(crate) const SESSION_LEN: usize = HEADER_LEN + 8;

/// The kind of a frame. Zero is never valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// Events.
    Commit = 1,
    /// Changes that are not events, and no events.
    Metadata = 2,
    /// A clean close: everything before it is durable.
    Close = 3,
    /// The segment's offset table and trailer.
    Seal = 4,
    /// A writer's first frame after it opened the store. Its random number ensures that no frame
    /// that an earlier writer left can follow a frame of this one, even an identical one.
    Session = 5,
}

impl FrameKind {
    /// Whether changes may follow its records.
    pub(crate) fn may_hold_metadata(self) -> bool {
        matches!(self, Self::Commit | Self::Metadata)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Commit,
            2 => Self::Metadata,
            3 => Self::Close,
            4 => Self::Seal,
            5 => Self::Session,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) body_len: u32,
    pub(crate) event_count: u32,
    /// The header checksum of the frame before; 0 for the first of a store.
    pub(crate) link: u32,
    /// The first event's position; without events, the position the next event will get.
    pub(crate) first_position: u64,
    /// Everything at or before this was durable when the frame was written.
    pub(crate) durable_position: u64,
    pub(crate) recorded_at: u64,
    pub(crate) body_checksum: u32,
}

impl FrameHeader {
    /// The header's bytes and its checksum, for a frame at `offset`.
    pub(crate) fn encode(&self, seed: Seed, offset: u64) -> ([u8; HEADER_LEN], u32) {
        let mut bytes = [0; HEADER_LEN];
        let checksum = self.write(&mut bytes, seed, offset);
        (bytes, checksum)
    }

    /// Writes the header of a frame at `offset` to the front of `bytes`, and returns its checksum.
    ///
    /// # Panics
    ///
    /// If `bytes` is shorter than a header.
    #[inline]
    pub(crate) fn write(&self, bytes: &mut [u8], seed: Seed, offset: u64) -> u32 {
        let b = &mut bytes[..HEADER_LEN];
        b[..2].copy_from_slice(&MAGIC);
        b[2] = self.kind as u8;
        b[3] = 0;
        LE::write_u32(&mut b[4..], self.body_len);
        LE::write_u32(&mut b[8..], self.event_count);
        LE::write_u32(&mut b[12..], self.link);
        LE::write_u64(&mut b[16..], self.first_position);
        LE::write_u64(&mut b[24..], self.durable_position);
        LE::write_u64(&mut b[32..], self.recorded_at);
        LE::write_u32(&mut b[40..], self.body_checksum);
        let checksum = crc32(seed.at(offset), &b[..44]);
        LE::write_u32(&mut b[44..], checksum);
        checksum
    }

    /// Decodes the header of a frame at `offset`; also returns its checksum, the next frame's link.
    pub(crate) fn decode(b: &[u8], seed: Seed, offset: u64) -> Result<(Self, u32), Defect> {
        let b = b.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
        if b[..2] != MAGIC {
            let zero = b.iter().all(|&byte| byte == 0);
            return Err(if zero { Defect::Zero } else { Defect::Magic });
        }
        let checksum = LE::read_u32(&b[44..]);
        if crc32(seed.at(offset), &b[..44]) != checksum {
            return Err(Defect::Checksum);
        }
        Ok((Self::decode_trusted(b)?, checksum))
    }

    /// Decodes a header whose checksum was proven before.
    #[inline]
    pub(crate) fn decode_trusted(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
        let kind = FrameKind::from_byte(b[2]).ok_or(Defect::Invalid("unknown frame kind"))?;
        let header = Self { kind, ..Self::commit_fields(b) };
        header.check(b[3])?;
        Ok(header)
    }

    /// The fields of the header of a commit that was decoded before.
    pub(crate) fn fields(b: &[u8; HEADER_LEN]) -> Self {
        Self::commit_fields(b)
    }

    fn commit_fields(b: &[u8]) -> Self {
        Self {
            kind: FrameKind::Commit,
            body_len: LE::read_u32(&b[4..]),
            event_count: LE::read_u32(&b[8..]),
            link: LE::read_u32(&b[12..]),
            first_position: LE::read_u64(&b[16..]),
            durable_position: LE::read_u64(&b[24..]),
            recorded_at: LE::read_u64(&b[32..]),
            body_checksum: LE::read_u32(&b[40..]),
        }
    }

    fn check(&self, zero: u8) -> Result<(), Defect> {
        let holds_events = self.kind == FrameKind::Commit;
        if zero != 0 || (self.event_count != 0) != holds_events {
            return Err(Defect::Invalid("the fields of the frame header contradict each other"));
        }
        let count = u64::from(self.event_count);
        match self.first_position.checked_add(count) {
            Some(next)
                if self.first_position != 0
                    && next <= MAX_NUMBER
                    && self.durable_position < next =>
            {
                Ok(())
            }
            _ => Err(Defect::Invalid("frame positions out of range")),
        }
    }

    /// Identifies the frame and everything before it; `checksum` is the header's own.
    pub(crate) fn history(&self, checksum: u32) -> u64 {
        u64::from(checksum) << 32 | u64::from(self.body_checksum)
    }

    /// The length of header and body, padded: the distance to the next frame.
    pub(crate) fn frame_len(&self) -> u64 {
        HEADER_LEN as u64 + align_in_file(u64::from(self.body_len))
    }

    /// The position of the event after this frame.
    pub(crate) fn next_position(&self) -> u64 {
        self.first_position + u64::from(self.event_count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Commit,
            body_len: 640,
            event_count: 2,
            link: 0xDEAD_BEEF,
            first_position: 17,
            durable_position: 16,
            recorded_at: 1_700_000_000_000_000,
            body_checksum: 0x1234_5678,
        }
    }

    #[test]
    fn frame_header_round_trips_and_every_flipped_bit_is_refused() {
        let seed = Seed::of_salt(99);
        let (bytes, checksum) = sample().encode(seed, 8192);
        assert_eq!(FrameHeader::decode(&bytes, seed, 8192), Ok((sample(), checksum)));
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&bad, seed, 8192).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn frame_header_at_another_offset_or_segment_is_refused() {
        let seed = Seed::of_salt(99);
        let (bytes, _) = sample().encode(seed, 8192);
        assert_eq!(FrameHeader::decode(&bytes, seed, 8200), Err(Defect::Checksum));
        assert_eq!(FrameHeader::decode(&bytes, Seed::of_salt(98), 8192), Err(Defect::Checksum));
        assert_eq!(FrameHeader::decode(&[0; HEADER_LEN], seed, 8192), Err(Defect::Zero));
    }
}
