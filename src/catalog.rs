//! The segments and their indexes: maps a stream, an id or a position to the place of a record.
//!
//! Owns no bytes of events. It is locked for moments, and nothing in it reads a file: a look-up is
//! answered from memory, or goes on without the lock in the segments that take no more frames
//! ([`Begun`]), or names the block of a checkpoint that it needs ([`Defect::Unread`]).

mod heads;
mod names;
mod streams;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Defect;
use crate::index::active::ActiveIndex;
use crate::index::block_file::Reads;
use crate::index::heads::{HeadTable, Heads};
use crate::index::sealed::{HashedId, SealedIndex};
use crate::log::rotation::SealPoint;
use crate::log::segment::Segment;

pub(crate) use heads::{FirstHeads, OlderHeads, RecordFiles, head_in, unsealed_heads_in};
pub(crate) use names::{NamePage, Unsealed, stream_page, term_page};
pub(crate) use streams::{Reached, Run, limit_head_in, reach_in};

/// The segments and their indexes.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// All but the active segment, in order.
    pub(crate) parts: Arc<Vec<Part>>,
    pub(crate) active: ActivePart,
    /// The number of streams that have events.
    pub(crate) streams: u64,
    /// The newest checkpoint file, if one is in use.
    pub(crate) saved: Option<SavedCheckpoint>,
}

/// Where a checkpoint file ends, and its size in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SavedCheckpoint {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl SavedCheckpoint {
    /// `None` if it is in no file.
    pub(crate) fn of(table: &HeadTable) -> Option<Self> {
        let (segment, offset) = (table.meta.segment, table.meta.offset);
        (table.number > 0).then(|| Self { segment, offset, len: table.file().file_len() })
    }
}

/// A segment that takes no more frames.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: PartIndex,
}

#[derive(Debug, Clone)]
pub(crate) enum PartIndex {
    /// Its own, or one that it shares with its neighbours: then look-ups of streams, terms and ids
    /// are answered for all of them at once, with ordinals counted from the first.
    Sealed(Arc<SealedIndex>),
    /// Full, not sealed yet: still indexed in memory.
    Frozen { index: Arc<ActiveIndex>, heads: Arc<Heads>, point: SealPoint },
}

#[derive(Debug)]
pub(crate) struct ActivePart {
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: ActiveIndex,
    /// The heads of its streams.
    pub(crate) heads: Heads,
}

/// A failure to answer from an index.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// This index file is damaged, or it was removed since the look-up began, because a merged one
    /// took its place. The log can rebuild it.
    Index(Arc<SealedIndex>),
    /// What a checkpoint holds, the heads or the index of the segment it names, is damaged, and the
    /// log can rebuild it; or it is not read yet.
    Heads(Defect),
    Store(Error),
}

impl LookupError {
    /// The error where nothing is rebuilt; `corrupt` makes one of a defect.
    pub(crate) fn into_error(self, corrupt: impl FnOnce(&Defect) -> Error) -> Error {
        match self {
            Self::Store(error) => error,
            Self::Heads(defect) => corrupt(&defect),
            Self::Index(_) => corrupt(&Defect::Invalid("an index file is damaged")),
        }
    }
}

impl From<Error> for LookupError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

pub(crate) type Lookup<T> = Result<T, LookupError>;

/// The segment of a record and its offset.
pub(crate) type RecordPlace = (Arc<Segment>, u64);

/// An event whose segment was found under the catalog's lock.
#[derive(Debug)]
pub(crate) enum Located {
    At(RecordPlace),
    /// The event with this ordinal; the segment has its offset.
    Sealed(Arc<Segment>, u32),
    /// The same in a segment that is not sealed yet.
    Frozen(Part, u32),
}

impl Located {
    /// The place of the record; `None` if the segment does not have the event.
    pub(crate) fn place(self) -> Lookup<Option<RecordPlace>> {
        Ok(match self {
            Self::At(place) => Some(place),
            Self::Sealed(segment, ordinal) => {
                segment.sealed_offset(ordinal)?.map(|offset| (segment, offset))
            }
            Self::Frozen(part, ordinal) => {
                part.offset(ordinal)?.map(|offset| (part.segment, offset))
            }
        })
    }
}

/// What a look-up found under the catalog's lock.
#[derive(Debug)]
pub(crate) enum Begun<T, C = ()> {
    Done(T),
    /// It goes on in the segments before the active one, from `C`. They do not change: no lock is
    /// needed, and files may be read.
    InParts(Arc<Vec<Part>>, C),
}

impl Part {
    /// A segment that was filled just now.
    pub(crate) fn frozen(full: ActivePart, point: SealPoint) -> Self {
        let ActivePart { segment, index, heads } = full;
        let (index, heads) = (Arc::new(index), Arc::new(heads));
        Self { segment, index: PartIndex::Frozen { index, heads, point } }
    }

    pub(crate) fn offset(&self, ordinal: u32) -> Lookup<Option<u64>> {
        match &self.index {
            PartIndex::Sealed(_) => Ok(self.segment.sealed_offset(ordinal)?),
            PartIndex::Frozen { index, .. } => offset_in(index, ordinal as usize),
        }
    }

    pub(crate) fn event_count(&self) -> u64 {
        match &self.index {
            PartIndex::Sealed(_) => {
                self.segment.trailer.as_ref().map_or(0, |t| u64::from(t.event_count))
            }
            PartIndex::Frozen { index, .. } => index.len() as u64,
        }
    }
}

impl ActivePart {
    pub(crate) fn new(segment: Arc<Segment>, index: ActiveIndex) -> Self {
        Self { segment, index, heads: Heads::default() }
    }

    /// Whether look-ups read checkpoints.
    fn set_reads(&mut self, reads: Reads) {
        self.index.set_reads(reads);
        self.heads.set_reads(reads);
    }
}

impl Catalog {
    /// From now on no look-up under the lock reads a file.
    pub(crate) fn stop_reading(&mut self) {
        self.active.set_reads(Reads::None);
    }

    /// The look-up goes on in the parts, from `at`.
    pub(crate) fn in_parts<T, C>(&self, at: C) -> Begun<T, C> {
        Begun::InParts(Arc::clone(&self.parts), at)
    }

    /// The place of the event at `position`; `None` if no segment holds it. Goes on with
    /// [`Located::place`].
    pub(crate) fn locate(&self, position: u64) -> Lookup<Option<Located>> {
        if let Some(ordinal) = self.active.index.ordinal(position) {
            let offset = offset_in(&self.active.index, ordinal)?;
            let place = |offset| Located::At((Arc::clone(&self.active.segment), offset));
            return Ok(offset.map(place));
        }
        let Some(part) = part_of(&self.parts, position) else { return Ok(None) };
        let ordinal = u32::try_from(position - part.segment.base_position).unwrap_or(u32::MAX);
        Ok(Some(match &part.index {
            PartIndex::Sealed(_) => Located::Sealed(Arc::clone(&part.segment), ordinal),
            PartIndex::Frozen { .. } => Located::Frozen(part.clone(), ordinal),
        }))
    }

    /// The active segment and the offsets of its events from `first` to `last`; goes on with
    /// [`offsets_in_parts`] if `first` is not in it.
    pub(crate) fn offsets(&self, first: u64, last: u64) -> Lookup<Begun<Option<Offsets>>> {
        let ActivePart { segment, index, .. } = &self.active;
        if index.ordinal(first).is_none() {
            return Ok(self.in_parts(()));
        }
        Ok(Begun::Done(Some((Arc::clone(segment), offsets_in(index, first, last)?))))
    }

    /// Makes `active` the active part and `full`, made of what was active until now, the last of the
    /// others.
    pub(crate) fn turn_to(&mut self, active: ActivePart, full: impl FnOnce(ActivePart) -> Part) {
        let mut before = std::mem::replace(&mut self.active, active);
        // It is looked up without the lock from now on.
        before.set_reads(Reads::Any);
        Arc::make_mut(&mut self.parts).push(full(before));
    }

    /// The position of the active segment's event with this id; goes on with [`id_candidates_in`].
    pub(crate) fn find_id(&self, id: &[u8; 16]) -> Lookup<Begun<u64>> {
        let ActivePart { segment, index, .. } = &self.active;
        let found = index.find_id(id).map_err(LookupError::Heads)?;
        Ok(match found {
            Some(ordinal) => Begun::Done(segment.base_position + ordinal as u64),
            None => self.in_parts(()),
        })
    }

    /// Gives an index to the sealed segments that it covers.
    pub(crate) fn share_index(&mut self, index: &Arc<SealedIndex>) {
        for part in Arc::make_mut(&mut self.parts) {
            if index.segments().contains(&part.segment.number()) {
                part.index = PartIndex::Sealed(Arc::clone(index));
            }
        }
    }

    /// Drops the mappings of this many sealed segments and indexes: first of those that were not used
    /// since this was last done. Returns what held them, to be dropped without the catalog's lock.
    pub(crate) fn drop_mappings(&mut self, mut number: usize) -> Dropped {
        let mut dropped = Dropped::default();
        let parts = Arc::make_mut(&mut self.parts);
        for anyway in [false, true] {
            // An index may be that of several parts, which are neighbours.
            let mut last: Option<(Arc<SealedIndex>, Option<Arc<SealedIndex>>)> = None;
            for part in parts.iter_mut() {
                if number > 0
                    && let Some(unmapped) = part.segment.unmapped(anyway)
                {
                    number -= 1;
                    dropped.0.push(std::mem::replace(&mut part.segment, Arc::new(unmapped)));
                }
                let PartIndex::Sealed(index) = &mut part.index else { continue };
                if last.as_ref().is_none_or(|(seen, _)| !Arc::ptr_eq(seen, index)) {
                    let unmapped = if number > 0 { index.unmapped(anyway) } else { None };
                    number -= usize::from(unmapped.is_some());
                    last = Some((Arc::clone(index), unmapped.map(Arc::new)));
                }
                if let Some((_, Some(unmapped))) = &last {
                    dropped.1.push(std::mem::replace(index, Arc::clone(unmapped)));
                }
            }
        }
        dropped
    }

    /// Puts a sealed segment in the place of the one with its number, whose contents are the same; returns that.
    pub(crate) fn replace_segment(&mut self, segment: Segment) -> Option<Arc<Segment>> {
        let parts = Arc::make_mut(&mut self.parts);
        let part = parts.iter_mut().find(|part| part.segment.number() == segment.number())?;
        Some(std::mem::replace(&mut part.segment, Arc::new(segment)))
    }

    /// Puts a sealed segment and its index in the place of the frozen one.
    pub(crate) fn replace_part(&mut self, part: Part) {
        let parts = Arc::make_mut(&mut self.parts);
        let number = part.segment.number();
        if let Some(old) = parts.iter_mut().find(|old| old.segment.number() == number) {
            *old = part;
        }
    }
}

/// Segments and indexes that were replaced. Their mappings end with the last reader.
#[derive(Debug, Default)]
pub(crate) struct Dropped(Vec<Arc<Segment>>, Vec<Arc<SealedIndex>>);

/// The positions of the events that may have this id, in segments below `below`; to be compared with
/// the records. After `most` index files it stops, and returns the segment below which to continue.
pub(crate) fn id_candidates_in(
    parts: &[Part],
    id: &[u8; 16],
    below: u64,
    most: usize,
) -> Lookup<(Vec<u64>, Option<u64>)> {
    let (mut found, mut asked, mut first) = (Vec::new(), 0, below);
    let hashed = HashedId::new(id);
    prefetch_filters(parts, &hashed, below, most);
    for part in units(parts) {
        match &part.index {
            // Asked before, as all that are newer than the first index file.
            PartIndex::Frozen { .. } if part.segment.number() >= below => {}
            PartIndex::Frozen { index, .. } => {
                let base = part.segment.base_position;
                let ordinal = index.find_id(id).map_err(LookupError::Heads)?;
                found.extend(ordinal.map(|ordinal| base + ordinal as u64));
            }
            PartIndex::Sealed(index) if *index.segments().start() >= below => {}
            PartIndex::Sealed(_) if asked == most => return Ok((found, Some(first))),
            PartIndex::Sealed(index) => {
                let base = index.base_position();
                let candidates = index.candidates(&hashed).map_err(|_| damaged(index))?;
                found.extend(candidates.iter().map(|&ordinal| base + u64::from(ordinal)));
                (asked, first) = (asked + 1, *index.segments().start());
            }
        }
    }
    Ok((found, None))
}

/// Prefetches what the filters of the newest index files answer from, as far as these are open: the processor
/// then waits for memory once instead of once per filter.
fn prefetch_filters(parts: &[Part], id: &HashedId, below: u64, most: usize) {
    /// The processor has about as many reads under way.
    const TOGETHER: usize = 32;
    let older = units(parts).filter_map(|part| match &part.index {
        PartIndex::Sealed(index) if *index.segments().start() < below => Some(index),
        _ => None,
    });
    older.take(most.min(TOGETHER)).for_each(|index| index.prefetch_id(id));
}

/// A segment and the offsets of some of its events.
pub(crate) type Offsets = (Arc<Segment>, Vec<u32>);

fn offsets_in(index: &ActiveIndex, first: u64, last: u64) -> Lookup<Vec<u32>> {
    let mut offsets = Vec::new();
    for ordinal in (first..=last).map_while(|position| index.ordinal(position)) {
        offsets.extend(index.offset(ordinal).map_err(LookupError::Heads)?);
    }
    Ok(offsets)
}

/// The segment that holds `first` and the offsets of its events from there to `last`; `None` if it is
/// sealed.
pub(crate) fn offsets_in_parts(parts: &[Part], first: u64, last: u64) -> Lookup<Option<Offsets>> {
    match part_of(parts, first) {
        Some(Part { segment, index: PartIndex::Frozen { index, .. } }) => {
            Ok(Some((Arc::clone(segment), offsets_in(index, first, last)?)))
        }
        _ => Ok(None),
    }
}

/// The part that holds a position, if one of these does.
pub(crate) fn part_of(parts: &[Part], position: u64) -> Option<&Part> {
    let behind = parts.partition_point(|part| part.segment.base_position <= position);
    // Segments without events share their base position with the next.
    let part = parts[..behind].iter().rev().find(|part| part.event_count() > 0)?;
    (position < part.segment.base_position + part.event_count()).then_some(part)
}

pub(crate) fn damaged(index: &Arc<SealedIndex>) -> LookupError {
    LookupError::Index(Arc::clone(index))
}

fn offset_in(index: &ActiveIndex, ordinal: usize) -> Lookup<Option<u64>> {
    index.offset(ordinal).map(|offset| offset.map(u64::from)).map_err(LookupError::Heads)
}

/// Parts, newest first, of which together every index is seen once.
pub(crate) fn units(parts: &[Part]) -> impl Iterator<Item = &Part> {
    let mut last: Option<&Arc<SealedIndex>> = None;
    parts.iter().rev().filter(move |part| match &part.index {
        PartIndex::Sealed(index) => {
            let seen = last.is_some_and(|last| Arc::ptr_eq(last, index));
            last = Some(index);
            !seen
        }
        PartIndex::Frozen { .. } => true,
    })
}
