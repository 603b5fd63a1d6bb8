//! The metadata of a commit: changes that are not events.
//!
//! Follows the records of a commit, or stands alone in a frame of kind *metadata*:
//!
//! ```text
//!   0  number of the first change     u64     changes, one after the other:
//!   8  durable change number          u64       0  kind             u8    8  first value   u64
//!  16  change count                   u32       1  zero             u8   16  second value  u64
//!  20  zero                           u32       2  length of name   u16  24  name
//!                                               4  zero             u32
//! ```
//!
//! Changes are numbered through the whole store, from 1, as positions number events. So a frame
//! without events can be proven durable by numbers in later frames.

use std::fmt;

use byteorder::{ByteOrder, LittleEndian as LE};
use smol_str::SmolStr;

use super::record::MAX_STREAM_LEN;
use super::{Defect, MAX_NUMBER};

pub(crate) const SECTION_HEADER_LEN: usize = 24;
pub(crate) const CHANGE_HEADER_LEN: usize = 24;
pub(crate) const MAX_CURSOR_NAME_LEN: usize = 255;

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
            each(ChangeNumber(number), Change::decode(&mut rest)?);
        }
        if rest.is_empty() { Ok(header) } else { Err(Defect::Invalid("bytes after the changes")) }
    }

    /// The number of the first change after this section.
    pub(crate) fn next(&self) -> ChangeNumber {
        self.first.plus(u64::from(self.count))
    }
}

impl Change {
    /// The cursor or stream of the change.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::CursorSet { name, .. } | Self::CursorDeleted { name } => name,
            Self::Truncated { stream, .. }
            | Self::Archived { stream }
            | Self::Unarchived { stream }
            | Self::Retention { stream, .. } => stream,
        }
    }

    /// The stream whose events the change hides or shows; `None` for a change of a cursor.
    pub(crate) fn hides(&self) -> Option<&str> {
        match self {
            Self::CursorSet { .. } | Self::CursorDeleted { .. } => None,
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
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, first, second) = self.parts();
        // Names were checked against their limits before.
        let len = u16::try_from(self.name().len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&[kind, 0]);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&second.to_le_bytes());
        out.extend_from_slice(self.name().as_bytes());
    }

    /// Decodes the change at the front of `bytes`, and advances `bytes` past it.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, Defect> {
        let head = bytes.get(..CHANGE_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (kind, len) = (head[0], usize::from(LE::read_u16(&head[2..])));
        let (first, second) = (LE::read_u64(&head[8..]), LE::read_u64(&head[16..]));
        let name = bytes.get(CHANGE_HEADER_LEN..CHANGE_HEADER_LEN + len).ok_or(Defect::TooShort)?;
        let name = std::str::from_utf8(name).map_err(|_| Defect::Invalid("a name is not UTF-8"))?;
        let limit = if kind <= 2 { MAX_CURSOR_NAME_LEN } else { MAX_STREAM_LEN };
        if head[1] != 0
            || head[4..8] != [0; 4]
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
            _ => return Err(Defect::Invalid("unknown kind of change")),
        };
        let (_, unused_first, unused_second) = change.parts();
        if (unused_first, unused_second) != (first, second) {
            return Err(Defect::Invalid("a change has values that its kind does not use"));
        }
        *bytes = &bytes[CHANGE_HEADER_LEN + len..];
        Ok(change)
    }

    /// Decodes changes that fill `bytes`.
    pub(crate) fn decode_all(mut bytes: &[u8], mut each: impl FnMut(Self)) -> Result<(), Defect> {
        while !bytes.is_empty() {
            each(Self::decode(&mut bytes)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Change> {
        vec![
            Change::CursorSet { name: "emailer".into(), position: 17 },
            Change::CursorDeleted { name: "é".into() },
            Change::Truncated { stream: "account-1".into(), before: 4 },
            Change::Archived { stream: "a".into() },
            Change::Unarchived { stream: "a".repeat(MAX_STREAM_LEN).into() },
            Change::Retention { stream: "b".into(), max_age: 5, max_count: 0 },
        ]
    }

    fn section(changes: &[Change]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let count = u32::try_from(changes.len()).unwrap();
        SectionHeader { first: ChangeNumber(9), durable: ChangeNumber(8), count }
            .encode(&mut bytes);
        for change in changes {
            change.encode(&mut bytes);
        }
        bytes
    }

    #[test]
    fn metadata_section_round_trips_and_its_prefixes_are_refused() {
        let changes = samples();
        let bytes = section(&changes);
        let mut seen = Vec::new();
        let header = SectionHeader::decode(&bytes, |_, change| seen.push(change)).unwrap();
        assert_eq!((header.next(), seen), (ChangeNumber(15), changes.clone()));
        let names: usize = changes.iter().map(|change| change.name().len()).sum();
        assert_eq!(bytes.len(), SECTION_HEADER_LEN + 6 * CHANGE_HEADER_LEN + names);
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
        // not zero, an unknown kind, a name past the end, an empty one, a value that its kind does
        // not use.
        for (at, value) in
            [(8, 10), (16, 2), (20, 1), (24, 0), (24, 7), (25, 1), (26, 8), (26, 0), (40, 1)]
        {
            assert!(bad(at, value), "{at}");
        }
        let mut long = Vec::new();
        Change::CursorSet { name: "n".repeat(256).into(), position: 1 }.encode(&mut long);
        assert!(Change::decode(&mut &*long).is_err());
    }
}
