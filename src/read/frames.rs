//! A walk over the frames of the log, with the changes that they hold.
//!
//! Owns a place in the log, where it continues. Must never pass a frame that is not visible: after a failed
//! write, another frame may be written in its place.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::log::scan::verify_body;
use crate::log::segment::{LogPlace, Segment};
use crate::options::Checksums;

/// The visible part of the log: all events up to a position and all changes up to a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible {
    pub(crate) position: u64,
    pub(crate) change: ChangeNumber,
}

/// The offset at which a frame begins or will begin, and the position of the next event there.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    pub(super) next_position: u64,
}

/// A walk over visible frames.
#[derive(Debug)]
pub(super) struct FrameWalk {
    engine: Arc<Engine>,
    place: Spot,
    /// Whether it goes on in the next segment.
    whole_log: bool,
    /// The last change that the walk has passed.
    met: ChangeNumber,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

impl FrameWalk {
    /// Begins at the frame that holds a visible position; for 0, at the first frame of the log.
    pub(super) fn from_position(engine: &Arc<Engine>, position: u64) -> Result<Self> {
        Ok(Self::new(engine, frame_of(engine, position)?, true))
    }

    /// Begins at a frame, and ends with its segment.
    pub(super) fn in_segment(engine: &Arc<Engine>, place: Spot) -> Self {
        Self::new(engine, place, false)
    }

    fn new(engine: &Arc<Engine>, place: Spot, whole_log: bool) -> Self {
        let (engine, met) = (Arc::clone(engine), ChangeNumber::NONE);
        Self { engine, place, whole_log, met, buffer: Vec::new(), scratch: Vec::new() }
    }

    /// Where the next frame begins.
    pub(super) fn place(&self) -> &Spot {
        &self.place
    }

    /// The next visible frame that holds events or changes, or that such a frame follows; `None` if there
    /// is none. Its changes are passed to `each`, also if the frame turns out not to be visible.
    pub(super) fn next(
        &mut self,
        visible: Visible,
        mut each: impl FnMut(&FrameHeader, ChangeNumber, Change),
    ) -> Result<Option<FrameHeader>> {
        let mut at = self.place.clone();
        loop {
            if at.next_position > visible.position && self.met >= visible.change {
                return Ok(None);
            }
            // Visible frames were written before `visible` was determined, so they lie before the end of
            // the segment.
            if at.offset >= at.segment.end() {
                let number = at.segment.number();
                let next = self.whole_log.then(|| self.engine.contents().segment_after(number));
                let Some(segment) = next.flatten() else { return Ok(None) };
                at = Spot::beginning(segment);
                continue;
            }
            let header = at.header()?;
            let last_position = header.next_position() - 1;
            if header.event_count > 0 && last_position > visible.position {
                return Ok(None);
            }
            let mut is_visible = header.event_count > 0 || last_position < visible.position;
            if header.kind.may_hold_metadata() {
                let last = self.read(&at, &header, &mut each)?;
                if !is_visible && last > visible.change {
                    return Ok(None);
                }
                self.met = self.met.max(last);
                is_visible |= header.kind == FrameKind::Metadata;
            }
            let from = at.offset;
            at.offset += header.frame_len();
            at.next_position = header.next_position();
            // A frame without events or changes at the log's end is passed once another frame follows
            // it.
            if is_visible {
                at.segment.note_verified(from, at.offset);
                self.place = at;
                return Ok(Some(header));
            }
        }
    }

    /// Passes on the changes of a frame; returns the number of the last one, [`ChangeNumber::NONE`] if it
    /// has none.
    fn read(
        &mut self,
        at: &Spot,
        header: &FrameHeader,
        mut each: impl FnMut(&FrameHeader, ChangeNumber, Change),
    ) -> Result<ChangeNumber> {
        let Self { engine, buffer, scratch, .. } = self;
        let corrupt = |d: Defect| at.segment.corrupt(at.offset, header.first_position, &d);
        let body_at = at.offset + frame::HEADER_LEN as u64;
        let padded = align(header.body_len as usize);
        let bytes = match at.segment.mapped(body_at, padded)? {
            Some(mapped) => mapped,
            None => {
                // The length is bounded by that of the existing segment.
                buffer.resize(padded, 0);
                at.segment.read(buffer, body_at)?;
                &buffer[..]
            }
        };
        let check = match engine.options().checksums {
            Checksums::Always => true,
            Checksums::Once => at.offset >= at.segment.verified_end(),
            Checksums::Never => false,
        };
        let section = if check || !at.segment.is_mapped() {
            verify_body(header, bytes, at.segment.seed, scratch).map_err(corrupt)?
        } else {
            records_len(header, bytes).map_err(corrupt)?
        };
        let section = &bytes[section..header.body_len as usize];
        if section.is_empty() {
            return Ok(ChangeNumber::NONE);
        }
        let decoded = SectionHeader::decode(section, |number, change| each(header, number, change));
        Ok(decoded.map_err(corrupt)?.next().previous())
    }
}

impl Spot {
    /// Before the first frame of a segment.
    pub(super) fn beginning(segment: Arc<Segment>) -> Self {
        let next_position = segment.base_position;
        Self { segment, offset: DATA_START, next_position }
    }

    fn place(&self) -> LogPlace {
        LogPlace { offset: self.offset, position: self.next_position }
    }

    /// The header of the frame at this offset, which is within the written part.
    fn header(&self) -> Result<FrameHeader> {
        let header = self.segment.frame_header(self.place())?;
        let in_place = header.first_position == self.next_position
            && header.kind != FrameKind::Seal
            && self.offset + header.frame_len() <= self.segment.end();
        if !in_place {
            let defect = Defect::Invalid("the frame is not the next one");
            return Err(self.segment.corrupt_at(self.place(), &defect));
        }
        Ok(header)
    }
}

/// The length of the records of a frame that was verified before.
fn records_len(header: &FrameHeader, bytes: &[u8]) -> Result<usize, Defect> {
    let mut rest = bytes.get(..header.body_len as usize).ok_or(Defect::TooShort)?;
    for _ in 0..header.event_count {
        let len = RecordRef::parse(rest)?.padded_len();
        rest = rest.get(len..).ok_or(Defect::TooShort)?;
    }
    Ok(header.body_len as usize - rest.len())
}

/// The frame that holds a visible position; for 0, the first frame of the log.
fn frame_of(engine: &Engine, position: u64) -> Result<Spot> {
    if position > 0 {
        let (segment, LogPlace { offset, position }) = engine.contents().frame_at(position)?;
        return Ok(Spot { segment, offset, next_position: position });
    }
    Ok(Spot::beginning(engine.contents().first_segment()))
}
