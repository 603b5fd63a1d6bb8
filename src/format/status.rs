//! The writer's status: how far a reader in another process may read.
//!
//! The 32 bytes of the `STATUS` file, rewritten after each synced group without being synced
//! itself: it passes through the page cache between processes and means nothing after a restart
//! of the machine.
//!
//! ```text
//!   0  magic "ANST"              4      8  visible position          u64
//!   4  checksum of 8..32         u32   16  epoch (random per open)   u64
//!                                      24  zero                      8
//! ```

use byteorder::{ByteOrder, LittleEndian as LE};

use super::Defect;
use super::checksum::crc32;

pub(crate) const STATUS_LEN: usize = 32;
const MAGIC: [u8; 4] = *b"ANST";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Readers see up to here; `u64::MAX`: whatever is written.
    pub(crate) visible: u64,
    pub(crate) epoch: u64,
}

impl Status {
    pub(crate) fn encode(self) -> [u8; STATUS_LEN] {
        let mut b = [0; STATUS_LEN];
        b[..4].copy_from_slice(&MAGIC);
        LE::write_u64(&mut b[8..], self.visible);
        LE::write_u64(&mut b[16..], self.epoch);
        let checksum = crc32(0, &b[8..]);
        LE::write_u32(&mut b[4..], checksum);
        b
    }

    pub(crate) fn decode(b: &[u8]) -> Result<Self, Defect> {
        let b = b.get(..STATUS_LEN).ok_or(Defect::TooShort)?;
        if b[..4] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(0, &b[8..]) != LE::read_u32(&b[4..]) {
            return Err(Defect::Checksum);
        }
        Ok(Self { visible: LE::read_u64(&b[8..]), epoch: LE::read_u64(&b[16..]) })
    }
}
