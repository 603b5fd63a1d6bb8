//! A snapshot file (`.snap`): a caller's state at a mark.
//!
//! ```text
//!   0  magic "ANNALSNP"          8     40  saved at (µs)             u64
//!   8  format version            u16   48  key length (bytes)        u16
//!  10  minimum reader version    u16   50  kind of mark: 0 version, 1 position   u8
//!  12  header length = 80        u32   51  zero                      u8
//!  16  store id                  16    52  schema version            u32
//!  32  mark                      u64   56  state length (bytes)      u64
//!  64  position bound to         u64   72  history of that position  u64
//!  80  key, state, CRC-32 of everything before it u32
//! ```
//!
//! In version 1 of the file the header ends at 64, and the snapshot is bound to no position.
//!
//! The file ends there. It is disposable: a damaged one is skipped.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::Defect;
use super::checksum::{crc32, fnv_1a};

pub(crate) const MAGIC: [u8; 8] = *b"ANNALSNP";
/// The value in a file that is bound to no position.
const UNBOUND_LEN: usize = 64;
const HEADER_LEN: usize = 80;
/// The newest version of this file. A reader of version 1 skips a newer one.
const VERSION: u16 = 2;
pub(crate) const CHECKSUM_LEN: usize = 4;

/// A snapshot as it is stored; key and state borrow from the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFile<'a> {
    pub(crate) store_id: [u8; 16],
    pub(crate) mark: u64,
    pub(crate) is_position: bool,
    pub(crate) saved_at: u64,
    pub(crate) schema_version: u32,
    /// `None` in a file of version 1.
    pub(crate) binding: Option<HistoryBinding>,
    pub(crate) key: &'a str,
    pub(crate) state: &'a [u8],
}

/// The history of a snapshot: the position of the last event that it covers, and the checksums of
/// the commit there, which cover all earlier commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryBinding {
    pub(crate) position: u64,
    pub(crate) history: u64,
}

impl<'a> SnapshotFile<'a> {
    /// The file's bytes. The key's length is within its limit.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (version, len) =
            if self.binding.is_some() { (VERSION, HEADER_LEN) } else { (1, UNBOUND_LEN) };
        let mut b = vec![0; len];
        b[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], version);
        LE::write_u16(&mut b[10..], version);
        LE::write_u32(&mut b[12..], u32::try_from(len).unwrap_or(u32::MAX));
        b[16..32].copy_from_slice(&self.store_id);
        LE::write_u64(&mut b[32..], self.mark);
        LE::write_u64(&mut b[40..], self.saved_at);
        LE::write_u16(&mut b[48..], u16::try_from(self.key.len()).unwrap_or(u16::MAX));
        b[50] = u8::from(self.is_position);
        LE::write_u32(&mut b[52..], self.schema_version);
        LE::write_u64(&mut b[56..], self.state.len() as u64);
        if let Some(binding) = self.binding {
            LE::write_u64(&mut b[64..], binding.position);
            LE::write_u64(&mut b[72..], binding.history);
        }
        b.extend_from_slice(self.key.as_bytes());
        b.extend_from_slice(self.state);
        let checksum = crc32(0, &b);
        b.extend_from_slice(&checksum.to_le_bytes());
        b
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Defect> {
        let covered = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(Defect::TooShort)?;
        let (b, checksum) = bytes.split_at(covered);
        if b.len() < UNBOUND_LEN {
            return Err(Defect::TooShort);
        }
        if b[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if crc32(0, b) != LE::read_u32(checksum) {
            return Err(Defect::Checksum);
        }
        if LE::read_u16(&b[10..]) > VERSION {
            return Err(Defect::Unsupported("a newer version of the file format".into()));
        }
        let header_len = match (LE::read_u16(&b[8..]), LE::read_u32(&b[12..])) {
            (1, 64) => UNBOUND_LEN,
            (2.., 80) if b.len() >= HEADER_LEN => HEADER_LEN,
            _ => return Err(Defect::Invalid("the snapshot header has an unknown length")),
        };
        let binding = (header_len == HEADER_LEN).then(|| HistoryBinding {
            position: LE::read_u64(&b[64..]),
            history: LE::read_u64(&b[72..]),
        });
        let contradicts = Defect::Invalid("snapshot lengths contradict the file");
        let key_end = header_len + usize::from(LE::read_u16(&b[48..]));
        let (Some(key), Some(state)) = (b.get(header_len..key_end), b.get(key_end..)) else {
            return Err(contradicts);
        };
        if LE::read_u64(&b[56..]) != state.len() as u64 || b[50] > 1 || b[51] != 0 {
            return Err(contradicts);
        }
        let key = std::str::from_utf8(key).map_err(|_| Defect::Invalid("the key is not UTF-8"))?;
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&b[16..32]);
        Ok(Self {
            store_id,
            mark: LE::read_u64(&b[32..]),
            is_position: b[50] == 1,
            saved_at: LE::read_u64(&b[40..]),
            schema_version: LE::read_u32(&b[52..]),
            binding,
            key,
            state,
        })
    }
}

/// The hash at the beginning of the names of a key's files. Keys with the same hash share only this
/// part of the name: the file contains the key.
pub(crate) fn hash_key(key: &str) -> u64 {
    fnv_1a(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_round_trips_and_every_flipped_bit_and_cut_is_refused() {
        for binding in [Some(HistoryBinding { position: 9, history: 77 }), None] {
            let snapshot = SnapshotFile {
                store_id: [3; 16],
                mark: 9,
                is_position: true,
                saved_at: 5,
                schema_version: 2,
                binding,
                key: "account-1",
                state: b"state",
            };
            let bytes = snapshot.encode();
            assert_eq!(SnapshotFile::decode(&bytes), Ok(snapshot));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(SnapshotFile::decode(&bad).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert!(SnapshotFile::decode(&bytes[..len]).is_err(), "{len}");
            }
        }
    }
}
