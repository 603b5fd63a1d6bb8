//! The writer's status: how far a reader in another process may read, and whether the writer closed
//! the store.
//!
//! The 32 bytes of the `STATUS` file. A writer rewrites them after each synced group without a
//! sync: they pass through the page cache between processes and have no meaning after a restart of
//! the machine. Two writes are synced: "not clean" before a session's first frame, and "clean"
//! after its close.
//!
//! ```text
//!   0  magic "ANST"              4     16  link of the last frame    u32
//!   4  checksum of 8..32         u32   20  clean: 0 or 1             u32
//!   8  visible position          u64   24  epoch (random per open)   u64
//! ```

use byteorder::{ByteOrder, LittleEndian as LE};

use super::Defect;
use super::checksum::crc32;

pub(crate) const STATUS_LEN: usize = 32;
const MAGIC: [u8; 4] = *b"ANST";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Readers see up to here; `u64::MAX`: everything that is written.
    pub(crate) visible: u64,
    /// Nothing was written after `visible`, which is durable, and after the frame that `link`
    /// identifies.
    pub(crate) clean: bool,
    /// Where `clean` is false: the link of the last durable frame, or 0.
    pub(crate) link: u32,
    pub(crate) epoch: u64,
}

impl Status {
    pub(crate) fn encode(self) -> [u8; STATUS_LEN] {
        let mut b = [0; STATUS_LEN];
        b[..4].copy_from_slice(&MAGIC);
        LE::write_u64(&mut b[8..], self.visible);
        LE::write_u32(&mut b[16..], self.link);
        LE::write_u32(&mut b[20..], u32::from(self.clean));
        LE::write_u64(&mut b[24..], self.epoch);
        let checksum = crc32(0, &b[8..]);
        LE::write_u32(&mut b[4..], checksum);
        b
    }

    /// The last position of a closed store, which is durable.
    pub(crate) fn closed_at(self) -> Option<u64> {
        (self.clean && self.visible != u64::MAX).then_some(self.visible)
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..STATUS_LEN).ok_or(Defect::TooShort)?;
        if b[..4] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(0, &b[8..]) != LE::read_u32(&b[4..]) {
            return Err(Defect::Checksum);
        }
        Ok(Self {
            visible: LE::read_u64(&b[8..]),
            link: LE::read_u32(&b[16..]),
            clean: LE::read_u32(&b[20..]) == 1,
            epoch: LE::read_u64(&b[24..]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_round_trips_and_every_flipped_bit_is_refused() {
        let status = Status { visible: 7, clean: true, link: 3, epoch: 9 };
        let bytes = status.encode();
        assert_eq!(Status::decode(&bytes), Ok(status));
        for bit in 0..STATUS_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Status::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
