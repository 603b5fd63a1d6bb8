//! Selects the events that a query can match, from the postings of one index.
//!
//! Gives a superset for the matcher, in steps and in the order of the read: lists are decoded only near
//! the position of the read, never whole. The cost follows the candidates given and skipped, not the
//! length of the lists.

use std::ops::Range;

use crate::format::Defect;
use crate::index::sealed::SealedIndex;
use crate::index::{PostingList, Postings, Terms};
use crate::query::{Query, QueryItem};

/// A list is used if it is at most this factor longer than the list that it narrows; beyond that,
/// examining the records costs less.
const WORTH: usize = 16;
/// Number of ordinals taken from a list at first; each later step takes four times as many.
const FIRST: usize = 16;
const MOST: usize = 1024;

/// At most `most` of the ordinals in `range` that may match, in the order of the read, and whether
/// these are all; `None` if every event may match. `base` is the position of ordinal 0.
pub(super) fn candidates(
    postings: &impl Postings,
    base: u64,
    query: &Query,
    range: Range<u32>,
    backwards: bool,
    most: usize,
) -> Result<Option<(Vec<u32>, bool)>, Defect> {
    let mut items = Vec::new();
    for item in query.items() {
        let range = range.start.max(floor(item, base))..range.end;
        let Some(conditions) = conditions(postings, item)? else { continue };
        if conditions.is_empty() {
            return Ok(None);
        }
        if !range.is_empty() {
            let worth = Item::worth(&conditions);
            items.push(Item::new(conditions, worth, &Reach { range, backwards }));
        }
    }
    let mut found = Vec::new();
    let mut at = 0;
    while found.len() < most {
        let mut next: Option<u32> = None;
        for item in &mut items {
            let own = item.seek(postings, at)?;
            next = next.into_iter().chain(own).min();
        }
        let Some(place) = next else { return Ok(Some((found, true))) };
        found.push(ordinal_of(place, backwards));
        // The largest number: ordinal 0 of a backward read. Nothing comes after it.
        let Some(next) = place.checked_add(1) else { return Ok(Some((found, true))) };
        at = next;
    }
    Ok(Some((found, false)))
}

/// The number of ordinals in `range` whose events the query matches. `base` is the position of ordinal 0.
pub(super) fn count(
    index: &SealedIndex,
    base: u64,
    query: &Query,
    range: Range<u32>,
) -> Result<u64, Defect> {
    let (mut items, mut every) = (Vec::new(), range.end.max(range.start));
    for item in query.items() {
        let start = range.start.max(floor(item, base));
        match conditions(index, item)? {
            None => {}
            // From here on, every event matches.
            Some(conditions) if conditions.is_empty() => every = every.min(start),
            Some(conditions) => items.push((start, conditions)),
        }
    }
    let mut counted = u64::from(range.end.saturating_sub(every));
    items.retain(|(start, _)| *start < every);
    if let [(start, conditions)] = &mut items[..]
        && let [lists] = &mut conditions[..]
    {
        // An event has one type: no event is in two of these lists, unless they are the same.
        lists.sort_unstable_by_key(PostingList::key);
        lists.dedup_by_key(|list| list.key());
        for list in lists {
            counted += index.count_in(*list, *start..every)?;
        }
        return Ok(counted);
    }
    let item = |(start, conditions): (u32, _)| {
        Item::new(conditions, usize::MAX, &Reach { range: start..every, backwards: false })
    };
    let mut items: Vec<Item> = items.into_iter().map(item).collect();
    let mut at = 0;
    loop {
        let mut next: Option<u32> = None;
        for item in &mut items {
            let own = item.seek(index, at)?;
            next = next.into_iter().chain(own).min();
        }
        let Some(place) = next else { return Ok(counted) };
        counted += 1;
        // No ordinal is as large as the largest number.
        at = place.saturating_add(1);
    }
}

/// The first ordinal at which an item can match.
fn floor(item: &QueryItem, base: u64) -> u32 {
    let after = item.required_after();
    let floor = after.map_or(0, |after| after.get().saturating_add(1).saturating_sub(base));
    u32::try_from(floor).unwrap_or(u32::MAX)
}

/// An ordinal as a number that grows in the order of the read, and back.
fn ordinal_of(place: u32, backwards: bool) -> u32 {
    if backwards { u32::MAX - place } else { place }
}

/// The range of the lists to read, and the end to start from.
#[derive(Debug, Clone)]
struct Reach {
    range: Range<u32>,
    backwards: bool,
}

/// An item of the query: an event has to meet all of its conditions.
struct Item {
    conditions: Vec<Condition>,
    /// All candidates before this one have been given.
    next: Option<u32>,
    ended: bool,
}

/// A condition: at least one of these lists has to hold the event.
struct Condition(Vec<Cursor>);

/// A place in a list.
struct Cursor {
    found: PostingList,
    reach: Reach,
    /// Entries taken from the list and not yet passed, the next one last, as numbers that grow in the
    /// order of the read.
    ahead: Vec<u32>,
    most: usize,
    ended: bool,
}

impl Item {
    /// The length of the lists that are worth using: a factor longer than the shortest condition.
    fn worth(conditions: &[Vec<PostingList>]) -> usize {
        let least = conditions.iter().map(|condition| length(condition)).min();
        least.unwrap_or(0).saturating_mul(WORTH)
    }

    /// An item without the conditions whose lists are longer than `most`.
    fn new(mut conditions: Vec<Vec<PostingList>>, most: usize, reach: &Reach) -> Self {
        conditions.sort_by_key(|condition| length(condition));
        conditions.retain(|condition| length(condition) <= most);
        let conditions = conditions.into_iter().map(|lists| {
            let cursor = |found| Cursor {
                found,
                reach: reach.clone(),
                ahead: Vec::new(),
                most: FIRST,
                ended: false,
            };
            Condition(lists.into_iter().map(cursor).collect())
        });
        Self { conditions: conditions.collect(), next: None, ended: false }
    }

    /// The first place from `at` on that meets all conditions.
    fn seek(&mut self, postings: &impl Postings, at: u32) -> Result<Option<u32>, Defect> {
        if self.ended {
            return Ok(None);
        }
        if let Some(next) = self.next.filter(|&next| next >= at) {
            return Ok(Some(next));
        }
        let mut place = at;
        'again: loop {
            for condition in &mut self.conditions {
                match condition.seek(postings, place)? {
                    None => {
                        self.ended = true;
                        return Ok(None);
                    }
                    Some(found) if found > place => {
                        place = found;
                        continue 'again;
                    }
                    Some(_) => {}
                }
            }
            self.next = Some(place);
            return Ok(Some(place));
        }
    }
}

impl Condition {
    fn seek(&mut self, postings: &impl Postings, at: u32) -> Result<Option<u32>, Defect> {
        let mut next: Option<u32> = None;
        for cursor in &mut self.0 {
            let own = cursor.seek(postings, at)?;
            next = next.into_iter().chain(own).min();
        }
        Ok(next)
    }
}

impl Cursor {
    /// The first place of the list from `at` on.
    fn seek(&mut self, postings: &impl Postings, at: u32) -> Result<Option<u32>, Defect> {
        loop {
            // Entries are in reverse, so those already passed are at the end.
            self.ahead.truncate(self.ahead.partition_point(|&place| place >= at));
            if let Some(&place) = self.ahead.last() {
                return Ok(Some(place));
            }
            if self.ended {
                return Ok(None);
            }
            let Reach { range, backwards } = &self.reach;
            let range = if *backwards {
                range.start..range.end.min((u32::MAX - at).saturating_add(1))
            } else {
                range.start.max(at)..range.end
            };
            self.ahead = postings.some(self.found, range, *backwards, self.most)?;
            self.ended = self.ahead.len() < self.most;
            self.most = (self.most * 4).min(MOST);
            for ordinal in &mut self.ahead {
                *ordinal = ordinal_of(*ordinal, *backwards);
            }
            self.ahead.reverse();
        }
    }
}

fn length(condition: &[PostingList]) -> usize {
    condition.iter().map(|found| found.count as usize).sum()
}

/// The requirements of an item: for each entry, one of the terms. `None`: no event has what is
/// required.
fn conditions(
    postings: &impl Postings,
    item: &QueryItem,
) -> Result<Option<Vec<Vec<PostingList>>>, Defect> {
    let stream = item.required_stream().map(|stream| (Terms::Streams, stream));
    let category = item.required_category().map(|category| (Terms::Categories, category));
    let tags = item.required_tags().iter().map(|tag| (Terms::Tags, tag.as_str()));
    let mut conditions = Vec::new();
    for (kind, name) in tags.chain(stream).chain(category) {
        let Some(found) = postings.find(kind, name)? else { return Ok(None) };
        conditions.push(vec![found]);
    }
    if !item.accepted_types().is_empty() {
        let mut types = Vec::new();
        for event_type in item.accepted_types() {
            types.extend(postings.find(Terms::Types, event_type)?);
        }
        if types.is_empty() {
            return Ok(None);
        }
        conditions.push(types);
    }
    Ok(Some(conditions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::terms::ActiveTerms;
    use proptest::prelude::*;

    const TAGS: [&str; 3] = ["x", "y", "z"];

    fn queries() -> Vec<Query> {
        let item = QueryItem::new;
        let one = |item: QueryItem| Query::none().or(item);
        vec![
            one(item().tags(["x"])),
            one(item().tags(["x", "y"])),
            one(item().types(["A", "B"])),
            one(item().types(["A"]).tags(["z"])).or(item().tags(["y"])),
            one(item().category("c")).or(item().types(["B"]).tags(["x"])),
            one(item().tags(["y"]).after(160_u64)).or(item().tags(["x", "z"])),
            one(item().tags(["nobody"])),
        ]
    }

    /// Whether an event meets all conditions of an item.
    fn holds(
        query: &Query,
        position: u64,
        category: &str,
        event_type: &str,
        tags: &[&str],
    ) -> bool {
        query.items().iter().any(|item| {
            item.required_after().is_none_or(|after| position > after.get())
                && item.required_category().is_none_or(|own| own == category)
                && item.required_tags().iter().all(|tag| tags.contains(&tag.as_str()))
                && (item.accepted_types().is_empty()
                    || item.accepted_types().iter().any(|own| own == event_type))
        })
    }

    proptest! {
        #[test]
        fn candidates_include_every_match_in_the_order_of_the_read(
            events in proptest::collection::vec((0_u8..8, 0..3_usize, 0..2_usize), 0..300),
            (from, to, most) in (0_u32..320, 0_u32..320, 1..400_usize),
            backwards: bool,
        ) {
            let mut terms = ActiveTerms::new();
            let of = |&(tags, event_type, category): &(u8, usize, usize)| {
                let tags = TAGS.iter().enumerate().filter(move |(i, _)| tags >> i & 1 == 1);
                let tags: Vec<&str> = tags.map(|(_, tag)| *tag).collect();
                (["c", "d"][category], ["A", "B", "C"][event_type], tags)
            };
            for event in &events {
                let (category, event_type, tags) = of(event);
                terms.push(category, event_type, tags.into_iter());
            }
            for query in queries() {
                let found = candidates(terms.lists(), 100, &query, from..to, backwards, most).unwrap();
                let (found, all) = found.unwrap();
                let mut expected: Vec<u32> = (0_u32..)
                    .zip(&events)
                    .filter(|(ordinal, event)| {
                        let (category, event_type, tags) = of(event);
                        let position = 100 + u64::from(*ordinal);
                        (from..to).contains(ordinal)
                            && holds(&query, position, category, event_type, &tags)
                    })
                    .map(|(ordinal, _)| ordinal)
                    .collect();
                if backwards {
                    expected.reverse();
                }
                let inside = |at: &u32| match found.last() {
                    Some(last) if !all => if backwards { at >= last } else { at <= last },
                    _ => true,
                };
                prop_assert!(found.windows(2).all(|w| (w[0] < w[1]) != backwards));
                prop_assert!(all || found.len() == most);
                // Without the lists that are too long to use, more candidates are left than match.
                let missing = expected.iter().filter(|at| inside(at) && !found.contains(at));
                prop_assert_eq!(missing.count(), 0);
            }
        }
    }
}
