//! Merges the indexes of neighbouring segments into a level file.
//!
//! The inputs cover adjacent positions, so their lists for a name are concatenated. Each input is
//! walked several times, in order, with a few entries in memory: the memory of a merge does not
//! depend on its size. Must never accept inputs that contradict each other: a stream must continue
//! at the version at which the previous input ends.
//!
//! This module defines the bounds of a level file, its sections and their lengths; [`walk`]
//! iterates over the inputs, and [`write`] writes the sections.

mod records;
mod walk;
mod write;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::contents::IndexContents;
use super::level_file::{LevelWriter, MergeError, Merged, Pace};
use super::sealed::SealedIndex;
use crate::format::container::LEVEL_MAGIC;
use crate::format::hashes::bucket_count;
use crate::format::index_file::{self as layout, filter_len};
use crate::format::level_file::{self, LevelMeta};
use crate::format::{Defect, varint};
use crate::storage::File;

use walk::Key;

/// The maximum number of events of a level file. With more, ids that share the upper half of their
/// hash, the only stored half, would no longer be rare.
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

/// The number of entries between two calls of the pacer while nothing is written.
const PACE_EVERY: u64 = 64 << 10;

/// The sizes that the limits of a level file bound.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct MergeSize {
    events: u64,
    lists: u64,
    names: u64,
}

impl MergeSize {
    /// The sizes of an index, which is opened for it.
    pub(crate) fn of(index: &SealedIndex) -> Result<Self, Defect> {
        let (lists, names) = index.extent()?;
        Ok(Self { lists, names, ..Self::of_events(index) })
    }

    /// The facts about an index that are known without opening it.
    pub(crate) fn of_events(index: &SealedIndex) -> Self {
        Self { events: u64::from(index.event_count()), lists: 0, names: 0 }
    }

    /// The size of an index of this many events with nothing else.
    #[cfg(test)]
    pub(crate) fn events(events: u64) -> Self {
        Self { events, lists: 0, names: 0 }
    }

    /// The sum, if a level file can hold it.
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
    let mut sections = vec![
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
        (layout::HASHES, sizes.streams() as u64 * 8),
        (layout::BUCKETS, bucket_count(sizes.streams()) as u64 * 4),
    ];
    if sizes.records > 0 {
        sections.push((layout::RECORDS, sizes.records));
        sections.push((layout::RECORD_HASHES, sizes.records() as u64 * 8));
        sections.push((layout::RECORD_BUCKETS, bucket_count(sizes.records()) as u64 * 4));
    }
    let mut writer = LevelWriter::new(file, LEVEL_MAGIC, store_id, &sections, pace);
    for whole in [&meta[..], &metas] {
        writer.push(whole)?;
        writer.end_section()?;
    }
    merge.write_entries(&mut writer)?;
    for kind in KINDS {
        merge.for_each_key(kind, |key| writer.push(key.name))?;
    }
    merge.for_each_record(|key, _| writer.push(key.as_bytes()))?;
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
    merge.write_hashes(sizes.streams(), &mut writer)?;
    if sizes.records > 0 {
        merge.write_records(sizes.names - sizes.record_names, &mut writer)?;
        writer.end_section()?;
        merge.write_record_hashes(sizes.records(), &mut writer)?;
    }
    writer.finish()
}

#[derive(Default)]
struct Sizes {
    keys: [u64; 4],
    /// Those of records included.
    names: u64,
    lists: u64,
    /// The section RECORDS, and the bytes of its names.
    records: u64,
    record_names: u64,
}

impl Sizes {
    fn streams(&self) -> usize {
        usize::try_from(self.keys[0]).unwrap_or(usize::MAX) / layout::STREAM_LEN
    }

    fn records(&self) -> usize {
        usize::try_from(self.records).unwrap_or(usize::MAX) / layout::RECORD_LEN
    }

    /// The bytes of the filter over terms, if it is not too large.
    fn term_filter(&self) -> usize {
        let terms: u64 = self.keys.iter().zip(KINDS).map(|(len, kind)| len / kind.1 as u64).sum();
        let terms = terms + self.records() as u64;
        let len = usize::try_from(terms).map_or(usize::MAX, filter_len);
        if len <= level_file::MAX_TERM_FILTER { len } else { 0 }
    }
}

fn input(at: usize) -> impl Fn(Defect) -> MergeError {
    move |defect| MergeError::Input { at, defect }
}

struct Merge<'a> {
    inputs: Vec<&'a IndexContents>,
    /// The ordinal in the written file of an input's first event.
    bases: Vec<u32>,
    events: u32,
}

impl<'a> Merge<'a> {
    fn new(inputs: &'a [Arc<SealedIndex>]) -> Merged<Self> {
        let mut extent = MergeSize::default();
        let mut bases = Vec::with_capacity(inputs.len());
        let mut opened = Vec::with_capacity(inputs.len());
        let mut events = 0_u32;
        for (at, index) in inputs.iter().enumerate() {
            let first = &inputs[0];
            let follows =
                at == 0 || inputs[at - 1].segments().end() + 1 == *index.segments().start();
            if !follows || index.base_position() != first.base_position() + u64::from(events) {
                return Err(input(at)(Defect::Invalid("it is not adjacent to the next one")));
            }
            extent = extent
                .with(MergeSize::of(index).map_err(input(at))?)
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

    /// The length of the section CHANGES and the number of changes: those of each input after those
    /// of its predecessor, whose numbers they continue.
    fn changes(&self) -> Merged<(u64, u64)> {
        let (mut len, mut next, mut count) = (0, None, 0);
        for (at, index) in self.inputs.iter().enumerate() {
            let Some((first, changes)) = index.changes().map_err(input(at))? else { continue };
            if *next.get_or_insert(first) != first {
                return Err(input(at)(Defect::Invalid(
                    "the change before its first one is missing",
                )));
            }
            let own = index.for_each_change(|_, _| {}).map_err(input(at))?;
            next = Some(first.saturating_add(own));
            len += changes.len() as u64;
            count += own;
        }
        Ok((if count > 0 { len + 8 } else { 0 }, count))
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
        self.for_each_record(|key, _| {
            sizes.records += layout::RECORD_LEN as u64;
            sizes.record_names += key.len() as u64;
            Ok(())
        })?;
        sizes.names += sizes.record_names;
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
}

#[cfg(test)]
mod tests;
