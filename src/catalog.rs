//! Which segments there are and how each is indexed: the map from a stream, an id or a position to
//! the place of a record.
//!
//! Owns no bytes of events and does no I/O but through [`Segment`]. Appends change it under its
//! write lock, for moments; reads look things up under the read lock and then go on without it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::Defect;
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::heads::Heads;
use crate::index::sealed::SealedIndex;
use crate::log::rotation::SealPoint;
use crate::log::segment::Segment;

/// The segments and their indexes.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) heads: Heads,
    /// All but the active segment, in order.
    pub(crate) parts: Arc<Vec<Part>>,
    pub(crate) active: ActivePart,
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
    Frozen { index: Arc<ActiveIndex>, point: SealPoint },
}

#[derive(Debug)]
pub(crate) struct ActivePart {
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: ActiveIndex,
}

/// A failure to answer from an index.
#[derive(Debug)]
pub(crate) enum LookupError {
    /// The index file of this segment is damaged; the log can rebuild it.
    Index {
        segment: u64,
    },
    /// What a checkpoint holds is damaged: the heads, or the index of the segment it names. The log
    /// can rebuild it.
    Heads(Defect),
    Store(Error),
}

impl From<Error> for LookupError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

pub(crate) type Lookup<T> = Result<T, LookupError>;

/// The events of a stream within one segment: as the index gives them, not yet limited to a head.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) segment: Arc<Segment>,
    pub(crate) first_version: u64,
    /// The offset of each record, where the index knows it, else its ordinal to look up.
    pub(crate) places: Places,
}

#[derive(Debug, Clone)]
pub(crate) enum Places {
    /// `(ordinal, offset)`
    Known(Vec<(u32, u32)>),
    /// Ordinals of a sealed segment.
    Sealed(Vec<u32>),
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        match &self.places {
            Places::Known(places) => places.len(),
            Places::Sealed(ordinals) => ordinals.len(),
        }
    }

    /// Says that [`Run::place`] will be asked for `index`, which is in this run.
    pub(crate) fn prefetch_place(&self, index: usize) {
        if let Places::Sealed(ordinals) = &self.places {
            self.segment.prefetch_offset(ordinals[index]);
        }
    }

    /// The position and offset of the event at `index` in this run.
    pub(crate) fn place(&self, index: usize) -> Result<(u64, u64)> {
        let base = self.segment.base_position;
        match &self.places {
            Places::Known(places) => {
                let (ordinal, offset) = places[index];
                Ok((base + u64::from(ordinal), u64::from(offset)))
            }
            Places::Sealed(ordinals) => {
                let position = base + u64::from(ordinals[index]);
                let offset = self.segment.sealed_offset(ordinals[index])?;
                let missing = || self.segment.corrupt(0, position, &Defect::TooShort);
                Ok((position, offset.ok_or_else(missing)?))
            }
        }
    }
}

impl Part {
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

    fn damaged(&self) -> LookupError {
        LookupError::Index { segment: self.segment.number() }
    }
}

impl Catalog {
    /// The part that holds a position below the active segment.
    pub(crate) fn part_of(&self, position: u64) -> Option<&Part> {
        part_of(&self.parts, position)
    }

    /// Where the event at `position` is.
    pub(crate) fn locate(&self, position: u64) -> Lookup<Option<(Arc<Segment>, u64)>> {
        if let Some(ordinal) = self.active.index.ordinal(position) {
            let offset = offset_in(&self.active.index, ordinal)?;
            return Ok(offset.map(|offset| (Arc::clone(&self.active.segment), offset)));
        }
        let Some(part) = self.part_of(position) else {
            return Ok(None);
        };
        let ordinal = u32::try_from(position - part.segment.base_position).unwrap_or(u32::MAX);
        Ok(part.offset(ordinal)?.map(|offset| (Arc::clone(&part.segment), offset)))
    }

    /// The stream's head, commits on their way to disk included.
    pub(crate) fn head(&self, stream: &str) -> Lookup<Head> {
        self.heads.get(stream).map_err(LookupError::Heads)
    }

    /// The stream's head as a reader at `visible` sees it.
    pub(crate) fn head_at(&self, stream: &str, visible: u64) -> Lookup<Head> {
        self.limit_head(self.head(stream)?, stream, visible)
    }

    /// Takes a head back to what was there at `visible`.
    pub(crate) fn limit_head(&self, mut head: Head, stream: &str, visible: u64) -> Lookup<Head> {
        while head.last_position > visible {
            let previous = self.previous_position(stream, head)?;
            if previous >= head.last_position || head.version == 0 {
                return Err(LookupError::Heads(BROKEN_CHAIN));
            }
            head = Head { version: head.version - 1, last_position: previous };
        }
        Ok(head)
    }

    fn previous_position(&self, stream: &str, head: Head) -> Lookup<u64> {
        if let Some(ordinal) = self.active.index.ordinal(head.last_position) {
            return self.active.index.previous(ordinal).map_err(LookupError::Heads);
        }
        let Some(part) = self.part_of(head.last_position) else {
            return Ok(0);
        };
        let ordinal = head.last_position - part.segment.base_position;
        match &part.index {
            PartIndex::Frozen { index, .. } => {
                let previous = index.previous(usize::try_from(ordinal).unwrap_or(usize::MAX));
                previous.map_err(LookupError::Heads)
            }
            PartIndex::Sealed(index) => {
                let entry = index.stream_entry(stream).map_err(|_| part.damaged())?;
                let entry = entry.ok_or_else(|| part.damaged())?;
                let place = head.version.checked_sub(entry.first_version);
                let place = place.and_then(|place| u32::try_from(place).ok());
                let place = place.ok_or_else(|| part.damaged())?;
                let places = place.saturating_sub(1)..place.saturating_add(1);
                let found = index.stream_ordinals(&entry, places).map_err(|_| part.damaged())?;
                let base = index.base_position();
                let position = |ordinal: &u32| base + u64::from(*ordinal);
                if found.last().map(position) != Some(head.last_position) {
                    return Err(part.damaged());
                }
                Ok(match place {
                    0 => entry.previous_position,
                    _ => found.first().map_or(0, position),
                })
            }
        }
    }

    /// The runs that hold the versions `from..=head.version` of a stream, oldest first.
    pub(crate) fn stream_runs(&self, stream: &str, head: Head, from: u64) -> Lookup<Vec<Run>> {
        let mut runs = Vec::new();
        let (mut version, mut position) = (head.version, head.last_position);
        while version >= from.max(1) && position != 0 {
            let run = if self.active.index.ordinal(position).is_some() {
                chain(&self.active.segment, &self.active.index, version, position, from)?
            } else {
                let part = self.part_of(position);
                let part =
                    part.ok_or(LookupError::Heads(Defect::Invalid("a head lies nowhere")))?;
                match &part.index {
                    PartIndex::Frozen { index, .. } => {
                        chain(&part.segment, index, version, position, from)?
                    }
                    PartIndex::Sealed(index) => {
                        let end = (version, position);
                        let before = self.sealed_runs(part, index, stream, end, from, &mut runs)?;
                        let reached = runs.last().map_or(version, |run| run.first_version);
                        if before >= position {
                            return Err(LookupError::Heads(BROKEN_CHAIN));
                        }
                        (version, position) = (reached - 1, before);
                        continue;
                    }
                }
            };
            if run.0.len() == 0 || run.0.first_version > version || run.1 >= position {
                return Err(LookupError::Heads(BROKEN_CHAIN));
            }
            (version, position) = (run.0.first_version - 1, run.1);
            runs.push(run.0);
        }
        runs.reverse();
        Ok(runs)
    }

    /// The positions of the events that may have this id; to be compared with the records.
    pub(crate) fn id_candidates(&self, id: &[u8; 16]) -> Lookup<Vec<u64>> {
        if let Some(ordinal) = self.active.index.find_id(id).map_err(LookupError::Heads)? {
            return Ok(vec![self.active.segment.base_position + ordinal as u64]);
        }
        let mut found = Vec::new();
        for part in units(&self.parts) {
            match &part.index {
                PartIndex::Frozen { index, .. } => {
                    let base = part.segment.base_position;
                    let ordinal = index.find_id(id).map_err(LookupError::Heads)?;
                    found.extend(ordinal.map(|ordinal| base + ordinal as u64));
                }
                PartIndex::Sealed(index) => {
                    let base = index.base_position();
                    let candidates = index.candidates(id).map_err(|_| part.damaged())?;
                    found.extend(candidates.iter().map(|&ordinal| base + u64::from(ordinal)));
                }
            }
        }
        Ok(found)
    }

    /// The runs that hold the versions from `from` up to `end`, a version and its position, within
    /// what one index covers; newest first. Returns the position of the event before them.
    fn sealed_runs(
        &self,
        part: &Part,
        index: &SealedIndex,
        stream: &str,
        end: (u64, u64),
        from: u64,
        runs: &mut Vec<Run>,
    ) -> Lookup<u64> {
        let entry = index.stream_entry(stream).map_err(|_| part.damaged())?;
        let entry = entry.ok_or_else(|| part.damaged())?;
        // A reader in the past sees only the beginning of the run.
        let (version, position) = end;
        let place = |version: u64| version.checked_sub(entry.first_version);
        let last = place(version).and_then(|last| u32::try_from(last).ok());
        let last = last.ok_or_else(|| part.damaged())?;
        let first = u32::try_from(place(from).unwrap_or(0)).unwrap_or(last).min(last);
        let found = index.stream_ordinals(&entry, first..last.saturating_add(1));
        let found = found.map_err(|_| part.damaged())?;
        let base = index.base_position();
        if found.last().map(|&ordinal| base + u64::from(ordinal)) != Some(position) {
            return Err(part.damaged());
        }
        let mut rest = found.as_slice();
        while let Some(&ordinal) = rest.last() {
            let holder = self.part_of(base + u64::from(ordinal)).ok_or_else(|| part.damaged())?;
            let segment = &holder.segment;
            let shift = segment.base_position.checked_sub(base).and_then(|s| u32::try_from(s).ok());
            let shift = shift.ok_or_else(|| part.damaged())?;
            let (before, own) = rest.split_at(rest.partition_point(|&ordinal| ordinal < shift));
            if own.is_empty() {
                return Err(part.damaged());
            }
            let places = Places::Sealed(own.iter().map(|ordinal| ordinal - shift).collect());
            let first_version = entry.first_version + u64::from(first) + before.len() as u64;
            runs.push(Run { segment: Arc::clone(segment), first_version, places });
            rest = before;
        }
        // Behind a run that was not taken to its beginning nothing is asked for.
        Ok(if first == 0 { entry.previous_position } else { 0 })
    }

    /// Gives an index to the sealed segments that it covers.
    pub(crate) fn share_index(&mut self, index: &Arc<SealedIndex>) {
        for part in Arc::make_mut(&mut self.parts) {
            if index.segments().contains(&part.segment.number()) {
                part.index = PartIndex::Sealed(Arc::clone(index));
            }
        }
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

/// The part that holds a position, if one of these does.
pub(crate) fn part_of(parts: &[Part], position: u64) -> Option<&Part> {
    let behind = parts.partition_point(|part| part.segment.base_position <= position);
    // Segments without events share their base position with the next.
    let part = parts[..behind].iter().rev().find(|part| part.event_count() > 0)?;
    (position < part.segment.base_position + part.event_count()).then_some(part)
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

const BROKEN_CHAIN: Defect = Defect::Invalid("a stream's events do not lead back to its first");

/// Follows a stream back through a segment that is indexed in memory. Also returns the position
/// of the event before the run.
fn chain(
    segment: &Arc<Segment>,
    index: &ActiveIndex,
    mut version: u64,
    mut position: u64,
    from: u64,
) -> Lookup<(Run, u64)> {
    let mut places = Vec::new();
    while version >= from.max(1) {
        let Some(ordinal) = index.ordinal(position) else {
            break;
        };
        let offset = index.offset(ordinal).map_err(LookupError::Heads)?.unwrap_or(0);
        places.push((u32::try_from(ordinal).unwrap_or(u32::MAX), offset));
        let previous = index.previous(ordinal).map_err(LookupError::Heads)?;
        version -= 1;
        // A damaged checkpoint must not lead in circles.
        if previous >= position {
            position = u64::MAX;
            break;
        }
        position = previous;
    }
    places.reverse();
    let places = Places::Known(places);
    Ok((Run { segment: Arc::clone(segment), first_version: version + 1, places }, position))
}
