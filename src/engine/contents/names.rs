//! Names of streams, types, tags and categories, over all segments.
//!
//! Sealed segments answer from their indexes, in pages. Streams of what is not sealed yet are looked for in memory, the
//! first ones alone. Its terms are in its records alone, and collected once per list: they are bounded by the segments that
//! wait to be sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Contents;
use crate::catalog::{FirstHeads, NamePage, Unsealed, stream_page, term_page, unsealed_heads_in};
use crate::error::Result;
use crate::event::category_of;
use crate::format::record::RecordRef;
use crate::index::names::NameRange;
use crate::index::{Head, Terms};

impl Contents {
    /// The segments that are not sealed.
    pub(crate) fn unsealed(&self) -> Unsealed {
        self.with_catalog(Unsealed::of)
    }

    /// The first `most` streams of a range in sealed segments, with their heads there; `None` if segments were sealed that
    /// are not any more.
    pub(crate) fn sealed_streams(
        &self,
        unsealed: &Unsealed,
        range: &NameRange<'_>,
        most: usize,
    ) -> Result<Option<NamePage<Head>>> {
        self.lookup(
            |catalog| Ok(Arc::clone(&catalog.parts)),
            |parts| stream_page(&parts, unsealed, range, most),
        )
    }

    /// The first streams of a range with events in segments that are not sealed, and their heads: at least `most`, or all.
    pub(crate) fn unsealed_streams(
        &self,
        range: &NameRange<'_>,
        most: usize,
    ) -> Result<FirstHeads> {
        self.lookup(
            |catalog| Ok(catalog.list_heads(range, most)),
            |listed| unsealed_heads_in(listed, range, most),
        )
    }

    /// The first `most` terms of a range in sealed segments, with the numbers of their events up to `upto`; `None` if
    /// segments were sealed that are not any more.
    pub(crate) fn sealed_terms(
        &self,
        unsealed: &Unsealed,
        kind: Terms,
        range: &NameRange<'_>,
        upto: u64,
        most: usize,
    ) -> Result<Option<NamePage<u64>>> {
        self.lookup(
            |catalog| Ok(Arc::clone(&catalog.parts)),
            |parts| term_page(&parts, unsealed, kind, range, upto, most),
        )
    }

    /// The terms of a range that the events of these segments up to `upto` have, with the numbers of those events.
    pub(crate) fn unsealed_terms(
        &self,
        unsealed: &Unsealed,
        kind: Terms,
        range: &NameRange<'_>,
        upto: u64,
    ) -> Result<BTreeMap<Box<str>, u64>> {
        let mut counts: BTreeMap<Box<str>, u64> = BTreeMap::new();
        let mut add = |name: &str| {
            if !range.holds(name) {
                return;
            }
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.into(), 1)),
            }
        };
        let mut look = |record: &RecordRef<'_>| match kind {
            Terms::Streams => add(record.stream()),
            Terms::Categories => add(category_of(record.stream())),
            Terms::Types => add(record.event_type()),
            Terms::Tags => {
                let mut tags: Vec<&str> = record.tags().collect();
                // An event that carries a tag twice counts once.
                tags.sort_unstable();
                tags.dedup();
                tags.into_iter().for_each(&mut add);
            }
        };
        for range in unsealed.ranges() {
            let (mut first, last) = (range.start, (range.end - 1).min(upto));
            while first <= last {
                let mut shown = self.show_many(first..=last, &mut look)?;
                if shown < first {
                    // Its segment was sealed since the list began.
                    self.show_written(first, &mut look)?;
                    shown = first;
                }
                first = shown + 1;
            }
        }
        Ok(counts)
    }
}
