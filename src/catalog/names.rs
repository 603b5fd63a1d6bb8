//! Names of streams, types, tags and categories over all sealed segments, in pages.
//!
//! Each index has its names sorted: they are merged, so that a page costs its names and a search in each index, and
//! nothing collects all names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Lookup, LookupError, Part, PartIndex, damaged, units};
use crate::index::names::{NameRange, NamesOf};
use crate::index::sealed::SealedIndex;
use crate::index::{Head, Terms};

/// Names in order, each with a value.
pub(crate) type NamePage<T> = Vec<(Box<str>, T)>;

/// The first `most` terms of a range that sealed segments have, with the numbers of their events up to the position
/// `upto`; those without events up to there are left out.
pub(crate) fn term_page(
    parts: &[Part],
    kind: Terms,
    range: &NameRange<'_>,
    upto: u64,
    most: usize,
) -> Lookup<NamePage<u64>> {
    let mut page = NamePage::new();
    merge(parts, kind, range, upto, |name, holders| {
        let mut events = 0;
        for (index, names) in holders {
            let limit = u32::try_from(upto - index.base_position()).unwrap_or(u32::MAX);
            events += names.events(limit).map_err(|_| damaged(index))?;
        }
        if events > 0 {
            page.push((name.into(), events));
        }
        Ok(page.len() < most)
    })?;
    Ok(page)
}

/// The first `most` streams of a range that sealed segments have, with their heads at the end of these.
pub(crate) fn stream_page(
    parts: &[Part],
    range: &NameRange<'_>,
    most: usize,
) -> Lookup<NamePage<Head>> {
    let mut page = NamePage::new();
    merge(parts, Terms::Streams, range, u64::MAX, |name, holders| {
        if let Some((index, names)) = holders.first() {
            page.push((name.into(), names.head().map_err(|_| damaged(index))?));
        }
        Ok(page.len() < most)
    })?;
    Ok(page)
}

/// The first position that is in no sealed segment. Later segments can be sealed before.
pub(crate) fn first_unsealed(parts: &[Part]) -> u64 {
    let unsealed = parts.iter().find(|part| !matches!(part.index, PartIndex::Sealed(_)));
    let end = parts.last().map_or(1, |part| part.segment.base_position + part.event_count());
    unsealed.map_or(end, |part| part.segment.base_position)
}

/// An index and the place in it.
type Holder<'a> = (&'a Arc<SealedIndex>, NamesOf<'a>);

/// Calls `each` with the names of a range that are in indexes with events up to `upto`, in order, and with the indexes
/// that have the name, newest first; until it returns `false`.
fn merge(
    parts: &[Part],
    kind: Terms,
    range: &NameRange<'_>,
    upto: u64,
    mut each: impl FnMut(&str, &[Holder<'_>]) -> Lookup<bool>,
) -> Lookup<()> {
    let sealed = units(parts).filter_map(|part| match &part.index {
        PartIndex::Sealed(index) if index.base_position() <= upto => Some(index),
        _ => None,
    });
    let mut holders: Vec<Option<Holder<'_>>> = Vec::new();
    // The smallest name first, of equal ones that in the newest index.
    let mut next: BinaryHeap<Reverse<(&str, usize)>> = BinaryHeap::new();
    for index in sealed {
        let names = index.names(kind, range).map_err(|_| damaged(index))?;
        push(&mut next, range, (index, &names), holders.len())?;
        holders.push(Some((index, names)));
    }
    let mut own = Vec::new();
    while let Some(Reverse((name, at))) = next.pop() {
        own.extend(holders[at].take().map(|holder| (at, holder)));
        while let Some(&Reverse((other, at))) = next.peek()
            && other == name
        {
            next.pop();
            own.extend(holders[at].take().map(|holder| (at, holder)));
        }
        let (places, found): (Vec<usize>, Vec<Holder<'_>>) = own.drain(..).unzip();
        if !each(name, &found)? {
            break;
        }
        for (at, (index, mut names)) in places.into_iter().zip(found) {
            names.advance();
            push(&mut next, range, (index, &names), at)?;
            holders[at] = Some((index, names));
        }
    }
    Ok(())
}

/// Enters the name at a place of an index, if it is in the range.
fn push<'a>(
    next: &mut BinaryHeap<Reverse<(&'a str, usize)>>,
    range: &NameRange<'_>,
    (index, names): (&Arc<SealedIndex>, &NamesOf<'a>),
    at: usize,
) -> Result<(), LookupError> {
    let name = names.name().map_err(|_| damaged(index))?;
    next.extend(name.filter(|name| range.has(name)).map(|name| Reverse((name, at))));
    Ok(())
}
