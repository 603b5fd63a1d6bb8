//! One segment file, for reading.
//!
//! Owns the source of the bytes: the mapping if there is one, otherwise positional reads. First
//! touch of a region always goes through a positional read, so that a media error is an error and
//! not a signal. Must never return a byte past the written mark.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::verified_events::ProvenEvents;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::Defect;
use crate::format::checksum::Seed;
use crate::format::record::{Layout, RecordRef};
use crate::format::seal::Trailer;
use crate::format::segment_header::{COPIES, DATA_START, HEADER_LEN, SegmentHeader};
use crate::storage::{File, Mapping, OpenMode, read_exact_at};
use crate::sync::AtomicMark;

mod again;
mod events;
mod records;
mod shared;

pub(crate) use events::LogPlace;
pub(crate) use shared::Window;

/// The number of bytes that one positional read proves readable.
const CHUNK: u64 = 64 << 10;
const MISSING: Defect = Defect::Invalid("the segment is missing");

/// A segment file and its header; its frames have not been read.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
}

impl SegmentFile {
    /// Opens segment `number` and checks that its header belongs there.
    pub(crate) fn open(
        dir: &StoreDir,
        number: u64,
        mode: OpenMode,
        expected_position: u64,
    ) -> Result<Self> {
        let path = dir.segment_path(number);
        let file = dir.storage().open(&path, mode).map_err(|e| match e.kind() {
            // The stub of a cold segment.
            ErrorKind::InvalidData => Error::Corrupt {
                file: path.clone(),
                offset: 0,
                expected_position: Position::new(expected_position),
                what: e.to_string(),
                evidence: None,
            },
            _ => Error::io("open", &path, e),
        })?;
        let header = read_header(&*file, &path, expected_position)?;
        if header.number != number {
            return Err(Error::Corrupt {
                file: path,
                offset: 48,
                expected_position: Position::new(expected_position),
                what: format!("the file holds segment {}", header.number),
                evidence: None,
            });
        }
        let this = Self { path, file, header };
        this.len()?;
        Ok(this)
    }

    /// The file's length. A length that is impossible for a segment of this capacity is damage:
    /// reads that are bounded by it (of a tail, or for evidence) would otherwise take as long as
    /// the file is.
    pub(crate) fn len(&self) -> Result<u64> {
        let len = self.file.len().map_err(|e| Error::io("read the length of", &self.path, e))?;
        let most = self.header.longest_file();
        if len > most {
            return Err(Error::Corrupt {
                file: self.path.clone(),
                offset: most,
                expected_position: Position::START,
                what: format!(
                    "the file has {len} bytes, and a segment of its capacity at most {most}"
                ),
                evidence: None,
            });
        }
        Ok(len)
    }

    /// The trailer, if the file ends with one.
    pub(crate) fn trailer(&self) -> Result<Option<Trailer>> {
        let len = self.len()?;
        let Some(at) = len.checked_sub(crate::format::seal::TRAILER_LEN as u64) else {
            return Ok(None);
        };
        let mut bytes = [0; crate::format::seal::TRAILER_LEN];
        match read_exact_at(&*self.file, &mut bytes, at) {
            Ok(()) => {}
            // A writer beside this reader has cut the file since: it is being sealed.
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(Error::io("read", &self.path, e)),
        }
        Ok(Trailer::decode(&bytes, self.header.seed(), len).ok())
    }
}

/// Reads the header from the first intact copy.
pub(crate) fn read_header(
    file: &dyn File,
    path: &Path,
    expected_position: u64,
) -> Result<SegmentHeader> {
    let mut first_defect = None;
    for at in COPIES {
        let mut bytes = [0; HEADER_LEN];
        let result = match read_exact_at(file, &mut bytes, at) {
            Ok(()) => SegmentHeader::decode(&bytes),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(Defect::TooShort),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        match result {
            Ok(header) => return Ok(header),
            Err(Defect::Unsupported(what)) => {
                return Err(Error::Unsupported { path: path.into(), what });
            }
            Err(defect) => first_defect = first_defect.or(Some(defect)),
        }
    }
    Err(Error::Corrupt {
        file: path.into(),
        offset: 0,
        expected_position: Position::new(expected_position),
        what: format!(
            "both copies of the segment header are damaged: {}",
            first_defect.unwrap_or(Defect::TooShort)
        ),
        evidence: None,
    })
}

/// A segment of the store.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: Seed,
    pub(crate) base_position: u64,
    /// Present if the segment is sealed.
    pub(crate) trailer: Option<Trailer>,
    /// For a sealed segment, set by the first read; `None` inside if mapping is not possible.
    map: OnceLock<Option<Mapping>>,
    /// The file that the segment's name leads to now, if the handle and the mapping turned out to show
    /// older bytes.
    fresh: OnceLock<Arc<dyn File>>,
    /// Whether it was read since dropping its mapping was last considered.
    used: AtomicBool,
    /// Exclusive end of the written frames; only grows. Raised after the bytes are written, so a
    /// thread that loads it may read up to it.
    written_end: AtomicMark,
    /// Exclusive end of the part that walks over the frames have proven.
    verified_end: AtomicU64,
    /// Whether the offset table of a sealed segment is intact, once that was asked.
    table_is_intact: OnceLock<bool>,
    /// The events after that end that were proven one by one.
    proven: ProvenEvents,
    /// Exclusive end of the space that was written once, with frames or zeros.
    filled_to: AtomicU64,
    /// One bit per chunk: it was read once without an error.
    readable: Box<[AtomicU64]>,
}

/// A record and the source of its bytes.
#[derive(Debug, Clone)]
pub(crate) enum RecordBytes {
    Mapped {
        segment: Arc<Segment>,
        offset: u64,
    },
    /// Part of a [`Window`] of a mapped segment.
    Shared(Bytes),
    /// A copy.
    Owned(Bytes),
}

impl RecordBytes {
    /// The record, whose layout was read before.
    pub(crate) fn record(&self, layout: Layout) -> RecordRef<'_> {
        let bytes = match self {
            Self::Mapped { segment, offset } => segment.remembered(*offset, layout.padded_len()),
            Self::Shared(bytes) | Self::Owned(bytes) => bytes,
        };
        RecordRef::from_parts(bytes, layout)
    }

    /// The record's bytes as a buffer, without a copy.
    pub(crate) fn into_buffer(self, layout: Layout) -> Bytes {
        match self {
            Self::Mapped { segment, offset } => segment.share(offset, layout.padded_len()),
            Self::Shared(bytes) | Self::Owned(bytes) => bytes,
        }
    }

    /// The range of the record's bytes as a buffer, without a copy.
    pub(crate) fn buffer(&self, range: Range<usize>) -> Bytes {
        match self {
            Self::Mapped { segment, offset } => {
                segment.share(offset + range.start as u64, range.len())
            }
            Self::Shared(bytes) | Self::Owned(bytes) => bytes.slice(range),
        }
    }
}

impl Segment {
    /// Takes a segment whose frames end at `end`. The file of a sealed segment is not accessed.
    pub(crate) fn new(
        file: SegmentFile,
        base_position: u64,
        trailer: Option<Trailer>,
        end: u64,
    ) -> Result<Self> {
        let map = OnceLock::new();
        let len = match &trailer {
            Some(trailer) => trailer.file_len(),
            None => {
                let len = file.len()?;
                // A copy of a log ends with its frames: a mapping would not show those that are added.
                let has_space = len >= file.header.capacity;
                let live = if has_space { file.file.map(len, true) } else { Ok(None) };
                let _ = map.set(live.map_err(|e| Error::io("map", &file.path, e))?);
                len
            }
        };
        let words = usize::try_from(len.div_ceil(CHUNK).div_ceil(64)).unwrap_or(0);
        Ok(Self {
            seed: file.header.seed(),
            path: file.path,
            file: file.file,
            header: file.header,
            base_position,
            trailer,
            map,
            fresh: OnceLock::new(),
            used: AtomicBool::new(false),
            written_end: AtomicMark::new(end),
            verified_end: AtomicU64::new(DATA_START),
            table_is_intact: OnceLock::new(),
            proven: ProvenEvents::default(),
            filled_to: AtomicU64::new(end),
            readable: (0..words).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// The present end of the frames.
    pub(crate) fn end(&self) -> u64 {
        self.written_end.get()
    }

    /// Lets readers see up to `end`, which must be written. One thread at a time may call it: the leader of a group, or
    /// the one that follows another process.
    pub(crate) fn set_end(&self, end: u64) {
        self.written_end.raise_locked(end);
    }

    /// Exclusive end of the part that walks have proven.
    pub(crate) fn verified_end(&self) -> u64 {
        self.verified_end.load(Ordering::Acquire)
    }

    /// Records that a walk has proven `from..to`; has an effect only if it joins the proven part.
    pub(crate) fn note_verified(&self, from: u64, to: u64) {
        if from <= self.verified_end() {
            self.verified_end.fetch_max(to, Ordering::AcqRel);
        }
    }

    /// Records that what walks have proven of another handle to the same bytes is proven.
    pub(crate) fn note_verified_as(&self, other: &Self) {
        self.note_verified(DATA_START, other.verified_end());
    }

    /// Exclusive end of the space that was written once, as far as this process can determine.
    pub(crate) fn filled_to(&self) -> u64 {
        self.filled_to.load(Ordering::Relaxed)
    }

    /// A hint that only the writer reads; nothing depends on its order.
    pub(crate) fn note_filled(&self, to: u64) {
        self.filled_to.fetch_max(to, Ordering::Relaxed);
    }

    /// Records that a walk by positional reads has proven everything before `to`, header included,
    /// which also shows that it is readable.
    pub(crate) fn note_walked(&self, to: u64) {
        self.note_verified(DATA_START, to);
        for chunk in 0..to / CHUNK {
            if let Some((word, bit)) = self.readable_bit(chunk) {
                word.fetch_or(bit, Ordering::AcqRel);
            }
        }
    }

    /// The word and bit that record whether a chunk is readable; `None` past the end of the file.
    fn readable_bit(&self, chunk: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.readable.get(usize::try_from(chunk / 64).ok()?)?;
        Some((word, 1 << (chunk % 64)))
    }

    fn is_known_readable(&self, chunk: u64) -> bool {
        let bit = self.readable_bit(chunk);
        bit.is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.mapping().is_some()
    }

    fn mapping(&self) -> Option<&Mapping> {
        if self.is_stale() {
            return None;
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if let Some(map) = self.map.get() {
            return map.as_ref();
        }
        // If mapping fails, a positional read follows and returns the error.
        let map = self.file.map(self.readable_limit(), false).ok()?;
        self.map.get_or_init(|| map).as_ref()
    }

    /// The same segment without its mapping, if it is sealed and mapped and, unless `anyway`, was not
    /// read since the last call. Handles into this one stay valid.
    pub(crate) fn unmapped(&self, anyway: bool) -> Option<Self> {
        let trailer = self.trailer.as_ref()?;
        self.map.get()?.as_ref()?;
        if self.used.swap(false, Ordering::Relaxed) && !anyway {
            return None;
        }
        let file = SegmentFile {
            path: self.path.clone(),
            file: Arc::clone(self.source()),
            header: self.header.clone(),
        };
        let (base, end) = (self.base_position, self.end());
        let unmapped = Self::new(file, base, Some(trailer.clone()), end).ok()?;
        unmapped.note_verified_as(self);
        for (own, known) in unmapped.readable.iter().zip(&self.readable) {
            own.store(known.load(Ordering::Acquire), Ordering::Release);
        }
        Some(unmapped)
    }

    /// The mapped bytes `offset..offset + len`, if the segment is mapped and they are written.
    pub(crate) fn mapped(&self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let proven = self.prove_mapped(offset, len)?;
        Ok(proven.map(|_| self.remembered(offset, len)))
    }

    /// Proves that the mapped bytes `offset..offset + len` can be read, and returns the end up to
    /// which [`Segment::remembered`] may be used from then on; `None` if they are not mapped or not
    /// written.
    pub(crate) fn prove_mapped(&self, offset: u64, len: usize) -> Result<Option<u64>> {
        let end = offset.saturating_add(len as u64);
        let limit = self.readable_limit();
        if end > limit || self.mapping().is_none() {
            return Ok(None);
        }
        self.prove_readable(offset, end)?;
        Ok(Some(end.next_multiple_of(CHUNK).min(limit)))
    }

    /// Prefetches the bytes at `offset`.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u64, len: usize) {
        if let Some(Some(map)) = self.map.get() {
            map.prefetch(offset, len);
        }
    }

    /// The bytes of an event's handle; they were proven before.
    pub(crate) fn remembered(&self, offset: u64, len: usize) -> &[u8] {
        let map = self.map.get().and_then(Option::as_ref);
        map.and_then(|map| map.get(offset, len)).unwrap_or_default()
    }

    fn readable_limit(&self) -> u64 {
        self.trailer.as_ref().map_or_else(|| self.end(), Trailer::file_len)
    }

    fn prove_readable(&self, from: u64, to: u64) -> Result<()> {
        for chunk in from / CHUNK..to.div_ceil(CHUNK) {
            let Some((word, bit)) = self.readable_bit(chunk) else {
                continue;
            };
            if word.load(Ordering::Acquire) & bit == 0 {
                let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(0)];
                let start = chunk * CHUNK;
                let limit = self.readable_limit();
                let len = usize::try_from(limit.saturating_sub(start).min(CHUNK)).unwrap_or(0);
                self.read(&mut buffer[..len], start)?;
                // Bytes that are added to this chunk later are written by this process, or were
                // walked by positional reads of a follower.
                word.fetch_or(bit, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    /// Reads positionally.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        read_exact_at(&**self.source(), buffer, offset).map_err(|e| match e.kind() {
            // The offset from an index, or a length, is outside the file: damage, and not an error
            // of the disk.
            ErrorKind::UnexpectedEof => self.corrupt(offset, self.base_position, &Defect::TooShort),
            // The file was listed, and is missing when it is first opened.
            ErrorKind::NotFound => self.corrupt(0, self.base_position, &MISSING),
            ErrorKind::InvalidData => Error::Corrupt {
                file: self.path.clone(),
                offset: 0,
                expected_position: Position::new(self.base_position),
                what: e.to_string(),
                evidence: None,
            },
            _ => Error::io("read", &self.path, e),
        })
    }

    pub(crate) fn corrupt(&self, offset: u64, position: u64, defect: &Defect) -> Error {
        Error::Corrupt {
            file: self.path.clone(),
            offset,
            expected_position: Position::new(position),
            what: defect.to_string(),
            evidence: None,
        }
    }
}
