//! Walks the frames of one segment for readers: the hot loop of every scan.
//!
//! What a walk has proven once is trusted after, as [`Checksums`] says. Hands out borrowed bytes:
//! from the mapping where there is one, else from a buffer of its own.

use std::sync::Arc;

use super::segment::Segment;
use crate::error::Result;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::{Defect, align};
use crate::log::scan::verify_body;
use crate::options::Checksums;

#[derive(Debug)]
pub(crate) struct FrameCursor {
    segment: Arc<Segment>,
    offset: u64,
    next_position: u64,
    checksums: Checksums,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// A frame with events, as a reader sees it.
pub(crate) struct FrameView<'a> {
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
}

impl FrameCursor {
    /// Starts at the frame at `offset`, whose first event (or the next one) is at `next_position`.
    pub(crate) fn new(
        segment: Arc<Segment>,
        offset: u64,
        next_position: u64,
        checksums: Checksums,
    ) -> Self {
        Self { segment, offset, next_position, checksums, buffer: Vec::new(), scratch: Vec::new() }
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
            let header = self.header(offset, check)?;
            self.offset = offset + header.frame_len();
            let padded = align(header.body_len as usize);
            if header.event_count == 0 {
                self.segment.note_verified(offset, self.offset);
                continue;
            }
            self.next_position = header.next_position();
            let segment = &*self.segment;
            let corrupt = |d: Defect| segment.corrupt(offset, header.first_position, &d);
            let body_at = offset + frame::HEADER_LEN as u64;
            let padded_body = match segment.mapped(body_at, padded)? {
                Some(mapped) => mapped,
                None if self.offset <= segment.end() && !segment.is_mapped() => {
                    self.buffer.resize(padded, 0);
                    segment.read(&mut self.buffer, body_at)?;
                    &self.buffer
                }
                None => return Err(corrupt(Defect::TooShort)),
            };
            if check || !segment.is_mapped() {
                verify_body(&header, padded_body, segment.seed, &mut self.scratch)
                    .map_err(corrupt)?;
                segment.note_verified(offset, self.offset);
            }
            let body = &padded_body[..header.body_len as usize];
            return Ok(Some(FrameView { offset, header, body }));
        }
    }

    fn header(&self, offset: u64, check: bool) -> Result<FrameHeader> {
        let segment = &*self.segment;
        let header = if check || !segment.is_mapped() {
            segment.frame_header(offset, self.next_position)?
        } else {
            let bytes = segment.mapped(offset, frame::HEADER_LEN)?.unwrap_or_default();
            FrameHeader::decode_trusted(bytes)
                .map_err(|d| segment.corrupt(offset, self.next_position, &d))?
        };
        let in_place = header.first_position == self.next_position
            && header.kind != FrameKind::Seal
            && offset + header.frame_len() <= segment.end();
        if !in_place {
            let defect = Defect::Invalid("the frame is not the next one");
            return Err(segment.corrupt(offset, self.next_position, &defect));
        }
        Ok(header)
    }
}
