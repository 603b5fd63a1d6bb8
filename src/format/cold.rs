//! The stub that stands for a segment in cold storage: what is known of the segment without its frames.
//!
//! The 272 bytes of a file `log/<number>.cold`. It is written when another copy of the segment is known to exist, and
//! before the segment's own file is removed. The bytes from 32 on are parts of that file.
//!
//! ```text
//!   0  magic "ANCD"              4     16  length of the segment     u64
//!   4  checksum of 8..272        u32   24  checksum of the segment   u32
//!   8  format version: 1         u16   28  zero                      u32
//!  10  minimum reader version: 1 u16   32  segment header            128
//!  12  zero                      u32  160  first frame's header      48
//!                                     208  trailer                   64
//! ```

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::crc32;
use super::seal::{TRAILER_LEN, Trailer};
use super::segment_header::{COPIES, DATA_START, HEADER_LEN, SegmentHeader};
use super::{Defect, check_start, frame};

pub(crate) const LEN: usize = 272;
const MAGIC: [u8; 4] = *b"ANCD";
const VERSION: u16 = 1;
const HEADER: Range<usize> = 32..32 + HEADER_LEN;
const FIRST_FRAME: Range<usize> = HEADER.end..HEADER.end + frame::HEADER_LEN;
const TRAILER: Range<usize> = FIRST_FRAME.end..FIRST_FRAME.end + TRAILER_LEN;
const _: () = assert!(TRAILER.end == LEN);

/// What is known of a sealed segment whose frames are elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) header: SegmentHeader,
    first_frame: [u8; frame::HEADER_LEN],
    pub(crate) trailer: Trailer,
    /// CRC-32 of the whole segment.
    pub(crate) checksum: u32,
}

impl Stub {
    /// The stub of a segment, given all its bytes but those between the first frame's header and the trailer.
    pub(crate) fn new(
        header: SegmentHeader,
        first_frame: [u8; frame::HEADER_LEN],
        trailer: Trailer,
        checksum: u32,
    ) -> Self {
        Self { header, first_frame, trailer, checksum }
    }

    /// The length of the segment in bytes.
    pub(crate) fn segment_len(&self) -> u64 {
        self.trailer.file_len()
    }

    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        b[..4].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], VERSION);
        LE::write_u16(&mut b[10..], VERSION);
        LE::write_u64(&mut b[16..], self.segment_len());
        LE::write_u32(&mut b[24..], self.checksum);
        b[HEADER].copy_from_slice(&self.header.encode());
        b[FIRST_FRAME].copy_from_slice(&self.first_frame);
        b[TRAILER].copy_from_slice(&self.trailer.encode(self.header.seed()));
        let checksum = crc32(0, &b[8..]);
        LE::write_u32(&mut b[4..], checksum);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..LEN).ok_or(Defect::TooShort)?;
        check_start(b, MAGIC, VERSION, "the stub of a cold segment")?;
        let header = SegmentHeader::decode(&b[HEADER])?;
        let trailer = Trailer::decode(&b[TRAILER], header.seed(), LE::read_u64(&b[16..]))?;
        let first_frame = b[FIRST_FRAME].try_into().unwrap_or([0; frame::HEADER_LEN]);
        Ok(Self { header, first_frame, trailer, checksum: LE::read_u32(&b[24..]) })
    }

    /// Fills a buffer with bytes of the segment from an offset on, as far as its end; returns their number. `None` if
    /// not all of them are known.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Option<usize> {
        let len = self.segment_len();
        let wanted = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let buffer = &mut buffer[..wanted];
        let end = offset + buffer.len() as u64;
        let trailer_at = len - TRAILER_LEN as u64;
        let is_known = end <= DATA_START + frame::HEADER_LEN as u64 || offset >= trailer_at;
        if !is_known {
            return None;
        }
        buffer.fill(0);
        let header = self.header.encode();
        for at in COPIES {
            put(buffer, offset, &header, at);
        }
        put(buffer, offset, &self.first_frame, DATA_START);
        put(buffer, offset, &self.trailer.encode(self.header.seed()), trailer_at);
        Some(buffer.len())
    }
}

/// Copies into a buffer that begins at `offset` what it shares with the bytes at `at`.
fn put(buffer: &mut [u8], offset: u64, bytes: &[u8], at: u64) {
    let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(offset + buffer.len() as u64));
    let place = |start: u64| usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
    let Ok(len) = usize::try_from(to.saturating_sub(from)) else { return };
    if len > 0 {
        buffer[place(offset)..][..len].copy_from_slice(&bytes[place(at)..][..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::segment_header::tests::sample;

    fn stub() -> Stub {
        let trailer = Trailer {
            event_count: 7,
            commit_count: 2,
            base_position: 41,
            seal_offset: 20_000,
            first_recorded_at: 5,
            last_recorded_at: 6,
            link: 0xDEAD_BEEF,
            table_checksum: 9,
            change_count: 1,
        };
        Stub::new(sample(), [3; frame::HEADER_LEN], trailer, 0x1234_5678)
    }

    #[test]
    fn stub_round_trips_and_every_flipped_bit_is_refused() {
        let bytes = stub().encode();
        assert_eq!(Stub::decode(&bytes), Ok(stub()));
        for bit in 0..LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Stub::decode(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(Stub::decode(&bytes[..LEN - 1]), Err(Defect::TooShort));
    }

    #[test]
    fn stub_gives_the_known_parts_of_the_segment_and_no_others() {
        let stub = stub();
        let len = stub.segment_len();
        let mut start = vec![1; usize::try_from(DATA_START).unwrap() + frame::HEADER_LEN];
        assert_eq!(stub.read(&mut start, 0), Some(start.len()));
        for at in COPIES {
            let at = usize::try_from(at).unwrap();
            assert_eq!(start[at..at + HEADER_LEN], sample().encode());
            assert!(start[at + HEADER_LEN..at + 4096].iter().all(|&byte| byte == 0));
        }
        assert_eq!(start[8192..], [3; frame::HEADER_LEN]);
        let mut middle = [0; 10];
        assert_eq!(stub.read(&mut middle, 4090), Some(10));
        assert_eq!(middle[6..], sample().encode()[..4]);
        let mut end = [0; 100];
        assert_eq!(stub.read(&mut end, len - 40), Some(40));
        assert_eq!(end[..40], stub.trailer.encode(sample().seed())[24..]);
        assert_eq!(stub.read(&mut end, len + 5), Some(0));
        assert_eq!(stub.read(&mut [0; 49], DATA_START), None);
        assert_eq!(stub.read(&mut [0; 64], len - 65), None);
    }
}
