//! Reads over all streams: walk the frames forwards, or step back position by position.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;

use super::select::candidates;
use super::{Events, ReadAll, Settings, Source};
use crate::catalog::{LookupError, PartIndex};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{AsOf, Position};
use crate::format::Defect;
use crate::format::record::RecordRef;
use crate::format::segment_header::DATA_START;
use crate::log::cursor::{FrameCursor, FrameView};
use crate::log::segment::{RecordBytes, Segment};
use crate::view::{Event, EventRef, FIRST_RECORD, Place};

impl ReadAll {
    /// Starts the read: pins the head, and tells which it is with [`Events::head`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for [`AsOf::Version`], which means nothing over all streams.
    pub fn start(self) -> Result<Events> {
        let head = self.pin()?;
        let events = AllEvents {
            next: if self.settings.backwards { head } else { self.after.saturating_add(1) },
            engine: self.engine,
            after: self.after,
            head,
            left: self.settings.limit,
            settings: self.settings,
            ready: Vec::new(),
            cursor: None,
            selected: None,
        };
        Ok(Events { head: Position::new(head), source: Source::All(Box::new(events)) })
    }

    /// Calls `each` with every event, borrowed from the log, until it breaks.
    pub fn try_for_each<B>(
        self,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        if self.settings.backwards || self.settings.query.is_some() {
            for event in self {
                if let ControlFlow::Break(value) = each(event?.as_ref()) {
                    return Ok(ControlFlow::Break(value));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let head = self.pin()?;
        let mut left = self.settings.limit;
        let mut next = self.after.saturating_add(1);
        while next <= head && left > 0 {
            let mut cursor = self.engine.cursor_at(next)?;
            let started_at = next;
            while let Some(frame) = cursor.next(head)? {
                let flow = walk_frame(&frame, next..=head, |record, position| {
                    let event = EventRef::new(record, Place::new(&frame.header, position));
                    if left == 0 {
                        return ControlFlow::Break(None);
                    }
                    left -= 1;
                    each(event).map_break(Some)
                });
                next = frame.header.next_position();
                match flow {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(None)) => return Ok(ControlFlow::Continue(())),
                    Ok(ControlFlow::Break(Some(value))) => return Ok(ControlFlow::Break(value)),
                    Err(defect) => return Err(cursor.segment().corrupt(0, next, &defect)),
                }
            }
            if next == started_at {
                return Err(cursor.segment().corrupt(0, next, &Defect::TooShort));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pin(&self) -> Result<u64> {
        if let Some(AsOf::Version(_)) = self.settings.as_of {
            let why = "a version belongs to one stream; give a position or a time".into();
            return Err(Error::InvalidArgument { what: "as_of", why });
        }
        self.engine.pin(&self.settings)
    }
}

/// Calls `each` with the records of a frame that lie in a range of positions. A head in the past
/// may lie inside a commit.
fn walk_frame<'a, B>(
    frame: &FrameView<'a>,
    range: RangeInclusive<u64>,
    mut each: impl FnMut(RecordRef<'a>, u64) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Defect> {
    let mut rest = frame.body;
    for position in frame.header.first_position..frame.header.next_position() {
        let record = RecordRef::parse(rest)?;
        rest = &rest[record.padded_len()..];
        if range.contains(&position)
            && let ControlFlow::Break(value) = each(record, position)
        {
            return Ok(ControlFlow::Break(value));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The state of an iteration over all streams.
#[derive(Debug)]
pub(super) struct AllEvents {
    engine: Arc<Engine>,
    settings: Settings,
    /// Forwards: the next position to yield. Backwards: likewise, going down.
    next: u64,
    after: u64,
    head: u64,
    left: u64,
    /// The rest of the current frame, last first.
    ready: Vec<Event>,
    cursor: Option<FrameCursor>,
    /// Events of a sealed segment that may match, the next one last.
    selected: Option<(Arc<Segment>, Vec<u32>)>,
}

impl AllEvents {
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            let event = if self.settings.backwards { self.step_back() } else { self.step() };
            let Some(event) = event? else { return Ok(None) };
            if self.settings.wants(&event.as_ref()) {
                self.left -= 1;
                return Ok(Some(event));
            }
        }
    }

    fn step_back(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.take_selected()? {
                return Ok(Some(event));
            }
            if self.next <= self.after {
                return Ok(None);
            }
            if self.select()? {
                continue;
            }
            let event = self.engine.event_at(self.next)?;
            self.next -= 1;
            return Ok(event);
        }
    }

    /// Asks the index of the sealed segment at `next` which of its events may match, if there is
    /// a query and an index, and goes behind that segment.
    fn select(&mut self) -> Result<bool> {
        let Some(query) = &self.settings.query else {
            return Ok(false);
        };
        let next = self.next;
        let found = self.engine.lookup(|catalog| {
            let Some(part) = catalog.part_of(next) else {
                return Ok(None);
            };
            let PartIndex::Sealed(index) = &part.index else {
                return Ok(None);
            };
            let (number, base) = (part.segment.number(), part.segment.base_position);
            let found = candidates(index, base, query)
                .map_err(|_| LookupError::Index { segment: number })?;
            Ok(found.map(|found| (Arc::clone(&part.segment), found)))
        })?;
        let Some((segment, mut ordinals)) = found else {
            return Ok(false);
        };
        let base = segment.base_position;
        let (first, last) = if self.settings.backwards {
            self.next = base - 1;
            (self.after + 1, next)
        } else {
            let count = segment.trailer.as_ref().map_or(0, |trailer| trailer.event_count);
            self.next = base + u64::from(count);
            (next, self.head)
        };
        ordinals.retain(|&ordinal| (first..=last).contains(&(base + u64::from(ordinal))));
        if !self.settings.backwards {
            ordinals.reverse();
        }
        self.selected = Some((segment, ordinals));
        Ok(true)
    }

    fn take_selected(&mut self) -> Result<Option<Event>> {
        let Some((segment, ordinals)) = &mut self.selected else {
            return Ok(None);
        };
        let Some(ordinal) = ordinals.pop() else {
            self.selected = None;
            return Ok(None);
        };
        let position = segment.base_position + u64::from(ordinal);
        let offset = segment.sealed_offset(ordinal)?.ok_or_else(|| self.engine.lost(position))?;
        self.engine.event_in(segment, offset, position).map(Some)
    }

    fn step(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop() {
                self.next = event.position().get() + 1;
                return Ok(Some(event));
            }
            if let Some(event) = self.take_selected()? {
                return Ok(Some(event));
            }
            if self.next > self.head {
                return Ok(None);
            }
            if self.cursor.is_none() && self.select()? {
                continue;
            }
            let fresh = self.cursor.is_none();
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                None => self.cursor.insert(self.engine.cursor_at(self.next)?),
            };
            let segment = Arc::clone(cursor.segment());
            if let Some(frame) = cursor.next(self.head)? {
                fill(&mut self.ready, &segment, &frame, self.next..=self.head)
                    .map_err(|d| segment.corrupt(frame.offset, self.next, &d))?;
            } else if fresh {
                return Err(segment.corrupt(0, self.next, &Defect::TooShort));
            } else {
                self.cursor = None;
            }
        }
    }
}

/// Puts a frame's events that lie in a range of positions into `ready`, last first.
fn fill(
    ready: &mut Vec<Event>,
    segment: &Arc<Segment>,
    frame: &FrameView<'_>,
    range: RangeInclusive<u64>,
) -> Result<(), Defect> {
    let mut offset = frame.offset + FIRST_RECORD as u64;
    let mut rest = frame.body;
    for position in frame.header.first_position..frame.header.next_position() {
        let record = RecordRef::parse(rest)?;
        let (bytes, after) = rest.split_at(record.padded_len());
        if range.contains(&position) {
            let bytes = if segment.is_mapped() {
                RecordBytes::Mapped { segment: Arc::clone(segment), offset }
            } else {
                RecordBytes::Owned(Bytes::copy_from_slice(bytes))
            };
            ready.push(Event::new(bytes, record.layout(), Place::new(&frame.header, position)));
        }
        offset += record.padded_len() as u64;
        rest = after;
    }
    ready.reverse();
    Ok(())
}

impl Engine {
    /// A cursor at the frame that holds `position`, which is visible.
    fn cursor_at(&self, position: u64) -> Result<FrameCursor> {
        let located =
            self.lookup(|catalog| catalog.locate(position).map_err(LookupError::Store))?;
        let (segment, offset) = located.ok_or_else(|| self.lost(position))?;
        let checksums = self.options.checksums;
        if position == segment.base_position {
            return Ok(FrameCursor::new(segment, DATA_START, position, checksums));
        }
        let (bytes, layout) = segment.record(offset, position, true)?;
        let distance = u64::from(bytes.record(layout).frame_distance());
        let frame = offset.saturating_sub(distance);
        let first = segment.frame_header(frame, position)?.first_position;
        Ok(FrameCursor::new(segment, frame, first, checksums))
    }

    /// A visible position that the catalog does not know: its own fault, never the caller's.
    pub(super) fn lost(&self, position: u64) -> Error {
        Error::Corrupt {
            file: self.root.clone(),
            offset: 0,
            expected_position: Position::new(position),
            what: "no segment holds the position".into(),
            evidence: None,
        }
    }
}
