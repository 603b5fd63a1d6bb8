//! The damaged store, opened for reading only: the list of its segments, and access to readable bytes
//! around those that a bad medium cannot return.
//!
//! Must never write, create or lock anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup::{Backup, SegmentCopy};
use super::report::SkippedBytes;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader};
use crate::format::names;
use crate::format::seal::Trailer;
use crate::format::segment_header::{DATA_START, SegmentHeader};
use crate::log::partial_reads::Tolerant;
use crate::log::segment::{SegmentFile, read_header};
use crate::storage::{OpenMode, read_exact_at};

/// A segment of the damaged store.
#[derive(Debug)]
pub(super) struct SourceSegment {
    /// The path in it is relative to the store. If the store does not have the segment, this is the backup's copy.
    pub(super) segment: SegmentFile,
    pub(super) file: Arc<Tolerant>,
    pub(super) own: Presence,
    pub(super) copy: Option<Arc<SegmentCopy>>,
}

/// Whether the damaged store has a segment that is in the backup.
#[derive(Debug)]
pub(super) enum Presence {
    Found,
    Lost(SkippedBytes),
    /// It is after the last one.
    Beyond,
}

impl SourceSegment {
    /// The length of the damaged store's file.
    pub(super) fn len(&self) -> Result<u64> {
        match self.own {
            Presence::Found => self.segment.len(),
            Presence::Lost(_) | Presence::Beyond => Ok(0),
        }
    }

    /// The trailer in the damaged store's file.
    pub(super) fn trailer(&self) -> Result<Option<Trailer>> {
        match self.own {
            Presence::Found => self.segment.trailer(),
            Presence::Lost(_) | Presence::Beyond => Ok(None),
        }
    }

    /// The header of the first frame in the damaged store's file.
    pub(super) fn first_frame(&self) -> Option<FrameHeader> {
        let mut bytes = [0; frame::HEADER_LEN];
        if !matches!(self.own, Presence::Found) {
            return None;
        }
        read_exact_at(&*self.file, &mut bytes, DATA_START).ok()?;
        let decoded = FrameHeader::decode(&bytes, self.segment.header.seed(), DATA_START);
        decoded.ok().map(|(header, _)| header)
    }
}

/// The next part of the log.
#[derive(Debug)]
pub(super) enum Item {
    Segment(SourceSegment),
    /// Bytes from which nothing can be taken.
    Lost(Vec<SkippedBytes>),
}

/// The segments in order, with an entry in the place of each one that is lost. A segment that the backup has is in the
/// list with the backup's copy, whether the store has it or not.
pub(super) fn list(dir: &StoreDir, backup: Option<(&mut Backup, &Path)>) -> Result<Vec<Item>> {
    // An entry with a segment's name that is not a regular file is treated as missing.
    let (numbers, _) = dir.segment_numbers()?;
    if numbers.is_empty() {
        let why = "its log has no segments".into();
        return Err(Error::NotAStore { path: dir.root().into(), why });
    }
    let (mut found, mut misnamed, mut lost) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for number in numbers {
        match open_tolerant(dir, number) {
            Ok(source) if source.segment.header.number == number => {
                found.insert(number, source);
            }
            Ok(source) => misnamed.push((number, source)),
            Err(unsupported @ Error::Unsupported { .. }) => return Err(unsupported),
            Err(error) => {
                lost.insert(number, whole_file(dir, number, reason(error)));
            }
        }
    }
    // A segment under a wrong name is used as the number in its header, if no other file has that
    // number.
    for (number, source) in misnamed {
        let header = &source.segment.header;
        let what = format!("the file holds segment {}", header.number);
        if (1..=MAX_SEGMENT).contains(&header.number) && !found.contains_key(&header.number) {
            found.insert(header.number, source);
        } else {
            lost.insert(number, whole_file(dir, number, what));
        }
    }
    let store_id = most_common_store(&found);
    let foreign = |source: &SourceSegment| Some(source.segment.header.store_id) != store_id;
    let foreign: Vec<u64> =
        found.iter().filter(|(_, source)| foreign(source)).map(|(&n, _)| n).collect();
    for number in foreign {
        found.remove(&number);
        let what = "the segment belongs to another store".into();
        lost.insert(number, whole_file(dir, number, what));
    }
    if let Some((backup, root)) = backup {
        backup.keep_those_of(root, store_id)?;
        for (number, copy) in backup.copies() {
            add_copy(dir, &mut found, &mut lost, number, copy);
        }
        for (&number, source) in &found {
            if let Some(first) = source.first_frame() {
                backup.note_first(number, first);
            }
        }
    }
    Ok(in_order(found, lost))
}

/// Adds the backup's copy of a segment to the damaged store's own, or in its place.
fn add_copy(
    dir: &StoreDir,
    found: &mut BTreeMap<u64, SourceSegment>,
    lost: &mut BTreeMap<u64, SkippedBytes>,
    number: u64,
    copy: &Arc<SegmentCopy>,
) {
    if let Some(source) = found.get_mut(&number) {
        if source.segment.header == copy.segment.header {
            source.copy = Some(Arc::clone(copy));
        }
        return;
    }
    let is_beyond = found.last_key_value().is_none_or(|(&last, _)| last < number);
    let own = match lost.remove(&number) {
        Some(skipped) => match open_without_header(dir, number, &copy.segment.header) {
            Some(source) => {
                found.insert(number, SourceSegment { copy: Some(Arc::clone(copy)), ..source });
                return;
            }
            None => Presence::Lost(skipped),
        },
        None if is_beyond => Presence::Beyond,
        None => Presence::Lost(missing(number, number)),
    };
    let segment = SegmentFile { path: relative(number), ..copy.segment.clone() };
    let file = Arc::new(Tolerant::new(Arc::clone(&segment.file)));
    found.insert(number, SourceSegment { segment, file, own, copy: Some(Arc::clone(copy)) });
}

/// Opens a segment both of whose header copies are damaged, with the header of its copy.
fn open_without_header(
    dir: &StoreDir,
    number: u64,
    header: &SegmentHeader,
) -> Option<SourceSegment> {
    let path = dir.segment_path(number);
    let inner = dir.storage().open(&path, OpenMode::Read).ok()?;
    let file = Arc::new(Tolerant::new(inner));
    // An intact header is another segment's.
    let is_damaged = read_header(&*file, &path, 0).is_err();
    let header = header.clone();
    let segment = SegmentFile { path: relative(number), file: Arc::clone(&file) as _, header };
    let is_usable = is_damaged && segment.len().is_ok();
    is_usable.then_some(SourceSegment { segment, file, own: Presence::Found, copy: None })
}

const MAX_SEGMENT: u64 = 1 << 56;

/// Opens a segment whose unreadable parts read as zero.
pub(super) fn open_tolerant(dir: &StoreDir, number: u64) -> Result<SourceSegment> {
    let path = dir.segment_path(number);
    let inner =
        dir.storage().open(&path, OpenMode::Read).map_err(|e| Error::io("open", &path, e))?;
    let file = Arc::new(Tolerant::new(inner));
    let header = read_header(&*file, &path, 0).map_err(|error| {
        if file.has_failed_within(0, DATA_START) {
            return Error::io("read", &path, std::io::Error::other("its header cannot be read"));
        }
        error
    })?;
    let segment = SegmentFile { path: relative(number), file: Arc::clone(&file) as _, header };
    Ok(SourceSegment { segment, file, own: Presence::Found, copy: None })
}

fn relative(number: u64) -> PathBuf {
    names::segment_path(Path::new(""), number)
}

fn reason(error: Error) -> String {
    match error {
        Error::Corrupt { what, .. } => what,
        Error::Io { operation, source, .. } => format!("cannot {operation}: {source}"),
        other => other.to_string(),
    }
}

fn whole_file(dir: &StoreDir, number: u64, reason: String) -> SkippedBytes {
    let file = dir.storage().open(&dir.segment_path(number), OpenMode::Read);
    let to = file.and_then(|file| file.len()).unwrap_or(0);
    SkippedBytes { file: relative(number), from: 0, to, reason }
}

fn most_common_store(found: &BTreeMap<u64, SourceSegment>) -> Option<[u8; 16]> {
    let mut counts: Vec<([u8; 16], usize)> = Vec::new();
    for source in found.values() {
        let id = source.segment.header.store_id;
        match counts.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += 1,
            None => counts.push((id, 1)),
        }
    }
    // If several are equally common, the first one is used.
    counts.iter().rev().max_by_key(|(_, count)| *count).map(|(id, _)| *id)
}

fn in_order(
    found: BTreeMap<u64, SourceSegment>,
    mut lost: BTreeMap<u64, SkippedBytes>,
) -> Vec<Item> {
    let (mut items, mut next) = (Vec::new(), 1);
    for (number, source) in found {
        if number > next {
            items.push(Item::Lost(lost_of(&mut lost, next, number - 1)));
        }
        next = number + 1;
        items.push(Item::Segment(source));
    }
    if !lost.is_empty() {
        items.push(Item::Lost(lost.into_values().collect()));
    }
    items
}

/// Removes and returns the lost bytes of the segments `first` to `end`.
fn lost_of(lost: &mut BTreeMap<u64, SkippedBytes>, first: u64, end: u64) -> Vec<SkippedBytes> {
    let behind = lost.split_off(&(end + 1));
    let mut skipped: Vec<_> = std::mem::replace(lost, behind).into_values().collect();
    if skipped.len() as u64 <= end - first {
        skipped.push(missing(first, end));
    }
    skipped
}

fn missing(first: u64, end: u64) -> SkippedBytes {
    let reason = if first == end {
        "the segment is missing".to_owned()
    } else {
        format!("some of the segments {first} to {end} are missing")
    };
    SkippedBytes { file: relative(first), from: 0, to: 0, reason }
}
