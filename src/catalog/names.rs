//! Names of streams, types, tags and categories over all sealed segments, in pages.
//!
//! Each index has its names sorted: they are merged, so that a page costs its names and a search in each index, and
//! nothing collects all names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;

use super::{Catalog, Lookup, LookupError, Part, PartIndex, damaged, units};
use crate::index::names::{NameRange, NamesOf};
use crate::index::sealed::SealedIndex;
use crate::index::{Head, Terms};

/// Names in order, each with a value.
pub(crate) type NamePage<T> = Vec<(Box<str>, T)>;

/// The segments that were not sealed when a list began, by number: their first position and the exclusive end.
///
/// The last one took frames then. An index that is damaged is built again in memory, so a segment that was sealed can be
/// among those that are not, and before sealed ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsealed(BTreeMap<u64, Range<u64>>);

impl Unsealed {
    /// Those of a catalog.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let frozen = catalog.parts.iter().filter(|part| is_unsealed(part));
        let mut segments: BTreeMap<u64, Range<u64>> = frozen
            .map(|part| {
                let base = part.segment.base_position;
                (part.segment.number(), base..base + part.event_count())
            })
            .collect();
        let active = &catalog.active;
        segments.insert(active.segment.number(), active.index.base_position()..u64::MAX);
        Self(segments)
    }

    /// The positions of these segments.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.values().cloned()
    }

    /// Whether a segment was sealed when the list began, and its index is in memory now.
    fn has_grown(&self, parts: &[Part]) -> bool {
        let newest = self.0.last_key_value().map_or(0, |(&number, _)| number);
        parts.iter().filter(|part| is_unsealed(part)).any(|part| {
            let number = part.segment.number();
            number < newest && !self.0.contains_key(&number)
        })
    }
}

fn is_unsealed(part: &Part) -> bool {
    matches!(part.index, PartIndex::Frozen { .. })
}

/// The first `most` terms of a range that sealed segments have, with the numbers of their events up to the position
/// `upto` that are in none of the `unsealed` segments; those without such events are left out. `None`: there are more
/// segments that are not sealed.
pub(crate) fn term_page(
    parts: &[Part],
    unsealed: &Unsealed,
    kind: Terms,
    range: &NameRange<'_>,
    upto: u64,
    most: usize,
) -> Lookup<Option<NamePage<u64>>> {
    if unsealed.has_grown(parts) {
        return Ok(None);
    }
    let mut page = NamePage::new();
    merge(parts, kind, range, upto, |name, holders| {
        let mut events = 0;
        for (index, names) in holders {
            let (base, end) = (index.base_position(), upto.saturating_add(1));
            // The number of its events before a position.
            let before = |position: u64| match position.min(end).checked_sub(base + 1) {
                Some(limit) => names.events(u32::try_from(limit).unwrap_or(u32::MAX)),
                None => Ok(0),
            };
            let mut own = before(end).map_err(|_| damaged(index))?;
            for counted in unsealed.ranges() {
                let inside = before(counted.end).and_then(|to| Ok(to - before(counted.start)?));
                own -= inside.map_err(|_| damaged(index))?;
            }
            events += own;
        }
        if events > 0 {
            page.push((name.into(), events));
        }
        Ok(page.len() < most)
    })?;
    Ok(Some(page))
}

/// The first `most` streams of a range that sealed segments have, with their heads at the end of these. `None`: there are
/// more segments that are not sealed than those.
pub(crate) fn stream_page(
    parts: &[Part],
    unsealed: &Unsealed,
    range: &NameRange<'_>,
    most: usize,
) -> Lookup<Option<NamePage<Head>>> {
    if unsealed.has_grown(parts) {
        return Ok(None);
    }
    let mut page = NamePage::new();
    merge(parts, Terms::Streams, range, u64::MAX, |name, holders| {
        if let Some((index, names)) = holders.first() {
            page.push((name.into(), names.head().map_err(|_| damaged(index))?));
        }
        Ok(page.len() < most)
    })?;
    Ok(Some(page))
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
