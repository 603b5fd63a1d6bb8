//! Finds the events that a query matches, through postings.
//!
//! Postings give candidates, the record decides: the result equals that of the plain matcher over every
//! event. The cost follows the shortest list, not the log.
//!
//! Works on any source of records: reads use the written ones, boundaries also those on their way to
//! disk.

mod count;
mod select;
mod skip;

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::{Begun, Catalog, Lookup, LookupError, Part, PartIndex, part_of};
use crate::engine::contents::Contents;
use crate::error::Result;
use crate::event::Position;
use crate::format::Defect;
use crate::format::record::RecordRef;
#[cfg(feature = "async")]
use crate::format::segment_header::DATA_START;
use crate::index::active::ActiveIndex;
use crate::index::terms::{ActiveTerms, RecentTerms};
use crate::index::unsealed::Unsealed;
use crate::index::{Head, Postings};
#[cfg(feature = "async")]
use crate::log::segment::Segment;
use crate::query::{Query, QueryItem, Queryable};

pub(crate) use count::count_sealed;
use select::candidates;
use skip::Keys;

/// Terms are entered in steps, so that no lock is held for long. This is the size of a step in events,
/// and the number of events that a read examines directly before it has more terms entered.
const STEP: u64 = 1024;
/// The number of events that are linked with the catalog locked.
const LINKED_AT_ONCE: usize = 512;
/// The number of events whose terms are compared one by one, rather than linked into lists.
const FEW: u64 = 2 * STEP;
/// The number of candidates requested first, and the most that are requested later.
pub(crate) const FIRST: usize = 32;
pub(crate) const MOST: usize = 4096;

/// Number of bytes of events that take about as long to examine as one event.
#[cfg(feature = "async")]
const BYTES_AN_EVENT: u64 = 1 << 10;

/// Looks at a record.
pub(crate) type Look<'a> = dyn FnMut(&RecordRef<'_>) + 'a;
/// Shows the record at a position.
pub(crate) type Show<'a> = dyn FnMut(u64, &mut Look<'_>) -> Result<()> + 'a;

/// The range and the number of candidates of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Only events after `after` and up to `upto`.
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) backwards: bool,
    /// The number of candidates to ask for next.
    pub(crate) most: usize,
}

/// The candidates of one segment, or of several that are indexed together.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Positions, in the order of the read; `None`: every event may match.
    pub(crate) positions: Option<Vec<u64>>,
    /// The last position in the order of the read that these candidates cover, inclusive.
    pub(crate) through: u64,
}

/// A record and its position, as a query examines it.
struct Positioned<'a>(u64, &'a RecordRef<'a>);

impl Queryable for Positioned<'_> {
    fn position(&self) -> Position {
        Position::new(self.0)
    }

    fn stream(&self) -> &str {
        self.1.stream()
    }

    fn event_type(&self) -> &str {
        self.1.event_type()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.1.tags().any(|own| own == tag)
    }
}

/// The newest event after `after` and up to `upto` that the query matches.
pub(crate) fn newest_match(
    contents: &Contents,
    query: &Query,
    after: u64,
    upto: u64,
    show: &mut Show<'_>,
) -> Result<Option<u64>> {
    if upto <= after {
        return Ok(None);
    }
    let (keys, mut upto) = (Keys::of(query), upto);
    let mut most = FIRST;
    while let Some(at) = skip::newest_candidate(contents, &keys, after, upto)? {
        // Terms are entered for later queries; with them, the segment may be skipped.
        if index_terms(contents, at, at, show)? {
            continue;
        }
        let wanted = Wanted { after, upto: at, backwards: true, most };
        let selected = select(contents, query, at, wanted, show)?;
        let mut matches = |position: u64| {
            let mut matched = false;
            show(position, &mut |record| {
                matched = query.matches(&Positioned(position, record));
            })?;
            Ok::<_, crate::error::Error>(matched)
        };
        let found = match selected.positions {
            None => find_first((selected.through..=at).rev(), &mut matches)?,
            Some(positions) => find_first(positions.into_iter(), &mut matches)?,
        };
        if found.is_some() {
            return Ok(found);
        }
        upto = selected.through - 1;
        most = (most * 4).min(MOST);
    }
    Ok(None)
}

/// The candidates from `at` on in the order of the read, up to the end of the index that holds `at` or
/// to the wanted number.
///
/// In a segment that is not sealed, a read that would have to enter the terms of many events first
/// examines some directly, in total no more than there are to enter. So a query costs at most twice the
/// segment, once, plus its later look-ups.
pub(crate) fn select(
    contents: &Contents,
    query: &Query,
    at: u64,
    wanted: Wanted,
    show: &mut Show<'_>,
) -> Result<Selected> {
    if let Some(selected) = look_directly(contents, at, wanted, show)? {
        return Ok(selected);
    }
    link_terms(contents, at, wanted);
    let found = contents.lookup(
        |catalog| {
            let index = &catalog.active.index;
            if index.ordinal(at).is_none() {
                return Ok(catalog.in_parts(()));
            }
            let newest_of = |stream: &str| {
                let head = catalog.active.heads.get(stream)?;
                Ok(head.filter(|head| index.ordinal(head.last_position).is_some()))
            };
            in_memory(index, newest_of, query, at, wanted).map(|found| Begun::Done(Some(found)))
        },
        |begun| match begun {
            Begun::Done(found) => Ok(found),
            Begun::InParts(parts, ()) => match part_of(&parts, at) {
                None => Ok(None),
                Some(part) => in_part(contents, part, query, at, wanted).map(Some),
            },
        },
    )?;
    found.ok_or_else(|| contents.lost(at))
}

/// The candidates of a segment that is full.
fn in_part(
    contents: &Contents,
    part: &Part,
    query: &Query,
    at: u64,
    wanted: Wanted,
) -> Lookup<Selected> {
    match &part.index {
        PartIndex::Sealed(index) => {
            let base = index.base_position();
            let end = base + u64::from(index.event_count());
            let damaged = |_| LookupError::Index(Arc::clone(index));
            wanted.select(&**index, query, at, base..end).map_err(damaged)
        }
        PartIndex::Frozen { index, .. } => {
            let last = index.base_position() + index.len() as u64 - 1;
            let streams = query.items().iter().filter_map(QueryItem::required_stream);
            let heads = streams.map(|stream| Ok((stream, contents.head_at(stream, last)?)));
            let heads = heads.collect::<Result<Vec<_>>>()?;
            let newest_of = |stream: &str| {
                let found = heads.iter().find(|(name, _)| *name == stream);
                let inside = |head: &Head| index.ordinal(head.last_position).is_some();
                Ok(found.map(|(_, head)| *head).filter(inside))
            };
            in_memory(index, newest_of, query, at, wanted)
        }
    }
}

/// The candidates of a segment whose index is in memory. `newest_of` returns a stream's newest event in
/// the segment.
fn in_memory(
    index: &ActiveIndex,
    newest_of: impl Fn(&str) -> std::result::Result<Option<Head>, Defect>,
    query: &Query,
    at: u64,
    wanted: Wanted,
) -> Lookup<Selected> {
    let mut terms = index.terms();
    let base = index.base_position();
    // A forward read goes up to the last event whose terms are entered.
    let entered = if wanted.backwards { index.len() as u64 } else { u64::from(terms.events()) };
    let held = base..base + entered;
    if let Some(terms) = recent(base, &mut terms, at, wanted) {
        let postings = Unsealed { index, terms: &terms, newest_of };
        return wanted.select(&postings, query, at, held).map_err(LookupError::Heads);
    }
    let postings = Unsealed { index, terms: terms.lists(), newest_of };
    wanted.select(&postings, query, at, held).map_err(LookupError::Heads)
}

/// The terms of the events that are wanted from `at` on, if these are so few that the log of hashes
/// answers.
fn recent(base: u64, terms: &mut ActiveTerms, at: u64, wanted: Wanted) -> Option<RecentTerms<'_>> {
    let Wanted { after, upto, backwards, .. } = wanted;
    let (first, last) = if backwards { (after + 1, at) } else { (at, upto) };
    let entered = base + u64::from(terms.events());
    let (first, end) = (first.max(base), last.saturating_add(1).min(entered));
    if end.checked_sub(first)? > FEW {
        return None;
    }
    let ordinal = |position: u64| u32::try_from(position - base).ok();
    terms.recent(ordinal(first)?..ordinal(end)?)
}

impl Wanted {
    /// Selects from the postings of the positions `held`.
    fn select(
        self,
        postings: &impl Postings,
        query: &Query,
        at: u64,
        held: Range<u64>,
    ) -> std::result::Result<Selected, Defect> {
        let Self { after, upto, backwards, most } = self;
        let Range { start: base, end } = held;
        let (first, last) = if backwards { (after + 1, at) } else { (at, upto) };
        let ordinal = |at: u64| u32::try_from(at.saturating_sub(base)).unwrap_or(u32::MAX);
        let range = ordinal(first)..ordinal(last.saturating_add(1).min(end));
        let limit = if backwards { base.max(after + 1) } else { upto.min(end - 1) };
        let found = candidates(postings, base, query, range, backwards, most)?;
        let Some((ordinals, all)) = found else {
            return Ok(Selected { positions: None, through: limit });
        };
        let positions: Vec<u64> =
            ordinals.iter().map(|&ordinal| base + u64::from(ordinal)).collect();
        let last = positions.last().copied().filter(|_| !all);
        Ok(Selected { positions: Some(positions), through: last.unwrap_or(limit) })
    }
}

/// In a segment that is not sealed: enters the terms that the look-up needs, or returns that the next
/// events are to be examined directly, which costs less unless it was done often.
fn look_directly(
    contents: &Contents,
    at: u64,
    wanted: Wanted,
    show: &mut Show<'_>,
) -> Result<Option<Selected>> {
    let Wanted { after, upto, backwards, .. } = wanted;
    let reach = contents.with_catalog(|catalog| {
        let (base, index) = unsealed(catalog, at)?;
        let known = base + u64::from(index.terms().events());
        if at < known {
            return None;
        }
        let last = if backwards { at } else { upto.min(base + index.len() as u64 - 1) };
        let missing = last + 1 - known;
        let through = if backwards {
            at.saturating_sub(STEP - 1).max(known).max(after + 1)
        } else {
            at.saturating_add(STEP - 1).min(last)
        };
        let looks = missing > STEP && index.may_look(at.abs_diff(through) + 1, missing);
        Some(if looks { Ok(through) } else { Err(last) })
    });
    match reach {
        None => Ok(None),
        Some(Ok(through)) => Ok(Some(Selected { positions: None, through })),
        Some(Err(last)) => index_terms(contents, at, last, show).map(|_| None),
    }
}

/// Makes sure that the terms of the segment that holds `at`, if it is not sealed, are entered up to `upto`
/// or to its end. Returns whether any were missing.
pub(crate) fn index_terms(
    contents: &Contents,
    at: u64,
    upto: u64,
    show: &mut Show<'_>,
) -> Result<bool> {
    let (mut hashes, mut counts) = (Vec::new(), Vec::new());
    let mut entered_any = false;
    loop {
        let reach = contents.with_catalog(|catalog| {
            unsealed(catalog, at).map(|(base, index)| {
                let terms = index.terms();
                (base, terms.events(), terms.hasher(), index.len() as u64)
            })
        });
        let Some((base, from, hash_with, len)) = reach else { return Ok(entered_any) };
        let first = base + u64::from(from);
        let upto = upto.min(base + len - 1).min(first + STEP - 1);
        if first > upto {
            return Ok(entered_any);
        }
        entered_any = true;
        hashes.clear();
        counts.clear();
        let mut add = |record: &RecordRef<'_>| {
            let tags = record.tags();
            counts.push(hash_with.add(&mut hashes, record.stream(), record.event_type(), tags));
        };
        // Those that are not written yet are shown by the caller.
        let written = contents.show_many(first..=upto, &mut add)?;
        for position in written + 1..=upto {
            show(position, &mut add)?;
        }
        let entered = contents.with_catalog(|catalog| {
            let Some((_, index)) = unsealed(catalog, at) else { return false };
            let mut terms = index.terms();
            // Another thread may have entered them meanwhile.
            if terms.events() == from {
                terms.push_hashed(&hashes, &counts);
            }
            true
        });
        if !entered {
            return Ok(entered_any);
        }
    }
}

/// Links the terms of the segment that holds `at`, if it is not sealed and a look-up needs their lists, up
/// to few events.
fn link_terms(contents: &Contents, at: u64, wanted: Wanted) {
    let step = |catalog: &Catalog| {
        let Some((base, index)) = unsealed(catalog, at) else { return true };
        let mut terms = index.terms();
        recent(base, &mut terms, at, wanted).is_some() || terms.link(LINKED_AT_ONCE)
    };
    while !contents.with_catalog(step) {}
}

/// The number of written events of segments in memory whose terms are still to be entered; large ones,
/// which have to be read and proven for that, count once for each kibibyte.
#[cfg(feature = "async")]
pub(crate) fn terms_behind(contents: &Contents, written: u64) -> u64 {
    let behind = |index: &ActiveIndex, segment: &Segment| {
        let here = (written + 1).saturating_sub(index.base_position()).min(index.len() as u64);
        let entered = index.terms().events();
        let events = here.saturating_sub(u64::from(entered));
        if events == 0 {
            return 0;
        }
        let from = index.offset(entered as usize).ok().flatten().map_or(DATA_START, u64::from);
        events.max(segment.end().saturating_sub(from) / BYTES_AN_EVENT)
    };
    let (active, parts) = contents.with_catalog(|catalog| {
        let active = behind(&catalog.active.index, &catalog.active.segment);
        (active, Arc::clone(&catalog.parts))
    });
    let frozen = parts.iter().rev().map_while(|part| match &part.index {
        PartIndex::Frozen { index, .. } => Some(behind(index, &part.segment)),
        PartIndex::Sealed(_) => None,
    });
    active + frozen.sum::<u64>()
}

/// Enters the terms of all events that are written.
#[cfg(feature = "async")]
pub(crate) fn index_all_terms(contents: &Contents, written: u64) -> Result<()> {
    let mut show = |position, look: &mut Look<'_>| contents.show_written(position, look);
    let mut upto = written;
    while upto > 0 {
        index_terms(contents, upto, upto, &mut show)?;
        let base = contents.with_catalog(|catalog| unsealed(catalog, upto).map(|(base, _)| base));
        match base {
            Some(base) => upto = base - 1,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The segment that holds a position and its index, if it is not sealed.
fn unsealed(catalog: &Catalog, position: u64) -> Option<(u64, &ActiveIndex)> {
    let active = &catalog.active.index;
    if active.ordinal(position).is_some() {
        return Some((active.base_position(), active));
    }
    match part_of(&catalog.parts, position) {
        Some(part) => match &part.index {
            PartIndex::Frozen { index, .. } => Some((part.segment.base_position, index)),
            PartIndex::Sealed(_) => None,
        },
        None => None,
    }
}

fn find_first<E>(
    mut positions: impl Iterator<Item = u64>,
    mut matches: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Option<u64>, E> {
    positions
        .find_map(|position| match matches(position) {
            Ok(found) => found.then_some(Ok(position)),
            Err(error) => Some(Err(error)),
        })
        .transpose()
}
