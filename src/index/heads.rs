//! The heads of the streams that have events in one segment that is not sealed: version and last position.
//!
//! Two layers, newest first: an overlay that appends write to, and the mapped table of the checkpoint
//! that ends in the segment, if there is one. The head of any other stream is in the newest index before
//! that has the stream. When a segment is full, its heads stay with it until it is sealed and its index
//! file has them; nothing is copied, so appends do not stall.

mod copy;

use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};
use hashbrown::HashTable;
use smol_str::SmolStr;

pub(crate) use self::copy::HeadsCopy;
use super::block_file::{BlockFile, Reads};
use super::hashes::HashSections;
use super::jumps::Steps;
use super::metadata::Metadata;
use super::names::NameRange;
use super::record_table::{Match, RecordKey, RecordTable};
use super::records::PageStart;
use super::{Head, search_names};
use crate::format::checkpoint::{self as layout, CheckpointMeta, HeadEntry, SegmentEntry};
use crate::format::container::Section;
use crate::format::index_file::{STREAMS, hash_term};
use crate::format::metadata::RecordEntry;
use crate::format::{Defect, MAX_NUMBER};

/// Heads in memory. A version of 0 hides what is older: the stream does not exist.
#[derive(Debug, Default)]
struct Overlay {
    table: HashTable<u32>,
    /// Names of up to 23 bytes are stored inline, which saves a cache miss per look-up.
    entries: Vec<Entry>,
    hasher: foldhash::fast::RandomState,
}

/// A stream in memory: a cache line, so that an append touches one.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    name: SmolStr,
    head: Head,
    /// Of the head in the active index.
    steps: Steps,
}

/// The place of a stream's head; valid until the segment is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    hash: u64,
    /// The place in the overlay, if it has the stream.
    place: Option<u32>,
    head: Head,
}

/// What was found of a stream before its slot is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    hash: u64,
    place: Option<u32>,
}

impl Slot {
    /// The head; version 0 if there is no such stream.
    pub(crate) fn head(self) -> Head {
        self.head
    }
}

impl Overlay {
    fn place(&self, hash: u64, name: &str) -> Option<u32> {
        self.table.find(hash, |&slot| *self.entries[slot as usize].name == *name).copied()
    }

    fn insert(&mut self, hash: u64, name: &str, head: Head, steps: Steps) {
        let Self { table, entries, hasher } = self;
        // 2^32 streams between two checkpoints would need hundreds of gigabytes of log.
        let place = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        entries.push(Entry { name: SmolStr::new(name), head, steps });
        table.insert_unique(hash, place, |&place| hasher.hash_one(&*entries[place as usize].name));
    }
}

/// The heads of a checkpoint, mapped.
#[derive(Debug)]
pub(crate) struct HeadTable {
    file: BlockFile,
    heads: Section,
    names: Section,
    hashes: HashSections,
    records: RecordTable,
    pub(crate) meta: CheckpointMeta,
    /// The number of its file; 0 if it is in no file.
    pub(crate) number: u64,
}

impl HeadTable {
    pub(crate) fn new(file: BlockFile) -> Result<Self, Defect> {
        let section = file.section(layout::META);
        let meta = CheckpointMeta::decode(file.get(section, 0, layout::META_LEN)?)?;
        let (heads, names) = (file.section(layout::HEADS), file.section(layout::NAMES));
        let hashes = HashSections::of(&file, layout::HASHES, layout::BUCKETS);
        let records = RecordTable::of_checkpoint(&file);
        // A writer beside this reader removes a checkpoint when it has written two newer ones.
        if let Some(handle) = file.mapped_from() {
            handle.keep_open(true);
        }
        Ok(Self { file, heads, names, hashes, records, meta, number: 0 })
    }

    pub(crate) fn file(&self) -> &BlockFile {
        &self.file
    }

    /// The bytes of the section METADATA.
    pub(crate) fn metadata_bytes(&self) -> Result<&[u8], Defect> {
        let section = self.file.section(layout::METADATA);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        self.file.get(section, 0, len)
    }

    /// The bytes of the section CURSOR TIMES.
    pub(crate) fn cursor_times(&self) -> Result<&[u8], Defect> {
        let section = self.file.section(layout::CURSOR_TIMES);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        self.file.get(section, 0, len)
    }

    /// The cursors and rules at the checkpoint, and the changes in the segment that it names.
    pub(crate) fn metadata(&self) -> Result<(Metadata, u64), Defect> {
        let bytes = self.metadata_bytes()?;
        if bytes.is_empty() {
            return Ok((Metadata::default(), 0));
        }
        let (header, changes) =
            bytes.split_at_checked(layout::METADATA_HEADER_LEN).ok_or(Defect::TooShort)?;
        let (last, in_segment) = (LE::read_u64(header), LE::read_u64(&header[8..]));
        if last > MAX_NUMBER || in_segment > last {
            return Err(Defect::Invalid("change numbers out of range"));
        }
        let metadata = Metadata::decode(last, changes, self.cursor_times()?, self.meta.segment)?;
        Ok((metadata, in_segment))
    }

    /// The first sealed segments that the checkpoint lists, in order.
    pub(crate) fn sealed_segments(&self) -> Result<Vec<SegmentEntry>, Defect> {
        let section = self.file.section(layout::SEGMENTS);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        let bytes = self.file.get(section, 0, len)?.chunks(layout::SEGMENT_LEN);
        let mut next_position = 1;
        let segments = bytes.zip(1..self.meta.segment).map(|(bytes, number)| {
            let entry = SegmentEntry::decode(bytes, self.file.store_id(), number)?;
            if entry.trailer.base_position != next_position {
                return Err(Defect::Invalid("the segments do not follow each other"));
            }
            next_position += u64::from(entry.trailer.event_count);
            Ok(entry)
        });
        segments.collect()
    }

    /// The newest change of a record in the segment that the checkpoint ends in, up to the checkpoint.
    pub(crate) fn record(&self, key: &RecordKey<'_>) -> Result<Option<RecordEntry>, Defect> {
        self.records.get(&self.file, key, Match::Key)
    }

    /// Calls `each` with up to `most` of these records, from `start` on.
    pub(crate) fn record_page(
        &self,
        start: PageStart<'_>,
        most: usize,
        each: impl FnMut(&str, RecordEntry),
    ) -> Result<(), Defect> {
        self.records.page(&self.file, start, most, each)
    }

    fn len(&self) -> usize {
        self.heads.count(layout::HEAD_LEN)
    }

    fn entry(&self, index: usize, reads: Reads) -> Result<(&[u8], Head), Defect> {
        let bytes = self.file.entry_with(reads, self.heads, index, layout::HEAD_LEN)?;
        let entry = HeadEntry::decode(bytes)?;
        let name_len = usize::from(entry.name_len);
        let name = self.file.get_with(reads, self.names, entry.name_offset, name_len)?;
        Ok((name, Head { version: entry.version, last_position: entry.last_position }))
    }

    fn get(&self, name: &str, reads: Reads) -> Result<Option<Head>, Defect> {
        let found = if self.hashes.are_missing() {
            let find = |place| Ok(self.entry(place, reads)?.0);
            search_names(self.len(), name.as_bytes(), find)?.ok()
        } else {
            let is_it = |place| Ok(self.entry(place, reads)?.0 == name.as_bytes());
            self.hashes.find(&self.file, reads, hash_term(STREAMS, name), is_it)?
        };
        found.map(|place| Ok(self.entry(place, reads)?.1)).transpose()
    }

    /// Names this checkpoint in [`Defect::Unread`].
    pub(super) fn named(&self, defect: Defect) -> Defect {
        match defect {
            Defect::Unread { offset, len, .. } => {
                Defect::Unread { checkpoint: self.number, offset, len }
            }
            defect => defect,
        }
    }

    /// Calls `each` with the first `most` heads of a range, by name.
    pub(crate) fn for_each(
        &self,
        range: &NameRange<'_>,
        most: usize,
        mut each: impl FnMut(&str, Head),
    ) -> Result<(), Defect> {
        let (name, is_after) = match range.start() {
            Bound::Excluded(name) => (name, true),
            Bound::Included(name) => (name, false),
            Bound::Unbounded => ("", false),
        };
        let found =
            search_names(self.len(), name.as_bytes(), |i| Ok(self.entry(i, Reads::Any)?.0))?;
        let start = match found {
            Ok(index) => index + usize::from(is_after),
            Err(index) => index,
        };
        let mut end_of_last = None;
        for index in (start..self.len()).take(most) {
            let (name, head) = self.entry(index, Reads::Any)?;
            // Names are adjacent, so that a listing is no larger than the file.
            let at = name.as_ptr().addr();
            if end_of_last.is_some_and(|end| end != at) {
                return Err(Defect::Invalid("names of streams overlap"));
            }
            end_of_last = Some(at + name.len());
            let name = std::str::from_utf8(name)
                .map_err(|_| Defect::Invalid("a stream's name is not UTF-8"))?;
            if !range.has(name) {
                break;
            }
            each(name, head);
        }
        Ok(())
    }
}

/// The heads of one segment's streams.
#[derive(Debug)]
pub(crate) struct Heads {
    overlay: Overlay,
    base: Option<Arc<HeadTable>>,
    reads: Reads,
}

impl Default for Heads {
    fn default() -> Self {
        Self::with_base(None)
    }
}

impl Heads {
    /// Those of the segment that a checkpoint ends in.
    pub(crate) fn with_base(base: Option<Arc<HeadTable>>) -> Self {
        Self { overlay: Overlay::default(), base, reads: Reads::Any }
    }

    /// Whether look-ups read from the base, or fail with [`Defect::Unread`] where it was not read so far.
    pub(crate) fn set_reads(&mut self, reads: Reads) {
        self.reads = reads;
    }

    /// The checkpoint in the base.
    pub(crate) fn base(&self) -> Option<&Arc<HeadTable>> {
        self.base.as_ref()
    }

    /// Continues with a file that has the same heads, instead of `damaged`.
    pub(crate) fn swap_base(&mut self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
        if self.base.as_ref().is_some_and(|base| Arc::ptr_eq(base, damaged)) {
            self.base = Some(Arc::clone(table));
        }
    }

    /// A copy that reads the same heads from another file instead of `damaged`.
    pub(crate) fn with_base_swapped(
        &self,
        damaged: &Arc<HeadTable>,
        table: &Arc<HeadTable>,
    ) -> Self {
        let mut copy = Self { reads: self.reads, ..Self::with_base(self.base.clone()) };
        for entry in &self.overlay.entries {
            copy.put(&entry.name, entry.head);
        }
        copy.swap_base(damaged, table);
        copy
    }

    /// The stream's head; version 0 if there is no such stream, `None` if the segment has no event of
    /// it and so does not know.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Head>, Defect> {
        Ok(self.find(name)?.map(Slot::head))
    }

    /// Like [`Heads::get`], but what was not read so far is [`Defect::Unread`].
    pub(crate) fn get_without_reading(&self, name: &str) -> Result<Option<Head>, Defect> {
        Ok(self.find_with(Reads::None, name)?.map(Slot::head))
    }

    /// Finds the stream's head, for a change that may follow.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Slot>, Defect> {
        self.find_with(self.reads, name)
    }

    /// Looks up the streams of a commit in memory, for [`Heads::find_again`] and what follows it. The entries are
    /// at random places: here the processor fetches several at once, which other work between two look-ups
    /// prevents. Calls `each` with the heads.
    pub(crate) fn find_ahead<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        found: &mut Vec<Ahead>,
        mut each: impl FnMut(Head),
    ) {
        let hashed = names.map(|name| (self.overlay.hasher.hash_one(name), name));
        found.extend(
            hashed.map(|(hash, name)| Ahead { hash, place: self.overlay.place(hash, name) }),
        );
        for place in found.iter().filter_map(|ahead| ahead.place) {
            each(self.overlay.entries[place as usize].head);
        }
    }

    /// Like [`Heads::find`], for a stream that was looked up ahead.
    pub(crate) fn find_again(&self, ahead: Ahead, name: &str) -> Result<Option<Slot>, Defect> {
        self.find_hashed(self.reads, ahead, name)
    }

    fn find_with(&self, reads: Reads, name: &str) -> Result<Option<Slot>, Defect> {
        let hash = self.overlay.hasher.hash_one(name);
        self.find_hashed(reads, Ahead { hash, place: None }, name)
    }

    fn find_hashed(
        &self,
        reads: Reads,
        Ahead { hash, place }: Ahead,
        name: &str,
    ) -> Result<Option<Slot>, Defect> {
        // Places do not change while there are more of them.
        if let Some(place) = place.or_else(|| self.overlay.place(hash, name)) {
            let head = self.overlay.entries[place as usize].head;
            return Ok(Some(Slot { hash, place: Some(place), head }));
        }
        let Some(base) = &self.base else { return Ok(None) };
        let found = base.get(name, reads).map_err(|defect| base.named(defect))?;
        Ok(found.map(|head| Slot { hash, place: None, head }))
    }

    /// The slot of a stream that was not found, and whose head is this one.
    pub(crate) fn older(&self, name: &str, head: Head) -> Slot {
        Slot { hash: self.overlay.hasher.hash_one(name), place: None, head }
    }

    /// The present head of a stream that was found before, and its steps in the active index.
    pub(crate) fn current(&self, slot: Slot, name: &str) -> (Head, Steps) {
        let place = slot.place.or_else(|| self.overlay.place(slot.hash, name));
        place.map_or((slot.head, Steps::UNKNOWN), |place| {
            let Entry { head, steps, .. } = &self.overlay.entries[place as usize];
            (*head, *steps)
        })
    }

    /// Sets the head of a stream that was found before, and its steps in the active index.
    pub(crate) fn set(&mut self, slot: Slot, name: &str, head: Head, steps: Steps) {
        match slot.place.or_else(|| self.overlay.place(slot.hash, name)) {
            Some(place) => {
                let entry = &mut self.overlay.entries[place as usize];
                (entry.head, entry.steps) = (head, steps);
            }
            None => self.overlay.insert(slot.hash, name, head, steps),
        }
    }

    /// Sets a stream's head.
    pub(crate) fn put(&mut self, name: &str, head: Head) {
        let slot = self.older(name, head);
        self.set(slot, name, head, Steps::UNKNOWN);
    }

    /// A copy of the heads, those of the base not read yet.
    pub(crate) fn copy(&self) -> HeadsCopy {
        let entries = self.overlay.entries.iter();
        let newer = entries.map(|entry| (entry.name.clone(), entry.head)).collect();
        HeadsCopy { newer, base: self.base.clone() }
    }

    /// A copy of the first `most` heads of a range by name, those of the base not read yet.
    pub(crate) fn first(&self, range: &NameRange<'_>, most: usize) -> HeadsCopy {
        let entries = &self.overlay.entries;
        let mut first = BinaryHeap::new();
        for (entry, place) in entries.iter().zip(0_usize..) {
            if !range.holds(&entry.name) {
                continue;
            }
            if first.len() < most {
                first.push((&entry.name, place));
            } else if let Some(mut last) = first.peek_mut()
                && entry.name < *last.0
            {
                *last = (&entry.name, place);
            }
        }
        let newer = first.into_iter().map(|(name, place)| (name.clone(), entries[place].head));
        HeadsCopy { newer: newer.collect(), base: self.base.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::container::{self, CHECKPOINT_MAGIC};
    use crate::index::jumps::{self, Links, Member};
    use crate::index::layers::NamedSections;

    struct NoLinks;

    impl Links for NoLinks {
        fn previous(&self, _: u32) -> Result<Option<u32>, Defect> {
            Ok(None)
        }

        fn shortcut(&self, _: u32) -> Result<Option<u32>, Defect> {
            Ok(None)
        }
    }

    fn head(version: u64) -> Head {
        Head { version, last_position: version * 10 }
    }

    fn table(heads: &Heads, from: u64) -> Arc<HeadTable> {
        let sections = heads.copy().encode(from).unwrap();
        let NamedSections { entries: heads, names, hashes, buckets } = sections;
        let meta = CheckpointMeta {
            position: 1,
            recorded_at: 0,
            link: 0,
            segment: 1,
            offset: 0,
            base_position: 1,
            streams: 0,
            commits: 0,
            segment_commits: 0,
            last_frame: 0,
            first_recorded_at: 0,
        };
        let sections: [(u32, &[u8]); 5] = [
            (layout::META, &meta.encode()),
            (layout::HEADS, &heads),
            (layout::NAMES, &names),
            (layout::HASHES, &hashes),
            (layout::BUCKETS, &buckets),
        ];
        let bytes = container::encode(CHECKPOINT_MAGIC, [0; 16], &sections);
        let file = BlockFile::from_bytes(bytes, CHECKPOINT_MAGIC).unwrap();
        Arc::new(HeadTable::new(file).unwrap())
    }

    #[test]
    fn newer_layer_of_heads_hides_the_older_one_through_checkpoints() {
        let mut heads = Heads::default();
        heads.put("b", head(1));
        heads.put("d", head(1));
        let mut heads = Heads::with_base(Some(table(&heads, 1)));
        heads.put("b", head(2));
        heads.put("a", head(1));
        assert_eq!(heads.get("b"), Ok(Some(head(2))));
        assert_eq!(heads.get("d"), Ok(Some(head(1))));
        assert_eq!(heads.get("c"), Ok(None));
        let mut all = Vec::new();
        let again = table(&heads, 1);
        let each = |name: &str, head| all.push((name.to_owned(), head));
        again.for_each(&NameRange::ALL, usize::MAX, each).unwrap();
        assert_eq!(all, [("a".into(), head(1)), ("b".into(), head(2)), ("d".into(), head(1))]);
        let first = |after, most| {
            let range = NameRange { prefix: "", after };
            let mut listed: Vec<(Box<str>, Head)> = Vec::new();
            let end = heads.first(&range, most).add_to(&mut listed, &range, most).unwrap();
            let listed: Vec<(String, Head)> =
                listed.into_iter().map(|(name, it)| (name.into(), it)).collect();
            (listed, end.map(String::from))
        };
        let named = |name: &str, version| (name.to_owned(), head(version));
        // Of the checkpoint, and then newer ones; complete up to the nearer end.
        let all = vec![named("b", 1), named("d", 1), named("b", 2), named("a", 1)];
        let (mut listed, end) = first(None, 3);
        listed[2..].sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!((listed, end), (all, None));
        assert_eq!(first(None, 1), (vec![named("b", 1), named("a", 1)], Some("a".into())));
        assert_eq!(first(Some("b"), 1), (vec![named("d", 1)], Some("d".into())));
        assert_eq!(first(Some("d"), 1), (vec![], None));
        // Streams without events in the segment are left out.
        let mut all = Vec::new();
        let each = |name: &str, _| all.push(name.to_owned());
        table(&heads, 20).for_each(&NameRange::ALL, usize::MAX, each).unwrap();
        assert_eq!(all, ["b"]);
    }

    #[test]
    fn steps_of_a_stream_are_unknown_once_its_events_are_taken_back() {
        let mut heads = Heads::default();
        let (_, steps) =
            jumps::add(&NoLinks, Some(Member { node: 4, depth: 1 }), Steps::UNKNOWN).unwrap();
        heads.set(heads.older("a", Head::default()), "a", head(2), steps);
        let slot = heads.find("a").unwrap().unwrap();
        assert_eq!(heads.current(slot, "a"), (head(2), steps));
        heads.put("a", head(1));
        assert_eq!(heads.current(slot, "a"), (head(1), Steps::UNKNOWN));
    }

    #[test]
    fn head_of_a_rolled_back_stream_is_known_to_be_none() {
        let mut heads = Heads::default();
        heads.put("a", head(1));
        heads.put("a", Head::default());
        assert_eq!(heads.get("a"), Ok(Some(Head::default())));
        assert!(heads.copy().encode(1).unwrap().entries.is_empty());
    }
}
