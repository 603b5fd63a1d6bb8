//! Skips the segments in which nothing can match, with one check each.
//!
//! Most boundaries match nothing, so that answer is made fast: without a list, a sort or an allocation
//! for each segment. Must never skip a segment that may hold a match.

use std::cell::OnceCell;
use std::ops::ControlFlow;

use crate::catalog::{Begun, Catalog, Lookup, LookupError, Part, PartIndex, units};
use crate::engine::contents::Contents;
use crate::error::Result;
use crate::format::index_file::{Probe, hash_term};
use crate::index::Terms;
use crate::index::active::ActiveIndex;
use crate::index::heads::Heads;
use crate::index::sealed::SealedIndex;
use crate::query::{Query, QueryItem};

/// Number of index files whose filters are prefetched.
const MOST_PREFETCHED: usize = 16;

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
    fn all_lack(&self, lacks: impl Fn(Terms, &str) -> Lookup<bool>) -> Lookup<bool> {
        for item in self.query.items() {
            let mut lacking = false;
            for (kind, name) in required(item) {
                lacking = lacking || lacks(kind, name)?;
            }
            if !lacking {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn probes(&self) -> &[Vec<Probe>] {
        let probe = |(kind, name): (Terms, &str)| Probe::new(hash_term(kind.section(), name));
        self.probes.get_or_init(|| {
            self.query.items().iter().map(|item| required(item).map(probe).collect()).collect()
        })
    }

    /// Prefetches what the filters of the newest index files after `after` answer from, as far as these
    /// are open: the processor then waits for memory once instead of once per filter.
    fn prefetch(&self, parts: &[Part], after: u64) {
        for part in units(parts).take(MOST_PREFETCHED) {
            let PartIndex::Sealed(index) = &part.index else { continue };
            if index.base_position() + u64::from(index.event_count()) <= after + 1 {
                break;
            }
            self.probes().iter().flatten().for_each(|probe| index.prefetch(probe));
        }
    }

    fn all_lack_in(&self, index: &SealedIndex) -> bool {
        let probes = self.probes();
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
) -> Result<Option<u64>> {
    let most = contents.most_asked_at_once();
    loop {
        let skipped = contents.lookup(
            |catalog| skip_in_memory(catalog, keys, after, upto),
            |begun| match begun {
                Begun::Done(found) => Ok(ControlFlow::Break(found)),
                Begun::InParts(parts, upto) => Ok(skip_in_files(&parts, keys, after, upto, most)),
            },
        )?;
        match skipped {
            ControlFlow::Break(found) => return Ok(found),
            ControlFlow::Continue(rest) => upto = rest,
        }
    }
}

/// The newest segment that may hold a match, from those indexed in memory; goes on with
/// [`skip_in_files`] below the position given.
fn skip_in_memory(
    catalog: &Catalog,
    keys: &Keys<'_>,
    after: u64,
    mut upto: u64,
) -> Lookup<Begun<Option<u64>, u64>> {
    let active = &catalog.active.index;
    keys.prefetch(&catalog.parts, after);
    if upto > after && active.ordinal(upto).is_some() {
        if !lacks_all(active, &catalog.active.heads, keys, after, upto)? {
            return Ok(Begun::Done(Some(upto)));
        }
        upto = active.base_position() - 1;
    }
    let below = catalog.parts.partition_point(|part| part.segment.base_position <= upto);
    for part in catalog.parts[..below].iter().rev() {
        let PartIndex::Frozen { index, heads, .. } = &part.index else { break };
        if upto <= after {
            return Ok(Begun::Done(None));
        }
        if !lacks_all(index, heads, keys, after, upto)? {
            return Ok(Begun::Done(Some(upto)));
        }
        upto = part.segment.base_position - 1;
    }
    Ok(catalog.in_parts(upto))
}

/// The newest segment that may hold a match, from at most `most` index files; if there are more, or one
/// that is indexed in memory, the position below which to continue.
fn skip_in_files(
    parts: &[Part],
    keys: &Keys<'_>,
    after: u64,
    mut upto: u64,
    most: usize,
) -> ControlFlow<Option<u64>, u64> {
    let mut left = most;
    let below = parts.partition_point(|part| part.segment.base_position <= upto);
    for part in units(&parts[..below]) {
        if upto <= after {
            return ControlFlow::Break(None);
        }
        // A shared index has answered for all of its segments.
        if part.segment.base_position > upto {
            continue;
        }
        let PartIndex::Sealed(index) = &part.index else { return ControlFlow::Continue(upto) };
        if left == 0 {
            return ControlFlow::Continue(upto);
        }
        left -= 1;
        if !keys.all_lack_in(index) {
            return ControlFlow::Break(Some(upto));
        }
        upto = index.base_position() - 1;
    }
    ControlFlow::Break((upto > after).then_some(upto))
}

/// Whether the postings in memory reach up to `upto` and no required term occurs after `after`.
fn lacks_all(
    index: &ActiveIndex,
    heads: &Heads,
    keys: &Keys<'_>,
    after: u64,
    upto: u64,
) -> Lookup<bool> {
    let (terms, base) = (index.terms(), index.base_position());
    if base + u64::from(terms.events()) <= upto {
        return Ok(false);
    }
    keys.all_lack(|kind, name| {
        let newest = match kind {
            Terms::Streams => {
                let head = heads.get_without_reading(name).map_err(LookupError::Heads)?;
                head.map_or(0, |head| head.last_position)
            }
            _ => terms.newest(kind, name).map_or(0, |newest| base + u64::from(newest)),
        };
        Ok(newest <= after || newest < base)
    })
}
