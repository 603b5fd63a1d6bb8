//! Reads the index file of a sealed segment.
//!
//! Answers with ordinals and never with events: whether the record at an ordinal is what was
//! asked for is for the caller to see.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use byteorder::{ByteOrder, LittleEndian as LE};

use super::{Found, Head, Postings, Terms, search_names};
use crate::format::Defect;
use crate::format::container::{INDEX_MAGIC, Section};
use crate::format::index_file::{
    self as layout, FILTER_BLOCK, IndexMeta, Probe, StreamEntry, TermEntry, hash_id,
};
use crate::format::metadata::Change;
use crate::format::varint;
use crate::storage::{OpenMode, Storage};

use super::block_file::BlockFile;

/// Opened when it is made, or at the first look-up.
#[derive(Debug)]
pub(crate) struct SealedIndex {
    meta: IndexMeta,
    contents: OnceLock<Contents>,
    /// Of one that may have to be opened yet.
    place: Option<Place>,
}

/// Where an index file is, and what it has to be.
#[derive(Debug)]
struct Place {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    store_id: [u8; 16],
    /// The changes of the segment.
    changes: u32,
}

#[derive(Debug)]
struct Contents {
    file: BlockFile,
    meta: IndexMeta,
    names: Section,
    lists: Section,
    term_filter: Section,
}

/// A stream's events within one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRun {
    pub(crate) first_version: u64,
    /// The position of the stream's last event before the segment; 0: none.
    pub(crate) previous_position: u64,
    pub(crate) ordinals: Vec<u32>,
}

impl SealedIndex {
    /// Takes an opened container; `None` if it is not the index of exactly this segment.
    pub(crate) fn new(
        file: BlockFile,
        store_id: [u8; 16],
        expected: &IndexMeta,
    ) -> Result<Option<Self>, Defect> {
        let Some(contents) = Contents::new(file, store_id, expected)? else { return Ok(None) };
        let meta = expected.clone();
        Ok(Some(Self { meta, contents: OnceLock::from(contents), place: None }))
    }

    /// The index of a segment whose file is there and is opened when it is first needed. If it turns
    /// out not to be the index of exactly this segment, every look-up fails.
    pub(crate) fn later(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        store_id: [u8; 16],
        expected: IndexMeta,
        changes: u32,
    ) -> Self {
        let place = Some(Place { storage, path, store_id, changes });
        Self { meta: expected, contents: OnceLock::new(), place }
    }

    fn contents(&self) -> Result<&Contents, Defect> {
        if let Some(contents) = self.contents.get() {
            return Ok(contents);
        }
        let place = self.place.as_ref().ok_or(Defect::TooShort)?;
        let file = place.storage.open(&place.path, OpenMode::Read);
        let file = file.map_err(|e| Defect::Unreadable(e.to_string()))?;
        let file = BlockFile::open(file, INDEX_MAGIC)?;
        let contents = Contents::new(file, place.store_id, &self.meta)?;
        let contents = contents.ok_or(Defect::Invalid("the index of another segment"))?;
        if contents.for_each_change(|_, _| {})? != u64::from(place.changes) {
            return Err(Defect::Invalid("not the changes of its segment"));
        }
        Ok(self.contents.get_or_init(|| contents))
    }

    /// The size of the file in bytes; 0 if it cannot be opened.
    pub(crate) fn file_len(&self) -> u64 {
        self.contents().map_or(0, |contents| contents.file.file_len())
    }

    /// Checks every block.
    pub(crate) fn verify(&self) -> Result<(), Defect> {
        self.contents()?.file.verify()
    }

    /// The stream's events in this segment, if it has any.
    pub(crate) fn stream(&self, name: &str) -> Result<Option<StreamRun>, Defect> {
        self.contents()?.stream(name)
    }

    /// Calls `each` with every stream's name and its head at the end of this segment.
    pub(crate) fn for_each_head(&self, each: impl FnMut(&str, Head)) -> Result<(), Defect> {
        self.contents()?.for_each_head(each)
    }

    /// Calls `each` with the segment's changes and their numbers; tells how many there are.
    pub(crate) fn for_each_change(&self, each: impl FnMut(u64, Change)) -> Result<u64, Defect> {
        self.contents()?.for_each_change(each)
    }

    /// Whether any event may have a term, whose hash is that of its section and name.
    pub(crate) fn may_hold(&self, term: &Probe) -> Result<bool, Defect> {
        let contents = self.contents()?;
        let filter = contents.term_filter;
        Ok(filter.len == 0 || contents.filter_passes(filter, term)?)
    }

    /// The ordinals of the events that may have this id: those whose ids share its hash's upper
    /// half. Nearly always none or one.
    pub(crate) fn candidates(&self, id: &[u8; 16]) -> Result<Vec<u32>, Defect> {
        self.contents()?.candidates(id)
    }
}

impl Contents {
    fn new(
        file: BlockFile,
        store_id: [u8; 16],
        expected: &IndexMeta,
    ) -> Result<Option<Self>, Defect> {
        let meta = IndexMeta::decode(file.get(file.section(layout::META), 0, layout::META_LEN)?)?;
        if file.store_id() != store_id || meta != *expected {
            return Ok(None);
        }
        let (names, lists) = (file.section(layout::NAMES), file.section(layout::LISTS));
        let term_filter = file.section(layout::TERM_FILTER);
        Ok(Some(Self { file, meta, names, lists, term_filter }))
    }

    fn stream(&self, name: &str) -> Result<Option<StreamRun>, Defect> {
        let streams = self.file.section(layout::STREAMS);
        let count = streams.count(layout::STREAM_LEN);
        let found = search_names(count, name.as_bytes(), |i| {
            let entry = TermEntry::decode(self.file.entry(streams, i, layout::STREAM_LEN)?)?;
            self.name(entry.name_offset, entry.name_len)
        })?;
        let Ok(index) = found else { return Ok(None) };
        let entry = StreamEntry::decode(self.file.entry(streams, index, layout::STREAM_LEN)?)?;
        Ok(Some(StreamRun {
            first_version: entry.first_version,
            previous_position: entry.previous_position,
            ordinals: self.list(entry.list_offset, entry.count)?,
        }))
    }

    fn for_each_head(&self, mut each: impl FnMut(&str, Head)) -> Result<(), Defect> {
        let streams = self.file.section(layout::STREAMS);
        for index in 0..streams.count(layout::STREAM_LEN) {
            let entry =
                StreamEntry::decode(self.file.entry(streams, index, layout::STREAM_LEN)?)?;
            let name = std::str::from_utf8(self.name(entry.name_offset, entry.name_len)?)
                .map_err(|_| Defect::Invalid("a stream's name is not UTF-8"))?;
            let ordinals = self.list(entry.list_offset, entry.count)?;
            let (Some(last), Some(newer)) = (ordinals.last(), entry.count.checked_sub(1)) else {
                return Err(Defect::Invalid("a stream without events"));
            };
            let head = Head {
                version: entry.first_version.saturating_add(u64::from(newer)),
                last_position: self.meta.base_position + u64::from(*last),
            };
            each(name, head);
        }
        Ok(())
    }

    fn for_each_change(&self, mut each: impl FnMut(u64, Change)) -> Result<u64, Defect> {
        let section = self.file.section(layout::CHANGES);
        if section.len == 0 {
            return Ok(0);
        }
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        let bytes = self.file.get(section, 0, len)?;
        let (first, changes) = bytes.split_at_checked(8).ok_or(Defect::TooShort)?;
        let mut number = LE::read_u64(first);
        let start = number;
        Change::decode_all(changes, |change| {
            each(number, change);
            number = number.saturating_add(1);
        })?;
        Ok(number - start)
    }

    fn candidates(&self, id: &[u8; 16]) -> Result<Vec<u32>, Defect> {
        let hash = hash_id(id);
        if !self.filter_passes(self.file.section(layout::FILTER), &Probe::new(hash))? {
            return Ok(Vec::new());
        }
        let ids = self.file.section(layout::IDS);
        let count = ids.count(8);
        let entry = |i| Ok::<_, Defect>(LE::read_u64(self.file.entry(ids, i, 8)?));
        let wanted = hash & 0xFFFF_FFFF_0000_0000;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if entry(middle)? < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        while low < count {
            let next = entry(low)?;
            if next & 0xFFFF_FFFF_0000_0000 != wanted {
                break;
            }
            found.push(u32::try_from(next & 0xFFFF_FFFF).unwrap_or(u32::MAX));
            low += 1;
        }
        Ok(found)
    }

    fn filter_passes(&self, section: Section, probe: &Probe) -> Result<bool, Defect> {
        let len = section.count(FILTER_BLOCK) * FILTER_BLOCK;
        if len == 0 {
            return Ok(false);
        }
        let block = self.file.get(section, probe.block(len) as u64, FILTER_BLOCK)?;
        Ok(probe.passes(block))
    }

    fn name(&self, offset: u32, len: u16) -> Result<&[u8], Defect> {
        self.file.get(self.names, u64::from(offset), usize::from(len))
    }

    /// Decodes a list. Its bytes are bounded by the section, its ordinals by the segment.
    fn list(&self, offset: u32, count: u32) -> Result<Vec<u32>, Defect> {
        let damaged = Defect::Invalid("a list is damaged");
        if count > self.meta.event_count {
            return Err(damaged);
        }
        let available = self.lists.len.saturating_sub(u64::from(offset));
        // A coded ordinal takes one to five bytes.
        let len = (u64::from(count) * 5).min(available);
        let len = usize::try_from(len).map_err(|_| damaged.clone())?;
        let mut bytes = self.file.get(self.lists, u64::from(offset), len)?;
        let mut ordinals = Vec::with_capacity(count as usize);
        let mut last = 0_u32;
        for _ in 0..count {
            let step = varint::take(&mut bytes).ok_or_else(|| damaged.clone())?;
            last = last.checked_add(step).ok_or_else(|| damaged.clone())?;
            if last >= self.meta.event_count {
                return Err(damaged);
            }
            ordinals.push(last);
        }
        Ok(ordinals)
    }
}

impl Postings for SealedIndex {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<Found>, Defect> {
        self.contents()?.find(kind, name)
    }

    fn list(&self, found: Found, floor: u32) -> Result<Vec<u32>, Defect> {
        let mut ordinals = self.contents()?.list(found.place, found.count)?;
        if floor > 0 {
            let below = ordinals.partition_point(|&ordinal| ordinal < floor);
            ordinals.drain(..below);
        }
        Ok(ordinals)
    }
}

impl Contents {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<Found>, Defect> {
        let section = kind.section();
        // An entry of STREAMS begins like one of the others.
        let streams = section == layout::STREAMS;
        let len = if streams { layout::STREAM_LEN } else { layout::TERM_LEN };
        let section = self.file.section(section);
        let entry = |i| TermEntry::decode(self.file.entry(section, i, len)?);
        let found = search_names(section.count(len), name.as_bytes(), |i| {
            let entry = entry(i)?;
            self.name(entry.name_offset, entry.name_len)
        })?;
        let Ok(index) = found else { return Ok(None) };
        let entry = entry(index)?;
        Ok(Some(Found { count: entry.count, place: entry.list_offset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NewEvent;
    use crate::format::checksum::Seed;
    use crate::format::index_file::hash_term;
    use crate::format::record::{self, Assigned, RecordRef};
    use crate::index::build::{Before, IndexBuilder};

    fn term(index: &SealedIndex, kind: Terms, name: &str) -> Vec<u32> {
        let found = index.find(kind, name).unwrap();
        found.map(|found| Postings::list(index, found, 0).unwrap()).unwrap_or_default()
    }

    fn meta(event_count: u32) -> IndexMeta {
        IndexMeta { segment: 2, salt: 3, base_position: 101, seal_offset: 9, event_count, link: 4 }
    }

    fn build(events: &[(&str, u64, u8, &[&str])]) -> SealedIndex {
        let mut builder = IndexBuilder::new();
        for (stream, version, id, tags) in events {
            let event = NewEvent::new("T", "").tags(tags.iter().copied());
            let place = Assigned {
                stream,
                version: *version,
                position: 1,
                id: [*id; 16],
                frame_distance: 48,
            };
            let mut out = Vec::new();
            record::encode(&mut out, Seed::of_salt(0), &place, &event);
            builder.add(&RecordRef::parse(&out).unwrap(), Before::Unknown);
        }
        let meta = meta(u32::try_from(events.len()).unwrap());
        let bytes = builder
            .finish([1; 16], &meta, |name, _, _| {
                Ok::<_, Defect>(if name == "a-1" { 77 } else { 0 })
            })
            .unwrap();
        let file = BlockFile::from_bytes(bytes, INDEX_MAGIC).unwrap();
        SealedIndex::new(file, [1; 16], &meta).unwrap().unwrap()
    }

    #[test]
    fn answers_what_was_built() {
        let index =
            build(&[("a-1", 5, 1, &["x", "x"]), ("b-1", 1, 2, &[]), ("a-1", 6, 3, &["x", "y"])]);
        let run = index.stream("a-1").unwrap().unwrap();
        assert_eq!(
            run,
            StreamRun { first_version: 5, previous_position: 77, ordinals: vec![0, 2] }
        );
        assert_eq!(index.stream("a-2").unwrap(), None);
        assert_eq!(term(&index, Terms::Tags, "x"), [0, 2]);
        assert_eq!(term(&index, Terms::Tags, "y"), [2]);
        assert_eq!(term(&index, Terms::Types, "T"), [0, 1, 2]);
        assert_eq!(term(&index, Terms::Categories, "b"), [1]);
        assert!(term(&index, Terms::Categories, "c").is_empty());
        let probe = |kind: Terms, name: &str| Probe::new(hash_term(kind.section(), name));
        let may = |kind, name: &str| index.may_hold(&probe(kind, name)).unwrap();
        assert!(may(Terms::Streams, "a-1") && may(Terms::Tags, "y"));
        assert!(may(Terms::Types, "T") && may(Terms::Categories, "b"));
        let absent = (0..1000).filter(|i| may(Terms::Tags, &i.to_string())).count();
        assert!(absent < 100, "{absent} of 1,000 absent tags pass");
        let mut heads = Vec::new();
        index.for_each_head(|name, head| heads.push((name.to_owned(), head))).unwrap();
        assert_eq!(heads[0], ("a-1".into(), Head { version: 6, last_position: 103 }));
        assert_eq!(heads.len(), 2);
    }

    #[test]
    fn every_id_is_found_and_others_are_not() {
        let events: Vec<_> = (0..200).map(|i| ("s", u64::from(i) + 1, i, &[][..])).collect();
        let index = build(&events);
        for i in 0..200_u8 {
            assert_eq!(index.candidates(&[i; 16]).unwrap(), [u32::from(i)]);
        }
        assert!((200..=255_u8).all(|i| index.candidates(&[i; 16]).unwrap().is_empty()));
    }

    #[test]
    fn the_index_of_another_segment_is_not_taken() {
        let bytes = IndexBuilder::new().finish([1; 16], &meta(0), |_, _, _| Ok::<_, Defect>(0));
        let open = || BlockFile::from_bytes(bytes.clone().unwrap(), INDEX_MAGIC).unwrap();
        assert!(SealedIndex::new(open(), [1; 16], &meta(0)).unwrap().is_some());
        assert!(SealedIndex::new(open(), [2; 16], &meta(0)).unwrap().is_none());
        assert!(SealedIndex::new(open(), [1; 16], &meta(1)).unwrap().is_none());
    }
}
