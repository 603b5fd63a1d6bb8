//! Changes to streams that are not events, in the order of the log: what a subscription shows that
//! asked for them.
//!
//! Walks the frames of the log on its own and goes on where it ended. Must never pass a frame that
//! is not visible: another may take its place.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Position, StreamMetadata, Timestamp};
use crate::format::frame::{self, FrameHeader, FrameKind};
use crate::format::metadata::{Change, SectionHeader};
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::format::{Defect, align};
use crate::log::scan::verify_body;
use crate::log::segment::Segment;
use crate::options::Checksums;
use crate::query::Query;

/// A change to what reads show of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamChange {
    /// Of this stream.
    pub stream: String,
    /// What has changed.
    pub change: StreamChangeKind,
    /// Where it stands among the events: behind the one at this position and before the next.
    pub after: Position,
    /// When it was committed.
    pub recorded_at: Timestamp,
}

/// What a [`StreamChange`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StreamChangeKind {
    /// Events below this version are hidden; from version 1 on, none are.
    TruncatedBefore(u64),
    /// All events are hidden.
    Archived,
    /// No longer.
    Unarchived,
    /// The limits on age and count are these now.
    Metadata(StreamMetadata),
}

/// What is visible: all events up to a position and all changes up to a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible {
    pub(crate) position: u64,
    pub(crate) change: u64,
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) enum Walked {
    /// A commit's changes, and the position they stand behind.
    Changes(u64, Vec<StreamChange>),
    /// No changes before the event behind this position, which is visible.
    Through(u64),
    /// No more changes among what is visible.
    All,
}

/// A walk over the changes behind a position.
#[derive(Debug)]
pub(crate) struct ChangeScan {
    engine: Arc<Engine>,
    query: Option<Query>,
    /// Changes behind an event before this one, or up to this number, are not shown.
    after: u64,
    passed: u64,
    place: Option<Spot>,
    /// The number of the last change that was met; 0: of none so far.
    met: u64,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

/// Where a frame begins, or the next one will, and the position of the event that is next there.
#[derive(Debug, Clone)]
struct Spot {
    segment: Arc<Segment>,
    offset: u64,
    next_position: u64,
}

impl ChangeScan {
    /// Changes that stand behind the event at `after` or a later one and have a number beyond
    /// `passed`.
    pub(crate) fn new(engine: Arc<Engine>, after: u64, passed: u64, query: Option<Query>) -> Self {
        let (buffer, scratch) = (Vec::new(), Vec::new());
        Self { engine, query, after, passed, place: None, met: 0, buffer, scratch }
    }

    /// Walks on to the next commit with changes, and no further than `limit` or what is `visible`.
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
            // What is visible was written before it was asked what is: the end includes it.
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
            // One without events or changes at the log's end counts once something is behind it.
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

    /// Collects what is shown of a frame's changes; tells the number of its last, 0 if it has none.
    fn read(
        &mut self,
        at: &Spot,
        header: &FrameHeader,
        found: &mut Vec<StreamChange>,
    ) -> Result<u64> {
        let Self { engine, query, after, passed, buffer, scratch, .. } = self;
        let corrupt = |d: Defect| at.segment.corrupt(at.offset, header.first_position, &d);
        let body_at = at.offset + frame::HEADER_LEN as u64;
        let padded = align(header.body_len as usize);
        let bytes = match at.segment.mapped(body_at, padded)? {
            Some(mapped) => mapped,
            None => {
                // Bounded by the segment, which is there.
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
            return Ok(0);
        }
        let behind = header.next_position() - 1;
        let decoded = SectionHeader::decode(section, |number, change| {
            if number > *passed
                && behind >= *after
                && let Some(change) = shown(change, behind, header.recorded_at)
                && query.as_ref().is_none_or(|query| query.may_match_in(&change.stream))
            {
                found.push(change);
            }
        });
        Ok(decoded.map_err(corrupt)?.next() - 1)
    }
}

impl Spot {
    /// The header of the frame that begins here, which lies within what is written.
    fn header(&self) -> Result<FrameHeader> {
        let header = self.segment.frame_header(self.offset, self.next_position)?;
        let in_place = header.first_position == self.next_position
            && header.kind != FrameKind::Seal
            && self.offset + header.frame_len() <= self.segment.end();
        if !in_place {
            let defect = Defect::Invalid("the frame is not the next one");
            return Err(self.segment.corrupt(self.offset, self.next_position, &defect));
        }
        Ok(header)
    }
}

/// Where the records of a frame end that was proven before.
fn records_len(header: &FrameHeader, bytes: &[u8]) -> Result<usize, Defect> {
    let mut rest = bytes.get(..header.body_len as usize).ok_or(Defect::TooShort)?;
    for _ in 0..header.event_count {
        let len = RecordRef::parse(rest)?.padded_len();
        rest = rest.get(len..).ok_or(Defect::TooShort)?;
    }
    Ok(header.body_len as usize - rest.len())
}

fn shown(change: Change, behind: u64, recorded_at: u64) -> Option<StreamChange> {
    let (stream, change) = match change {
        Change::CursorSet { .. } | Change::CursorDeleted { .. } => return None,
        Change::Truncated { stream, before } => (stream, StreamChangeKind::TruncatedBefore(before)),
        Change::Archived { stream } => (stream, StreamChangeKind::Archived),
        Change::Unarchived { stream } => (stream, StreamChangeKind::Unarchived),
        Change::Retention { stream, max_age, max_count } => {
            let metadata = StreamMetadata::from_limits(max_age, max_count);
            (stream, StreamChangeKind::Metadata(metadata))
        }
    };
    let (stream, after) = (stream.into(), Position::new(behind));
    let recorded_at = Timestamp::from_micros(recorded_at);
    Some(StreamChange { stream, change, after, recorded_at })
}

/// The frame that holds a visible position; for 0, the first of the log.
fn frame_of(engine: &Engine, position: u64) -> Result<Spot> {
    if position > 0 {
        let (segment, offset, next_position) = engine.contents().frame_at(position)?;
        return Ok(Spot { segment, offset, next_position });
    }
    let segment = engine.contents().first_segment();
    let next_position = segment.base_position;
    Ok(Spot { segment, offset: DATA_START, next_position })
}
