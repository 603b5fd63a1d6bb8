//! Iterates over the contents of a merge's inputs, in the order of the level file.
//!
//! Owns the order of names, ordinals and ids over all inputs, and the check that the inputs agree.
//! Must never hold more than an entry of each input, or a piece of its ids.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{Merge, input};
use crate::format::Defect;
use crate::format::index_file::{self as layout, StreamEntry, TermEntry};
use crate::index::level_file::Merged;

/// The size of a read of the sorted ids.
const IDS_PIECE: usize = 512;

/// A name, and its place in each input that has it.
pub(super) struct Key<'a> {
    pub(super) name: &'a [u8],
    pub(super) members: Vec<(usize, StreamEntry)>,
}

impl Key<'_> {
    pub(super) fn count(&self) -> u32 {
        // At most the number of events.
        self.members.iter().map(|(_, entry)| entry.count).fold(0, u32::saturating_add)
    }
}

impl<'a> Merge<'a> {
    /// Calls `each` with every name of a kind, in order.
    pub(super) fn for_each_key(
        &self,
        kind: (u32, usize),
        mut each: impl FnMut(&Key<'a>) -> Merged<()>,
    ) -> Merged<()> {
        let mut heap = BinaryHeap::with_capacity(self.inputs.len());
        let mut next = vec![0_usize; self.inputs.len()];
        for at in 0..self.inputs.len() {
            heap.extend(self.take_key(kind, at, &mut next)?.map(Reverse));
        }
        let mut key = Key { name: &[], members: Vec::new() };
        while let Some(Reverse((name, at, entry_at))) = heap.pop() {
            if name != key.name && !key.members.is_empty() {
                self.check(&key)?;
                each(&key)?;
                key.members.clear();
            }
            key.name = name;
            key.members.push((at, self.entry(kind, at, entry_at)?));
            heap.extend(self.take_key(kind, at, &mut next)?.map(Reverse));
        }
        if key.members.is_empty() {
            return Ok(());
        }
        self.check(&key)?;
        each(&key)
    }

    /// The next name of an input: sorted by name, then by input.
    fn take_key(
        &self,
        kind: (u32, usize),
        at: usize,
        next: &mut [usize],
    ) -> Merged<Option<(&'a [u8], usize, usize)>> {
        let index = &self.inputs[at];
        let place = next[at];
        if place >= index.section(kind.0).count(kind.1) {
            return Ok(None);
        }
        next[at] += 1;
        let entry = self.entry(kind, at, place)?;
        let name = index.name(entry.name_offset, entry.name_len).map_err(input(at))?;
        Ok(Some((name, at, place)))
    }

    fn entry(&self, kind: (u32, usize), at: usize, place: usize) -> Merged<StreamEntry> {
        let index = &self.inputs[at];
        let section = index.section(kind.0);
        let offset = (place as u64).saturating_mul(kind.1 as u64);
        let bytes = index.bytes(section, offset, kind.1).map_err(input(at))?;
        if kind.0 == layout::STREAMS {
            return StreamEntry::decode(bytes).map_err(input(at));
        }
        let term = TermEntry::decode(bytes).map_err(input(at))?;
        Ok(StreamEntry {
            name_offset: term.name_offset,
            name_len: term.name_len,
            count: term.count,
            list_offset: term.list_offset,
            first_version: 0,
            previous_position: 0,
        })
    }

    /// Checks that a stream continues in each input at the version at which the previous one ends.
    fn check(&self, key: &Key<'_>) -> Merged<()> {
        for pair in key.members.windows(2) {
            let [(before_at, before), (at, entry)] = pair else { continue };
            if at <= before_at {
                return Err(input(*at)(Defect::Invalid("its names are not sorted")));
            }
            // Terms have no versions.
            if entry.first_version == 0 {
                continue;
            }
            let last = self.inputs[*before_at].last_position(before).map_err(input(*before_at))?;
            if entry.first_version != before.first_version.saturating_add(before.count.into())
                || entry.previous_position != last
            {
                return Err(input(*at)(Defect::Invalid("a stream does not continue in it")));
            }
        }
        Ok(())
    }

    /// Calls `each` with the differences of a merged list, and the ordinal before each.
    pub(super) fn for_each_step(
        &self,
        key: &Key<'_>,
        mut each: impl FnMut(u32, u32) -> Merged<()>,
    ) -> Merged<()> {
        let mut before = 0_u32;
        for (at, entry) in &key.members {
            let list = self.inputs[*at].list(entry.list_offset, entry.count).map_err(input(*at))?;
            let mut outcome = Ok(());
            let walked = list.for_each(|ordinal| {
                // Less than the sum of all events, which has 28 bits.
                let ordinal = self.bases[*at] + ordinal;
                outcome = each(ordinal.saturating_sub(before), before);
                before = ordinal;
                outcome.is_ok()
            });
            outcome?;
            walked.map_err(input(*at))?;
        }
        Ok(())
    }

    /// Calls `each` with the entries of IDS, in order.
    pub(super) fn for_each_id(&self, mut each: impl FnMut(u64) -> Merged<()>) -> Merged<()> {
        let mut heap = BinaryHeap::with_capacity(self.inputs.len());
        let mut cursors: Vec<Ids> = self.inputs.iter().map(|_| Ids::default()).collect();
        for (at, cursor) in cursors.iter_mut().enumerate() {
            heap.extend(self.take_id(at, cursor)?.map(|id| Reverse((id, at))));
        }
        while let Some(Reverse((id, at))) = heap.pop() {
            each(id)?;
            heap.extend(self.take_id(at, &mut cursors[at])?.map(|id| Reverse((id, at))));
        }
        Ok(())
    }

    fn take_id(&self, at: usize, ids: &mut Ids) -> Merged<Option<u64>> {
        let index = &self.inputs[at];
        if ids.piece.is_empty() {
            let section = index.section(layout::IDS);
            let left = section.count(8).saturating_sub(ids.next).min(IDS_PIECE);
            if left == 0 {
                let all = ids.next == index.event_count() as usize;
                let missing = || input(at)(Defect::Invalid("an id is missing from it"));
                return if all { Ok(None) } else { Err(missing()) };
            }
            let offset = ids.next as u64 * 8;
            let bytes = index.bytes(section, offset, left * 8).map_err(input(at))?;
            ids.piece.extend(bytes.chunks_exact(8).rev().map(LE::read_u64));
            ids.next += left;
        }
        let Some(id) = ids.piece.pop() else { return Ok(None) };
        let ordinal = u32::try_from(id & 0xFFFF_FFFF).unwrap_or(u32::MAX);
        if id < ids.last || ordinal >= index.event_count() {
            return Err(input(at)(Defect::Invalid("its ids are not sorted")));
        }
        ids.last = id;
        Ok(Some(id + u64::from(self.bases[at])))
    }
}

#[derive(Default)]
struct Ids {
    next: usize,
    last: u64,
    /// Reversed, so that the next one is the last.
    piece: Vec<u64>,
}
