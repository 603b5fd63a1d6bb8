//! Postings of a segment that is not sealed yet, in memory: types, tags and categories.
//!
//! The events of each term are a linked list through one array, newest first, with shortcuts
//! ([`jumps`](super::jumps)): adding an event allocates nothing per term, and a look-up touches the
//! requested events, wherever in the list they are, and a logarithm of the list. Filled by the first
//! look-up (a store whose queries never use the active segment pays nothing), then by each append if
//! boundaries are in use.
//!
//! A term is identified by its hash alone: postings give candidates, and the record is compared, so
//! two terms with the same hash (of 32 bits, seeded at random) cost reading some more records. An
//! append then touches one cache line per term, which is most of its cost: a specialised open table,
//! whose slots are the terms, instead of the two lines of a general one.

use std::hash::BuildHasher;
use std::ops::Range;

use super::jumps::{self, Links, Member, NONE};
use super::{PostingList, Postings, Terms};
use crate::event::category_of;
use crate::format::Defect;

#[derive(Debug, Default)]
pub(crate) struct ActiveTerms {
    /// Open addressing with linear probing; a power of two, or empty.
    terms: Vec<Term>,
    used: usize,
    entries: Vec<TermNode>,
    events: u32,
    hasher: foldhash::fast::RandomState,
}

/// A slot of the table; free if no event has the term.
#[derive(Debug, Clone, Copy, Default)]
struct Term {
    hash: u32,
    /// The newest entry, and its ordinal.
    last: u32,
    newest: u32,
    count: u32,
}

/// One event in the list of a term.
#[derive(Debug, Clone, Copy)]
struct TermNode {
    ordinal: u32,
    /// The previous entry of the same term; [`NONE`] if this is its first.
    previous: u32,
    /// The entry of the same term that is the target of its shortcut, or [`NONE`].
    shortcut: u32,
}

/// The entries of all terms.
struct TermNodes<'a>(&'a [TermNode]);

impl Links for TermNodes<'_> {
    fn previous(&self, node: u32) -> Result<Option<u32>, Defect> {
        let entry = self.0.get(node as usize).ok_or(Defect::TooShort)?;
        Ok((entry.previous != NONE).then_some(entry.previous))
    }

    fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect> {
        let entry = self.0.get(node as usize).ok_or(Defect::TooShort)?;
        Ok((entry.shortcut != NONE).then_some(entry.shortcut))
    }
}

impl ActiveTerms {
    /// The number of entered events, which are the first ones of the segment.
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
        self.add(Terms::Categories, category_of(stream));
        self.add(Terms::Types, event_type);
        for tag in tags {
            self.add(Terms::Tags, tag);
        }
        self.events += 1;
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash is enough")]
    fn hash(&self, kind: Terms, name: &str) -> u32 {
        self.hasher.hash_one((kind as u8, name)) as u32
    }

    fn term(&self, kind: Terms, name: &str) -> Option<&Term> {
        let hash = self.hash(kind, name);
        let term = self.terms.get(slot_of(&self.terms, hash)?)?;
        (term.count > 0).then_some(term)
    }

    fn add(&mut self, kind: Terms, name: &str) {
        let hash = self.hash(kind, name);
        // A quarter of the slots stay free.
        if self.used >= self.terms.len() / 4 * 3 {
            self.grow();
        }
        let Self { terms, used, entries, events, .. } = self;
        let Some(slot) = slot_of(terms, hash) else { return };
        let term = &mut terms[slot];
        // Each entry is a stream, a type or another tag of an event, which takes a byte of the segment at
        // least: there are fewer than 2^32.
        let place = u32::try_from(entries.len()).unwrap_or(NONE);
        let previous = if term.count == 0 {
            *used += 1;
            NONE
        } else if term.newest == *events {
            // An event with a repeated tag is listed once.
            return;
        } else {
            term.last
        };
        let before =
            (previous != NONE).then_some(Member { node: previous, depth: u64::from(term.count) });
        let shortcut = jumps::shortcut_after(&TermNodes(entries), before).unwrap_or(NONE);
        entries.push(TermNode { ordinal: *events, previous, shortcut });
        *term = Term { hash, last: place, newest: *events, count: term.count + 1 };
    }

    fn grow(&mut self) {
        let slots = (self.terms.len() * 2).max(64);
        self.enter(slots, |term| term);
    }

    /// Enters the part of each term that `keep` returns into a table of this number of slots.
    fn enter(&mut self, slots: usize, mut keep: impl FnMut(Term) -> Term) {
        let former = std::mem::replace(&mut self.terms, vec![Term::default(); slots]);
        self.used = 0;
        let used = former.into_iter().filter(|term| term.count > 0);
        for term in used.map(&mut keep).filter(|term| term.count > 0) {
            if let Some(slot) = slot_of(&self.terms, term.hash) {
                self.terms[slot] = term;
                self.used += 1;
            }
        }
    }

    /// The ordinal of the newest event with the term, or with one that has the same hash.
    pub(crate) fn newest(&self, kind: Terms, name: &str) -> Option<u32> {
        self.term(kind, name).map(|term| term.newest)
    }

    /// Removes all events from `events` on. Visits every term: only a commit that could not be
    /// written removes events.
    pub(crate) fn truncate(&mut self, events: u32) {
        if events >= self.events {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        self.enter(self.terms.len(), |mut term| {
            while term.count > 0 && term.newest >= events {
                term.last = entries[term.last as usize].previous;
                term.newest = entries.get(term.last as usize).map_or(NONE, |entry| entry.ordinal);
                term.count -= 1;
            }
            term
        });
        self.entries = entries;
        self.entries.truncate(self.entries.partition_point(|entry| entry.ordinal < events));
        self.events = events;
    }
}

/// The slot of a hash, or the free slot for it; `None` if the table has no slots.
fn slot_of(terms: &[Term], hash: u32) -> Option<usize> {
    let mask = terms.len().checked_sub(1)?;
    let mut slot = hash as usize & mask;
    // Ends, because at least a quarter of the slots are free.
    while terms[slot].count > 0 && terms[slot].hash != hash {
        slot = (slot + 1) & mask;
    }
    Some(slot)
}

impl Postings for ActiveTerms {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        let term = self.term(kind, name);
        Ok(term.map(|term| {
            let Term { count, last: place, .. } = *term;
            PostingList { count, place, depth: u64::from(count), is_chain: false }
        }))
    }

    fn some(
        &self,
        found: PostingList,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect> {
        let newest = Member { node: found.place, depth: found.depth };
        let ordinal = |member: Member| self.entries[member.node as usize].ordinal;
        jumps::some(&TermNodes(&self.entries), newest, ordinal, range, backwards, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(terms: &ActiveTerms, kind: Terms, name: &str, floor: u32) -> Vec<u32> {
        let found = terms.find(kind, name).unwrap();
        let list = |found| terms.some(found, floor..u32::MAX, false, usize::MAX).unwrap();
        found.map(list).unwrap_or_default()
    }

    #[test]
    fn terms_list_pushed_events_and_not_truncated_ones() {
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
        assert_eq!(list(&terms, Terms::Categories, "b", 0), [2]);
        terms.truncate(1);
        assert_eq!(terms.events(), 1);
        assert_eq!(list(&terms, Terms::Tags, "y", 0), [0]);
        assert!(list(&terms, Terms::Types, "y", 0).is_empty());
        terms.push("b", "y", std::iter::empty());
        assert_eq!(list(&terms, Terms::Types, "y", 0), [1]);
    }
}
