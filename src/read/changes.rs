//! Changes to streams that are not events, in the order of the log, for subscriptions that ask for them.
//!
//! Owns a walk over the frames of the log that continues where it ended. Must never pass a frame that is
//! not visible: after a failed write, another frame may be written in its place.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Position, RetentionLimits, StreamMetadata, Timestamp};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, ChangeNumber, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::log::scan::verify_body;
use crate::log::segment::{LogPlace, Segment};
use crate::options::Checksums;
use crate::query::Query;

/// A change to what reads show of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamChange {
    /// The stream that was changed.
    pub stream: String,
    /// The change.
    pub change: StreamChangeKind,
    /// Its place among the events: after the event at this position and before the next one.
    pub after: Position,
    /// When the change was committed.
    pub recorded_at: Timestamp,
}

/// The kinds of [`StreamChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StreamChangeKind {
    /// Events below this version are hidden; `TruncatedBefore(1)` hides none.
    TruncatedBefore(u64),
    /// The stream is archived: all of its events are hidden.
    Archived,
    /// The stream is no longer archived.
    Unarchived,
    /// The stream has new limits on the age and count of its events.
    Metadata(StreamMetadata),
}

/// The visible part of the log: all events up to a position and all changes up to a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible {
    pub(crate) position: u64,
    pub(crate) change: ChangeNumber,
}

/// The result of one step of a walk.
#[derive(Debug)]
pub(crate) enum Walked {
    /// A commit's changes, and the position of the event before them.
    Changes(u64, Vec<StreamChange>),
    /// There are no changes before the event that follows this position, and that event is visible.
    Through(u64),
    /// There are no more visible changes.
    All,
}

/// A walk over the changes after a position.
#[derive(Debug)]
pub(crate) struct ChangeScan {
    engine: Arc<Engine>,
    query: Option<Query>,
    /// Changes are skipped if the event before them is before `after`, or their number is at most
    /// `passed`.
    after: u64,
    passed: ChangeNumber,
    place: Option<Spot>,
    /// The last change that the walk has passed.
    met: ChangeNumber,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// The offset at which a frame begins or will begin, and the position of the next event there.
#[derive(Debug, Clone)]
struct Spot {
    segment: Arc<Segment>,
    offset: u64,
    next_position: u64,
}

impl ChangeScan {
    /// A walk over the changes that follow the event at `after` or a later one and have a number greater
    /// than `passed`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        after: u64,
        passed: ChangeNumber,
        query: Option<Query>,
    ) -> Self {
        let (buffer, scratch) = (Vec::new(), Vec::new());
        Self { engine, query, after, passed, place: None, met: ChangeNumber::NONE, buffer, scratch }
    }

    /// Walks to the next commit with changes, and no further than `limit` or the `visible` part.
    pub(crate) fn next(&mut self, visible: Visible, limit: u64) -> Result<Walked> {
        if visible.position < self.after {
            return Ok(Walked::All);
        }
        let mut at = match &self.place {
            Some(place) => place.clone(),
            None => frame_of(&self.engine, self.after)?,
        };
        loop {
            if at.next_position > visible.position && self.met >= visible.change {
                return Ok(Walked::All);
            }
            // Visible frames were written before `visible` was determined, so they lie before the end of
            // the segment.
            if at.offset >= at.segment.end() {
                let next = self.engine.contents().segment_after(at.segment.number());
                let Some(segment) = next else { return Ok(Walked::All) };
                let next_position = segment.base_position;
                at = Spot { segment, offset: DATA_START, next_position };
                continue;
            }
            let header = at.header()?;
            let behind = header.next_position() - 1;
            if header.event_count > 0 && behind > visible.position {
                return Ok(Walked::All);
            }
            let mut is_visible = header.event_count > 0 || behind < visible.position;
            let mut found = Vec::new();
            if header.kind.may_hold_metadata() {
                let last = self.read(&at, &header, &mut found)?;
                if !is_visible && last > visible.change {
                    return Ok(Walked::All);
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
                self.place = Some(at.clone());
            }
            if !found.is_empty() {
                return Ok(Walked::Changes(behind, found));
            }
            if behind >= limit && behind < visible.position {
                return Ok(Walked::Through(behind));
            }
        }
    }

    /// Collects the changes of a frame that are shown; returns the number of its last change,
    /// [`ChangeNumber::NONE`] if it has none.
    fn read(
        &mut self,
        at: &Spot,
        header: &FrameHeader,
        found: &mut Vec<StreamChange>,
    ) -> Result<ChangeNumber> {
        let Self { engine, query, after, passed, buffer, scratch, .. } = self;
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
        let behind = header.next_position() - 1;
        let decoded = SectionHeader::decode(section, |number, change| {
            if number > *passed
                && behind >= *after
                && let Some(change) = shown(change, header)
                && query.as_ref().is_none_or(|query| query.may_match_in(&change.stream))
            {
                found.push(change);
            }
        });
        Ok(decoded.map_err(corrupt)?.next().previous())
    }
}

impl Spot {
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

/// A change of the frame with this header; `None` for a change of a cursor.
fn shown(change: Change, header: &FrameHeader) -> Option<StreamChange> {
    let (stream, change) = match change {
        Change::CursorSet { .. } | Change::CursorDeleted { .. } | Change::Record(_) => return None,
        Change::Truncated { stream, before } => (stream, StreamChangeKind::TruncatedBefore(before)),
        Change::Archived { stream } => (stream, StreamChangeKind::Archived),
        Change::Unarchived { stream } => (stream, StreamChangeKind::Unarchived),
        Change::Retention { stream, max_age, max_count } => {
            let metadata = RetentionLimits { max_age, max_count }.to_metadata();
            (stream, StreamChangeKind::Metadata(metadata))
        }
    };
    let (stream, after) = (stream.into(), Position::new(header.next_position() - 1));
    let recorded_at = Timestamp::from_micros(header.recorded_at);
    Some(StreamChange { stream, change, after, recorded_at })
}

/// The frame that holds a visible position; for 0, the first frame of the log.
fn frame_of(engine: &Engine, position: u64) -> Result<Spot> {
    if position > 0 {
        let (segment, LogPlace { offset, position }) = engine.contents().frame_at(position)?;
        return Ok(Spot { segment, offset, next_position: position });
    }
    let segment = engine.contents().first_segment();
    let next_position = segment.base_position;
    Ok(Spot { segment, offset: DATA_START, next_position })
}
