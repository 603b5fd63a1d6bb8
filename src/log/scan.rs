//! Walks frames through positional reads and proves each: header, chain, every record, body.
//!
//! Owns what "valid" means for a run of frames. Must never decide what an invalid one means:
//! that is recovery's, verification's or the follower's business.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::checksum::{Seed, crc32};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::storage::{File, read_exact_at};

/// Read at a time; a larger frame is read whole.
const WINDOW: usize = 1 << 20;

/// Where a walk stands: what the next frame must look like to be the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScanState {
    /// Where the next frame begins.
    pub(crate) offset: u64,
    /// The link it must carry.
    pub(crate) link: u32,
    /// The position its first event must have.
    pub(crate) next_position: u64,
    /// Commits never go back before this time.
    pub(crate) recorded_at: u64,
    /// The highest durable position any frame has told of.
    pub(crate) proven: u64,
}

impl ScanState {
    /// Before the first frame of a store.
    pub(crate) const START: Self =
        Self { offset: DATA_START, link: 0, next_position: 1, recorded_at: 0, proven: 0 };
}

/// Why a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// At a seal, which was proven too.
    Sealed,
    /// At a frame behind the last position that was asked for.
    Limit,
    /// The file has no room for another frame.
    EndOfFile,
    /// At a frame that is not the next valid one.
    Invalid(Defect),
}

/// A frame that was proven.
pub(crate) struct ScannedFrame<'a> {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
}

/// Reads a file piecewise into one buffer.
pub(crate) struct Window {
    file: Arc<dyn File>,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
}

impl Window {
    /// A window over the first `len` bytes of a file.
    pub(crate) fn new(file: Arc<dyn File>, len: u64) -> Self {
        Self { file, len, buffer: Vec::new(), start: 0 }
    }

    /// The bytes `offset..offset + len`, or `None` if the file ends before. Allocates no more
    /// than the file has bytes.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> std::io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|&end| end <= self.len) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.buffer.len() as u64 {
            let want = (self.len - offset).min(len.max(WINDOW) as u64);
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

/// Walks on from `state`, up to position `limit`, and hands each proven frame to `visit`; `state`
/// ends up behind the last.
pub(crate) fn scan(
    window: &mut Window,
    seed: Seed,
    state: &mut ScanState,
    limit: u64,
    path: &std::path::Path,
    mut visit: impl FnMut(&ScannedFrame<'_>) -> Result<()>,
) -> Result<ScanEnd> {
    let mut checksums = Vec::new();
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
        if header.next_position() > limit.saturating_add(1) {
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
        if let Err(defect) = verify_body(&header, body, seed, &mut checksums) {
            return Ok(ScanEnd::Invalid(defect));
        }
        if header.kind == FrameKind::Seal {
            return Ok(ScanEnd::Sealed);
        }
        let body = &body[..header.body_len as usize];
        let frame = ScannedFrame { offset, header, body };
        visit(&frame)?;
        let header = frame.header;
        state.offset = offset + header.frame_len();
        state.link = checksum;
        state.next_position = header.next_position();
        state.recorded_at = header.recorded_at;
        state.proven = state.proven.max(header.durable_position);
    }
}

fn follows(header: &FrameHeader, state: &ScanState) -> Result<(), Defect> {
    if header.link != state.link {
        return Err(Defect::Invalid("the frame does not follow the one before"));
    }
    if header.first_position != state.next_position {
        return Err(Defect::Invalid("the frame's position is not the next"));
    }
    if header.recorded_at < state.recorded_at {
        return Err(Defect::Invalid("the frame's time lies before the one before"));
    }
    Ok(())
}

/// Proves each record and the body's checksum: that of the records' checksums in order, then of
/// the bytes behind the last record.
pub(crate) fn verify_body(
    header: &FrameHeader,
    padded: &[u8],
    seed: Seed,
    checksums: &mut Vec<u8>,
) -> Result<(), Defect> {
    let (body, padding) = padded.split_at(header.body_len as usize);
    checksums.clear();
    let mut rest = body;
    let mut distance = frame::HEADER_LEN;
    for index in 0..header.event_count {
        let record = RecordRef::parse(rest)?;
        record.verify(seed, header.first_position + u64::from(index))?;
        if record.frame_distance() as usize != distance {
            return Err(Defect::Invalid("a record names another frame"));
        }
        checksums.extend_from_slice(&record.checksum().to_le_bytes());
        distance += record.padded_len();
        rest = &rest[record.padded_len()..];
    }
    if header.kind == FrameKind::Commit && !rest.is_empty() {
        return Err(Defect::Invalid("bytes behind the last record"));
    }
    let state = crc32(seed.plain(), checksums);
    if crc32(state, rest) != header.body_checksum {
        return Err(Defect::Checksum);
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Defect::Invalid("padding is not zero"));
    }
    Ok(())
}

/// Calls `each` with the records of a proven frame: offset in the file, position, record.
pub(crate) fn for_each_record(
    frame: &ScannedFrame<'_>,
    mut each: impl FnMut(u64, u64, &RecordRef<'_>),
) -> Result<(), Defect> {
    let mut offset = frame.offset + frame::HEADER_LEN as u64;
    let mut rest = frame.body;
    for index in 0..frame.header.event_count {
        let record = RecordRef::parse(rest)?;
        each(offset, frame.header.first_position + u64::from(index), &record);
        offset += record.padded_len() as u64;
        rest = &rest[record.padded_len()..];
    }
    Ok(())
}
