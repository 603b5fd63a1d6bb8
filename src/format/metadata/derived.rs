//! What index files and checkpoints hold in the place of changes of records.
//!
//! Must never repeat a value: it stays in the log.

use byteorder::{ByteOrder, LittleEndian as LE};
use smol_str::SmolStr;

use super::{
    CHANGE_HEADER_LEN, Change, MAX_RECORD_KEY_LEN, MAX_RECORD_VALUE_LEN, RecordChange, RecordValue,
    put_header,
};
use crate::format::{Defect, MAX_NUMBER};

/// Kinds in derived files only: a number of record changes, the newest change of a record.
const RECORD_RUN: u8 = 128;
const NEWEST_PUT: u8 = 129;
const NEWEST_DELETED: u8 = 130;

/// What stands for changes in a derived file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DerivedChange {
    Change(Change),
    /// This number of changes of records, one after the other.
    Records(u64),
    /// The newest change of a record in the segment that the file names.
    Newest(RecordChange),
}

impl DerivedChange {
    pub(crate) fn encode_run(count: u64, out: &mut Vec<u8>) {
        put_header(out, RECORD_RUN, "", 0, count, 0);
    }

    /// As earlier versions wrote it into checkpoints.
    #[cfg(test)]
    pub(crate) fn encode_newest(key: &str, entry: &super::RecordEntry, out: &mut Vec<u8>) {
        let kind = if entry.deleted { NEWEST_DELETED } else { NEWEST_PUT };
        put_header(out, kind, key, entry.value_len, entry.version, entry.offset.into());
        out.extend_from_slice(key.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, Defect> {
        let head = bytes.get(..CHANGE_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (first, second) = (LE::read_u64(&head[8..]), LE::read_u64(&head[16..]));
        let (kind, value_len) = (head[0], LE::read_u32(&head[4..]));
        let invalid = Defect::Invalid("a change of a derived file is out of range");
        match kind {
            RECORD_RUN => {
                if head[1..8] != [0; 7] || first == 0 || first > MAX_NUMBER || second != 0 {
                    return Err(invalid);
                }
                *bytes = &bytes[CHANGE_HEADER_LEN..];
                Ok(Self::Records(first))
            }
            NEWEST_PUT | NEWEST_DELETED => {
                let len = usize::from(LE::read_u16(&head[2..]));
                let key = bytes.get(CHANGE_HEADER_LEN..CHANGE_HEADER_LEN + len);
                let key = std::str::from_utf8(key.ok_or(Defect::TooShort)?);
                let offset = u32::try_from(second).map_err(|_| invalid.clone())?;
                let most = if kind == NEWEST_PUT { MAX_RECORD_VALUE_LEN } else { 0 };
                let is_key = (1..=MAX_RECORD_KEY_LEN).contains(&len);
                let is_version = (1..=MAX_NUMBER).contains(&first);
                if head[1] != 0 || !is_key || !is_version || value_len as usize > most {
                    return Err(invalid);
                }
                let change = RecordChange {
                    key: SmolStr::new(key.map_err(|_| invalid)?),
                    version: first,
                    value: (kind == NEWEST_PUT).then_some(RecordValue::Logged(value_len)),
                    offset,
                };
                *bytes = &bytes[CHANGE_HEADER_LEN + len..];
                Ok(Self::Newest(change))
            }
            _ => Change::decode(bytes).map(Self::Change),
        }
    }

    /// Decodes entries that fill `bytes`.
    pub(crate) fn decode_all(mut bytes: &[u8], mut each: impl FnMut(Self)) -> Result<(), Defect> {
        while !bytes.is_empty() {
            each(Self::decode(&mut bytes)?);
        }
        Ok(())
    }
}
