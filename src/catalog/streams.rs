//! Finds the events of a stream: from its head back to any version, skipping the segments between.
//!
//! Within one index a version is found in logarithmic steps; between two, each index that holds events
//! of the stream costs a look at its entry. Nothing collects more places than were asked for.

use std::sync::Arc;

use super::{ActivePart, Begun, Catalog, Lookup, LookupError, Part, PartIndex, damaged, part_of};
use crate::error::Result;
use crate::format::Defect;
use crate::format::index_file::StreamEntry;
use crate::index::Head;
use crate::index::active::ActiveIndex;
use crate::index::jumps;
use crate::index::sealed::SealedIndex;
use crate::log::segment::Segment;

const BROKEN_CHAIN: Defect =
    Defect::Invalid("the chain of a stream's events does not reach its first event");

/// Some of a stream's events, one after the other within one segment.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) segment: Arc<Segment>,
    pub(crate) first_version: u64,
    /// The offset of each record if the index holds it, otherwise its ordinal to look up.
    places: Places,
}

#[derive(Debug, Clone)]
enum Places {
    /// `(ordinal, offset)`
    Known(Vec<(u32, u32)>),
    /// Ordinals of a sealed segment.
    Sealed(Vec<u32>),
}

/// The result of one step back from one of a stream's events.
#[derive(Debug)]
pub(crate) enum Reached {
    /// The events that were asked for, as far as the same index has them, oldest first.
    Runs(Vec<Run>),
    /// The index holds no event that old: the search continues from this one.
    Before(Head),
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        match &self.places {
            Places::Known(places) => places.len(),
            Places::Sealed(ordinals) => ordinals.len(),
        }
    }

    /// Announces that [`Run::place`] will be called for `index`, which is in this run.
    pub(crate) fn prefetch_place(&self, index: usize) {
        if let Places::Sealed(ordinals) = &self.places {
            self.segment.prefetch_offset(ordinals[index]);
        }
    }

    /// The version after the last one of this run.
    pub(crate) fn end_version(&self) -> u64 {
        self.first_version + self.len() as u64
    }

    /// The index in this run of a version that is not before it, or after its end.
    pub(crate) fn index(&self, version: u64) -> usize {
        usize::try_from(version.saturating_sub(self.first_version))
            .unwrap_or(usize::MAX)
            .min(self.len())
    }

    /// The position and offset of the event at `index` in this run.
    #[inline]
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

/// The index that holds an event.
enum Holder<'a> {
    Memory(&'a Arc<Segment>, &'a ActiveIndex),
    File(&'a Arc<SealedIndex>),
}

impl Catalog {
    /// The stream's head as a reader at `visible` sees it; goes on with [`limit_head_in`], from the head
    /// after the parts if none is given.
    pub(crate) fn head_at(&self, stream: &str, visible: u64) -> Lookup<Begun<Head, Option<Head>>> {
        Ok(match self.head(stream)? {
            Begun::Done(head) => match self.limit_head(head, visible)? {
                Begun::Done(head) => Begun::Done(head),
                Begun::InParts(parts, head) => Begun::InParts(parts, Some(head)),
            },
            Begun::InParts(parts, ()) => Begun::InParts(parts, None),
        })
    }

    /// Replaces a head by the one at `visible`; goes on with [`limit_head_in`].
    pub(crate) fn limit_head(&self, mut head: Head, visible: u64) -> Lookup<Begun<Head, Head>> {
        while head.last_position > visible {
            if self.active.index.ordinal(head.last_position).is_none() {
                return Ok(self.in_parts(head));
            }
            let before = newest_in_memory(&self.active.index, head, visible)?;
            check_step(head, before)?;
            head = before;
        }
        Ok(Begun::Done(head))
    }

    /// Goes back from `end`, one of the stream's events, to the version `wanted` as far as the index
    /// goes that holds `end`. If that has it: the events of the versions `from` to `to`, between which
    /// it lies, that this index has. Goes on with [`reach_in`].
    pub(crate) fn reach(
        &self,
        end: Head,
        wanted: u64,
        (from, to): (u64, u64),
    ) -> Lookup<Begun<Reached>> {
        let ActivePart { segment, index, .. } = &self.active;
        if index.ordinal(end.last_position).is_none() {
            return Ok(self.in_parts(()));
        }
        let to = to.min(end.version);
        let reached = reach_in_memory(segment, index, end, wanted, (from, to))?;
        check_reached(end, reached).map(Begun::Done)
    }
}

/// [`Catalog::limit_head`] in parts.
pub(crate) fn limit_head_in(
    parts: &[Part],
    stream: &str,
    mut head: Head,
    visible: u64,
) -> Lookup<Head> {
    while head.last_position > visible {
        let before = match holder(parts, head)? {
            Holder::Memory(_, index) => newest_in_memory(index, head, visible)?,
            Holder::File(index) => {
                newest_in_file(index, stream, head, visible).map_err(|_| damaged(index))?
            }
        };
        check_step(head, before)?;
        head = before;
    }
    Ok(head)
}

/// [`Catalog::reach`] in parts.
pub(crate) fn reach_in(
    parts: &[Part],
    stream: &str,
    end: Head,
    wanted: u64,
    (from, to): (u64, u64),
) -> Lookup<Reached> {
    let to = to.min(end.version);
    let reached = match holder(parts, end)? {
        Holder::Memory(segment, index) => reach_in_memory(segment, index, end, wanted, (from, to))?,
        Holder::File(index) => {
            let entry = index.stream_entry(stream).map_err(|_| damaged(index))?;
            let entry = entry.ok_or_else(|| damaged(index))?;
            if wanted < entry.first_version {
                Reached::Before(head_before(&entry))
            } else {
                let from = from.max(entry.first_version);
                Reached::Runs(runs_in_file(parts, index, &entry, end, (from, to))?)
            }
        }
    };
    check_reached(end, reached)
}

fn check_reached(end: Head, reached: Reached) -> Lookup<Reached> {
    if let Reached::Before(before) = reached {
        check_step(end, before)?;
    }
    Ok(reached)
}

fn holder(parts: &[Part], end: Head) -> Lookup<Holder<'_>> {
    let part = part_of(parts, end.last_position);
    let part = part.ok_or(LookupError::Heads(Defect::Invalid(
        "no segment holds the last event of a stream",
    )))?;
    Ok(match &part.index {
        PartIndex::Frozen { index, .. } => Holder::Memory(&part.segment, index),
        PartIndex::Sealed(index) => Holder::File(index),
    })
}

/// The runs of the versions `from` to `to`, which one index holds, oldest first.
fn runs_in_file(
    parts: &[Part],
    index: &Arc<SealedIndex>,
    entry: &StreamEntry,
    end: Head,
    (from, to): (u64, u64),
) -> Lookup<Vec<Run>> {
    let failed = || damaged(index);
    let place = |version: u64| {
        let place = version.checked_sub(entry.first_version);
        place.and_then(|place| u32::try_from(place).ok()).ok_or_else(failed)
    };
    let places = place(from)?..place(to)?.saturating_add(1);
    let wanted = places.len();
    let found = index.stream_ordinals(entry, places).map_err(|_| damaged(index))?;
    let base = index.base_position();
    let last = found.last().map(|&ordinal| base + u64::from(ordinal)).ok_or_else(failed)?;
    // The index and the path to it must agree.
    if found.len() != wanted
        || (to == end.version && last != end.last_position)
        || last > end.last_position
    {
        return Err(damaged(index));
    }
    let (mut runs, mut rest) = (Vec::new(), found.as_slice());
    while let Some(&ordinal) = rest.last() {
        let holder = part_of(parts, base + u64::from(ordinal)).ok_or_else(failed)?;
        let segment = &holder.segment;
        let shift = segment.base_position.checked_sub(base).and_then(|s| u32::try_from(s).ok());
        let shift = shift.ok_or_else(failed)?;
        let (before, own) = rest.split_at(rest.partition_point(|&ordinal| ordinal < shift));
        if own.is_empty() {
            return Err(damaged(index));
        }
        let places = Places::Sealed(own.iter().map(|ordinal| ordinal - shift).collect());
        let first_version = from + before.len() as u64;
        runs.push(Run { segment: Arc::clone(segment), first_version, places });
        rest = before;
    }
    runs.reverse();
    Ok(runs)
}

/// An older event of the same stream lies before, and has a smaller version.
fn check_step(from: Head, before: Head) -> Lookup<()> {
    let steps_back = before.version < from.version && before.last_position < from.last_position;
    let is_whole = (before.version == 0) == (before.last_position == 0);
    if steps_back && is_whole { Ok(()) } else { Err(LookupError::Heads(BROKEN_CHAIN)) }
}

/// The stream's head before the first segment of an index.
fn head_before(entry: &StreamEntry) -> Head {
    let version = entry.first_version.saturating_sub(1);
    Head { version, last_position: entry.previous_position }
}

/// The newest event at or before `visible`, which `head` is not, in an index in memory; else the head
/// before that segment.
fn newest_in_memory(index: &ActiveIndex, head: Head, visible: u64) -> Lookup<Head> {
    let member = index.member(head).ok_or(LookupError::Heads(BROKEN_CHAIN))?;
    let is_later = |member| index.head_of(member).last_position > visible;
    let first = jumps::oldest(index, member, is_later).map_err(LookupError::Heads)?;
    index.head_before(first).map_err(LookupError::Heads)
}

/// The newest event of a stream in an index file, as far as a reader may see it.
fn newest_in_file(
    index: &SealedIndex,
    stream: &str,
    head: Head,
    visible: u64,
) -> std::result::Result<Head, Defect> {
    let entry = index.stream_entry(stream)?.ok_or(BROKEN_CHAIN)?;
    let base = index.base_position();
    let Some(limit) = visible.checked_sub(base) else { return Ok(head_before(&entry)) };
    let place = head.version.checked_sub(entry.first_version);
    let place = place.and_then(|place| u32::try_from(place).ok()).ok_or(BROKEN_CHAIN)?;
    let own = index.stream_ordinals(&entry, place..place.saturating_add(1))?;
    if own.first().map(|&ordinal| base + u64::from(ordinal)) != Some(head.last_position) {
        return Err(BROKEN_CHAIN);
    }
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    Ok(match index.last_stream_ordinal(&entry, limit)? {
        Some((place, ordinal)) => Head {
            version: entry.first_version + u64::from(place),
            last_position: base + u64::from(ordinal),
        },
        None => head_before(&entry),
    })
}

/// [`Catalog::reach`] in a segment that is indexed in memory.
fn reach_in_memory(
    segment: &Arc<Segment>,
    index: &ActiveIndex,
    end: Head,
    wanted: u64,
    (from, to): (u64, u64),
) -> Lookup<Reached> {
    let member = index.member(end).ok_or(LookupError::Heads(BROKEN_CHAIN))?;
    let reach = |member: jumps::Member| member.depth >= to;
    let newest = jumps::oldest(index, member, reach).map_err(LookupError::Heads)?;
    let (depth, places) = if newest.depth == to {
        let offset = |node: u32| Ok(index.offset(node as usize)?.unwrap_or(0));
        jumps::back_to(index, newest, from, offset).map_err(LookupError::Heads)?
    } else {
        (newest.depth, Vec::new())
    };
    if depth > wanted {
        let node = places.first().map_or(newest.node, |&(node, _)| node);
        let oldest = jumps::Member { node, depth };
        return Ok(Reached::Before(index.head_before(oldest).map_err(LookupError::Heads)?));
    }
    let (segment, places) = (Arc::clone(segment), Places::Known(places));
    Ok(Reached::Runs(vec![Run { segment, first_version: depth, places }]))
}
