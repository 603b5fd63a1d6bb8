//! Which events a query matches, found through postings.
//!
//! Postings give candidates, the record decides: what is answered here is what the plain matcher
//! would answer by looking at every event. The cost follows the shortest list and not the log.
//!
//! Works on whatever can show a record: reads show what is written, boundaries also what is still
//! on its way to disk.

mod select;
mod skip;

use smol_str::SmolStr;

use crate::catalog::{Catalog, LookupError, Part, PartIndex};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::Position;
use crate::format::Defect;
use crate::format::record::RecordRef;
use crate::index::active::ActiveIndex;
use crate::index::sealed::{SealedIndex, Within};
use crate::index::unsealed::Unsealed;
use crate::query::{Query, Queryable};

use select::{candidates, weight};
use skip::Keys;

/// Terms are taken over in steps, so that no lock is held for long.
const STEP: u64 = 1024;

/// The index of several segments is asked about all of them at once if so many of their events, at
/// most, may match.
const FEW: u64 = 16 << 10;

/// Looks at a record.
pub(crate) type Look<'a> = dyn FnMut(&RecordRef<'_>) + 'a;
/// Shows the record at a position.
pub(crate) type Show<'a> = dyn FnMut(u64, &mut Look<'_>) -> Result<()> + 'a;

/// The candidates within one segment, or several that are indexed together.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The segment's first position, and the last one that it has by now.
    pub(crate) base: u64,
    pub(crate) last: u64,
    /// Ordinals, ascending; `None`: every event may match.
    pub(crate) ordinals: Option<Vec<u32>>,
}

/// A record and where it is, as a query looks at it.
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

impl Engine {
    /// The newest event after `after` and up to `upto` that the query matches.
    pub(crate) fn newest_match(
        &self,
        query: &Query,
        after: u64,
        upto: u64,
        show: &mut Show<'_>,
    ) -> Result<Option<u64>> {
        if upto <= after {
            return Ok(None);
        }
        let (keys, mut upto) = (Keys::of(query), upto);
        while let Some(at) = self.skip(&keys, after, upto) {
            upto = at;
            let selected = self.select(query, after, upto, upto, show)?;
            let first = selected.base.max(after + 1);
            let mut matches = |position: u64| {
                let mut matched = false;
                show(position, &mut |record| {
                    matched = query.matches(&Positioned(position, record));
                })?;
                Ok::<_, crate::error::Error>(matched)
            };
            let found = match &selected.ordinals {
                None => find_last(first..=upto, &mut matches)?,
                Some(ordinals) => {
                    let positions = ordinals.iter().map(|&o| selected.base + u64::from(o));
                    let inside = positions.filter(|position| (first..=upto).contains(position));
                    find_last(inside, &mut matches)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            upto = selected.base - 1;
        }
        Ok(None)
    }

    /// What may match in the segment that holds the position `at`, of the events after `after` and, as
    /// far as the segment goes, up to `upto`.
    pub(crate) fn select(
        &self,
        query: &Query,
        after: u64,
        at: u64,
        upto: u64,
        show: &mut Show<'_>,
    ) -> Result<Selected> {
        self.index_terms(at, upto, show)?;
        let found = self.lookup(|catalog| {
            let floor = |base: u64| {
                u32::try_from(after.saturating_add(1).saturating_sub(base)).unwrap_or(u32::MAX)
            };
            if let Some((base, index)) = unsealed(catalog, at) {
                let last = base + index.len() as u64 - 1;
                let newest_of = |stream: &str| newest_in(catalog, index, last, stream);
                let postings = Unsealed { index, terms: &index.terms(), newest_of };
                let ordinals = candidates(&postings, base, query, floor(base));
                let ordinals = ordinals.map_err(LookupError::Heads)?;
                return Ok(Some(Selected { base, last, ordinals }));
            }
            let Some(part) = catalog.part_of(at) else { return Ok(None) };
            let PartIndex::Sealed(index) = &part.index else { return Ok(None) };
            let damaged = |_| LookupError::Index { segment: part.segment.number() };
            let (base, events) = extent(part, index, query).map_err(damaged)?;
            let first = base.saturating_sub(index.base_position());
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            let within = Within { index, first, events };
            let ordinals = candidates(&within, base, query, floor(base)).map_err(damaged)?;
            Ok(Some(Selected { base, last: base + u64::from(events) - 1, ordinals }))
        })?;
        found.ok_or_else(|| self.lost(at))
    }

    /// Makes sure that the postings of the segment that holds `at`, if it is not sealed, reach up to
    /// `upto` or to its end.
    pub(crate) fn index_terms(&self, at: u64, upto: u64, show: &mut Show<'_>) -> Result<()> {
        loop {
            let Some((base, from, len)) = ({
                let catalog = self.catalog.read();
                unsealed(&catalog, at)
                    .map(|(base, index)| (base, index.terms().events(), index.len() as u64))
            }) else {
                return Ok(());
            };
            let first = base + u64::from(from);
            let upto = upto.min(base + len - 1);
            if first > upto {
                return Ok(());
            }
            let mut step: Vec<(SmolStr, SmolStr, Vec<SmolStr>)> = Vec::new();
            for position in first..=upto.min(first + STEP - 1) {
                show(position, &mut |record| {
                    let tags = record.tags().map(SmolStr::new).collect();
                    step.push((record.stream().into(), record.event_type().into(), tags));
                })?;
            }
            let catalog = self.catalog.read();
            let Some((_, index)) = unsealed(&catalog, at) else { return Ok(()) };
            let mut terms = index.terms();
            // Others may have been faster.
            if terms.events() == from {
                for (stream, event_type, tags) in &step {
                    terms.push(stream, event_type, tags.iter().map(SmolStr::as_str));
                }
            }
        }
    }

    /// The number of written events of segments in memory whose terms are still to be entered.
    #[cfg(feature = "async")]
    pub(crate) fn terms_behind(&self) -> u64 {
        let written = self.written.get();
        let catalog = self.catalog.read();
        let behind = |index: &ActiveIndex| {
            let here = (written + 1).saturating_sub(index.base_position()).min(index.len() as u64);
            here.saturating_sub(u64::from(index.terms().events()))
        };
        let frozen = catalog.parts.iter().rev().map_while(|part| match &part.index {
            PartIndex::Frozen { index, .. } => Some(behind(index)),
            PartIndex::Sealed(_) => None,
        });
        behind(&catalog.active.index) + frozen.sum::<u64>()
    }

    /// Enters the terms of all events that are written.
    #[cfg(feature = "async")]
    pub(crate) fn index_all_terms(&self) -> Result<()> {
        let mut show = |position, look: &mut Look<'_>| self.show_written(position, look);
        let mut upto = self.written.get();
        while upto > 0 {
            self.index_terms(upto, upto, &mut show)?;
            let catalog = self.catalog.read();
            match unsealed(&catalog, upto) {
                Some((base, _)) => upto = base - 1,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Shows a record that is written.
    pub(crate) fn show_written(&self, position: u64, look: &mut Look<'_>) -> Result<()> {
        let located = self.lookup(|catalog| catalog.locate(position))?;
        let (segment, offset) = located.ok_or_else(|| self.lost(position))?;
        let (bytes, layout) = segment.record(offset, position, self.options.checksums)?;
        look(&bytes.record(layout));
        Ok(())
    }
}

/// How much of what an index covers is looked at, of which `part` is a part: its base position and
/// its number of events. All of it, if it has few events that may match; else a segment at a time,
/// so that no read holds more than that.
fn extent(
    part: &Part,
    index: &SealedIndex,
    query: &Query,
) -> std::result::Result<(u64, u32), Defect> {
    let own = (part.segment.base_position, u32::try_from(part.event_count()).unwrap_or(u32::MAX));
    if !index.is_level() {
        return Ok(own);
    }
    let few = weight(index, query)?.is_some_and(|weight| weight <= FEW);
    Ok(if few { (index.base_position(), index.event_count()) } else { own })
}

/// The segment that holds a position and its index, if it is not sealed.
fn unsealed(catalog: &Catalog, position: u64) -> Option<(u64, &ActiveIndex)> {
    let active = &catalog.active.index;
    if active.ordinal(position).is_some() {
        return Some((active.base_position(), active));
    }
    match catalog.part_of(position) {
        Some(part) => match &part.index {
            PartIndex::Frozen { index, .. } => Some((part.segment.base_position, &**index)),
            PartIndex::Sealed(_) => None,
        },
        None => None,
    }
}

/// The ordinal of a stream's newest event in a segment that ends with the position `last`.
fn newest_in(
    catalog: &Catalog,
    index: &ActiveIndex,
    last: u64,
    stream: &str,
) -> std::result::Result<Option<u32>, Defect> {
    let head = catalog.head_at(stream, last).map_err(|error| match error {
        LookupError::Heads(defect) => defect,
        LookupError::Index { .. } | LookupError::Store(_) => {
            Defect::Invalid("a stream's events do not lead back into the segment")
        }
    })?;
    Ok(index.ordinal(head.last_position).and_then(|ordinal| u32::try_from(ordinal).ok()))
}

fn find_last<E>(
    positions: impl DoubleEndedIterator<Item = u64>,
    mut matches: impl FnMut(u64) -> Result<bool, E>,
) -> Result<Option<u64>, E> {
    for position in positions.rev() {
        if matches(position)? {
            return Ok(Some(position));
        }
    }
    Ok(None)
}
