//! What is at an offset of a segment where a frame can begin.
//!
//! Owns the proof that a frame is whole. Must never decide whether it is part of the history.

use crate::error::{Error, Result};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::{Defect, align};
use crate::log::scan::{ScannedFrame, Window, verify_body};
use crate::log::segment::SegmentFile;

/// What is at an offset in a segment.
pub(super) enum Place {
    /// A whole frame.
    Whole(WholeFrame),
    /// A valid frame header, and what is wrong with the rest of the frame.
    Broken(FrameHeader, Defect),
    /// The header of a seal.
    Seal(FrameHeader),
    Nothing(Defect),
    /// The end of the segment: no room for a frame.
    End,
}

/// A frame that was proven on its own.
pub(super) struct WholeFrame {
    pub(super) offset: u64,
    pub(super) header: FrameHeader,
    /// The header's own checksum.
    pub(super) link: u32,
    /// The length of its records.
    records: usize,
}

impl WholeFrame {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.header.frame_len()
    }

    /// The frame with its body.
    pub(super) fn read<'a>(
        self,
        segment: &SegmentFile,
        window: &'a mut Window,
    ) -> Result<ScannedFrame<'a>> {
        let Self { offset, header, link, records } = self;
        let at = offset + frame::HEADER_LEN as u64;
        let body = window.get(at, header.body_len as usize);
        let body = body.map_err(|e| Error::io("read", &segment.path, e))?.unwrap_or_default();
        let metadata = body.get(records..).filter(|_| header.kind.may_hold_metadata());
        let metadata = metadata.unwrap_or_default();
        Ok(ScannedFrame { offset, header, checksum: link, body, metadata })
    }
}

/// Looks at an offset of a segment whose frames end at `end` at the latest.
pub(super) fn look(
    segment: &SegmentFile,
    window: &mut Window,
    at: u64,
    end: u64,
    checksums: &mut Vec<u8>,
) -> Result<Place> {
    let seed = segment.header.seed();
    let read = |e| Error::io("read", &segment.path, e);
    if at + frame::HEADER_LEN as u64 > end {
        return Ok(Place::End);
    }
    let header = match window.get(at, frame::HEADER_LEN).map_err(read)? {
        None => return Ok(Place::End),
        Some(bytes) => FrameHeader::decode(bytes, seed, at),
    };
    let (header, link) = match header {
        Ok(decoded) => decoded,
        Err(defect) => return Ok(Place::Nothing(defect)),
    };
    if header.kind == FrameKind::Seal {
        return Ok(Place::Seal(header));
    }
    let padded = align(header.body_len as usize);
    let body = if at + header.frame_len() <= end {
        window.get(at + frame::HEADER_LEN as u64, padded).map_err(read)?
    } else {
        None
    };
    let proven = match body {
        Some(body) => verify_body(&header, body, seed, checksums),
        None => Err(Defect::TooShort),
    };
    Ok(match proven {
        Ok(records) => Place::Whole(WholeFrame { offset: at, header, link, records }),
        Err(defect) => Place::Broken(header, defect),
    })
}
