//! The sorted names of an index: of its streams, types, tags or categories, one after the other.
//!
//! Owns the walk over one index; [`catalog::names`](crate::catalog) merges several. Must never collect names.

use std::ops::Bound;

use super::contents::IndexContents;
use super::sealed::SealedIndex;
use super::{Head, Terms};
use crate::format::Defect;
use crate::format::container::Section;
use crate::format::index_file::{STREAM_LEN, StreamEntry, TERM_LEN, TermEntry};

/// Where a list of names begins, and the names that it is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRange<'a> {
    pub(crate) prefix: &'a str,
    /// Exclusive.
    pub(crate) after: Option<&'a str>,
}

impl<'a> NameRange<'a> {
    /// All names.
    pub(crate) const ALL: NameRange<'static> = NameRange { prefix: "", after: None };

    /// The first name that is in the range, if there is one.
    pub(crate) fn start(&self) -> Bound<&'a str> {
        match self.after {
            Some(after) if after >= self.prefix => Bound::Excluded(after),
            _ => Bound::Included(self.prefix),
        }
    }

    /// Whether a name at or after the start is in the range.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.starts_with(self.prefix)
    }

    /// Whether any name is in the range.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.has(name) && self.after.is_none_or(|after| name > after)
    }
}

/// A place among the names of an index.
#[derive(Debug)]
pub(crate) struct NamesOf<'a> {
    contents: &'a IndexContents,
    section: Section,
    entry_len: usize,
    next: usize,
    count: usize,
}

impl SealedIndex {
    /// The names of one kind, at or after the start of a range.
    pub(crate) fn names(&self, kind: Terms, range: &NameRange<'_>) -> Result<NamesOf<'_>, Defect> {
        let contents = self.contents()?;
        let section = contents.section(kind.section());
        let entry_len = if kind == Terms::Streams { STREAM_LEN } else { TERM_LEN };
        let count = section.count(entry_len);
        let mut names = NamesOf { contents, section, entry_len, next: 0, count };
        let (start, is_after) = match range.start() {
            Bound::Included(start) => (start, false),
            Bound::Excluded(start) => (start, true),
            Bound::Unbounded => ("", false),
        };
        let found = super::search_names(count, start.as_bytes(), |place| names.bytes_at(place))?;
        names.next = match found {
            Ok(place) => place + usize::from(is_after),
            Err(place) => place,
        };
        Ok(names)
    }
}

impl<'a> NamesOf<'a> {
    fn entry(&self, place: usize) -> Result<&'a [u8], Defect> {
        self.contents.file().entry(self.section, place, self.entry_len)
    }

    fn bytes_at(&self, place: usize) -> Result<&'a [u8], Defect> {
        let entry = TermEntry::decode(self.entry(place)?)?;
        self.contents.name(entry.name_offset, entry.name_len)
    }

    /// The name at this place; `None` after the last one.
    pub(crate) fn name(&self) -> Result<Option<&'a str>, Defect> {
        if self.next >= self.count {
            return Ok(None);
        }
        let name = std::str::from_utf8(self.bytes_at(self.next)?);
        name.map(Some).map_err(|_| Defect::Invalid("a name is not UTF-8"))
    }

    /// Goes to the next name.
    pub(crate) fn advance(&mut self) {
        self.next += 1;
    }

    /// The number of events with the term at this place whose ordinals are at most `limit`.
    pub(crate) fn events(&self, limit: u32) -> Result<u64, Defect> {
        let entry = TermEntry::decode(self.entry(self.next)?)?;
        if limit >= self.contents.event_count().saturating_sub(1) {
            return Ok(entry.count.into());
        }
        let last = self.contents.list(entry.list_offset, entry.count)?.last_at_most(limit)?;
        Ok(last.map_or(0, |(place, _)| u64::from(place) + 1))
    }

    /// The head of the stream at this place, at the end of the index.
    pub(crate) fn head(&self) -> Result<Head, Defect> {
        self.contents.head_of(&StreamEntry::decode(self.entry(self.next)?)?)
    }
}
