//! Walks the frames of one segment for readers: the hot loop of every scan.
//!
//! Bytes that a walk has proven are not checked again, unless [`Checksums`] requires it. Returns
//! borrowed bytes: from the mapping if there is one, otherwise from the cursor's buffer.

use std::sync::Arc;

use super::segment::{LogPlace, Segment};
use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::{Defect, align};
use crate::log::scan::verify_body;
use crate::options::Checksums;

/// How far ahead of the walk bytes are prefetched, and the maximum number of prefetched bytes.
const AHEAD: u64 = 2048;
const MAX_PREFETCH: usize = 1024;

#[derive(Debug)]
pub(crate) struct FrameCursor {
    segment: Arc<Segment>,
    offset: u64,
    next_position: u64,
    checksums: Checksums,
    /// Exclusive end of the mapped bytes that are readable and written.
    proven: u64,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// The offset of the frame that was read a second time.
    looked_again_at: u64,
}

/// A frame with events, for readers.
pub(crate) struct FrameView<'a> {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
    /// If the body is mapped: the end of the mapped bytes that are proven readable and written, at or
    /// after its own end. `None`: the body is a copy.
    pub(crate) mapped_to: Option<u64>,
    /// The segment, if the frame has more than one record and their bytes are not read for a check.
    prefetched: Option<&'a Segment>,
}

impl FrameView<'_> {
    /// Prefetches what a walk reads soon after a record of this padded length, which begins at this place of the
    /// body: a record's place is known only from the header of the one before it.
    #[inline]
    pub(crate) fn prefetch_after(&self, record_at: usize, padded_len: usize) {
        if let Some(segment) = self.prefetched {
            let at = self.offset + frame::HEADER_LEN as u64 + record_at as u64;
            segment.prefetch(at + AHEAD, padded_len.min(MAX_PREFETCH));
        }
    }
}

impl FrameCursor {
    /// Starts at the frame at `start`, whose first event (or the next one) has its position.
    pub(crate) fn new(segment: Arc<Segment>, start: LogPlace, checksums: Checksums) -> Self {
        let LogPlace { offset, position: next_position } = start;
        let (buffer, scratch) = (Vec::new(), Vec::new());
        Self {
            segment,
            offset,
            next_position,
            checksums,
            proven: 0,
            buffer,
            scratch,
            looked_again_at: 0,
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The next frame with events that begins at or before `head`; `None` at the segment's end.
    pub(crate) fn next(&mut self, head: u64) -> Result<Option<FrameView<'_>>> {
        loop {
            let offset = self.offset;
            if self.next_position > head || offset >= self.segment.end() {
                return Ok(None);
            }
            let check = match self.checksums {
                Checksums::Always => true,
                Checksums::Once => offset >= self.segment.verified_end(),
                Checksums::Never => false,
            };
            let trusted = if check { None } else { self.trusted_header(offset)? };
            let header = match trusted {
                Some(header) => header,
                None => match self.checked_header(offset) {
                    Err(error) if self.look_again(&error, offset) => continue,
                    header => header?,
                },
            };
            self.offset = offset + header.frame_len();
            let padded = align(header.body_len as usize);
            if header.event_count == 0 {
                self.segment.note_verified(offset, self.offset);
                continue;
            }
            let body_at = offset + frame::HEADER_LEN as u64;
            let is_mapped = self.prove(body_at, padded)?;
            if (check || !is_mapped)
                && let Err(error) = self.check_body(&header, offset, is_mapped)
            {
                if !self.look_again(&error, offset) {
                    return Err(error);
                }
                self.offset = offset;
                continue;
            }
            self.next_position = header.next_position();
            let segment = &*self.segment;
            let padded_body =
                if is_mapped { segment.remembered(body_at, padded) } else { &self.buffer };
            // The next frame's offset is known only from this one's header, so the processor cannot
            // prefetch by itself, unless a check reads every byte.
            if !check {
                segment.prefetch(self.offset + AHEAD, padded.min(MAX_PREFETCH));
            }
            let prefetched = (!check && header.event_count > 1).then_some(segment);
            let body = &padded_body[..header.body_len as usize];
            let mapped_to = is_mapped.then_some(self.proven);
            return Ok(Some(FrameView { offset, header, body, mapped_to, prefetched }));
        }
    }

    /// Whether the frame at `offset` is to be read once more, from the file.
    fn look_again(&mut self, error: &Error, offset: u64) -> bool {
        let again = self.looked_again_at != offset && self.segment.look_again(error);
        self.looked_again_at = offset;
        self.proven = 0;
        again
    }

    /// Proves the body of the frame at `offset`, which is read into the buffer if it is not mapped.
    fn check_body(&mut self, header: &FrameHeader, offset: u64, is_mapped: bool) -> Result<()> {
        let segment = &*self.segment;
        let corrupt = |d: Defect| segment.corrupt(offset, header.first_position, &d);
        let (body_at, padded) =
            (offset + frame::HEADER_LEN as u64, align(header.body_len as usize));
        let padded_body = if is_mapped {
            segment.remembered(body_at, padded)
        } else if self.offset <= segment.end() && !segment.is_mapped() {
            self.buffer.resize(padded, 0);
            segment.read(&mut self.buffer, body_at)?;
            &self.buffer
        } else {
            return Err(corrupt(Defect::TooShort));
        };
        verify_body(header, padded_body, segment.seed, &mut self.scratch).map_err(corrupt)?;
        segment.note_verified(offset, self.offset);
        Ok(())
    }

    /// Whether the bytes are mapped, written and readable.
    #[inline]
    fn prove(&mut self, offset: u64, len: usize) -> Result<bool> {
        if offset.saturating_add(len as u64) <= self.proven {
            return Ok(true);
        }
        let proven = self.segment.prove_mapped(offset, len)?;
        self.proven = proven.unwrap_or(self.proven);
        Ok(proven.is_some())
    }

    /// The header of the next frame, if it is mapped and in its place; its checksum was proven before.
    #[inline]
    fn trusted_header(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        if !self.prove(offset, frame::HEADER_LEN)? {
            return Ok(None);
        }
        let bytes = self.segment.remembered(offset, frame::HEADER_LEN);
        let header = FrameHeader::decode_trusted(bytes).ok();
        Ok(header.filter(|header| self.is_next(header, offset)))
    }

    /// The header of the next frame; proves it.
    #[cold]
    fn checked_header(&self, offset: u64) -> Result<FrameHeader> {
        let place = LogPlace { offset, position: self.next_position };
        let header = self.segment.frame_header(place)?;
        if !self.is_next(&header, offset) {
            let defect = Defect::Invalid("the frame is not the next one");
            return Err(self.segment.corrupt(offset, self.next_position, &defect));
        }
        Ok(header)
    }

    #[inline]
    fn is_next(&self, header: &FrameHeader, offset: u64) -> bool {
        header.first_position == self.next_position
            && header.kind != FrameKind::Seal
            && offset + header.frame_len() <= self.segment.end()
    }
}
