//! Which events of one segment a query can match, from the segment's postings.
//!
//! Gives a superset, which the matcher then decides on; the cost follows the postings it touches
//! and not the segment.

use crate::format::Defect;
use crate::index::{Found, Postings, Terms};
use crate::query::{Query, QueryItem};

/// A list is worth decoding if it is at most so many times as long as what it narrows: beyond,
/// looking at the records themselves costs less.
const WORTH: usize = 16;

/// The ordinals from `floor` on that may match, ascending; `None` if all of them may.
pub(super) fn candidates(
    postings: &impl Postings,
    base: u64,
    query: &Query,
    floor: u32,
) -> Result<Option<Vec<u32>>, Defect> {
    let mut all = Vec::new();
    for item in query.items() {
        let after = item
            .required_after()
            .map_or(0, |after| after.get().saturating_add(1).saturating_sub(base));
        let floor = floor.max(u32::try_from(after).unwrap_or(u32::MAX));
        match item_candidates(postings, item, floor)? {
            Some(found) => all = union(&all, &found),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// How many events may match at most, going by the shortest of the lists each item needs; `None` if
/// all of them may.
pub(super) fn weight(postings: &impl Postings, query: &Query) -> Result<Option<u64>, Defect> {
    let mut weight = 0;
    for item in query.items() {
        let Some(conditions) = conditions(postings, item)? else { continue };
        match conditions.iter().map(|condition| count(condition)).min() {
            Some(least) => weight += least as u64,
            None => return Ok(None),
        }
    }
    Ok(Some(weight))
}

fn item_candidates(
    postings: &impl Postings,
    item: &QueryItem,
    floor: u32,
) -> Result<Option<Vec<u32>>, Defect> {
    let Some(mut conditions) = conditions(postings, item)? else { return Ok(Some(Vec::new())) };
    conditions.sort_by_key(|condition| count(condition));
    let mut found: Option<Vec<u32>> = None;
    for condition in &conditions {
        let worth = found.as_ref().map_or(usize::MAX, |found| found.len() * WORTH);
        if count(condition) > worth {
            break;
        }
        let mut list = Vec::new();
        for &term in condition {
            list = union(&list, &postings.list(term, floor)?);
        }
        found = Some(match found {
            Some(found) => intersection(&found, &list),
            None => list,
        });
    }
    Ok(found)
}

fn count(condition: &[Found]) -> usize {
    condition.iter().map(|found| found.count as usize).sum()
}

/// What an item requires: of each entry, one of the terms. `None`: no event has what is required.
fn conditions(
    postings: &impl Postings,
    item: &QueryItem,
) -> Result<Option<Vec<Vec<Found>>>, Defect> {
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

fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(&&x), Some(&&y)) => x.min(y),
            (Some(&&x), None) | (None, Some(&&x)) => x,
            (None, None) => return out,
        };
        a.next_if(|&&x| x == next);
        b.next_if(|&&y| y == next);
        out.push(next);
    }
}

/// Looks the shorter list's members up in the longer one, in steps that double.
fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (short, mut long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut out = Vec::with_capacity(short.len());
    for &wanted in short {
        let mut step = 1;
        while step < long.len() && long[step] < wanted {
            step *= 2;
        }
        let reach = (step + 1).min(long.len());
        let skip = step / 2 + long[(step / 2).min(reach)..reach].partition_point(|&x| x < wanted);
        long = &long[skip.min(long.len())..];
        if long.first() == Some(&wanted) {
            out.push(wanted);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn sets_behave_like_sets(
            a in proptest::collection::btree_set(0_u32..200, 0..60),
            b in proptest::collection::btree_set(0_u32..200, 0..200),
        ) {
            let list = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<_>>();
            prop_assert_eq!(union(&list(&a), &list(&b)), list(&(&a | &b)));
            prop_assert_eq!(intersection(&list(&a), &list(&b)), list(&(&a & &b)));
        }
    }
}
