//! Names of streams, types, tags and categories, over all segments.
//!
//! Sealed segments answer from their indexes, in pages. What is not sealed yet is collected once per list: it is
//! bounded by the segments that wait to be sealed, and its terms are in its records alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Contents;
use crate::catalog::{NamePage, first_unsealed, stream_page, term_page, unsealed_heads_in};
use crate::error::Result;
use crate::event::category_of;
use crate::format::record::RecordRef;
use crate::index::names::NameRange;
use crate::index::{Head, Terms};

impl Contents {
    /// The first `most` streams of a range in sealed segments, with their heads there.
    pub(crate) fn sealed_streams(
        &self,
        range: &NameRange<'_>,
        most: usize,
    ) -> Result<NamePage<Head>> {
        self.lookup(
            |catalog| Ok(Arc::clone(&catalog.parts)),
            |parts| stream_page(&parts, range, most),
        )
    }

    /// The streams of a range with events in segments that are not sealed, and their heads.
    pub(crate) fn unsealed_streams(
        &self,
        range: &NameRange<'_>,
    ) -> Result<BTreeMap<Box<str>, Head>> {
        self.lookup(
            |catalog| Ok(catalog.list_heads(range.prefix)),
            |listed| unsealed_heads_in(listed, range),
        )
    }

    /// The first position that is in no sealed segment.
    pub(crate) fn first_unsealed(&self) -> u64 {
        self.with_catalog(|catalog| first_unsealed(&catalog.parts))
    }

    /// The first `most` terms of a range in sealed segments, with the numbers of their events up to `upto`.
    pub(crate) fn sealed_terms(
        &self,
        kind: Terms,
        range: &NameRange<'_>,
        upto: u64,
        most: usize,
    ) -> Result<NamePage<u64>> {
        self.lookup(
            |catalog| Ok(Arc::clone(&catalog.parts)),
            |parts| term_page(&parts, kind, range, upto, most),
        )
    }

    /// The terms of a range that the events from `first` to `last` have, with the numbers of those events.
    pub(crate) fn count_terms(
        &self,
        kind: Terms,
        range: &NameRange<'_>,
        mut first: u64,
        last: u64,
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
        while first <= last {
            let mut shown = self.show_many(first..=last, &mut look)?;
            if shown < first {
                // Its segment is sealed: a later one than the first that is not, or since the list began.
                self.show_written(first, &mut look)?;
                shown = first;
            }
            first = shown + 1;
        }
        Ok(counts)
    }
}
