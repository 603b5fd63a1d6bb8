//! Postings of a segment that is not sealed yet, in memory.
//!
//! The events of each term are a linked list through one array, newest first: adding an event
//! allocates nothing per term, and a question about the newest events touches only those. Filled
//! when somebody first asks (a store whose queries never look at the active segment pays nothing),
//! then by each append if boundaries are in use.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use smol_str::SmolStr;

use super::{Found, Postings, Terms};
use crate::event::category_of;
use crate::format::Defect;

/// The end of a list.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct ActiveTerms {
    table: HashTable<u32>,
    terms: Vec<Term>,
    entries: Vec<Entry>,
    events: u32,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug)]
struct Term {
    kind: Terms,
    name: SmolStr,
    /// Its newest entry.
    last: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    ordinal: u32,
    term: u32,
    /// The entry of the same term before; [`NONE`]: this is its first.
    previous: u32,
}

impl ActiveTerms {
    /// The number of events that are in it: always the first so many of the segment.
    pub(crate) fn events(&self) -> u32 {
        self.events
    }

    /// Adds the next event.
    pub(crate) fn push<'a>(
        &mut self,
        stream: &str,
        event_type: &str,
        tags: impl Iterator<Item = &'a str>,
    ) {
        self.add(Terms::Streams, stream);
        self.add(Terms::Categories, category_of(stream));
        self.add(Terms::Types, event_type);
        for tag in tags {
            self.add(Terms::Tags, tag);
        }
        self.events += 1;
    }

    fn add(&mut self, kind: Terms, name: &str) {
        let Self { table, terms, entries, events, hasher } = self;
        let hash = hasher.hash_one((kind as u8, name));
        let known = table.find(hash, |&term| terms[term as usize].is(kind, name)).copied();
        // A segment holds fewer events than 2^32 divided by what each takes, and 67 terms in each.
        let term = known.unwrap_or_else(|| {
            let term = u32::try_from(terms.len()).unwrap_or(NONE);
            terms.push(Term { kind, name: SmolStr::new(name), last: NONE, count: 0 });
            table.insert_unique(hash, term, |&term| {
                let term = &terms[term as usize];
                hasher.hash_one((term.kind as u8, &*term.name))
            });
            term
        });
        let last = &mut terms[term as usize];
        // An event that carries a tag twice is listed once.
        if last.last != NONE && entries[last.last as usize].ordinal == *events {
            return;
        }
        let entry = u32::try_from(entries.len()).unwrap_or(NONE);
        entries.push(Entry { ordinal: *events, term, previous: last.last });
        last.last = entry;
        last.count += 1;
    }

    /// Forgets everything from `events` events on.
    pub(crate) fn truncate(&mut self, events: u32) {
        while let Some(entry) = self.entries.pop_if(|entry| entry.ordinal >= events) {
            let term = &mut self.terms[entry.term as usize];
            term.last = entry.previous;
            term.count -= 1;
        }
        self.events = self.events.min(events);
    }
}

impl Term {
    fn is(&self, kind: Terms, name: &str) -> bool {
        self.kind == kind && self.name == name
    }
}

impl Postings for ActiveTerms {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<Found>, Defect> {
        let hash = self.hasher.hash_one((kind as u8, name));
        let term = self.table.find(hash, |&term| self.terms[term as usize].is(kind, name));
        Ok(term.map(|&term| {
            let count = self.terms[term as usize].count;
            Found { count, entries: count, place: term }
        }))
    }

    fn list(&self, found: Found, floor: u32) -> Result<Vec<u32>, Defect> {
        let mut ordinals = Vec::new();
        let mut at = self.terms[found.place as usize].last;
        while at != NONE {
            let entry = self.entries[at as usize];
            if entry.ordinal < floor {
                break;
            }
            ordinals.push(entry.ordinal);
            at = entry.previous;
        }
        ordinals.reverse();
        Ok(ordinals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(terms: &ActiveTerms, kind: Terms, name: &str, floor: u32) -> Vec<u32> {
        let found = terms.find(kind, name).unwrap();
        found.map(|found| terms.list(found, floor).unwrap()).unwrap_or_default()
    }

    #[test]
    fn lists_what_was_pushed_and_forgets_what_was_taken_back() {
        let mut terms = ActiveTerms::default();
        terms.push("a-1", "T", ["x", "x", "y"].into_iter());
        terms.push("a-2", "T", ["y"].into_iter());
        terms.push("b", "y", std::iter::empty());
        assert_eq!(list(&terms, Terms::Types, "T", 0), [0, 1]);
        assert_eq!(list(&terms, Terms::Types, "T", 1), [1]);
        assert_eq!(list(&terms, Terms::Tags, "x", 0), [0]);
        assert_eq!(list(&terms, Terms::Tags, "y", 0), [0, 1]);
        assert_eq!(list(&terms, Terms::Types, "y", 0), [2]);
        assert_eq!(list(&terms, Terms::Categories, "a", 0), [0, 1]);
        assert_eq!(list(&terms, Terms::Streams, "b", 0), [2]);
        terms.truncate(1);
        assert_eq!(terms.events(), 1);
        assert_eq!(list(&terms, Terms::Tags, "y", 0), [0]);
        assert!(list(&terms, Terms::Types, "y", 0).is_empty());
        terms.push("b", "y", std::iter::empty());
        assert_eq!(list(&terms, Terms::Types, "y", 0), [1]);
    }
}
