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
//! The file ends there. It is disposable: a damaged one is skipped. A pack has snapshots in this form too, one
//! after the other, and deletions: see [`snapshot_pack`](super::snapshot_pack).

use byteorder::{ByteOrder, LittleEndian as LE};

use super::Defect;
use super::checksum::{crc32, fnv_1a};
use super::record::MAX_STREAM_LEN;

pub(crate) const MAGIC: [u8; 8] = *b"ANNALSNP";
/// The value in a file that is bound to no position.
const UNBOUND_LEN: usize = 64;
pub(crate) const HEADER_LEN: usize = 80;
/// In the place of a kind of mark, in a pack alone: all earlier snapshots of the key are deleted.
const DELETION: u8 = 2;
/// The newest version of this file. A reader of version 1 skips a newer one.
const VERSION: u16 = 2;
pub(crate) const CHECKSUM_LEN: usize = 4;
/// The largest state, in bytes.
pub(crate) const MAX_STATE: u64 = 256 << 20;
/// A state of a pack is smaller.
pub(crate) const MAX_PACKED_STATE: u64 = 1 << 20;

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
        let mut bytes = Vec::new();
        self.encode_to(&mut bytes);
        bytes
    }

    /// Appends the file's bytes.
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        self.encode_as(u8::from(self.is_position), out);
    }

    fn encode_as(&self, kind: u8, out: &mut Vec<u8>) {
        let (version, len) =
            if self.binding.is_some() { (VERSION, HEADER_LEN) } else { (1, UNBOUND_LEN) };
        let start = out.len();
        out.reserve(len + self.key.len() + self.state.len() + CHECKSUM_LEN);
        out.resize(start + len, 0);
        let b = &mut out[start..];
        b[..8].copy_from_slice(&MAGIC);
        LE::write_u16(&mut b[8..], version);
        LE::write_u16(&mut b[10..], version);
        LE::write_u32(&mut b[12..], u32::try_from(len).unwrap_or(u32::MAX));
        b[16..32].copy_from_slice(&self.store_id);
        LE::write_u64(&mut b[32..], self.mark);
        LE::write_u64(&mut b[40..], self.saved_at);
        LE::write_u16(&mut b[48..], u16::try_from(self.key.len()).unwrap_or(u16::MAX));
        b[50] = kind;
        LE::write_u32(&mut b[52..], self.schema_version);
        LE::write_u64(&mut b[56..], self.state.len() as u64);
        if let Some(binding) = self.binding {
            LE::write_u64(&mut b[64..], binding.position);
            LE::write_u64(&mut b[72..], binding.history);
        }
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.state);
        let checksum = crc32(0, &out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Defect> {
        match Packed::decode(bytes)? {
            Packed::Snapshot(file) => Ok(file),
            Packed::Deletion { .. } => Err(Defect::Invalid("it is no snapshot")),
        }
    }

    /// The kind of mark, and the rest.
    fn decode_any(bytes: &'a [u8]) -> Result<(u8, Self), Defect> {
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
        if LE::read_u64(&b[56..]) != state.len() as u64 || b[50] > DELETION || b[51] != 0 {
            return Err(contradicts);
        }
        let key = std::str::from_utf8(key).map_err(|_| Defect::Invalid("the key is not UTF-8"))?;
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&b[16..32]);
        let file = Self {
            store_id,
            mark: LE::read_u64(&b[32..]),
            is_position: b[50] == 1,
            saved_at: LE::read_u64(&b[40..]),
            schema_version: LE::read_u32(&b[52..]),
            binding,
            key,
            state,
        };
        Ok((b[50], file))
    }
}

/// What a pack has: snapshots, and deletions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packed<'a> {
    Snapshot(SnapshotFile<'a>),
    /// All snapshots of the key before this are deleted.
    Deletion {
        store_id: [u8; 16],
        key: &'a str,
    },
}

impl<'a> Packed<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Defect> {
        let (kind, file) = SnapshotFile::decode_any(bytes)?;
        if kind != DELETION {
            return Ok(Self::Snapshot(file));
        }
        let deletion = SnapshotFile::deletion(file.store_id, file.key);
        if (SnapshotFile { saved_at: 0, ..file.clone() }) != deletion {
            return Err(Defect::Invalid("a deletion has values that it does not use"));
        }
        Ok(Self::Deletion { store_id: file.store_id, key: file.key })
    }

    pub(crate) fn encode_deletion(store_id: [u8; 16], key: &str, out: &mut Vec<u8>) {
        SnapshotFile::deletion(store_id, key).encode_as(DELETION, out);
    }

    /// The length of the entry that begins with these bytes, by its header, which is not verified.
    pub(crate) fn len(header: &[u8; HEADER_LEN]) -> Result<u64, Defect> {
        let key_len = LE::read_u16(&header[48..]);
        let state_len = LE::read_u64(&header[56..]);
        if header[..8] != MAGIC {
            return Err(Defect::Magic);
        }
        if LE::read_u32(&header[12..]) as usize != HEADER_LEN
            || usize::from(key_len) > MAX_STREAM_LEN
            || state_len >= MAX_PACKED_STATE
        {
            return Err(Defect::Invalid("a snapshot of a pack has an impossible length"));
        }
        Ok((HEADER_LEN + CHECKSUM_LEN) as u64 + u64::from(key_len) + state_len)
    }

    /// The key in the bytes of an entry that was verified before.
    pub(crate) fn key_len(header: &[u8; HEADER_LEN]) -> usize {
        LE::read_u16(&header[48..]).into()
    }
}

impl<'a> SnapshotFile<'a> {
    fn deletion(store_id: [u8; 16], key: &'a str) -> Self {
        Self {
            store_id,
            mark: 0,
            is_position: false,
            saved_at: 0,
            schema_version: 0,
            binding: Some(HistoryBinding { position: 0, history: 0 }),
            key,
            state: &[],
        }
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
    fn deletion_round_trips_and_is_no_snapshot_file() {
        let mut bytes = Vec::new();
        Packed::encode_deletion([3; 16], "account-1", &mut bytes);
        let deletion = Packed::Deletion { store_id: [3; 16], key: "account-1" };
        assert_eq!(Packed::decode(&bytes), Ok(deletion));
        assert!(SnapshotFile::decode(&bytes).is_err());
        let header = bytes[..HEADER_LEN].try_into().unwrap();
        assert_eq!(Packed::len(header), Ok(bytes.len() as u64));
        // A state, and a mark.
        for (at, value) in [(32, 1), (52, 1), (64, 1), (50, 3)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let end = bad.len() - CHECKSUM_LEN;
            let checksum = crc32(0, &bad[..end]);
            LE::write_u32(&mut bad[end..], checksum);
            assert!(Packed::decode(&bad).is_err(), "{at}");
        }
    }

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
