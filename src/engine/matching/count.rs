//! Counts the events of sealed segments that a query matches, without their records.
//!
//! The lists of a sealed segment's index are exact: they are found by name, and every event is in the lists of its
//! stream, category, type and tags. So the candidates are the matches.

use std::ops::Range;
use std::sync::Arc;

use super::select::count;
use crate::catalog::{LookupError, PartIndex, part_of};
use crate::engine::contents::Contents;
use crate::error::Result;
use crate::format::Defect;
use crate::index::sealed::SealedIndex;
use crate::query::Query;

/// The events of sealed segments that a query matches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedEvents {
    pub(crate) events: u64,
    /// The first position that was not counted, because its segment is not sealed, or `upto` + 1.
    pub(crate) next: u64,
}

/// Counts the matches after `after` and up to `upto`, as far as segments are sealed.
pub(crate) fn count_sealed(
    contents: &Contents,
    query: &Query,
    after: u64,
    upto: u64,
) -> Result<CountedEvents> {
    let mut counted = CountedEvents { events: 0, next: after.saturating_add(1) };
    while counted.next <= upto {
        let at = counted.next;
        let found = contents.lookup(
            |catalog| Ok(Arc::clone(&catalog.parts)),
            |parts| match part_of(&parts, at).map(|part| &part.index) {
                Some(PartIndex::Sealed(index)) => {
                    let counted = count_in(index, query, at, upto);
                    counted.map(Some).map_err(|_| LookupError::Index(Arc::clone(index)))
                }
                _ => Ok(None),
            },
        )?;
        let Some((events, next)) = found else { break };
        counted.events += events;
        counted.next = next;
    }
    Ok(counted)
}

/// The number of matches from `at` to the end of an index or to `upto`, and the position after these.
fn count_in(
    index: &SealedIndex,
    query: &Query,
    at: u64,
    upto: u64,
) -> std::result::Result<(u64, u64), Defect> {
    let base = index.base_position();
    let end = (base + u64::from(index.event_count())).min(upto.saturating_add(1));
    let ordinal = |position: u64| u32::try_from(position.saturating_sub(base)).unwrap_or(u32::MAX);
    let range: Range<u32> = ordinal(at)..ordinal(end);
    Ok((count(index, base, query, range)?, end))
}
