//! The next events of a read of one stream, which are looked up and read together.
//!
//! Owns their places, and the events that were read from them. Must never keep copies of many events at once, and
//! never return an error before the read comes to the event it is about.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::catalog::Run;
use crate::engine::Engine;
use crate::error::Result;
use crate::log::segment::{LogPlace, RecordBytes, Segment, Window};
use crate::options::Checksums;
use crate::read::event::{Event, EventPlace, EventRef};
use crate::read::point::event_in;

/// The number of events that are looked up first; it doubles each time up to [`MOST`].
const FIRST: u64 = 8;
const MOST: u64 = 32;
/// The number of bytes after which no further event is read ahead.
const MOST_BYTES: usize = 64 << 10;

/// The distance in bytes up to which a record follows closely on another.
const CLOSE: u64 = 512;

#[derive(Debug)]
pub(super) struct Ahead {
    /// The runs and places of events that were not read yet; the next one last.
    places: Vec<(usize, LogPlace)>,
    /// Events that were read.
    events: VecDeque<Event>,
    /// The first of `events` was returned by [`Ahead::show`].
    is_shown: bool,
    /// The buffer of events that lie close together, in the segment `window_of`.
    window: Window,
    window_of: Option<Arc<Segment>>,
    wanted: u64,
}

impl Ahead {
    pub(super) fn new() -> Self {
        let (places, events) = (Vec::new(), VecDeque::new());
        let (window, window_of) = (Window::default(), None);
        Self { places, events, is_shown: false, window, window_of, wanted: FIRST }
    }

    /// The next event, if it was read.
    #[inline]
    pub(super) fn peek(&self) -> Option<&Event> {
        self.events.front()
    }

    /// Takes the event that [`Ahead::peek`] shows.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The number of events to look up next.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Looks up the places of the events of `versions`, and prefetches their records: the events of a stream are
    /// scattered, and the read would wait for each one alone. `headers`: it also reads the headers of their
    /// frames.
    pub(super) fn find(
        &mut self,
        runs: &[Run],
        versions: RangeInclusive<u64>,
        backwards: bool,
        headers: bool,
    ) -> Result<()> {
        self.wanted = (self.wanted * 2).min(MOST);
        let (first, last) = versions.into_inner();
        let holds = |run: &Run| run.first_version <= last && run.end_version() > first;
        let mut parts: Vec<_> = runs.iter().enumerate().filter(|(_, run)| holds(run)).collect();
        if backwards {
            parts.reverse();
        }
        let indexes = |run: &Run| {
            let end = run.end_version().min(last.saturating_add(1));
            run.index(first.max(run.first_version))..run.index(end)
        };
        for (_, run) in &parts {
            for index in indexes(run) {
                run.prefetch_place(index);
            }
        }
        let mut result = Ok(());
        'places: for (number, run) in parts {
            let indexes = indexes(run);
            for step in 0..indexes.len() {
                let index = if backwards { indexes.end - 1 - step } else { indexes.start + step };
                match run.place(index) {
                    Ok((position, offset)) => {
                        self.places.push((number, LogPlace { offset, position }));
                    }
                    Err(error) => {
                        // The event is looked up again, and its error returned, when the read comes to it.
                        result = if self.places.is_empty() { Err(error) } else { Ok(()) };
                        break 'places;
                    }
                }
            }
        }
        self.prefetch(runs, headers);
        self.places.reverse();
        result
    }

    /// Prefetches the records, unless each follows closely on the one before: the processor does that by itself.
    fn prefetch(&self, runs: &[Run], headers: bool) {
        let follows = |pair: &[(usize, LogPlace)]| {
            let ((run, before), (next_run, next)) = (pair[0], pair[1]);
            run == next_run && next.offset.abs_diff(before.offset) < CLOSE
        };
        if self.places.windows(2).all(follows) {
            return;
        }
        for &(run, place) in &self.places {
            runs[run].segment.prefetch_record(place.offset);
        }
        // The records are read after the last prefetch, when the first ones have arrived.
        for &(run, place) in &self.places {
            let segment = &runs[run].segment;
            if headers || !segment.is_proven(place) {
                segment.prefetch_frame(place.offset);
            }
        }
    }

    /// Reads the next events from their places: at least one, unless there is none.
    pub(super) fn read(&mut self, engine: &Engine, runs: &[Run]) -> Result<()> {
        let mut bytes = 0;
        while let Some(&(run, place)) = self.places.last() {
            let segment = &runs[run].segment;
            if self.is_near(engine, runs)
                && let Some((bytes, layout, header)) = self.window.event(place)
            {
                let place = EventPlace::new(&header, place.position);
                self.events.push_back(Event::new(RecordBytes::Shared(bytes), layout, place));
            } else {
                match event_in(engine, segment, place) {
                    Ok(event) => self.events.push_back(event),
                    Err(error) if self.events.is_empty() => return Err(error),
                    // The event is read again, and its error returned, when the read comes to it.
                    Err(_) => break,
                }
            }
            self.places.pop();
            if let Some(event) = self.events.back() {
                bytes += event.record_len();
                if event.owned_len() > 0 || bytes >= MOST_BYTES {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the next event, borrowed; `None` if there is none.
    #[inline]
    pub(super) fn show<'a>(
        &'a mut self,
        engine: &Engine,
        runs: &'a [Run],
    ) -> Result<Option<EventRef<'a>>> {
        self.drop_shown();
        if self.events.is_empty() {
            let is_near = self.is_near(engine, runs);
            let Some((run, place)) = self.places.pop() else { return Ok(None) };
            if is_near && let Some((record, header)) = self.window.record(place) {
                return Ok(Some(EventRef::new(record, EventPlace::new(&header, place.position))));
            }
            let segment = &runs[run].segment;
            if engine.options().checksums == Checksums::Once
                && segment.is_proven(place)
                && let Some((record, header)) = segment.proven_event(place)
            {
                return Ok(Some(EventRef::in_frame(record, place.position, header)));
            }
            self.events.push_back(event_in(engine, segment, place)?);
        }
        self.is_shown = true;
        Ok(self.events.front().map(Event::as_ref))
    }

    /// Whether there is a next event without a look-up of more places.
    #[inline]
    pub(super) fn has_next(&self) -> bool {
        !self.places.is_empty() || self.events.len() > usize::from(self.is_shown)
    }

    /// Drops the event that was shown last, if it is kept.
    #[inline]
    pub(super) fn drop_shown(&mut self) {
        if self.is_shown {
            self.events.pop_front();
            self.is_shown = false;
        }
    }

    /// Whether the window covers the beginning of the next event, which was proven. It moves there if the event
    /// after that is near.
    #[inline]
    fn is_near(&mut self, engine: &Engine, runs: &[Run]) -> bool {
        let Some(&(run, place)) = self.places.last() else { return false };
        let segment = &runs[run].segment;
        if engine.options().checksums != Checksums::Once || !segment.is_proven(place) {
            return false;
        }
        let is_here = self.window_of.as_ref().is_some_and(|of| Arc::ptr_eq(of, segment));
        if is_here && self.window.reaches(place.offset) {
            return true;
        }
        let next = self.places.len().checked_sub(2).map(|next| self.places[next]);
        if !next.is_some_and(|next| next.0 == run && Segment::are_near(next.1, place)) {
            return false;
        }
        self.window.move_to(segment, place.offset);
        self.window_of = Some(Arc::clone(segment));
        true
    }
}
