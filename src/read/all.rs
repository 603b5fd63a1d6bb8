//! Reads over all streams: walk the frames forwards, or step back position by position.

mod scan;

use std::collections::VecDeque;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;

use super::hidden::Hidden;
use super::point::event_at;
use super::{EventSource, Events, ReadAll, ReadSettings, ReadStream, pin};
use crate::engine::Engine;
use crate::engine::matching::{FIRST, Look, MOST, Wanted, select};
use crate::error::{Error, Result};
use crate::event::{AsOf, Position};
use crate::format::Defect;
use crate::format::record::RecordRef;
use crate::log::cursor::{FrameCursor, FrameView};
use crate::log::segment::{RecordBytes, Segment, Window};
use crate::query::Query;
use crate::read::event::{Event, EventPlace, EventRef, FIRST_RECORD};

pub(crate) use scan::Scan;

impl ReadAll {
    /// Starts the read and pins its head, which is [`Events::head`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for [`AsOf::Version`], which has no meaning over all streams; for a
    /// token, those of [`Store::verify_token`](crate::Store::verify_token).
    pub fn start(self) -> Result<Events> {
        let head = self.pin()?;
        let last = head.min(self.up_to);
        // No item of the query matches at or before its floor.
        let floor = self.settings.query.as_ref().map_or(0, Query::floor);
        let after = self.after.max(floor).max(self.first_shown(head)?);
        let events = AllEvents {
            hidden: Hidden::new(&self.engine, &self.settings),
            next: if self.settings.backwards { last } else { after.saturating_add(1) },
            engine: self.engine,
            after,
            last,
            left: self.settings.limit,
            settings: self.settings,
            stop: u64::MAX,
            ready: VecDeque::new(),
            cursor: None,
            window: Window::default(),
            selected: Vec::new(),
            direct: NOWHERE,
            most: FIRST,
        };
        Ok(Events { head: Position::new(head), source: EventSource::All(Box::new(events)) })
    }

    /// Calls `each` with every event, borrowed from the log, until it returns `Break`.
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
        let last = self.pin()?.min(self.up_to);
        let mut hidden = Hidden::new(&self.engine, &self.settings);
        let mut failed = None;
        let mut left = self.settings.limit;
        let mut next = self.after.saturating_add(1);
        while next <= last && left > 0 {
            let mut cursor = cursor_at(&self.engine, next)?;
            let started_at = next;
            while let Some(frame) = cursor.next(last)? {
                let flow = walk_frame(&frame, next..=last, |record, position| {
                    let event = EventRef::new(record, EventPlace::new(&frame.header, position));
                    if left == 0 {
                        return ControlFlow::Break(None);
                    }
                    match hidden.hides(&self.engine, &event) {
                        Ok(false) => {}
                        Ok(true) => return ControlFlow::Continue(()),
                        Err(error) => {
                            failed = Some(error);
                            return ControlFlow::Break(None);
                        }
                    }
                    left -= 1;
                    each(event).map_break(Some)
                });
                next = frame.header.next_position();
                match flow {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(None)) => {
                        return failed.map_or(Ok(ControlFlow::Continue(())), Err);
                    }
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

    /// The position before the first event that a query of a few streams can show; 0 if that cannot be
    /// determined from the indexes. The hidden events of a stream are its first ones, so a binary search
    /// finds the first shown one.
    fn first_shown(&self, head: u64) -> Result<u64> {
        const FEW: usize = 8;
        let Some(query) = &self.settings.query else { return Ok(0) };
        let items = query.items();
        if items.len() > FEW
            || self.settings.include_hidden
            || !self.engine.contents().hides_events()
        {
            return Ok(0);
        }
        let mut before = head;
        for item in items {
            let Some(stream) = item.required_stream() else { return Ok(0) };
            let mut read = ReadStream::new(Arc::clone(&self.engine), stream.into());
            read.settings.include_unsynced = self.settings.include_unsynced;
            if let Some(event) = read.pinned(head)?.next()? {
                before = before.min(event.position().get() - 1);
            }
        }
        Ok(before)
    }

    pub(super) fn pin(&self) -> Result<u64> {
        if let Some(AsOf::Version(_)) = self.settings.as_of {
            let why =
                "a version has a meaning in one stream only; pass a position or a time".into();
            return Err(Error::InvalidArgument { what: "as_of", why });
        }
        if let Some(token) = &self.token {
            self.engine.verify_token(token)?;
        }
        pin(&self.engine, &self.settings)
    }
}

/// Calls `each` with the records of a frame that lie in a range of positions. The head of a read in the
/// past may lie inside a commit.
fn walk_frame<'a, B>(
    frame: &FrameView<'a>,
    range: RangeInclusive<u64>,
    mut each: impl FnMut(RecordRef<'a>, u64) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Defect> {
    let mut rest = frame.body;
    for position in frame.header.first_position..frame.header.next_position() {
        let record = RecordRef::parse(rest)?;
        frame.prefetch_after(frame.body.len() - rest.len(), record.padded_len());
        rest = &rest[record.padded_len()..];
        if range.contains(&position)
            && let ControlFlow::Break(value) = each(record, position)
        {
            return Ok(ControlFlow::Break(value));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The number of events, and of their bytes, after which no further frame is read ahead. Read together, events
/// are built in place; one by one, each is copied while the processor still writes it.
const AHEAD: usize = 32;
const AHEAD_BYTES: usize = 64 << 10;

/// The least number of candidates that are found by a walk if they lie close together.
const DENSE: usize = 8;
/// The number of candidates close together after which the next events are walked without a search.
const MANY: usize = 1024;

/// An empty range: there is no position 0.
const NOWHERE: RangeInclusive<u64> = 0..=0;

/// The state of an iteration over all streams.
#[derive(Debug)]
pub(super) struct AllEvents {
    engine: Arc<Engine>,
    settings: ReadSettings,
    hidden: Hidden,
    /// The position of the next event, in the direction of the read.
    next: u64,
    after: u64,
    last: u64,
    /// The position at which the current call stops.
    stop: u64,
    left: u64,
    /// Events that were read ahead.
    ready: VecDeque<Event>,
    cursor: Option<FrameCursor>,
    /// The bytes of the events in `ready`, in the segment of the cursor.
    window: Window,
    /// Positions of events that may match, the next one last.
    selected: Vec<u64>,
    /// In this range every event may match, and no posting list is needed.
    direct: RangeInclusive<u64>,
    /// Number of candidates that are looked up next.
    most: usize,
}

impl AllEvents {
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        self.next_while(|_| true)
    }

    /// Lets the next events have a buffer of their own: another thread drops the ones before, and would
    /// contend for the counter of a common one.
    #[cfg(feature = "async")]
    pub(super) fn part_from_earlier_events(&mut self) {
        self.window = Window::default();
    }

    #[cfg(feature = "async")]
    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The next requested event. `examined` is called with each event that is examined; once it returns
    /// `false`, the search ends with `None` and can go on later.
    #[inline]
    pub(super) fn next_while(
        &mut self,
        mut examined: impl FnMut(&Event) -> bool,
    ) -> Result<Option<Event>> {
        while self.left > 0 {
            let Some(event) = self.peek()? else { break };
            let goes_on = examined(event);
            if self.shows_next()? {
                self.left -= 1;
                return Ok(self.take());
            }
            self.take();
            if !goes_on {
                break;
            }
        }
        Ok(None)
    }

    /// Calls `each` with the events that are left, borrowed, until it breaks.
    pub(super) fn visit<B>(
        &mut self,
        each: &mut impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        while self.left > 0 && self.peek()?.is_some() {
            let shows = self.shows_next()?;
            self.left -= u64::from(shows);
            let flow = match self.ready.front() {
                Some(event) if shows => each(event.as_ref()),
                _ => ControlFlow::Continue(()),
            };
            self.take();
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The next event in the direction of the read; `None` at its end.
    #[inline]
    fn peek(&mut self) -> Result<Option<&Event>> {
        if self.ready.is_empty() {
            if self.settings.backwards { self.step_back()? } else { self.step()? }
        }
        Ok(self.ready.front())
    }

    /// Whether the event that [`AllEvents::peek`] has returned was requested.
    #[inline]
    fn shows_next(&mut self) -> Result<bool> {
        let Some(event) = self.ready.front() else { return Ok(false) };
        let event = event.as_ref();
        Ok(self.settings.wants(&event) && !self.hidden.hides(&self.engine, &event)?)
    }

    /// Takes the event that [`AllEvents::peek`] has returned.
    #[inline]
    fn take(&mut self) -> Option<Event> {
        let event = self.ready.pop_front();
        if let Some(event) = &event
            && !self.settings.backwards
        {
            // A read of selected events is already past them.
            self.next = self.next.max(event.position().get() + 1);
        }
        event
    }

    /// Reads the next event backwards, if there is one.
    fn step_back(&mut self) -> Result<()> {
        while !self.read_selected()? && self.next > self.after {
            if self.must_select(self.next) {
                self.select()?;
                continue;
            }
            self.ready.extend(event_at(&self.engine, self.next)?);
            self.next -= 1;
            break;
        }
        Ok(())
    }

    /// Whether posting lists have to be read before the event at a position.
    fn must_select(&self, position: u64) -> bool {
        self.settings.query.is_some() && !self.direct.contains(&position)
    }

    /// Finds in the posting lists of the segment at `next` which of the next events may match, and moves
    /// past the range if some are left out.
    fn select(&mut self) -> Result<()> {
        let Some(query) = &self.settings.query else { return Ok(()) };
        let engine = &self.engine;
        let mut show =
            |position, look: &mut Look<'_>| engine.contents().show_written(position, look);
        let (after, backwards, most) = (self.after, self.settings.backwards, self.most);
        let wanted = Wanted { after, upto: self.last, backwards, most };
        let selected = select(engine.contents(), query, self.next, wanted, &mut show)?;
        self.most = (most * 4).min(MOST);
        let Some(mut positions) = selected.positions else {
            self.direct =
                if backwards { selected.through..=self.next } else { self.next..=selected.through };
            return Ok(());
        };
        // A walk over three times as many events costs less than a look-up of each candidate.
        let span = selected.through.saturating_sub(self.next);
        if !backwards && positions.len() >= DENSE && span < 3 * positions.len() as u64 {
            // Where many match, the events that follow are taken to be alike, and their lists not read.
            let further = if positions.len() >= MANY { 3 * span } else { 0 };
            self.direct = self.next..=selected.through.saturating_add(further);
            return Ok(());
        }
        self.next = if backwards { selected.through - 1 } else { selected.through + 1 };
        positions.reverse();
        self.selected = positions;
        Ok(())
    }

    /// Reads the next selected event, if there is one; whether it did.
    fn read_selected(&mut self) -> Result<bool> {
        let Some(position) = self.selected.pop() else { return Ok(false) };
        self.ready.extend(event_at(&self.engine, position)?);
        Ok(true)
    }

    /// Reads the next events forwards, if there are any.
    fn step(&mut self) -> Result<()> {
        while self.ready.is_empty()
            && !self.read_selected()?
            && self.next <= self.last.min(self.stop)
        {
            if self.must_select(self.next) {
                self.cursor = None;
                self.select()?;
            } else {
                self.walk()?;
            }
        }
        Ok(())
    }

    /// Reads the events of the next frames into `ready`. An error is returned when the read comes to the frame it is
    /// about.
    fn walk(&mut self) -> Result<()> {
        let mut bytes = 0;
        let mut next = self.next;
        while self.ready.len() < AHEAD
            && bytes < AHEAD_BYTES
            && next <= self.last.min(self.stop)
            && (self.ready.is_empty() || !self.must_select(next))
        {
            match self.walk_frame(next) {
                Ok(Some((frame_len, end))) => {
                    bytes += frame_len;
                    next = end;
                }
                Ok(None) => break,
                Err(error) if self.ready.is_empty() => return Err(error),
                Err(_) => {
                    // The next walk begins anew at this frame.
                    self.cursor = None;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Appends the events of the frame at `next` to `ready`; returns its length and the position after it. `None`
    /// at the end of the segment.
    fn walk_frame(&mut self, next: u64) -> Result<Option<(usize, u64)>> {
        let fresh = self.cursor.is_none();
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            None => {
                self.window = Window::default();
                self.cursor.insert(cursor_at(&self.engine, next)?)
            }
        };
        let segment = Arc::clone(cursor.segment());
        match cursor.next(self.last)? {
            Some(frame) => {
                let before = self.ready.len();
                let ready = (&mut self.ready, &mut self.window);
                if let Err(defect) = fill(ready, &segment, &frame, next..=self.last) {
                    self.ready.truncate(before);
                    return Err(segment.corrupt(frame.offset, next, &defect));
                }
                // No other frame is read ahead beside one that is copied.
                let len = if frame.mapped_to.is_some() { frame.body.len() } else { AHEAD_BYTES };
                Ok(Some((len, frame.header.next_position())))
            }
            None if fresh => Err(segment.corrupt(0, next, &Defect::TooShort)),
            None => {
                self.cursor = None;
                Ok(None)
            }
        }
    }
}

/// Appends a frame's events that lie in a range of positions to `ready`.
fn fill(
    (ready, window): (&mut VecDeque<Event>, &mut Window),
    segment: &Arc<Segment>,
    frame: &FrameView<'_>,
    range: RangeInclusive<u64>,
) -> Result<(), Defect> {
    let mut offset = frame.offset + FIRST_RECORD as u64;
    let mut rest = frame.body;
    for position in frame.header.first_position..frame.header.next_position() {
        let record = RecordRef::parse(rest)?;
        let (bytes, after) = rest.split_at(record.padded_len());
        frame.prefetch_after(frame.body.len() - rest.len(), bytes.len());
        if range.contains(&position) {
            let bytes = match frame.mapped_to {
                Some(end) => RecordBytes::Shared(window.cut(segment, offset, bytes.len(), end)),
                None => RecordBytes::Owned(Bytes::copy_from_slice(bytes)),
            };
            ready.push_back(Event::new(
                bytes,
                record.layout(),
                EventPlace::new(&frame.header, position),
            ));
        }
        offset += record.padded_len() as u64;
        rest = after;
    }
    Ok(())
}

/// A cursor at the frame that holds the visible position `position`.
fn cursor_at(engine: &Engine, position: u64) -> Result<FrameCursor> {
    let (segment, place) = engine.contents().frame_at(position)?;
    Ok(FrameCursor::new(segment, place, engine.options().checksums))
}
