//! The metadata of a commit: changes that are not events.
//!
//! Follows the records of a commit, or stands alone in a frame of kind *metadata*:
//!
//! ```text
//!   0  number of the first change     u64     changes, one after the other:
//!   8  durable change number          u64       0  kind             u8    8  first value   u64
//!  16  change count                   u32       1  zero             u8   16  second value  u64
//!  20  zero                           u32       2  length of name   u16  24  name, value
//!                                               4  length of value  u32
//! ```
//!
//! Changes are numbered through the whole store, from 1, as positions number events. So a frame
//! without events can be proven durable by numbers in later frames.
//!
//! Only a change of kind *record put* has a value. Derived files never repeat values: they hold other
//! kinds in their place ([`DerivedChange`]).

mod derived;
mod records;

use std::fmt;

use byteorder::{ByteOrder, LittleEndian as LE};
use smol_str::SmolStr;

use super::checksum::Seed;
use super::record::MAX_STREAM_LEN;
use super::{Defect, MAX_NUMBER};

pub(crate) use derived::DerivedChange;
use records::record_checksum;
pub(crate) use records::{LoggedRecord, RecordChange, RecordEntry, RecordValue};

pub(crate) const SECTION_HEADER_LEN: usize = 24;
pub(crate) const CHANGE_HEADER_LEN: usize = 24;
pub(crate) const MAX_CURSOR_NAME_LEN: usize = 255;
pub(crate) const MAX_RECORD_KEY_LEN: usize = 1024;
pub(crate) const MAX_RECORD_VALUE_LEN: usize = 16 << 20;
/// The longest value of a record in segments without
/// [`FEATURE_LARGE_RECORDS`](super::segment_header::FEATURE_LARGE_RECORDS).
pub(crate) const MAX_PLAIN_RECORD_VALUE_LEN: usize = 64 << 10;

const RECORD_PUT: u8 = 7;
const RECORD_DELETED: u8 = 8;

/// The number of a change. Changes are numbered from 1, in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct ChangeNumber(u64);

impl ChangeNumber {
    /// Before the first change.
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const FIRST: Self = Self(1);

    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        self.plus(1)
    }

    /// Not to be called on [`ChangeNumber::NONE`].
    pub(crate) fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// The number of the change that follows this one by `count`.
    pub(crate) fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl fmt::Display for ChangeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A change that a commit makes in addition to its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A cursor is set to a position.
    CursorSet {
        name: SmolStr,
        position: u64,
    },
    CursorDeleted {
        name: SmolStr,
    },
    /// A stream's events below a version are hidden.
    Truncated {
        stream: SmolStr,
        before: u64,
    },
    Archived {
        stream: SmolStr,
    },
    Unarchived {
        stream: SmolStr,
    },
    /// A stream's events beyond an age (µs) or a count are hidden; 0: no such limit.
    Retention {
        stream: SmolStr,
        max_age: u64,
        max_count: u64,
    },
    /// A record gets a value, or is deleted.
    Record(RecordChange),
}

fn put_header(out: &mut Vec<u8>, kind: u8, name: &str, value_len: u32, first: u64, second: u64) {
    // Names were checked against their limits before.
    let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&second.to_le_bytes());
}

/// The header before the changes of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SectionHeader {
    /// The number of the first change; without changes, of the next one.
    pub(crate) first: ChangeNumber,
    /// Every change up to this number was durable when the frame was encoded.
    pub(crate) durable: ChangeNumber,
    pub(crate) count: u32,
}

impl SectionHeader {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.0.to_le_bytes());
        out.extend_from_slice(&self.durable.0.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Decodes a whole section, and passes each change and its number to `each`.
    pub(crate) fn decode(
        bytes: &[u8],
        mut each: impl FnMut(ChangeNumber, Change),
    ) -> Result<Self, Defect> {
        let head = bytes.get(..SECTION_HEADER_LEN).ok_or(Defect::TooShort)?;
        let header = Self {
            first: ChangeNumber(LE::read_u64(head)),
            durable: ChangeNumber(LE::read_u64(&head[8..])),
            count: LE::read_u32(&head[16..]),
        };
        let next = header.first.0.checked_add(u64::from(header.count));
        if header.first == ChangeNumber::NONE
            || next.is_none_or(|next| next > MAX_NUMBER || header.durable.0 >= next)
            || head[20..] != [0; 4]
        {
            return Err(Defect::Invalid("change numbers out of range"));
        }
        let mut rest = &bytes[SECTION_HEADER_LEN..];
        for number in (header.first.0..).take(header.count as usize) {
            let at = bytes.len() - rest.len();
            let mut change = Change::decode(&mut rest)?;
            if let Change::Record(record) = &mut change {
                // A frame is smaller than 4 GiB.
                record.offset = u32::try_from(at).unwrap_or(u32::MAX);
            }
            each(ChangeNumber(number), change);
        }
        if rest.is_empty() { Ok(header) } else { Err(Defect::Invalid("bytes after the changes")) }
    }

    /// The number of the first change after this section.
    pub(crate) fn next(&self) -> ChangeNumber {
        self.first.plus(u64::from(self.count))
    }
}

impl Change {
    /// The cursor, stream or record of the change.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Record(record) => &record.key,
            Self::CursorSet { name, .. } | Self::CursorDeleted { name } => name,
            Self::Truncated { stream, .. }
            | Self::Archived { stream }
            | Self::Unarchived { stream }
            | Self::Retention { stream, .. } => stream,
        }
    }

    /// The stream whose events the change hides or shows; `None` for a change of a cursor or record.
    pub(crate) fn hides(&self) -> Option<&str> {
        match self {
            Self::CursorSet { .. } | Self::CursorDeleted { .. } | Self::Record(_) => None,
            change => Some(change.name()),
        }
    }

    fn parts(&self) -> (u8, u64, u64) {
        match *self {
            Self::CursorSet { position, .. } => (1, position, 0),
            Self::CursorDeleted { .. } => (2, 0, 0),
            Self::Truncated { before, .. } => (3, before, 0),
            Self::Archived { .. } => (4, 0, 0),
            Self::Unarchived { .. } => (5, 0, 0),
            Self::Retention { max_age, max_count, .. } => (6, max_age, max_count),
            Self::Record(RecordChange { version, value: Some(_), .. }) => (RECORD_PUT, version, 0),
            Self::Record(RecordChange { version, value: None, .. }) => (RECORD_DELETED, version, 0),
        }
    }

    /// Appends the change. `seed` is that of the segment, for the checksum of a record.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, seed: Seed) {
        let (kind, first, second) = self.parts();
        let (name, start) = (self.name(), out.len());
        let value = match self {
            Self::Record(RecordChange { value: Some(RecordValue::Given(value)), .. }) => &value[..],
            _ => &[],
        };
        // Checked against the limit before.
        let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        put_header(out, kind, name, value_len, first, second);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        if kind == RECORD_PUT {
            let (head, rest) = out[start..].split_at_mut(CHANGE_HEADER_LEN);
            let checksum = record_checksum(seed, head, rest);
            LE::write_u64(&mut head[16..], checksum.into());
        }
    }

    /// Decodes the change at the front of `bytes`, and advances `bytes` past it.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, Defect> {
        let head = bytes.get(..CHANGE_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (kind, len) = (head[0], usize::from(LE::read_u16(&head[2..])));
        let (first, second) = (LE::read_u64(&head[8..]), LE::read_u64(&head[16..]));
        let name = bytes.get(CHANGE_HEADER_LEN..CHANGE_HEADER_LEN + len).ok_or(Defect::TooShort)?;
        let name = std::str::from_utf8(name).map_err(|_| Defect::Invalid("a name is not UTF-8"))?;
        let limit = match kind {
            0..=2 => MAX_CURSOR_NAME_LEN,
            RECORD_PUT | RECORD_DELETED => MAX_RECORD_KEY_LEN,
            _ => MAX_STREAM_LEN,
        };
        let value_len = LE::read_u32(&head[4..]);
        let most = if kind == RECORD_PUT { MAX_RECORD_VALUE_LEN } else { 0 };
        if head[1] != 0
            || value_len as usize > most
            || name.is_empty()
            || len > limit
            || first > MAX_NUMBER
            || second > MAX_NUMBER
        {
            return Err(Defect::Invalid("a change is out of range"));
        }
        let name = SmolStr::new(name);
        let change = match kind {
            1 => Self::CursorSet { name, position: first },
            2 => Self::CursorDeleted { name },
            3 => Self::Truncated { stream: name, before: first },
            4 => Self::Archived { stream: name },
            5 => Self::Unarchived { stream: name },
            6 => Self::Retention { stream: name, max_age: first, max_count: second },
            RECORD_PUT | RECORD_DELETED => {
                let value = (kind == RECORD_PUT).then_some(RecordValue::Logged(value_len));
                Self::Record(RecordChange { key: name, version: first, value, offset: 0 })
            }
            _ => return Err(Defect::Invalid("unknown kind of change")),
        };
        let (_, used_first, used_second) = change.parts();
        let is_checksum = kind == RECORD_PUT && u32::try_from(second).is_ok();
        if used_first != first || (used_second != second && !is_checksum) {
            return Err(Defect::Invalid("a change has values that its kind does not use"));
        }
        if matches!(&change, Self::Record(record) if record.version == 0) {
            return Err(Defect::Invalid("a record has version 0"));
        }
        let end = CHANGE_HEADER_LEN + len + value_len as usize;
        *bytes = bytes.get(end..).ok_or(Defect::TooShort)?;
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn samples() -> Vec<Change> {
        vec![
            Change::CursorSet { name: "emailer".into(), position: 17 },
            Change::CursorDeleted { name: "é".into() },
            Change::Truncated { stream: "account-1".into(), before: 4 },
            Change::Archived { stream: "a".into() },
            Change::Unarchived { stream: "a".repeat(MAX_STREAM_LEN).into() },
            Change::Retention { stream: "b".into(), max_age: 5, max_count: 0 },
            record("r/1", 3, Some(b"value")),
            record("r/2", 1, Some(b"")),
            record("r/1", 4, None),
        ]
    }

    fn record(key: &str, version: u64, value: Option<&'static [u8]>) -> Change {
        let value = value.map(|value| RecordValue::Given(Bytes::from_static(value)));
        Change::Record(RecordChange { key: key.into(), version, value, offset: 0 })
    }

    /// The change as it is decoded, at this offset.
    fn logged(change: &Change, at: usize) -> Change {
        let mut change = change.clone();
        if let Change::Record(record) = &mut change {
            record.value = record.value.as_ref().map(|value| RecordValue::Logged(value.len()));
            record.offset = u32::try_from(at).unwrap();
        }
        change
    }

    fn section(changes: &[Change]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = u32::try_from(changes.len()).unwrap();
        SectionHeader { first: ChangeNumber(9), durable: ChangeNumber(8), count }
            .encode(&mut bytes);
        for change in changes {
            change.encode(&mut bytes, Seed::of_salt(1));
        }
        bytes
    }

    #[test]
    fn metadata_section_round_trips_and_its_prefixes_are_refused() {
        let changes = samples();
        let bytes = section(&changes);
        let mut seen = Vec::new();
        let header = SectionHeader::decode(&bytes, |_, change| seen.push(change)).unwrap();
        let mut at = SECTION_HEADER_LEN;
        let expected: Vec<Change> = changes
            .iter()
            .map(|change| {
                let logged = logged(change, at);
                let mut own = Vec::new();
                change.encode(&mut own, Seed::of_salt(1));
                at += own.len();
                logged
            })
            .collect();
        assert_eq!((header.next(), seen), (ChangeNumber(18), expected));
        assert_eq!(bytes.len(), at);
        for len in 0..bytes.len() {
            assert!(SectionHeader::decode(&bytes[..len], |_, _| {}).is_err(), "{len}");
        }
    }

    #[test]
    fn hostile_metadata_sections_are_refused() {
        let good = section(&samples()[..1]);
        let bad = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            SectionHeader::decode(&bytes, |_, _| {}).is_err()
        };
        // A durable number after the section's own changes, a count without changes, zeros that are
        // not zero, unknown kinds, a name past the end, an empty one, lengths of a value and values
        // that its kind does not use.
        for (at, value) in [
            (8, 10),
            (16, 2),
            (20, 1),
            (24, 0),
            (24, 9),
            (24, 128),
            (25, 1),
            (26, 8),
            (26, 0),
            (28, 1),
            (40, 1),
        ] {
            assert!(bad(at, value), "{at}");
        }
        let mut long = Vec::new();
        Change::CursorSet { name: "n".repeat(256).into(), position: 1 }
            .encode(&mut long, Seed::of_salt(1));
        assert!(Change::decode(&mut &*long).is_err());
    }

    #[test]
    fn hostile_record_changes_are_refused() {
        let good = section(&[record("key", 2, Some(b"value"))]);
        assert!(SectionHeader::decode(&good, |_, _| {}).is_ok());
        // A value past the end and one over the limit, version 0, a checksum of more than 32 bits, a
        // value of a deletion.
        for (at, value) in [(28, 6), (30, 2), (32, 0), (44, 1), (24, 8)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(SectionHeader::decode(&bytes, |_, _| {}).is_err(), "{at}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_record_fails_its_checksum() {
        let seed = Seed::of_salt(5);
        let mut bytes = Vec::new();
        record("key", 2, Some(b"value")).encode(&mut bytes, seed);
        let parsed = LoggedRecord::parse(&bytes, Some(seed)).unwrap();
        assert_eq!((parsed.key, parsed.version, parsed.value), (&b"key"[..], 2, &b"value"[..]));
        assert!(LoggedRecord::parse(&bytes, Some(Seed::of_salt(6))).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(LoggedRecord::parse(&bad, Some(seed)).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn derived_changes_round_trip_and_their_prefixes_are_refused() {
        let mut bytes = Vec::new();
        let entry =
            RecordEntry { version: 7, deleted: false, segment: 3, offset: 8192, value_len: 65_536 };
        DerivedChange::encode_run(12, &mut bytes);
        DerivedChange::encode_newest("a", &entry, &mut bytes);
        let deleted = RecordEntry { deleted: true, value_len: 0, ..entry };
        DerivedChange::encode_newest("b", &deleted, &mut bytes);
        let mut seen = Vec::new();
        DerivedChange::decode_all(&bytes, |change| seen.push(change)).unwrap();
        let found = |at: usize| match &seen[at] {
            DerivedChange::Newest(change) => (change.key.clone(), RecordEntry::of(change, 3)),
            other => panic!("{other:?}"),
        };
        assert_eq!(seen[0], DerivedChange::Records(12));
        assert_eq!([found(1), found(2)], [("a".into(), entry), ("b".into(), deleted)]);
        for len in (1..bytes.len()).filter(|len| ![24, 49].contains(len)) {
            assert!(DerivedChange::decode_all(&bytes[..len], |_| {}).is_err(), "{len}");
        }
    }
}
