//! Changes of records: what they change, and how one is read without its frame.
//!
//! Owns the checksum of a record's change. Must never hold a value that is in the log.

use byteorder::{ByteOrder, LittleEndian as LE};
use bytes::Bytes;
use smol_str::SmolStr;

use super::{CHANGE_HEADER_LEN, RECORD_PUT};
use crate::format::Defect;
use crate::format::checksum::{Seed, crc32};

/// The bytes of a change's header that the checksum of a record covers.
const CHECKED_HEADER_LEN: usize = 16;

/// The change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordChange {
    pub(crate) key: SmolStr,
    /// The number of the record's changes, this one included.
    pub(crate) version: u64,
    /// `None`: it is deleted.
    pub(crate) value: Option<RecordValue>,
    /// Where the change begins: in the section that it was decoded from, or, once it is placed, in the
    /// segment's file.
    pub(crate) offset: u32,
}

/// The value of a record, which is never kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordValue {
    /// To be written.
    Given(Bytes),
    /// In the log, with this length.
    Logged(u32),
}

impl RecordValue {
    pub(crate) fn len(&self) -> u32 {
        match self {
            // Checked against the limit before.
            Self::Given(bytes) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            Self::Logged(len) => *len,
        }
    }
}

/// The place of the newest change of a record, and what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordEntry {
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) value_len: u32,
}

impl RecordEntry {
    /// The entry of a placed change in a segment.
    pub(crate) fn of(change: &RecordChange, segment: u64) -> Self {
        Self {
            version: change.version,
            deleted: change.value.is_none(),
            segment,
            offset: change.offset,
            value_len: change.value.as_ref().map_or(0, RecordValue::len),
        }
    }
}

/// A record's change in the log, for a reader that has found its place in an index.
#[derive(Debug)]
pub(crate) struct LoggedRecord<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) version: u64,
    pub(crate) value: &'a [u8],
}

impl<'a> LoggedRecord<'a> {
    /// The length of a change with this key and value.
    pub(crate) fn len_of(key: &str, value_len: u32) -> usize {
        CHANGE_HEADER_LEN + key.len() + value_len as usize
    }

    /// Takes a change that fills `bytes`, and checks its checksum if `seed` is given.
    pub(crate) fn parse(bytes: &'a [u8], seed: Option<Seed>) -> Result<Self, Defect> {
        let head = bytes.get(..CHANGE_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (key_len, value_len) =
            (usize::from(LE::read_u16(&head[2..])), LE::read_u32(&head[4..]));
        let rest = &bytes[CHANGE_HEADER_LEN..];
        if head[0] != RECORD_PUT || rest.len() != key_len + value_len as usize {
            return Err(Defect::Invalid("no record begins here"));
        }
        if let Some(seed) = seed
            && u64::from(record_checksum(seed, head, rest)) != LE::read_u64(&head[16..])
        {
            return Err(Defect::Checksum);
        }
        let (key, value) = rest.split_at(key_len);
        Ok(Self { key, version: LE::read_u64(&head[8..]), value })
    }
}

/// The checksum of a record's change: of the first bytes of its header, its key and its value.
pub(super) fn record_checksum(seed: Seed, head: &[u8], key_and_value: &[u8]) -> u32 {
    crc32(crc32(seed.plain(), &head[..CHECKED_HEADER_LEN]), key_and_value)
}
