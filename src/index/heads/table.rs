//! The heads in a checkpoint, and what else an opening takes from it, read in place.
//!
//! Owns the file. Must never answer from a block that was not checked.

use std::ops::Bound;

use byteorder::{ByteOrder, LittleEndian as LE};

use crate::format::checkpoint::{self as layout, CheckpointMeta, HeadEntry, SegmentEntry};
use crate::format::container::Section;
use crate::format::index_file::{STREAMS, hash_term};
use crate::format::metadata::RecordEntry;
use crate::format::{Defect, MAX_NUMBER};
use crate::index::block_file::{BlockFile, Reads};
use crate::index::hashes::HashSections;
use crate::index::metadata::Metadata;
use crate::index::names::NameRange;
use crate::index::record_table::{Match, RecordKey, RecordTable};
use crate::index::records::PageStart;
use crate::index::{Head, search_names};

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

    /// The bytes of the section CURSOR TIMES; empty if it is missing or damaged. Damage to it must not hide METADATA, which
    /// proves that changes were durable.
    pub(crate) fn cursor_times(&self) -> &[u8] {
        let section = self.file.section(layout::CURSOR_TIMES);
        let len = usize::try_from(section.len).unwrap_or(usize::MAX);
        self.file.get(section, 0, len).unwrap_or_default()
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
        let metadata = Metadata::decode(last, changes, self.cursor_times(), self.meta.segment)?;
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

    pub(super) fn len(&self) -> usize {
        self.heads.count(layout::HEAD_LEN)
    }

    pub(super) fn entry(&self, index: usize, reads: Reads) -> Result<(&[u8], Head), Defect> {
        let bytes = self.file.entry_with(reads, self.heads, index, layout::HEAD_LEN)?;
        let entry = HeadEntry::decode(bytes)?;
        let name_len = usize::from(entry.name_len);
        let name = self.file.get_with(reads, self.names, entry.name_offset, name_len)?;
        Ok((name, Head { version: entry.version, last_position: entry.last_position }))
    }

    pub(super) fn get(&self, name: &str, reads: Reads) -> Result<Option<Head>, Defect> {
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
    pub(in crate::index) fn named(&self, defect: Defect) -> Defect {
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
