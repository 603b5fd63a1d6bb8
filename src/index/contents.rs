//! The contents of an open index file or level file that covers its segments.

mod filters;

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian as LE};

pub(crate) use self::filters::HashedId;
use super::block_file::{BlockFile, Reads};
use super::covers::Covers;
use super::hashes::HashSections;
use super::list::List;
use super::record_table::{Match, RecordKey, RecordTable};
use super::records::PageStart;
use super::{Head, PostingList, Terms, search_names};
use crate::format::Defect;
use crate::format::container::Section;
use crate::format::index_file::{
    self as layout, IndexMeta, Probe, StreamEntry, TermEntry, hash_term,
};
use crate::format::level_file::{self, LevelMeta};
use crate::format::metadata::{Change, ChangeNumber, DerivedChange, RecordEntry};

#[derive(Debug)]
pub(super) struct IndexContents {
    file: BlockFile,
    /// How often the contents were merged; 0 for the index file of one segment.
    level: u32,
    base_position: u64,
    event_count: u32,
    names: Section,
    lists: Section,
    term_filter: Section,
    tables: Section,
    hashes: HashSections,
    records: RecordTable,
}

impl IndexContents {
    pub(super) fn of_segment(
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
        let tables = file.section(layout::TABLES);
        let hashes = HashSections::of(&file, layout::HASHES, layout::BUCKETS);
        let records = RecordTable::of_index(&file);
        let IndexMeta { base_position, event_count, .. } = meta;
        Ok(Some(Self {
            file,
            level: 0,
            base_position,
            event_count,
            names,
            lists,
            term_filter,
            tables,
            hashes,
            records,
        }))
    }

    pub(super) fn of_segments(
        file: BlockFile,
        store_id: [u8; 16],
        covers: &Covers,
    ) -> Result<Option<Self>, Defect> {
        let front = file.get(file.section(layout::META), 0, level_file::META_LEN)?;
        let meta = LevelMeta::decode(front)?;
        let section = file.section(level_file::SEGMENTS);
        let (first, last) = (&covers.metas[0], &covers.metas[covers.metas.len() - 1]);
        let fits = file.store_id() == store_id
            && (meta.first_segment, meta.last_segment) == (first.segment, last.segment)
            && section.count(layout::META_LEN) == covers.metas.len()
            && meta.base_position == first.base_position
            && u64::from(meta.event_count) == covers.event_count()
            && meta.change_count == covers.changes
            && meta.level > 0;
        if !fits {
            return Ok(None);
        }
        for (at, segment) in covers.metas.iter().enumerate() {
            let own = IndexMeta::decode(file.entry(section, at, layout::META_LEN)?)?;
            if own != *segment {
                return Ok(None);
            }
        }
        let (names, lists) = (file.section(layout::NAMES), file.section(layout::LISTS));
        let term_filter = file.section(layout::TERM_FILTER);
        let tables = file.section(layout::TABLES);
        let hashes = HashSections::of(&file, layout::HASHES, layout::BUCKETS);
        let records = RecordTable::of_index(&file);
        let LevelMeta { level, base_position, event_count, .. } = meta;
        Ok(Some(Self {
            file,
            level,
            base_position,
            event_count,
            names,
            lists,
            term_filter,
            tables,
            hashes,
            records,
        }))
    }

    pub(super) fn file(&self) -> &BlockFile {
        &self.file
    }

    /// The bytes of lists and names.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.lists.len, self.names.len)
    }

    pub(super) fn level(&self) -> u32 {
        self.level
    }

    pub(super) fn event_count(&self) -> u32 {
        self.event_count
    }

    pub(super) fn section(&self, kind: u32) -> Section {
        self.file.section(kind)
    }

    pub(super) fn bytes(&self, section: Section, at: u64, len: usize) -> Result<&[u8], Defect> {
        self.file.get(section, at, len)
    }

    /// The binding to its segments: one META of an index file for each.
    pub(super) fn metas(&self) -> Result<&[u8], Defect> {
        let kind = if self.level == 0 { layout::META } else { level_file::SEGMENTS };
        let section = self.file.section(kind);
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        self.file.get(section, 0, len)
    }

    /// The stream's entry, if it has events here.
    pub(super) fn stream_entry(&self, name: &str) -> Result<Option<StreamEntry>, Defect> {
        self.stream_entry_with(Reads::Any, name, &Probe::new(hash_term(layout::STREAMS, name)))
    }

    /// Like [`IndexContents::stream_entry`], for a name with this hash. The filter comes first: it is one
    /// place in memory, and two are read to find nothing by hash.
    fn stream_entry_with(
        &self,
        reads: Reads,
        name: &str,
        hashed: &Probe,
    ) -> Result<Option<StreamEntry>, Defect> {
        if !self.may_hold_with(reads, hashed)? {
            return Ok(None);
        }
        let streams = self.file.section(layout::STREAMS);
        let entry = |place| self.file.entry_with(reads, streams, place, layout::STREAM_LEN);
        let name_of = |bytes: &[u8]| {
            let entry = TermEntry::decode(bytes)?;
            let (at, len) = (u64::from(entry.name_offset), usize::from(entry.name_len));
            self.file.get_with(reads, self.names, at, len)
        };
        if self.hashes.are_missing() {
            // A file of an earlier version.
            let count = streams.count(layout::STREAM_LEN);
            let found = search_names(count, name.as_bytes(), |place| name_of(entry(place)?))?;
            let Ok(place) = found else { return Ok(None) };
            return StreamEntry::decode(entry(place)?).map(Some);
        }
        let found = self.hashes.find(&self.file, reads, hashed.hash(), |place| {
            Ok(name_of(entry(place)?)? == name.as_bytes())
        })?;
        let Some(place) = found else { return Ok(None) };
        StreamEntry::decode(entry(place)?).map(Some)
    }

    /// The head at the end of the last segment of a stream whose name has this hash, if it has events
    /// here.
    pub(super) fn head(
        &self,
        reads: Reads,
        name: &str,
        hashed: &Probe,
    ) -> Result<Option<Head>, Defect> {
        let Some(entry) = self.stream_entry_with(reads, name, hashed)? else { return Ok(None) };
        self.head_with(reads, &entry).map(Some)
    }

    fn head_with(&self, reads: Reads, entry: &StreamEntry) -> Result<Head, Defect> {
        let list = self.list_with(reads, entry.list_offset, entry.count)?;
        let ordinal = list.last()?.ok_or(Defect::Invalid("a stream without events"))?;
        Ok(Head {
            version: entry.first_version.saturating_add(u64::from(entry.count) - 1),
            last_position: self.base_position + u64::from(ordinal),
        })
    }

    /// The head of the stream with this entry, at the end of the last segment.
    pub(super) fn head_of(&self, entry: &StreamEntry) -> Result<Head, Defect> {
        self.head_with(Reads::Any, entry)
    }

    /// The ordinals of a stream's events at these places of its list.
    pub(super) fn stream_ordinals(
        &self,
        entry: &StreamEntry,
        places: Range<u32>,
    ) -> Result<Vec<u32>, Defect> {
        self.list(entry.list_offset, entry.count)?.places(places)
    }

    /// The position of a stream's last event here.
    pub(super) fn last_position(&self, entry: &StreamEntry) -> Result<u64, Defect> {
        self.head_of(entry).map(|head| head.last_position)
    }

    /// Calls `each` with the name of every stream that begins with `prefix`, by name, and its head at the
    /// end of the last segment.
    pub(super) fn for_each_head(
        &self,
        prefix: &str,
        mut each: impl FnMut(&str, Head),
    ) -> Result<(), Defect> {
        let streams = self.file.section(layout::STREAMS);
        let count = streams.count(layout::STREAM_LEN);
        let entry =
            |place| StreamEntry::decode(self.file.entry(streams, place, layout::STREAM_LEN)?);
        let found = search_names(count, prefix.as_bytes(), |place| {
            let entry = entry(place)?;
            self.name(entry.name_offset, entry.name_len)
        })?;
        let (Ok(first) | Err(first)) = found;
        for place in first..count {
            let entry = entry(place)?;
            let name = std::str::from_utf8(self.name(entry.name_offset, entry.name_len)?)
                .map_err(|_| Defect::Invalid("a stream's name is not UTF-8"))?;
            if !name.starts_with(prefix) {
                break;
            }
            each(name, self.head_of(&entry)?);
        }
        Ok(())
    }

    /// The number of streams that begin here, after a position.
    pub(super) fn streams_begun(&self, after: u64) -> Result<u64, Defect> {
        let streams = self.file.section(layout::STREAMS);
        let count = streams.count(layout::STREAM_LEN);
        let begins = |place| {
            let entry = self.file.entry(streams, place, layout::STREAM_LEN)?;
            let entry = StreamEntry::decode(entry)?;
            if entry.first_version != 1 || after < self.base_position {
                return Ok(u64::from(entry.first_version == 1));
            }
            let first = self.stream_ordinals(&entry, 0..1)?;
            let first = first.first().ok_or(Defect::Invalid("a stream without events"))?;
            Ok(u64::from(self.base_position + u64::from(*first) > after))
        };
        (0..count).map(begins).sum()
    }

    /// Calls `each` with every change and its number; for changes of records, with the number of the
    /// last one and no change. Returns the number of changes.
    pub(super) fn for_each_change(
        &self,
        mut each: impl FnMut(ChangeNumber, Option<Change>),
    ) -> Result<u64, Defect> {
        let Some((first, changes)) = self.changes()? else { return Ok(0) };
        let (mut next, mut invalid) = (first, false);
        DerivedChange::decode_all(changes, |derived| {
            let (count, change) = match derived {
                DerivedChange::Change(Change::Record(_)) | DerivedChange::Newest(_) => {
                    invalid = true;
                    return;
                }
                DerivedChange::Change(change) => (1, Some(change)),
                DerivedChange::Records(count) => (count, None),
            };
            next = next.saturating_add(count);
            each(ChangeNumber::new(next.saturating_sub(1)), change);
        })?;
        if invalid { Err(Defect::Invalid("a change of a record")) } else { Ok(next - first) }
    }

    /// The newest change of a record here.
    pub(super) fn record(
        &self,
        key: &RecordKey<'_>,
        by: Match,
    ) -> Result<Option<RecordEntry>, Defect> {
        if self.records.len() == 0 || !self.may_hold(key.probe())? {
            return Ok(None);
        }
        self.records.get(&self.file, key, by)
    }

    /// Up to `most` records from `start` on.
    pub(super) fn record_page(
        &self,
        start: PageStart<'_>,
        most: usize,
        each: impl FnMut(&str, RecordEntry),
    ) -> Result<(), Defect> {
        self.records.page(&self.file, start, most, each)
    }

    /// The number of records.
    pub(super) fn record_count(&self) -> usize {
        self.records.len()
    }

    /// The key and entry at a place of RECORDS.
    pub(super) fn named_record(&self, at: usize) -> Result<(&[u8], RecordEntry), Defect> {
        self.records.named(&self.file, at)
    }

    /// The number of the first change, and the changes as they are kept.
    pub(super) fn changes(&self) -> Result<Option<(u64, &[u8])>, Defect> {
        let section = self.file.section(layout::CHANGES);
        if section.len == 0 {
            return Ok(None);
        }
        let len = usize::try_from(section.len).map_err(|_| Defect::TooShort)?;
        let bytes = self.file.get(section, 0, len)?;
        let (first, changes) = bytes.split_at_checked(8).ok_or(Defect::TooShort)?;
        Ok(Some((LE::read_u64(first), changes)))
    }

    pub(super) fn name(&self, offset: u32, len: u16) -> Result<&[u8], Defect> {
        self.file.get(self.names, u64::from(offset), usize::from(len))
    }

    /// A list. Its bytes are bounded by the section, its ordinals by the number of covered events.
    pub(super) fn list(&self, offset: u32, count: u32) -> Result<List<'_>, Defect> {
        self.list_with(Reads::Any, offset, count)
    }

    fn list_with(&self, reads: Reads, offset: u32, count: u32) -> Result<List<'_>, Defect> {
        if count > self.event_count {
            return Err(Defect::Invalid("a list is damaged"));
        }
        // A level file stores the table before the list.
        let inline = if self.level == 0 { 0 } else { level_file::table_len(count) };
        let table = if self.level == 0 {
            self.table_of(reads, offset, count)?
        } else {
            self.file.get_with(reads, self.lists, u64::from(offset), inline)?
        };
        let available = self.lists.len.saturating_sub(u64::from(offset));
        let at = u64::from(offset) + inline as u64;
        let available = available.saturating_sub(inline as u64);
        Ok(List {
            file: &self.file,
            reads,
            section: self.lists,
            table,
            at,
            available,
            count,
            end: self.event_count,
        })
    }

    /// The table of a list in the index file of one segment; empty for a short list, and in files of
    /// earlier versions.
    fn table_of(&self, reads: Reads, list_offset: u32, count: u32) -> Result<&[u8], Defect> {
        let len = level_file::table_len(count);
        if len == 0 || self.tables.len == 0 {
            return Ok(&[]);
        }
        let (header, entry_len) = (layout::TABLES_HEADER_LEN, layout::TABLE_LEN);
        let lists = LE::read_u32(self.file.get_with(reads, self.tables, 0, header)?);
        let entries_end = header as u64 + u64::from(lists) * entry_len as u64;
        let entry = |i: u32| {
            let at = header as u64 + u64::from(i) * entry_len as u64;
            let entry = self.file.get_with(reads, self.tables, at, entry_len)?;
            Ok::<_, Defect>((LE::read_u32(entry), LE::read_u32(&entry[4..])))
        };
        let (mut low, mut high) = (0, lists);
        while low < high {
            let middle = u32::midpoint(low, high);
            if entry(middle)?.0 < list_offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let first = if low < lists { entry(low)? } else { (u32::MAX, 0) };
        if first.0 != list_offset {
            return Err(Defect::Invalid("the table of a list is missing"));
        }
        let before = entries_end + u64::from(first.1) * level_file::SKIP_LEN as u64;
        self.file.get_with(reads, self.tables, before, len)
    }

    pub(super) fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        let list = |count, place| PostingList { count, place, depth: 0, is_chain: false };
        if kind == Terms::Streams {
            let entry = self.stream_entry(name)?;
            return Ok(entry.map(|entry| list(entry.count, entry.list_offset)));
        }
        let section = self.file.section(kind.section());
        let entry = |i| TermEntry::decode(self.file.entry(section, i, layout::TERM_LEN)?);
        let found = search_names(section.count(layout::TERM_LEN), name.as_bytes(), |i| {
            let entry = entry(i)?;
            self.name(entry.name_offset, entry.name_len)
        })?;
        let Ok(index) = found else { return Ok(None) };
        let entry = entry(index)?;
        Ok(Some(list(entry.count, entry.list_offset)))
    }
}
