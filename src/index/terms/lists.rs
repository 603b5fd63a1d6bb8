//! The events of each term of a segment that is not sealed, as linked lists.
//!
//! The list of a term is linked through one array, newest first, with shortcuts
//! ([`jumps`](crate::index::jumps)): adding an event allocates nothing per term, and a look-up touches the
//! requested events, wherever in the list they are, and a logarithm of the list. Must never be asked for
//! events that were not added.

use std::ops::Range;

use super::{TermHasher, short};
use crate::format::Defect;
use crate::index::jumps::{self, Links, Member, NONE};
use crate::index::{PostingList, Postings, Terms};

#[derive(Debug, Default)]
pub(crate) struct TermLists {
    /// Open addressing with linear probing; a power of two, or empty.
    terms: Vec<Term>,
    used: usize,
    entries: Vec<TermNode>,
    events: u32,
    hasher: TermHasher,
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

impl TermLists {
    pub(super) fn new(hasher: TermHasher) -> Self {
        Self { hasher, ..Self::default() }
    }

    /// The number of events that were added, which are the first ones of the segment.
    pub(super) fn events(&self) -> u32 {
        self.events
    }

    /// Adds the next event, by the hashes of its terms.
    pub(super) fn push(&mut self, hashes: &[u32]) {
        for &hash in hashes {
            self.add(hash);
        }
        self.events += 1;
    }

    fn add(&mut self, hash: u32) {
        // A quarter of the slots stay free.
        if self.used >= self.terms.len() / 4 * 3 {
            self.grow();
        }
        let Some(slot) = slot_of(&self.terms, hash) else { return };
        let Self { terms, used, entries, events, .. } = self;
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

    /// Removes all events from `events` on. Visits every term: only a commit that could not be
    /// written removes events.
    pub(super) fn truncate(&mut self, events: u32) {
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

impl Postings for TermLists {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        let slot = slot_of(&self.terms, short(self.hasher.hash(kind, name)));
        let term = slot.map(|slot| self.terms[slot]).filter(|term| term.count > 0);
        Ok(term.map(|Term { count, last: place, .. }| PostingList {
            count,
            place,
            depth: u64::from(count),
            is_chain: false,
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
