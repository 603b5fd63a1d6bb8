//! Which events of a sealed segment a query can match, from the segment's postings.
//!
//! Gives a superset, which the matcher then decides on; the cost follows the postings it touches
//! and not the segment.

use crate::format::Defect;
use crate::index::sealed::{SealedIndex, Terms};
use crate::query::{Query, QueryItem};

/// The ordinals that may match, ascending; `None` if the whole segment may.
pub(super) fn candidates(
    index: &SealedIndex,
    base: u64,
    query: &Query,
) -> Result<Option<Vec<u32>>, Defect> {
    let mut all = Vec::new();
    for item in query.items() {
        match item_candidates(index, base, item)? {
            Some(found) => all = union(&all, &found),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

fn item_candidates(
    index: &SealedIndex,
    base: u64,
    item: &QueryItem,
) -> Result<Option<Vec<u32>>, Defect> {
    let mut found: Option<Vec<u32>> = None;
    let mut narrow = |list: Vec<u32>| {
        found = Some(match found.take() {
            Some(found) => intersection(&found, &list),
            None => list,
        });
    };
    for tag in item.required_tags() {
        narrow(index.term(Terms::Tags, tag)?);
    }
    if let Some(stream) = item.required_stream() {
        narrow(index.stream(stream)?.map(|run| run.ordinals).unwrap_or_default());
    }
    if let Some(category) = item.required_category() {
        narrow(index.term(Terms::Categories, category)?);
    }
    if !item.accepted_types().is_empty() {
        let mut types = Vec::new();
        for event_type in item.accepted_types() {
            types = union(&types, &index.term(Terms::Types, event_type)?);
        }
        narrow(types);
    }
    if let Some(after) = item.required_after()
        && let Some(found) = &mut found
    {
        let first = found.partition_point(|&ordinal| base + u64::from(ordinal) <= after.get());
        found.drain(..first);
    }
    Ok(found)
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
