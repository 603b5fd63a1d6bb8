//! Skips the segments in which nothing can match, with one check each.
//!
//! Most boundaries match nothing, so that answer is made fast: without a list, a sort or an allocation
//! for each segment. Must never skip a segment that may hold a match.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use crate::catalog::{Catalog, PartIndex, units};
use crate::engine::contents::Contents;
use crate::format::index_file::{Probe, hash_term};
use crate::index::Terms;
use crate::index::active::ActiveIndex;
use crate::index::sealed::SealedIndex;
use crate::query::{Query, QueryItem};

/// The requirements of a query on a segment.
pub(super) struct Keys<'q> {
    query: &'q Query,
    /// For each item, the terms without which it matches nothing, in the form that filters use;
    /// computed once, at the first filter.
    probes: OnceCell<Vec<Vec<Probe>>>,
}

impl<'q> Keys<'q> {
    pub(super) fn of(query: &'q Query) -> Self {
        Self { query, probes: OnceCell::new() }
    }

    /// Whether each item lacks a required term according to `lacks`.
    fn all_lack(&self, lacks: impl Fn(Terms, &str) -> bool) -> bool {
        let mut items = self.query.items().iter();
        items.all(|item| required(item).any(|(kind, name)| lacks(kind, name)))
    }

    fn all_lack_in(&self, index: &SealedIndex) -> bool {
        let probe = |(kind, name): (Terms, &str)| Probe::new(hash_term(kind.section(), name));
        let probes = self.probes.get_or_init(|| {
            self.query.items().iter().map(|item| required(item).map(probe).collect()).collect()
        });
        let lacks = |probe| matches!(index.may_hold(probe), Ok(false));
        probes.iter().all(|item| item.iter().any(lacks))
    }
}

/// Terms without which an item of a query matches nothing; an item without any may match anything.
fn required(item: &QueryItem) -> impl Iterator<Item = (Terms, &str)> {
    let stream = item.required_stream().map(|stream| (Terms::Streams, stream));
    let category = item.required_category().map(|category| (Terms::Categories, category));
    let tags = item.required_tags().iter().map(|tag| (Terms::Tags, tag.as_str()));
    tags.chain(stream).chain(category)
}

/// The newest segment at or below `upto` that may hold a match after `after`; `None` if there is none.
/// A segment that cannot be judged may hold one.
pub(super) fn newest_candidate(
    contents: &Contents,
    keys: &Keys<'_>,
    after: u64,
    mut upto: u64,
) -> Option<u64> {
    let most = contents.most_asked_at_once();
    loop {
        match contents.with_catalog(|catalog| skip_some(catalog, keys, after, upto, most)) {
            ControlFlow::Break(found) => return found,
            ControlFlow::Continue(rest) => upto = rest,
        }
        contents.bound_mappings();
    }
}

/// The newest segment that may hold a match, from at most `most` index files; if there are more, the
/// position below which to continue.
fn skip_some(
    catalog: &Catalog,
    keys: &Keys<'_>,
    after: u64,
    mut upto: u64,
    most: usize,
) -> ControlFlow<Option<u64>, u64> {
    let active = &catalog.active.index;
    if upto > after && active.ordinal(upto).is_some() {
        if !lacks_all(catalog, active, keys, after, upto) {
            return ControlFlow::Break(Some(upto));
        }
        upto = active.base_position() - 1;
    }
    let mut left = most;
    let below = catalog.parts.partition_point(|part| part.segment.base_position <= upto);
    for part in units(&catalog.parts[..below]) {
        if upto <= after {
            return ControlFlow::Break(None);
        }
        // A shared index has answered for all of its segments.
        let own_base = part.segment.base_position;
        if own_base > upto {
            continue;
        }
        if left == 0 {
            return ControlFlow::Continue(upto);
        }
        let (base, lacks) = match &part.index {
            PartIndex::Frozen { index, .. } => {
                (own_base, lacks_all(catalog, index, keys, after, upto))
            }
            PartIndex::Sealed(index) => {
                left -= 1;
                (index.base_position(), keys.all_lack_in(index))
            }
        };
        if !lacks {
            return ControlFlow::Break(Some(upto));
        }
        upto = base - 1;
    }
    ControlFlow::Break((upto > after).then_some(upto))
}

/// Whether the postings in memory reach up to `upto` and no required term occurs after `after`.
fn lacks_all(
    catalog: &Catalog,
    index: &ActiveIndex,
    keys: &Keys<'_>,
    after: u64,
    upto: u64,
) -> bool {
    let (terms, base) = (index.terms(), index.base_position());
    base + u64::from(terms.events()) > upto
        && keys.all_lack(|kind, name| {
            let newest = match kind {
                // The newest event of the stream in the whole store, which is not before the newest in
                // this segment.
                Terms::Streams => catalog.heads.get(name).map_or(u64::MAX, |h| h.last_position),
                _ => terms.newest(kind, name).map_or(0, |newest| base + u64::from(newest)),
            };
            newest <= after || newest < base
        })
}
