//! Reads over all streams: walk the frames forwards, or step back position by position.

mod scan;

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
            ready: Vec::new(),
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

    fn pin(&self) -> Result<u64> {
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
        rest = &rest[record.padded_len()..];
        if range.contains(&position)
            && let ControlFlow::Break(value) = each(record, position)
        {
            return Ok(ControlFlow::Break(value));
        }
    }
    Ok(ControlFlow::Continue(()))
}

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
    /// The rest of the current frame, last first.
    ready: Vec<Event>,
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
    pub(super) fn next_while(
        &mut self,
        mut examined: impl FnMut(&Event) -> bool,
    ) -> Result<Option<Event>> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            let event = if self.settings.backwards { self.step_back() } else { self.step() };
            let Some(event) = event? else { return Ok(None) };
            let goes_on = examined(&event);
            let event_ref = event.as_ref();
            if self.settings.wants(&event_ref) && !self.hidden.hides(&self.engine, &event_ref)? {
                self.left -= 1;
                return Ok(Some(event));
            }
            if !goes_on {
                return Ok(None);
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
            if self.must_select() {
                self.select()?;
                continue;
            }
            let event = event_at(&self.engine, self.next)?;
            self.next -= 1;
            return Ok(event);
        }
    }

    /// Whether posting lists have to be read before the event at `next`.
    fn must_select(&self) -> bool {
        self.settings.query.is_some() && !self.direct.contains(&self.next)
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
        self.next = if backwards { selected.through - 1 } else { selected.through + 1 };
        positions.reverse();
        self.selected = positions;
        Ok(())
    }

    fn take_selected(&mut self) -> Result<Option<Event>> {
        match self.selected.pop() {
            Some(position) => event_at(&self.engine, position),
            None => Ok(None),
        }
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
            if self.next > self.last.min(self.stop) {
                return Ok(None);
            }
            if self.must_select() {
                self.cursor = None;
                self.select()?;
                continue;
            }
            let fresh = self.cursor.is_none();
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                None => {
                    self.window = Window::default();
                    self.cursor.insert(cursor_at(&self.engine, self.next)?)
                }
            };
            let segment = Arc::clone(cursor.segment());
            if let Some(frame) = cursor.next(self.last)? {
                let ready = (&mut self.ready, &mut self.window);
                fill(ready, &segment, &frame, self.next..=self.last)
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
    (ready, window): (&mut Vec<Event>, &mut Window),
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
            let bytes = match frame.mapped_to {
                Some(end) => RecordBytes::Shared(window.cut(segment, offset, bytes.len(), end)),
                None => RecordBytes::Owned(Bytes::copy_from_slice(bytes)),
            };
            ready.push(Event::new(
                bytes,
                record.layout(),
                EventPlace::new(&frame.header, position),
            ));
        }
        offset += record.padded_len() as u64;
        rest = after;
    }
    ready.reverse();
    Ok(())
}

/// A cursor at the frame that holds the visible position `position`.
fn cursor_at(engine: &Engine, position: u64) -> Result<FrameCursor> {
    let (segment, place) = engine.contents().frame_at(position)?;
    Ok(FrameCursor::new(segment, place, engine.options().checksums))
}
