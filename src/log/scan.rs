//! Walks frames through positional reads and proves each: header, chain, every record, body.
//!
//! Owns the definition of "valid" for a sequence of frames. Must never decide how an invalid frame
//! is handled: recovery, verification and the follower do.

use std::io::ErrorKind;
use std::sync::Arc;

use super::segment::LogPlace;
use crate::error::{Error, Result};
use crate::format::checksum::{Seed, crc32};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber, LoggedRecord, RecordChange, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::storage::{File, read_exact_at};

/// The size of a read; a larger frame is read as a whole.
const WINDOW: usize = 1 << 20;
const SMALL_PIECE: usize = 4 << 10;

/// The state of a walk: what identifies the next frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanState {
    /// The offset of the next frame.
    pub(crate) offset: u64,
    /// The expected link of the next frame.
    pub(crate) link: u32,
    /// The expected position of its first event.
    pub(crate) next_position: u64,
    /// The earliest time of the next commit.
    pub(crate) recorded_at: u64,
    /// The highest durable position that a frame recorded.
    pub(crate) proven: u64,
    /// The expected number of the next change; [`ChangeNumber::NONE`] accepts any, because the
    /// previous changes are unknown.
    pub(crate) next_change: ChangeNumber,
}

impl ScanState {
    /// The state before the first frame of a store.
    pub(crate) const START: Self = Self {
        offset: DATA_START,
        link: 0,
        next_position: 1,
        recorded_at: 0,
        proven: 0,
        next_change: ChangeNumber::FIRST,
    };
}

/// The reason why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// At a seal, which was proven too.
    Sealed,
    /// The walk is at a frame after the last requested position.
    Limit,
    /// The file has no space for another frame.
    EndOfFile,
    /// At a frame that is not the next valid one.
    Invalid(Defect),
}

/// A frame that was proven.
pub(crate) struct ScannedFrame<'a> {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    /// The header's own checksum.
    pub(crate) checksum: u32,
    pub(crate) body: &'a [u8],
    /// The part of the body with changes; empty if there is none.
    pub(crate) metadata: &'a [u8],
}

impl ScannedFrame<'_> {
    /// Passes each change of the frame and its number to `each`; returns the number of changes. Changes
    /// of records have their offsets in the segment's file.
    pub(crate) fn for_each_change(
        &self,
        mut each: impl FnMut(ChangeNumber, Change),
    ) -> Result<u32, Defect> {
        if self.metadata.is_empty() {
            return Ok(0);
        }
        let before = (frame::HEADER_LEN + self.body.len() - self.metadata.len()) as u64;
        // Segments are smaller than 4 GiB.
        let start = u32::try_from(self.offset + before).unwrap_or(u32::MAX);
        let placed = |number, mut change: Change| {
            if let Change::Record(record) = &mut change {
                record.offset = record.offset.saturating_add(start);
            }
            each(number, change);
        };
        Ok(SectionHeader::decode(self.metadata, placed)?.count)
    }

    /// The bytes of a record's value, which one of this frame's changes puts.
    pub(crate) fn record_value(&self, change: &RecordChange) -> Option<&[u8]> {
        let at = u64::from(change.offset).checked_sub(self.offset + frame::HEADER_LEN as u64)?;
        let at = usize::try_from(at).ok()?;
        let len = LoggedRecord::len_of(&change.key, change.value.as_ref()?.len());
        let record = LoggedRecord::parse(self.body.get(at..at + len)?, None);
        record.ok().map(|record| record.value)
    }
}

/// Reads a file piecewise into one buffer.
pub(crate) struct Window {
    file: Arc<dyn File>,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
    /// The sizes of the next read, and of later ones.
    piece: usize,
    pieces: usize,
    passing: Option<Passing>,
}

/// If two windows move over a file in the same steps, the second one can take the pieces of the first
/// instead of reading them again.
pub(crate) enum Passing {
    /// A piece that was read and its offset, from which a buffer can continue.
    On(Pass<Vec<u8>>),
    /// A used buffer for the piece at this offset, if there is one.
    Over(Pass<Option<Vec<u8>>>),
}

type Pass<T> = Box<dyn FnMut(u64, Vec<u8>) -> T>;

impl Window {
    /// A window over the first `len` bytes of a file.
    pub(crate) fn new(file: Arc<dyn File>, len: u64) -> Self {
        Self::with_pieces(file, len, WINDOW)
    }

    /// Like [`Window::new`], for reads that most likely need the first few bytes only: the first
    /// piece is small, and each is eight times as large as the previous one.
    pub(crate) fn with_small_piece(file: Arc<dyn File>, len: u64) -> Self {
        Self { piece: SMALL_PIECE, ..Self::new(file, len) }
    }

    /// Like [`Window::new`], with pieces of this size.
    pub(crate) fn with_pieces(file: Arc<dyn File>, len: u64, pieces: usize) -> Self {
        Self { file, len, buffer: Vec::new(), start: 0, piece: pieces, pieces, passing: None }
    }

    /// Passes its pieces on from now on.
    pub(crate) fn pass(&mut self, passing: Passing) {
        self.passing = Some(passing);
    }

    /// Passes on the piece that was read last.
    pub(crate) fn pass_last(&mut self) {
        if let Some(Passing::On(pass)) = &mut self.passing {
            self.buffer = pass(self.start, std::mem::take(&mut self.buffer));
            // The contents belong to another place in the file.
            self.start = u64::MAX;
        }
    }

    fn holds(&self, offset: u64, end: u64) -> bool {
        offset >= self.start && end <= self.start + self.buffer.len() as u64
    }

    /// The bytes `offset..offset + len`, or `None` if the file ends before. Allocates at most as
    /// many bytes as the file has.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> std::io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|&end| end <= self.len) else {
            return Ok(None);
        };
        if !self.holds(offset, end) {
            self.pass_last();
            if let Some(Passing::Over(take)) = &mut self.passing
                && let Some(piece) = take(offset, std::mem::take(&mut self.buffer))
            {
                (self.buffer, self.start) = (piece, offset);
            }
        }
        if !self.holds(offset, end) {
            let want = (self.len - offset).min(len.max(self.piece) as u64);
            self.piece = self.piece.saturating_mul(8).min(self.pieces);
            self.buffer.resize(usize::try_from(want).unwrap_or(len), 0);
            self.start = offset;
            if let Err(e) = read_exact_at(&*self.file, &mut self.buffer, offset) {
                self.buffer.clear();
                // A writer beside this reader has sealed the segment, which cuts its file.
                let now = self.file.len()?;
                if e.kind() == ErrorKind::UnexpectedEof && now < self.len {
                    self.len = now;
                    return self.get(offset, len);
                }
                return Err(e);
            }
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(at..at + len))
    }
}

/// Continues the walk from `state` up to position `limit`, and passes each proven frame to `visit`;
/// `state` ends after the last one.
pub(crate) fn scan(
    window: &mut Window,
    seed: Seed,
    state: &mut ScanState,
    limit: u64,
    path: &std::path::Path,
    visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
) -> Result<ScanEnd> {
    let mut checksums = Vec::new();
    let prove = |header: &FrameHeader, _end: u64, body: &[u8]| {
        verify_body(header, body, seed, &mut checksums)
    };
    scan_proven_by(window, seed, state, limit, path, prove, visit)
}

/// Like [`scan`], with `prove` in place of [`verify_body`]: it gets a frame's header, the offset of
/// the frame's end in the file, and the body with its padding, and returns the same result.
pub(crate) fn scan_proven_by(
    window: &mut Window,
    seed: Seed,
    state: &mut ScanState,
    limit: u64,
    path: &std::path::Path,
    mut prove: impl FnMut(&FrameHeader, u64, &[u8]) -> Result<usize, Defect>,
    mut visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
) -> Result<ScanEnd> {
    loop {
        let offset = state.offset;
        let read = |e| Error::io("read", path, e);
        let header = match window.get(offset, frame::HEADER_LEN).map_err(read)? {
            None => return Ok(ScanEnd::EndOfFile),
            Some(bytes) => FrameHeader::decode(bytes, seed, offset),
        };
        let (header, checksum) = match header {
            Ok(decoded) => decoded,
            Err(defect) => return Ok(ScanEnd::Invalid(defect)),
        };
        // A frame without events is accepted only if an event follows it: beside a writer, it may
        // not be durable yet, and another frame may replace it.
        if header.next_position() > limit.saturating_add(u64::from(header.event_count > 0)) {
            return Ok(ScanEnd::Limit);
        }
        if let Err(defect) = follows(&header, state) {
            return Ok(ScanEnd::Invalid(defect));
        }
        let body_at = offset + frame::HEADER_LEN as u64;
        let padded = align(header.body_len as usize);
        let Some(body) = window.get(body_at, padded).map_err(read)? else {
            return Ok(ScanEnd::Invalid(Defect::TooShort));
        };
        let proven = prove(&header, body_at + padded as u64, body);
        let body = &body[..header.body_len as usize];
        let metadata = match proven.and_then(|at| changes_follow(header.kind, &body[at..], state)) {
            Ok(metadata) => metadata,
            Err(defect) => return Ok(ScanEnd::Invalid(defect)),
        };
        if header.kind == FrameKind::Seal {
            return Ok(ScanEnd::Sealed);
        }
        let next_change = metadata.1;
        let frame = ScannedFrame { offset, header, checksum, body, metadata: metadata.0 };
        visit(&frame)?;
        let header = frame.header;
        state.offset = offset + header.frame_len();
        state.link = checksum;
        state.next_position = header.next_position();
        state.recorded_at = header.recorded_at;
        state.proven = state.proven.max(header.durable_position);
        state.next_change = next_change;
    }
}

fn follows(header: &FrameHeader, state: &ScanState) -> Result<(), Defect> {
    if header.link != state.link {
        return Err(Defect::Invalid("the frame does not follow its predecessor"));
    }
    if header.first_position != state.next_position {
        return Err(Defect::Invalid("the frame's first position is not the expected one"));
    }
    if header.recorded_at < state.recorded_at {
        return Err(Defect::Invalid("the frame's time is before that of its predecessor"));
    }
    Ok(())
}

/// The metadata after a frame's records (empty if there is none), whose changes must have the
/// expected numbers, and the number of the change that follows it.
fn changes_follow<'a>(
    kind: FrameKind,
    section: &'a [u8],
    state: &ScanState,
) -> Result<(&'a [u8], ChangeNumber), Defect> {
    if section.is_empty() || !kind.may_hold_metadata() {
        return Ok((&[], state.next_change));
    }
    let decoded = SectionHeader::decode(section, |_, _| {})?;
    if state.next_change != ChangeNumber::NONE && decoded.first != state.next_change {
        return Err(Defect::Invalid("the frame's change numbers are not the expected ones"));
    }
    Ok((section, decoded.next()))
}

/// The next offset at or after `offset` with a valid frame header.
pub(crate) fn resume(
    window: &mut Window,
    seed: Seed,
    mut offset: u64,
    end: u64,
    path: &std::path::Path,
) -> Result<Option<(u64, FrameHeader)>> {
    while offset + frame::HEADER_LEN as u64 <= end {
        let bytes =
            window.get(offset, frame::HEADER_LEN).map_err(|e| Error::io("read", path, e))?;
        let Some(bytes) = bytes else { break };
        if bytes[..2] == frame::MAGIC
            && let Ok((header, _)) = FrameHeader::decode(bytes, seed, offset)
            && header.kind != FrameKind::Seal
        {
            return Ok(Some((offset, header)));
        }
        offset += 8;
    }
    Ok(None)
}

/// Proves each record and the body's checksum: the checksum of the records' checksums in order,
/// then of the bytes after the last record. Returns the offset of these bytes in the body.
pub(crate) fn verify_body(
    header: &FrameHeader,
    padded: &[u8],
    seed: Seed,
    checksums: &mut Vec<u8>,
) -> Result<usize, Defect> {
    let (body, padding) = padded.split_at(header.body_len as usize);
    checksums.clear();
    let mut rest = body;
    let mut distance = frame::HEADER_LEN;
    for index in 0..header.event_count {
        let record = RecordRef::parse(rest)?;
        record.verify(seed, header.first_position + u64::from(index))?;
        if record.frame_distance() as usize != distance {
            return Err(Defect::Invalid("a record belongs to another frame"));
        }
        checksums.extend_from_slice(&record.checksum().to_le_bytes());
        distance += record.padded_len();
        rest = &rest[record.padded_len()..];
    }
    let records = body.len() - rest.len();
    if header.kind.may_hold_metadata() && !(rest.is_empty() && header.event_count > 0) {
        let mut proven = Ok(());
        SectionHeader::decode(rest, |_, change| {
            if let Change::Record(record) = &change {
                proven = proven.clone().and(prove_record(rest, record, seed));
            }
        })?;
        proven?;
    }
    let state = crc32(seed.plain(), checksums);
    if crc32(state, rest) != header.body_checksum {
        return Err(Defect::Checksum);
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Defect::Invalid("padding is not zero"));
    }
    Ok(records)
}

/// Checks the checksum of a record's change in a section.
fn prove_record(section: &[u8], change: &RecordChange, seed: Seed) -> Result<(), Defect> {
    let Some(value) = &change.value else { return Ok(()) };
    let at = change.offset as usize;
    let len = LoggedRecord::len_of(&change.key, value.len());
    LoggedRecord::parse(section.get(at..at + len).ok_or(Defect::TooShort)?, Some(seed)).map(drop)
}

/// Calls `each` with the records of a proven frame and their places.
pub(crate) fn for_each_record(
    frame: &ScannedFrame<'_>,
    mut each: impl FnMut(LogPlace, &RecordRef<'_>),
) -> Result<(), Defect> {
    let mut offset = frame.offset + frame::HEADER_LEN as u64;
    let mut rest = frame.body;
    for index in 0..frame.header.event_count {
        let record = RecordRef::parse(rest)?;
        let position = frame.header.first_position + u64::from(index);
        each(LogPlace { offset, position }, &record);
        offset += record.padded_len() as u64;
        rest = &rest[record.padded_len()..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NewEvent;
    use crate::format::record::{self, Assigned};

    const SEED_SALT: u64 = 5;

    /// A frame's header and padded body; its checksum is right whatever the body is.
    fn frame(kind: FrameKind, events: u32, behind: &[u8], padding: u8) -> (FrameHeader, Vec<u8>) {
        let seed = Seed::of_salt(SEED_SALT);
        let (mut body, mut checksums) = (Vec::new(), Vec::new());
        for index in 0..events {
            let distance = u32::try_from(frame::HEADER_LEN + body.len()).unwrap();
            let place = Assigned {
                stream: "a",
                version: u64::from(index) + 1,
                position: u64::from(index) + 1,
                id: u128::from_be_bytes([7; 16]),
                id_origin: record::IdOrigin::Given,
                frame_distance: distance,
            };
            let at = body.len();
            record::encode(&mut body, seed, &place, &NewEvent::new("T", "data"));
            checksums.extend_from_slice(&body[at..at + 4]);
        }
        body.extend_from_slice(behind);
        let header = FrameHeader {
            kind,
            body_len: u32::try_from(body.len()).unwrap(),
            event_count: events,
            link: 0,
            first_position: 1,
            durable_position: 0,
            recorded_at: 0,
            body_checksum: crc32(crc32(seed.plain(), &checksums), behind),
        };
        body.resize(align(body.len()), padding);
        (header, body)
    }

    #[test]
    fn frame_body_with_other_bytes_than_its_records_is_refused() {
        let verify = |(header, body): (FrameHeader, Vec<u8>)| {
            verify_body(&header, &body, Seed::of_salt(SEED_SALT), &mut Vec::new())
        };
        assert!(verify(frame(FrameKind::Commit, 2, b"", 0)).is_ok_and(|records| records > 0));
        assert_eq!(verify(frame(FrameKind::Session, 0, b"12345", 0)), Ok(0));
        let behind = verify(frame(FrameKind::Commit, 2, b"12345678", 0));
        assert_eq!(behind, Err(Defect::TooShort), "it is no metadata");
        let padding = verify(frame(FrameKind::Session, 0, b"12345", 1));
        assert_eq!(padding, Err(Defect::Invalid("padding is not zero")));
        let (mut header, body) = frame(FrameKind::Commit, 2, b"", 0);
        header.event_count = 3;
        assert!(verify((header, body)).is_err());
    }
}
