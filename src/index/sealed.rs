//! The index file of a sealed segment, or a level file, which is one of several neighbours.
//!
//! Returns ordinals, counted from the first covered position, and never events: the caller compares
//! the record at an ordinal.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::block_file::{BlockFile, Reads};
pub(crate) use super::contents::HashedId;
use super::contents::IndexContents;
use super::covers::Covers;
use super::record_table::{Match, RecordKey};
use super::records::PageStart;
use super::{Head, PostingList, Postings, Terms};
use crate::format::Defect;
use crate::format::container::{INDEX_MAGIC, LEVEL_MAGIC};
use crate::format::index_file::{IndexMeta, META, META_LEN, Probe, StreamEntry};
use crate::format::level_file::{self, LevelMeta};
use crate::format::metadata::{Change, ChangeNumber, RecordEntry};
use crate::storage::{File, OpenMode, Storage};

const FOREIGN: Defect = Defect::Invalid("it is the index of other segments");

/// Opened when the index is created, or at the first look-up.
#[derive(Debug)]
pub(crate) struct SealedIndex {
    covers: Covers,
    contents: OnceLock<IndexContents>,
    /// The state of a file that may not be open yet.
    place: Option<ListPlace>,
    /// The size of a file that is not opened yet, after it was first requested.
    len: OnceLock<u64>,
    /// Whether it was used since closing it was last considered.
    used: AtomicBool,
}

/// The path of the file, and the store that it must belong to.
#[derive(Debug)]
struct ListPlace {
    way: Way,
    store_id: [u8; 16],
}

#[derive(Debug)]
enum Way {
    /// The file was not opened yet.
    Path(Arc<dyn Storage>, PathBuf),
    /// It was opened and checked; then its mapping was dropped.
    Handle(Arc<dyn File>),
}

impl Way {
    fn open(&self) -> std::io::Result<Arc<dyn File>> {
        match self {
            Self::Path(storage, path) => storage.open(path, OpenMode::Read),
            Self::Handle(file) => Ok(Arc::clone(file)),
        }
    }
}

/// A stream's events within the range of an index.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamRun {
    pub(crate) first_version: u64,
    /// The position of the stream's last event before the first segment; 0: none.
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
        let Some(contents) = IndexContents::of_segment(file, store_id, expected)? else {
            return Ok(None);
        };
        let covers = Covers::one(expected.clone(), 0);
        Ok(Some(Self::opened(covers, contents)))
    }

    /// Takes the opened container of a level file; `None` if it is not that of exactly these
    /// segments.
    pub(crate) fn new_level(
        file: BlockFile,
        store_id: [u8; 16],
        covers: Covers,
    ) -> Result<Option<Self>, Defect> {
        let Some(contents) = IndexContents::of_segments(file, store_id, &covers)? else {
            return Ok(None);
        };
        Ok(Some(Self::opened(covers, contents)))
    }

    /// Takes the opened container of an index file or level file as that of the segments that it names,
    /// whatever became of them; `None` if it is of another store.
    pub(crate) fn of_named_segments(
        file: BlockFile,
        store_id: [u8; 16],
    ) -> Result<Option<Self>, Defect> {
        let segments = file.section(level_file::SEGMENTS);
        let count = segments.count(META_LEN);
        if count == 0 {
            let meta = IndexMeta::decode(file.get(file.section(META), 0, META_LEN)?)?;
            return Self::new(file, store_id, &meta);
        }
        let front = file.get(file.section(META), 0, level_file::META_LEN)?;
        let changes = LevelMeta::decode(front)?.change_count;
        let metas = (0..count).map(|at| IndexMeta::decode(file.entry(segments, at, META_LEN)?));
        let metas = metas.collect::<Result<_, _>>()?;
        Self::new_level(file, store_id, Covers { metas, changes })
    }

    fn opened(covers: Covers, contents: IndexContents) -> Self {
        let (contents, used) = (OnceLock::from(contents), AtomicBool::new(true));
        Self { covers, contents, place: None, len: OnceLock::new(), used }
    }

    /// An index whose file exists and is opened when it is first needed. If it is not the index of
    /// exactly these segments, every look-up fails.
    pub(crate) fn later(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        store_id: [u8; 16],
        covers: Covers,
    ) -> Self {
        let place = Some(ListPlace { way: Way::Path(storage, path), store_id });
        let (len, used) = (OnceLock::new(), AtomicBool::new(false));
        Self { covers, contents: OnceLock::new(), place, len, used }
    }

    /// The same index without its mapping, if it is mapped and, unless `anyway`, was not used since
    /// the last call. It is opened again when it is needed.
    pub(crate) fn unmapped(&self, anyway: bool) -> Option<Self> {
        let file = self.contents.get()?.file();
        let way = Way::Handle(Arc::clone(file.mapped_from()?));
        if self.used.swap(false, Ordering::Relaxed) && !anyway {
            return None;
        }
        let place = Some(ListPlace { way, store_id: file.store_id() });
        let (covers, used) = (self.covers.clone(), AtomicBool::new(false));
        let (contents, len) = (OnceLock::new(), OnceLock::from(file.file_len()));
        Some(Self { covers, contents, place, len, used })
    }

    pub(super) fn contents(&self) -> Result<&IndexContents, Defect> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if let Some(contents) = self.contents.get() {
            return Ok(contents);
        }
        let place = self.place.as_ref().ok_or(Defect::TooShort)?;
        let file = place.way.open();
        let file = file.map_err(|e| Defect::Unreadable(e.to_string()))?;
        let contents = if self.is_level() {
            let file = BlockFile::open(file, LEVEL_MAGIC)?;
            IndexContents::of_segments(file, place.store_id, &self.covers)?.ok_or(FOREIGN)?
        } else {
            let file = BlockFile::open(file, INDEX_MAGIC)?;
            let contents = IndexContents::of_segment(file, place.store_id, &self.covers.metas[0])?;
            let contents = contents.ok_or(FOREIGN)?;
            if matches!(place.way, Way::Path(..))
                && contents.for_each_change(|_, _| {})? != self.covers.changes
            {
                return Err(Defect::Invalid("it does not hold the changes of its segment"));
            }
            contents
        };
        Ok(self.contents.get_or_init(|| contents))
    }

    /// Whether its file is open.
    pub(crate) fn is_open(&self) -> bool {
        self.contents.get().is_some()
    }

    /// Whether its file has disappeared since it was listed: a writer beside this reader may have
    /// merged it.
    pub(crate) fn is_gone(&self) -> bool {
        if let Some(contents) = self.contents.get() {
            let file = contents.file().mapped_from();
            return file.is_some_and(|file| matches!(file.is_in_place(), Ok(false)));
        }
        match self.place.as_ref().map(|place| &place.way) {
            Some(Way::Path(storage, path)) => matches!(storage.entry_kind(path), Ok(None)),
            Some(Way::Handle(file)) => matches!(file.is_in_place(), Ok(false)),
            None => false,
        }
    }

    /// Whether its file can be opened and is the expected one.
    pub(crate) fn is_there(&self) -> bool {
        self.contents().is_ok()
    }

    /// The numbers of the segments it covers.
    pub(crate) fn segments(&self) -> RangeInclusive<u64> {
        self.covers.segments()
    }

    /// Whether it is a level file.
    pub(crate) fn is_level(&self) -> bool {
        self.covers.metas.len() > 1
    }

    /// The position of ordinal 0.
    pub(crate) fn base_position(&self) -> u64 {
        self.covers.metas[0].base_position
    }

    /// The number of events. No file has more than 2^32.
    pub(crate) fn event_count(&self) -> u32 {
        u32::try_from(self.covers.event_count()).unwrap_or(u32::MAX)
    }

    /// The size of the file in bytes, which is not opened for that; 0 if it is missing.
    pub(crate) fn file_len(&self) -> u64 {
        if let Some(contents) = self.contents.get() {
            return contents.file().file_len();
        }
        if let Some(&len) = self.len.get() {
            return len;
        }
        let len = match self.place.as_ref().map(|place| &place.way) {
            Some(Way::Path(storage, path)) => storage.file_len(path).ok(),
            Some(Way::Handle(file)) => file.len().ok(),
            None => None,
        };
        len.map_or(0, |len| *self.len.get_or_init(|| len))
    }

    /// Checks every block.
    pub(crate) fn verify(&self) -> Result<(), Defect> {
        self.contents()?.file().verify()
    }

    /// The bytes of lists and names.
    pub(super) fn extent(&self) -> Result<(u64, u64), Defect> {
        self.contents().map(IndexContents::extent)
    }

    /// The stream's entry, if it has events here.
    pub(crate) fn stream_entry(&self, name: &str) -> Result<Option<StreamEntry>, Defect> {
        self.contents()?.stream_entry(name)
    }

    /// The ordinals of a stream's events at these places of its list.
    pub(crate) fn stream_ordinals(
        &self,
        entry: &StreamEntry,
        places: Range<u32>,
    ) -> Result<Vec<u32>, Defect> {
        self.contents()?.stream_ordinals(entry, places)
    }

    /// The last event of a stream with an ordinal of at most `limit`: its place in the list, and its
    /// ordinal.
    pub(crate) fn last_stream_ordinal(
        &self,
        entry: &StreamEntry,
        limit: u32,
    ) -> Result<Option<(u32, u32)>, Defect> {
        self.contents()?.list(entry.list_offset, entry.count)?.last_at_most(limit)
    }

    /// The number of ordinals of a list that are in a range.
    pub(crate) fn count_in(&self, found: PostingList, range: Range<u32>) -> Result<u64, Defect> {
        let contents = self.contents()?;
        if range.start == 0 && range.end >= contents.event_count() {
            return Ok(found.count.into());
        }
        let list = contents.list(found.place, found.count)?;
        let before = |end: u32| match end.checked_sub(1) {
            Some(limit) => {
                Ok(list.last_at_most(limit)?.map_or(0, |(place, _)| u64::from(place) + 1))
            }
            None => Ok(0),
        };
        Ok(before(range.end)?.saturating_sub(before(range.start)?))
    }

    /// The stream's events here, if it has any.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn stream(&self, name: &str) -> Result<Option<StreamRun>, Defect> {
        let Some(entry) = self.stream_entry(name)? else { return Ok(None) };
        Ok(Some(StreamRun {
            first_version: entry.first_version,
            previous_position: entry.previous_position,
            ordinals: self.stream_ordinals(&entry, 0..entry.count)?,
        }))
    }

    /// The head at the end of the last segment of a stream whose name has this hash (of the section
    /// STREAMS), if it has events here. With [`Reads::None`], a file that is not open is
    /// [`Defect::Unread`] too.
    pub(crate) fn head(
        &self,
        reads: Reads,
        name: &str,
        hashed: &Probe,
    ) -> Result<Option<Head>, Defect> {
        if reads == Reads::None && !self.is_open() {
            return Err(Defect::Unread { checkpoint: 0, offset: 0, len: 0 });
        }
        self.contents()?.head(reads, name, hashed)
    }

    /// Calls `each` with the name of every stream that begins with `prefix`, by name, and its head at the
    /// end of the last segment.
    pub(crate) fn for_each_head(
        &self,
        prefix: &str,
        each: impl FnMut(&str, Head),
    ) -> Result<(), Defect> {
        self.contents()?.for_each_head(prefix, each)
    }

    /// The number of streams whose first event is here, after a position.
    pub(crate) fn streams_begun(&self, after: u64) -> Result<u64, Defect> {
        self.contents()?.streams_begun(after)
    }

    /// The number of the segments' first change; 0 if they have none.
    pub(crate) fn first_change(&self) -> Result<u64, Defect> {
        Ok(self.contents()?.changes()?.map_or(0, |(first, _)| first))
    }

    /// Calls `each` with the segments' changes and their numbers; for changes of records, with the
    /// number of the last one and no change. Returns the number of changes.
    pub(crate) fn for_each_change(
        &self,
        each: impl FnMut(ChangeNumber, Option<Change>),
    ) -> Result<u64, Defect> {
        let count = self.contents()?.for_each_change(each)?;
        if self.is_level() && count != self.covers.changes {
            return Err(Defect::Invalid("changes are missing"));
        }
        Ok(count)
    }

    /// The newest change of a record in the segments.
    pub(crate) fn record(
        &self,
        key: &RecordKey<'_>,
        by: Match,
    ) -> Result<Option<RecordEntry>, Defect> {
        self.contents()?.record(key, by)
    }

    /// Calls `each` with up to `most` records of the segments, from `start` on.
    pub(crate) fn record_page(
        &self,
        start: PageStart<'_>,
        most: usize,
        each: impl FnMut(&str, RecordEntry),
    ) -> Result<(), Defect> {
        self.contents()?.record_page(start, most, each)
    }

    /// Whether any event may have a term, whose hash is that of its section and name.
    pub(crate) fn may_hold(&self, term: &Probe) -> Result<bool, Defect> {
        self.contents()?.may_hold(term)
    }

    /// Prefetches what [`SealedIndex::may_hold`] reads, if the file is open.
    pub(crate) fn prefetch(&self, term: &Probe) {
        if let Some(contents) = self.contents.get() {
            contents.prefetch(term);
        }
    }

    /// Prefetches what the filter of ids answers from, if the file is open.
    pub(crate) fn prefetch_id(&self, id: &HashedId) {
        if let Some(contents) = self.contents.get() {
            contents.prefetch_id(id);
        }
    }

    /// The ordinals of the events that may have this id: those whose ids share its hash's upper
    /// half. Nearly always none or one.
    pub(crate) fn candidates(&self, id: &HashedId) -> Result<Vec<u32>, Defect> {
        self.contents()?.candidates(id)
    }

    /// Whether the filter may contain an id.
    #[cfg(test)]
    pub(crate) fn filter_passes_for_tests(&self, id: &[u8; 16]) -> bool {
        self.contents().unwrap().may_hold_id(&HashedId::new(id)).unwrap()
    }
}

impl Postings for SealedIndex {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        self.contents()?.find(kind, name)
    }

    fn some(
        &self,
        found: PostingList,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect> {
        self.contents()?.list(found.place, found.count)?.some(range, backwards, most)
    }
}

#[cfg(test)]
mod tests;
