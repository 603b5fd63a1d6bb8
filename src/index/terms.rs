//! Terms of a segment that is not sealed yet, in memory: types, tags and categories.
//!
//! Entering an event hashes its terms and appends the hashes to a log. Once for several events, a table
//! ([`NewestEvents`]) takes over which is the newest event of each term: that refuses most boundaries at once,
//! and the processor waits for memory once for many terms. [`TermLists`] has the events of each term; they
//! are linked only when a look-up needs them, from the log of hashes, which then ends. A look-up of the last
//! few events goes through the log itself ([`RecentTerms`]).
//!
//! Filled by the first look-up (a store whose queries never use the active segment pays nothing), then by
//! each append if boundaries are in use.
//!
//! A term is identified by its hash alone: postings give candidates, and the record is compared, so
//! two terms with the same hash (seeded at random) cost reading some more records.

mod lists;
mod newest;
mod recent;

use std::hash::BuildHasher;
use std::ops::Range;

use super::Terms;
use crate::event::category_of;
use crate::format::tags::MAX_TAGS_LEN;

use newest::NewestEvents;

pub(crate) use lists::TermLists;
pub(crate) use recent::RecentTerms;

/// Of two tags in a row that differ, at most one is empty: they take three bytes at least.
const _: () = assert!(MAX_TAGS_LEN / 3 * 2 + 4 <= u16::MAX as usize);

/// Number of events whose terms enter the table together.
const TOGETHER: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct ActiveTerms {
    newest: NewestEvents,
    /// The events that are linked, which are the first ones.
    lists: TermLists,
    /// Later events. What is in front of `linked` and `linked_hashes` is linked meanwhile.
    log: TermLog<u32>,
    linked: usize,
    linked_hashes: usize,
    /// The last events, which are not in the table yet.
    fresh: TermLog<u64>,
    hasher: TermHasher,
}

/// The terms of consecutive events, by their hashes.
#[derive(Debug, Default)]
struct TermLog<H> {
    hashes: Vec<H>,
    /// The number of terms of each event.
    counts: Vec<u16>,
}

impl<H: Copy> TermLog<H> {
    fn clear(&mut self) {
        self.hashes.clear();
        self.counts.clear();
    }

    /// Calls `each` with the hashes of every event, in order.
    fn for_each(&self, mut each: impl FnMut(&[H])) {
        let mut rest = &self.hashes[..];
        for &count in &self.counts {
            let (own, after) = rest.split_at(rest.len().min(count.into()));
            each(own);
            rest = after;
        }
    }

    /// Removes all events from the one at `from` on.
    fn truncate(&mut self, from: usize) {
        self.counts.truncate(from);
        let left = self.counts.iter().map(|&count| usize::from(count)).sum();
        self.hashes.truncate(left);
    }
}

/// Hashes terms.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermHasher(foldhash::fast::RandomState);

impl TermHasher {
    fn hash(&self, kind: Terms, name: &str) -> u64 {
        self.0.hash_one((kind as u8, name))
    }

    /// Appends the hashes of an event's terms, without repetitions in a row, and returns their number.
    pub(crate) fn add<'a>(
        &self,
        hashes: &mut Vec<u64>,
        stream: &str,
        event_type: &str,
        tags: impl Iterator<Item = &'a str>,
    ) -> u16 {
        let before = hashes.len();
        hashes.push(self.hash(Terms::Categories, category_of(stream)));
        hashes.push(self.hash(Terms::Types, event_type));
        for tag in tags {
            let hash = self.hash(Terms::Tags, tag);
            if hashes.last() != Some(&hash) {
                hashes.push(hash);
            }
        }
        u16::try_from(hashes.len() - before).unwrap_or(u16::MAX)
    }
}

/// The part of a hash that lists and logs have.
#[expect(clippy::cast_possible_truncation, reason = "a part of the hash is enough")]
fn short(hash: u64) -> u32 {
    hash as u32
}

impl ActiveTerms {
    pub(crate) fn new() -> Self {
        let hasher = TermHasher::default();
        Self { lists: TermLists::new(hasher.clone()), hasher, ..Self::default() }
    }

    /// The number of entered events, which are the first ones of the segment.
    pub(crate) fn events(&self) -> u32 {
        self.tabled() + ordinal(self.fresh.counts.len())
    }

    /// The number of events that are in the table.
    fn tabled(&self) -> u32 {
        self.lists.events() + ordinal(self.log.counts.len() - self.linked)
    }

    pub(crate) fn hasher(&self) -> TermHasher {
        self.hasher.clone()
    }

    /// Adds the next event.
    pub(crate) fn push<'a>(
        &mut self,
        stream: &str,
        event_type: &str,
        tags: impl Iterator<Item = &'a str>,
    ) {
        let count = self.hasher.add(&mut self.fresh.hashes, stream, event_type, tags);
        self.fresh.counts.push(count);
        if self.fresh.counts.len() == TOGETHER {
            self.enter_fresh();
        }
    }

    /// Adds the next events, from the hashes of their terms and the number of terms of each.
    pub(crate) fn push_hashed(&mut self, hashes: &[u64], counts: &[u16]) {
        self.fresh.hashes.extend_from_slice(hashes);
        self.fresh.counts.extend_from_slice(counts);
        self.enter_fresh();
    }

    /// Enters the last events into the table, and their hashes into the log.
    fn enter_fresh(&mut self) {
        let mut next = self.tabled();
        let newest = &mut self.newest;
        self.fresh.for_each(|hashes| {
            for &hash in hashes {
                newest.set(hash, next);
            }
            next += 1;
        });
        self.log.hashes.extend(self.fresh.hashes.iter().map(|&hash| short(hash)));
        self.log.counts.extend_from_slice(&self.fresh.counts);
        self.fresh.clear();
    }

    /// The ordinal of the newest event with the term, or with one that has the same hash.
    pub(crate) fn newest(&self, kind: Terms, name: &str) -> Option<u32> {
        let hash = self.hasher.hash(kind, name);
        if self.fresh.hashes.contains(&hash) {
            let (mut newest, mut next) = (None, self.tabled());
            self.fresh.for_each(|hashes| {
                newest = hashes.contains(&hash).then_some(next).or(newest);
                next += 1;
            });
            return newest;
        }
        self.newest.get(hash)
    }

    /// Enters up to `most` events into the lists; returns whether all are entered.
    pub(crate) fn link(&mut self, most: usize) -> bool {
        self.enter_fresh();
        let TermLog { hashes, counts } = &mut self.log;
        let upto = counts.len().min(self.linked.saturating_add(most));
        for &count in &counts[self.linked..upto] {
            let end = self.linked_hashes + usize::from(count);
            self.lists.push(&hashes[self.linked_hashes..end]);
            self.linked_hashes = end;
        }
        self.linked = upto;
        let all = upto == counts.len();
        if all {
            self.log.clear();
            (self.linked, self.linked_hashes) = (0, 0);
        }
        all
    }

    /// The lists of all events.
    pub(crate) fn lists(&mut self) -> &TermLists {
        self.link(usize::MAX);
        &self.lists
    }

    /// The events of a range of ordinals, if they are entered and none of them is linked.
    pub(crate) fn recent(&mut self, range: Range<u32>) -> Option<RecentTerms<'_>> {
        if range.start < self.lists.events() || range.end > self.events() {
            return None;
        }
        self.enter_fresh();
        let TermLog { hashes, counts } = &self.log;
        // Counted from the end, which is near.
        let upto = counts.len() - (self.tabled() - range.end) as usize;
        let terms = |counts: &[u16]| counts.iter().map(|&count| usize::from(count)).sum::<usize>();
        let end = hashes.len() - terms(&counts[upto..]);
        let counts = &counts[upto - range.len()..upto];
        let hashes = &hashes[end - terms(counts)..end];
        Some(RecentTerms { first: range.start, counts, hashes, hasher: &self.hasher })
    }

    /// Removes all events from `events` on. Visits every term: only a commit that could not be
    /// written removes events.
    pub(crate) fn truncate(&mut self, events: u32) {
        if events >= self.events() {
            return;
        }
        self.fresh.truncate(events.saturating_sub(self.tabled()) as usize);
        if events >= self.tabled() {
            return;
        }
        self.lists.truncate(events);
        self.newest.truncate(events);
        if events <= self.lists.events() {
            self.log.clear();
            (self.linked, self.linked_hashes) = (0, 0);
        } else {
            self.log.truncate(self.linked + (events - self.lists.events()) as usize);
        }
    }
}

/// The number of events as an ordinal: a segment has fewer than 2^32.
fn ordinal(events: usize) -> u32 {
    u32::try_from(events).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Postings;
    use proptest::prelude::*;

    fn list(terms: &mut ActiveTerms, kind: Terms, name: &str, floor: u32) -> Vec<u32> {
        let lists = terms.lists();
        let found = lists.find(kind, name).unwrap();
        let list = |found| lists.some(found, floor..u32::MAX, false, usize::MAX).unwrap();
        found.map(list).unwrap_or_default()
    }

    #[test]
    fn terms_list_pushed_events_and_not_truncated_ones() {
        let mut terms = ActiveTerms::new();
        terms.push("a-1", "T", ["x", "x", "y"].into_iter());
        terms.push("a-2", "T", ["y"].into_iter());
        terms.push("b", "y", std::iter::empty());
        assert_eq!(list(&mut terms, Terms::Types, "T", 0), [0, 1]);
        assert_eq!(list(&mut terms, Terms::Types, "T", 1), [1]);
        assert_eq!(list(&mut terms, Terms::Tags, "x", 0), [0]);
        assert_eq!(list(&mut terms, Terms::Tags, "y", 0), [0, 1]);
        assert_eq!(list(&mut terms, Terms::Types, "y", 0), [2]);
        assert_eq!(list(&mut terms, Terms::Categories, "a", 0), [0, 1]);
        assert_eq!(list(&mut terms, Terms::Categories, "b", 0), [2]);
        terms.truncate(1);
        assert_eq!(terms.events(), 1);
        assert_eq!(list(&mut terms, Terms::Tags, "y", 0), [0]);
        assert!(list(&mut terms, Terms::Types, "y", 0).is_empty());
        terms.push("b", "y", std::iter::empty());
        assert_eq!(list(&mut terms, Terms::Types, "y", 0), [1]);
    }

    const TAGS: [&str; 4] = ["x", "y", "z", ""];

    proptest! {
        /// Events are entered one by one or together, linked in between, and removed.
        #[test]
        fn terms_equal_a_naive_list_however_they_were_entered(
            steps in proptest::collection::vec((0_u8..16, 1..90_usize, 0..8_u8), 1..30),
        ) {
            let (mut terms, mut events) = (ActiveTerms::new(), Vec::<u8>::new());
            for (tags, count, how) in steps {
                let of = |tags: u8| {
                    (0..4_usize).filter(move |i| tags >> i & 1 == 1).map(|i| TAGS[i])
                };
                let each = (0..count).map(|i| tags ^ u8::try_from(i % 3).unwrap());
                match how {
                    0 => {
                        let left = events.len().saturating_sub(count);
                        events.truncate(left);
                        terms.truncate(u32::try_from(left).unwrap());
                    }
                    1 => drop(terms.link(count)),
                    2 | 3 => {
                        let (mut hashes, mut counts) = (Vec::new(), Vec::new());
                        let hasher = terms.hasher();
                        for tags in each {
                            counts.push(hasher.add(&mut hashes, "s", "T", of(tags)));
                            events.push(tags);
                        }
                        terms.push_hashed(&hashes, &counts);
                    }
                    _ => for tags in each {
                        terms.push("s", "T", of(tags));
                        events.push(tags);
                    },
                }
                let len = u32::try_from(events.len()).unwrap();
                prop_assert_eq!(terms.events(), len);
                for (bit, tag) in TAGS.iter().enumerate() {
                    let has = |ordinal: &u32| events[*ordinal as usize] >> bit & 1 == 1;
                    let newest = (0..len).rev().find(has);
                    // It may be stated too late after a removal, and never too early.
                    prop_assert!(terms.newest(Terms::Tags, tag) >= newest);
                    let range = len.saturating_sub(40)..len;
                    if let Some(recent) = terms.recent(range.clone()) {
                        let found = recent.find(Terms::Tags, tag).unwrap();
                        let some = |found| recent.some(found, 0..len, true, 1_000).unwrap();
                        let expected: Vec<u32> = range.rev().filter(has).collect();
                        prop_assert_eq!(found.map(some).unwrap_or_default(), expected);
                    }
                }
            }
            for (bit, tag) in TAGS.iter().enumerate() {
                let expected: Vec<u32> = (0..).zip(&events)
                    .filter(|(_, tags)| **tags >> bit & 1 == 1).map(|(at, _)| at).collect();
                prop_assert_eq!(list(&mut terms, Terms::Tags, tag, 0), expected);
            }
        }
    }
}
