//! Merges the indexes of neighbouring segments into a level file.
//!
//! The inputs follow each other, so what they list for a name is put one behind the other. Each is
//! walked several times, in order, and nothing is held but a few entries: what a merge costs in
//! memory does not depend on what it merges. Must never take inputs that contradict each other: a
//! stream has to go on where the input before leaves it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::contents::Contents;
use super::level_file::{LevelWriter, MergeError, Merged, Pace};
use super::sealed::SealedIndex;
use crate::format::index_file::{
    self as layout, FILTER_BLOCK, StreamEntry, TermEntry, filter_add, filter_bits, filter_len,
    hash_term,
};
use crate::format::level_file::{self, CHUNK, LevelMeta, Skip};
use crate::format::{Defect, varint};
use crate::storage::File;

/// A level file holds at most so many events: with more, ids that share the upper half of their
/// hash, which is all that is kept of it, would no longer be rare.
pub(crate) const MAX_EVENTS: u64 = 1 << 28;
/// Offsets of names and lists have 32 bits. A list's first difference can grow from one byte to five
/// when it is merged.
const MAX_LISTS: u64 = 768 << 20;
const MAX_NAMES: u64 = 3 << 30;

/// The sections that have entries with names, in the order of their names and lists.
const KINDS: [(u32, usize); 4] = [
    (layout::STREAMS, layout::STREAM_LEN),
    (layout::TYPES, layout::TERM_LEN),
    (layout::TAGS, layout::TERM_LEN),
    (layout::CATEGORIES, layout::TERM_LEN),
];

/// Read at a time of the sorted ids.
const IDS_PIECE: usize = 512;
/// Written at a time of what is there as a whole.
const PIECE: usize = 16 << 10;
/// So much is looked at between two calls of the pacer while nothing is written.
const PACE_EVERY: u64 = 64 << 10;

/// What counts against the limits of a level file.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Extent {
    events: u64,
    lists: u64,
    names: u64,
}

impl Extent {
    /// Of an index, which is opened for it.
    pub(crate) fn of(index: &SealedIndex) -> Result<Self, Defect> {
        let (lists, names) = index.extent()?;
        Ok(Self { lists, names, ..Self::of_events(index) })
    }

    /// As far as it is known without opening it.
    pub(crate) fn of_events(index: &SealedIndex) -> Self {
        Self { events: u64::from(index.event_count()), lists: 0, names: 0 }
    }

    /// Both together, if a level file can hold them.
    pub(crate) fn with(self, other: Self) -> Option<Self> {
        let sum = Self {
            events: self.events.saturating_add(other.events),
            lists: self.lists.saturating_add(other.lists),
            names: self.names.saturating_add(other.names),
        };
        let fits = sum.events <= MAX_EVENTS && sum.lists <= MAX_LISTS && sum.names <= MAX_NAMES;
        fits.then_some(sum)
    }
}

/// Writes the level file of `inputs`, which are neighbours, oldest first, and makes its contents
/// durable.
pub(crate) fn merge(
    inputs: &[Arc<SealedIndex>],
    store_id: [u8; 16],
    file: &dyn File,
    pace: &mut Pace<'_>,
) -> Merged<()> {
    let merge = Merge::new(inputs)?;
    let metas = merge.metas()?;
    let (changes_len, change_count) = merge.changes()?;
    let meta = merge.meta(inputs, change_count).encode();
    let sizes = merge.sizes(pace)?;
    if sizes.names > u64::from(u32::MAX) || sizes.lists > u64::from(u32::MAX) {
        return Err(input(0)(Defect::Invalid("too large for a level file")));
    }
    let ids = merge.events as usize;
    let filter_len = filter_len(ids);
    let [streams, types, tags, categories] = sizes.keys;
    let sections = [
        (layout::META, meta.len() as u64),
        (level_file::SEGMENTS, metas.len() as u64),
        (layout::STREAMS, streams),
        (layout::TYPES, types),
        (layout::TAGS, tags),
        (layout::CATEGORIES, categories),
        (layout::NAMES, sizes.names),
        (layout::LISTS, sizes.lists),
        (layout::IDS, ids as u64 * 8),
        (layout::FILTER, filter_len as u64),
        (layout::CHANGES, changes_len),
        (layout::TERM_FILTER, sizes.term_filter() as u64),
    ];
    let mut writer = LevelWriter::new(file, store_id, &sections, pace);
    for whole in [&meta[..], &metas] {
        writer.push(whole)?;
        writer.end_section()?;
    }
    merge.write_entries(&mut writer)?;
    for kind in KINDS {
        merge.for_each_key(kind, |key| writer.push(key.name))?;
    }
    writer.end_section()?;
    for kind in KINDS {
        merge.for_each_key(kind, |key| merge.write_list(key, &mut writer))?;
    }
    writer.end_section()?;
    merge.for_each_id(|entry| writer.push(&entry.to_le_bytes()))?;
    writer.end_section()?;
    merge.write_filter(filter_len, &mut writer)?;
    writer.end_section()?;
    merge.write_changes(&mut writer)?;
    writer.end_section()?;
    merge.write_term_filter(sizes.term_filter(), &mut writer)?;
    writer.end_section()?;
    writer.finish()
}

#[derive(Default)]
struct Sizes {
    keys: [u64; 4],
    names: u64,
    lists: u64,
}

impl Sizes {
    /// The bytes of the filter over terms, if it is not too large.
    fn term_filter(&self) -> usize {
        let terms: u64 = self.keys.iter().zip(KINDS).map(|(len, kind)| len / kind.1 as u64).sum();
        let len = usize::try_from(terms).map_or(usize::MAX, filter_len);
        if len <= level_file::MAX_TERM_FILTER { len } else { 0 }
    }
}

/// A name, and where the inputs that know it have it.
struct Key<'a> {
    name: &'a [u8],
    members: Vec<(usize, StreamEntry)>,
}

impl Key<'_> {
    fn count(&self) -> u32 {
        // No more than all events.
        self.members.iter().map(|(_, entry)| entry.count).fold(0, u32::saturating_add)
    }
}

fn input(at: usize) -> impl Fn(Defect) -> MergeError {
    move |defect| MergeError::Input { at, defect }
}

struct Merge<'a> {
    inputs: Vec<&'a Contents>,
    /// What an input's ordinals begin at in the file that is written.
    bases: Vec<u32>,
    events: u32,
}

impl<'a> Merge<'a> {
    fn new(inputs: &'a [Arc<SealedIndex>]) -> Merged<Self> {
        let mut extent = Extent::default();
        let mut bases = Vec::with_capacity(inputs.len());
        let mut opened = Vec::with_capacity(inputs.len());
        let mut events = 0_u32;
        for (at, index) in inputs.iter().enumerate() {
            let first = &inputs[0];
            let follows =
                at == 0 || inputs[at - 1].segments().end() + 1 == *index.segments().start();
            if !follows || index.base_position() != first.base_position() + u64::from(events) {
                return Err(input(at)(Defect::Invalid("it is not the next one's neighbour")));
            }
            extent = extent
                .with(Extent::of(index).map_err(input(at))?)
                .ok_or_else(|| input(at)(Defect::Invalid("too large for a level file")))?;
            bases.push(events);
            opened.push(index.contents().map_err(input(at))?);
            events += index.event_count();
        }
        Ok(Self { inputs: opened, bases, events })
    }

    fn meta(&self, inputs: &[Arc<SealedIndex>], change_count: u64) -> LevelMeta {
        LevelMeta {
            first_segment: *inputs[0].segments().start(),
            last_segment: *inputs[inputs.len() - 1].segments().end(),
            base_position: inputs[0].base_position(),
            event_count: self.events,
            level: self.inputs.iter().map(|i| i.level()).max().unwrap_or(0).saturating_add(1),
            change_count,
        }
    }

    fn metas(&self) -> Merged<Vec<u8>> {
        let mut metas = Vec::new();
        for (at, index) in self.inputs.iter().enumerate() {
            metas.extend_from_slice(index.metas().map_err(input(at))?);
        }
        Ok(metas)
    }

    /// The length of the section CHANGES and how many there are: each input's behind those of the one
    /// before, whose numbers they continue.
    fn changes(&self) -> Merged<(u64, u64)> {
        let (mut len, mut next, mut count) = (0, None, 0);
        for (at, index) in self.inputs.iter().enumerate() {
            let Some((first, changes)) = index.changes().map_err(input(at))? else { continue };
            if *next.get_or_insert(first) != first {
                return Err(input(at)(Defect::Invalid("a change is missing before it")));
            }
            let own = index.for_each_change(|_, _| {}).map_err(input(at))?;
            next = Some(first.saturating_add(own));
            len += changes.len() as u64;
            count += own;
        }
        Ok((if count > 0 { len + 8 } else { 0 }, count))
    }

    fn write_changes(&self, writer: &mut LevelWriter<'_>) -> Merged<()> {
        let mut begun = false;
        for (at, index) in self.inputs.iter().enumerate() {
            let Some((first, changes)) = index.changes().map_err(input(at))? else { continue };
            if !std::mem::replace(&mut begun, true) {
                writer.push(&first.to_le_bytes())?;
            }
            for piece in changes.chunks(PIECE) {
                writer.push(piece)?;
            }
        }
        Ok(())
    }

    /// Calls `each` with every name of a kind, in order.
    fn for_each_key(
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

    /// Whether a stream goes on in each input where the one before leaves it.
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
                return Err(input(*at)(Defect::Invalid("a stream does not go on in it")));
            }
        }
        Ok(())
    }

    /// Calls `each` with the differences of a merged list, and the ordinal before each.
    fn for_each_step(
        &self,
        key: &Key<'_>,
        mut each: impl FnMut(u32, u32) -> Merged<()>,
    ) -> Merged<()> {
        let mut before = 0_u32;
        for (at, entry) in &key.members {
            let list = self.inputs[*at].list(entry.list_offset, entry.count).map_err(input(*at))?;
            let mut outcome = Ok(());
            let walked = list.for_each(|ordinal| {
                // Below the sum of all events, which has 28 bits.
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

    fn sizes(&self, pace: &mut Pace<'_>) -> Merged<Sizes> {
        let (mut sizes, mut unpaced) = (Sizes::default(), 0);
        for (at, kind) in KINDS.iter().enumerate() {
            self.for_each_key(*kind, |key| {
                let list = self.list_len(key)?;
                sizes.keys[at] += kind.1 as u64;
                sizes.names += key.name.len() as u64;
                sizes.lists += list;
                unpaced += kind.1 as u64 + list;
                if unpaced < PACE_EVERY {
                    return Ok(());
                }
                unpaced = 0;
                match pace(0) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(MergeError::Stopped),
                }
            })?;
        }
        Ok(sizes)
    }

    fn list_len(&self, key: &Key<'_>) -> Merged<u64> {
        let mut len = level_file::table_len(key.count()) as u64;
        self.for_each_step(key, |step, _| {
            len += u64::from(varint::len(step));
            Ok(())
        })?;
        Ok(len)
    }

    fn write_entries(&self, writer: &mut LevelWriter<'_>) -> Merged<()> {
        let (mut names, mut lists) = (0_u32, 0_u32);
        let mut bytes = Vec::new();
        for kind in KINDS {
            self.for_each_key(kind, |key| {
                bytes.clear();
                let (_, first) = &key.members[0];
                let entry = StreamEntry {
                    name_offset: names,
                    count: key.count(),
                    list_offset: lists,
                    ..*first
                };
                entry.encode(&mut bytes);
                writer.push(&bytes[..kind.1])?;
                // All of it was added up before, and fits.
                names = names.saturating_add(u32::from(entry.name_len));
                let list = u32::try_from(self.list_len(key)?).unwrap_or(u32::MAX);
                lists = lists.saturating_add(list);
                Ok(())
            })?;
            writer.end_section()?;
        }
        Ok(())
    }

    fn write_list(&self, key: &Key<'_>, writer: &mut LevelWriter<'_>) -> Merged<()> {
        if key.count() > CHUNK {
            let (mut place, mut offset) = (0_u32, 0_u32);
            self.for_each_step(key, |step, before| {
                if place > 0 && place.is_multiple_of(CHUNK) {
                    writer.push(&Skip { before, offset }.encode())?;
                }
                place += 1;
                offset = offset.saturating_add(varint::len(step));
                Ok(())
            })?;
        }
        let mut coded = Vec::with_capacity(5);
        self.for_each_step(key, |step, _| {
            coded.clear();
            varint::put(&mut coded, step);
            writer.push(&coded)
        })
    }

    /// Calls `each` with the entries of IDS, in order.
    fn for_each_id(&self, mut each: impl FnMut(u64) -> Merged<()>) -> Merged<()> {
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
                let missing = || input(at)(Defect::Invalid("it does not hold every id"));
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

    /// Its blocks lie in the order of IDS, so one is held at a time.
    fn write_filter(&self, filter_len: usize, writer: &mut LevelWriter<'_>) -> Merged<()> {
        if filter_len == 0 {
            return Ok(());
        }
        let (mut block, mut at) = ([0_u8; FILTER_BLOCK], 0);
        self.for_each_id(|id| {
            let wanted = level_file::filter_block(id, filter_len);
            while at < wanted {
                writer.push(&block)?;
                (block, at) = ([0; FILTER_BLOCK], at + FILTER_BLOCK);
            }
            for bit in filter_bits(level_file::filter_hash(id)) {
                block[bit / 8] |= 1 << (bit % 8);
            }
            Ok(())
        })?;
        while at < filter_len {
            writer.push(&block)?;
            (block, at) = ([0; FILTER_BLOCK], at + FILTER_BLOCK);
        }
        Ok(())
    }
}

impl Merge<'_> {
    fn write_term_filter(&self, len: usize, writer: &mut LevelWriter<'_>) -> Merged<()> {
        if len == 0 {
            return Ok(());
        }
        let (mut filter, mut unpaced) = (vec![0; len], 0);
        for kind in KINDS {
            self.for_each_key(kind, |key| {
                let name = std::str::from_utf8(key.name)
                    .map_err(|_| input(key.members[0].0)(Defect::Invalid("a name is not UTF-8")))?;
                filter_add(&mut filter, hash_term(kind.0, name));
                unpaced += kind.1 as u64;
                if unpaced < PACE_EVERY {
                    return Ok(());
                }
                unpaced = 0;
                writer.pause()
            })?;
        }
        filter.chunks(PIECE).try_for_each(|piece| writer.push(piece))
    }
}

#[derive(Default)]
struct Ids {
    next: usize,
    last: u64,
    /// The next one last.
    piece: Vec<u64>,
}

#[cfg(test)]
mod tests;
