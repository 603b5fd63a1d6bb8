//! A backup of the damaged store: its copies of segments, and what the damaged store proves about their frames.
//!
//! Owns the rule that frames of a backup are used only where they continue the history of the damaged store. Must
//! never write to the backup.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::place::{Place, look};
use super::refuse_writer;
use super::source::open_tolerant;
use crate::creation::bind_existing;
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader};
use crate::format::names;
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, Window, resume};
use crate::log::segment::SegmentFile;
use crate::storage::EntryKind;

/// A backup of the damaged store.
#[derive(Debug)]
pub(super) struct Backup {
    copies: BTreeMap<u64, Arc<SegmentCopy>>,
    /// The identity of the store that it is a backup of, from its manifest.
    store_id: Option<[u8; 16]>,
    /// A manifest names the end of what the backup holds. Without one, the copies may have frames that are not of the
    /// store's history.
    has_end: bool,
    /// The headers of the first frames of the damaged store's segments, as far as they are intact.
    firsts: BTreeMap<u64, FrameHeader>,
    /// The copies up to this segment continue those of the segments before, and what the damaged store shows about
    /// them.
    traced: Option<(u64, Fit)>,
}

/// A backup's copy of a segment.
#[derive(Debug)]
pub(super) struct SegmentCopy {
    pub(super) segment: SegmentFile,
    /// Exclusive end of its frames.
    end: u64,
}

/// What the damaged store itself has at a damaged place of a segment, and after it.
pub(super) struct Own<'a> {
    /// The intact header of the damaged frame.
    pub(super) here: Option<&'a FrameHeader>,
    /// The next intact header of a frame in the segment, and its offset.
    pub(super) next: Option<(u64, FrameHeader)>,
    pub(super) trailer: Option<&'a Trailer>,
}

/// What the damaged store shows about frames of the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Its own history goes on from them.
    Confirmed,
    /// It has nothing that could confirm or contradict them.
    Open,
    /// It has nothing that could confirm them, and they do not continue what it has before, or may be later than the
    /// backup.
    Unproven,
    /// Its own history is another.
    Contradicted,
}

/// Consecutive frames of the backup's copy of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Exclusive end of the frames.
    pub(super) end: u64,
    pub(super) fit: Fit,
    /// Nothing follows them in the segment but its seal.
    pub(super) to_seal: bool,
}

/// The end of consecutive frames.
#[derive(Debug, Clone, Copy)]
struct End {
    offset: u64,
    link: u32,
    next_position: u64,
    to_seal: bool,
}

impl End {
    fn is_followed_by(&self, next: &FrameHeader) -> bool {
        next.link == self.link && next.first_position == self.next_position
    }

    fn is_end_of(&self, trailer: &Trailer) -> bool {
        let next = trailer.base_position + u64::from(trailer.event_count);
        trailer.link == self.link && next == self.next_position
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::InvalidArgument { what: "the backup", why: format!("{} {why}", path.display()) }
}

impl Backup {
    /// Whether it has a copy of a segment.
    pub(super) fn has(&self, number: u64) -> bool {
        self.copies.contains_key(&number)
    }

    pub(super) fn open(dir: &StoreDir) -> Result<Self> {
        let kind = dir.storage().entry_kind(&dir.join(names::LOG_DIR));
        if !matches!(kind, Ok(Some(EntryKind::Directory))) {
            return Err(unusable(dir.root(), "has no log"));
        }
        let dir = &bind_existing(dir)?;
        refuse_writer(dir)?;
        let manifest = match dir.read_backup() {
            Ok(manifest) => manifest,
            // A damaged manifest proves nothing.
            Err(Error::BackupRefused { .. }) => None,
            Err(error) => return Err(error),
        };
        let end = manifest.and_then(|manifest| manifest.end);
        let mut copies = BTreeMap::new();
        for number in dir.segment_numbers()?.0 {
            let limit = match end {
                Some(end) if number > end.segment => continue,
                Some(end) if number == end.segment => end.offset,
                _ => u64::MAX,
            };
            match open_copy(dir, number, limit) {
                Ok(copy) if copy.segment.header.number == number => {
                    copies.insert(number, Arc::new(copy));
                }
                Err(unsupported @ Error::Unsupported { .. }) => return Err(unsupported),
                // A copy that is damaged, too, replaces nothing.
                Ok(_) | Err(_) => {}
            }
        }
        let store_id = manifest.map(|manifest| manifest.store_id);
        let has_end = end.is_some();
        Ok(Self { copies, store_id, has_end, firsts: BTreeMap::new(), traced: None })
    }

    /// Keeps the copies of segments of the damaged store.
    pub(super) fn keep_those_of(&mut self, root: &Path, store_id: Option<[u8; 16]>) -> Result<()> {
        let Some(store_id) = store_id else {
            let why = "cannot be compared: no segment of the damaged store has an intact header";
            return Err(unusable(root, why));
        };
        self.copies.retain(|_, copy| copy.segment.header.store_id == store_id);
        if self.store_id.is_some_and(|id| id != store_id) || self.copies.is_empty() {
            let id = uuid::Uuid::from_bytes(store_id);
            return Err(unusable(root, &format!("is not a backup of store {id}")));
        }
        Ok(())
    }

    pub(super) fn copies(&self) -> impl Iterator<Item = (u64, &Arc<SegmentCopy>)> {
        self.copies.iter().map(|(&number, copy)| (number, copy))
    }

    /// The frames of a copy in a damaged place of the damaged store, which the walk has reached in `state`; `None` if the
    /// copy has none there.
    pub(super) fn run(
        &mut self,
        copy: &SegmentCopy,
        state: &ScanState,
        own: &Own<'_>,
    ) -> Result<Option<Run>> {
        let (mut window, mut checksums) = (copy.window(), Vec::new());
        let Place::Whole(first) = copy.look(&mut window, state.offset, &mut checksums)? else {
            return Ok(None);
        };
        let header = &first.header;
        if let Some(here) = own.here {
            // The header covers the body: it is the same frame.
            let fit = if here == header { Fit::Confirmed } else { Fit::Contradicted };
            return Ok(Some(Run { end: first.end(), fit, to_seal: false }));
        }
        let continues = header.link == state.link && header.first_position == state.next_position;
        let stop = own.next.as_ref().map(|(offset, _)| *offset);
        let stop = stop.or(own.trailer.map(|trailer| trailer.seal_offset)).unwrap_or(u64::MAX);
        let start = End {
            offset: first.end(),
            link: first.link,
            next_position: header.next_position(),
            to_seal: false,
        };
        let end = copy.follow(&mut window, start, stop, &mut checksums)?;
        let fit = match (&own.next, own.trailer) {
            (Some((offset, next)), _) => end.compare(*offset, |end| end.is_followed_by(next)),
            (None, Some(trailer)) => end.compare(trailer.seal_offset, |end| end.is_end_of(trailer)),
            (None, None) if end.to_seal => self.fit_after(copy, end, continues)?,
            (None, None) => Fit::Open,
        };
        let is_unproven = fit == Fit::Open && !(continues && self.has_end);
        let fit = if is_unproven { Fit::Unproven } else { fit };
        Ok(Some(Run { end: end.offset, fit, to_seal: end.to_seal }))
    }

    /// Whether the damaged store has something after a place in a segment that could confirm the frames before it.
    pub(super) fn can_be_confirmed(&self, number: u64, own: &Own<'_>) -> bool {
        own.next.is_some() || own.trailer.is_some() || self.firsts.contains_key(&(number + 1))
    }

    /// Compares the end of a segment's copy with the next segment of the damaged store, over further copies of segments
    /// that it does not have.
    fn fit_after(&mut self, copy: &SegmentCopy, mut end: End, continues: bool) -> Result<Fit> {
        let mut number = copy.segment.header.number;
        match self.traced {
            Some((to, fit)) if continues && number <= to => return Ok(fit),
            _ => {}
        }
        let mut checksums = Vec::new();
        let fit = loop {
            if let Some(first) = self.firsts.get(&(number + 1)) {
                let fits = end.is_followed_by(first);
                break if fits { Fit::Confirmed } else { Fit::Contradicted };
            }
            let Some(next) = self.copies.get(&(number + 1)) else { break Fit::Open };
            let start = End { offset: DATA_START, to_seal: false, ..end };
            end = next.follow(&mut next.window(), start, u64::MAX, &mut checksums)?;
            if !end.to_seal {
                break Fit::Open;
            }
            number += 1;
        };
        self.traced = Some((number, fit));
        Ok(fit)
    }

    /// Notes the header of a segment's first frame in the damaged store.
    pub(super) fn note_first(&mut self, number: u64, first: FrameHeader) {
        self.firsts.insert(number, first);
    }
}

impl End {
    /// What it shows if the damaged store's own history goes on at an offset.
    fn compare(&self, offset: u64, fits: impl FnOnce(&Self) -> bool) -> Fit {
        match self.offset.cmp(&offset) {
            std::cmp::Ordering::Less => Fit::Open,
            std::cmp::Ordering::Equal if fits(self) => Fit::Confirmed,
            _ => Fit::Contradicted,
        }
    }
}

impl SegmentCopy {
    pub(super) fn window(&self) -> Window {
        Window::new(Arc::clone(&self.segment.file), self.end)
    }

    /// The offset of the next intact frame header at or after `from` and before `to`.
    pub(super) fn next_frame(&self, from: u64, to: u64) -> Result<Option<u64>> {
        let (seed, end) = (self.segment.header.seed(), self.end);
        let end = end.min(to.saturating_add(frame::HEADER_LEN as u64));
        let next = resume(&mut self.window(), seed, from, end, &self.segment.path)?;
        Ok(next.map(|(offset, _)| offset).filter(|&offset| offset < to))
    }

    /// Looks at an offset of the copy.
    pub(super) fn look(
        &self,
        window: &mut Window,
        at: u64,
        checksums: &mut Vec<u8>,
    ) -> Result<Place> {
        look(&self.segment, window, at, self.end, checksums)
    }

    /// The end of the whole frames from `end` on that follow each other, at or after `stop` at the latest.
    fn follow(
        &self,
        window: &mut Window,
        mut end: End,
        stop: u64,
        checksums: &mut Vec<u8>,
    ) -> Result<End> {
        while end.offset < stop {
            match self.look(window, end.offset, checksums)? {
                Place::Whole(frame) if end.is_followed_by(&frame.header) => {
                    end.offset = frame.end();
                    end.link = frame.link;
                    end.next_position = frame.header.next_position();
                }
                Place::Seal(seal) => {
                    end.to_seal = end.is_followed_by(&seal);
                    break;
                }
                _ => break,
            }
        }
        Ok(end)
    }
}

fn open_copy(dir: &StoreDir, number: u64, limit: u64) -> Result<SegmentCopy> {
    let mut segment = open_tolerant(dir, number)?.segment;
    segment.path = dir.segment_path(number);
    let len = segment.len()?;
    Ok(SegmentCopy { segment, end: len.min(limit) })
}
