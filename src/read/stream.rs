//! Reads of one stream: offsets of events are found in chunks, and the records are read one by one in
//! either direction.
//!
//! The cost is that of the events that are read, plus a search for the first one that is logarithmic in
//! the stream's length. Must never collect the offsets of many more events than are about to be read.

mod ahead;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use self::ahead::Ahead;
use super::hidden::Hidden;
use super::point::event_in;
use super::{EventSource, Events, ReadSettings, ReadStream, pin};
use crate::catalog::{Reached, Run};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{AsOf, Position};
use crate::index::Head;
use crate::log::segment::LogPlace;
use crate::read::event::{Event, EventRef};

impl ReadStream {
    /// Starts the read and pins its head, which is [`Events::head`].
    pub fn start(self) -> Result<Events> {
        let head = pin(&self.engine, &self.settings)?;
        let events = self.pinned(head)?;
        Ok(Events { head: Position::new(head), source: EventSource::Stream(Box::new(events)) })
    }

    /// Calls `each` with every event, borrowed from the log, until it returns `Break`.
    pub fn try_for_each<B>(
        self,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        let head = pin(&self.engine, &self.settings)?;
        self.pinned(head)?.visit(&mut each)
    }

    pub(super) fn pinned(self, visible: u64) -> Result<StreamEvents> {
        let hidden = Hidden::new(&self.engine, &self.settings);
        let head = self.engine.contents().head_at(&self.stream, visible)?;
        let last = match self.settings.as_of {
            Some(AsOf::Version(version)) => head.version.min(version),
            _ => head.version,
        };
        let last = last.min(self.up_to_version);
        let mut events = StreamEvents {
            hidden,
            left: self.settings.limit,
            engine: self.engine,
            stream: self.stream,
            settings: self.settings,
            ends: vec![head],
            runs: Vec::new(),
            // Empty: there is no version 0.
            loaded: 0..=0,
            chunk: FIRST_CHUNK,
            from: self.from_version.max(1),
            last,
            next: last,
            ahead: Ahead::new(),
        };
        events.pass_hidden()?;
        Ok(events)
    }
}

/// The state of an iteration over one stream.
#[derive(Debug)]
pub(super) struct StreamEvents {
    engine: Arc<Engine>,
    stream: String,
    settings: ReadSettings,
    hidden: Hidden,
    /// Events of the stream from which older ones are found, the oldest last. Forwards, there is one for
    /// each index between the current one and the head.
    ends: Vec<Head>,
    /// The offsets of the events of the versions `loaded`, oldest segment first.
    runs: Vec<Run>,
    loaded: RangeInclusive<u64>,
    /// Number of events whose offsets are found at a time.
    chunk: u64,
    from: u64,
    last: u64,
    /// The next version to yield.
    next: u64,
    left: u64,
    ahead: Ahead,
}

/// Number of events whose offsets are found first; it doubles each time up to [`MAX_CHUNK`].
const FIRST_CHUNK: u64 = 64;
const MAX_CHUNK: u64 = 1024;

impl StreamEvents {
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        self.next_while(|_| true)
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
        Ok(if self.seek(&mut examined)? { self.ahead.take() } else { None })
    }

    /// Calls `each` with the events that are left, borrowed, until it breaks.
    pub(super) fn visit<B>(
        &mut self,
        each: &mut impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        while self.left > 0 && self.is_in_range() {
            if !self.ahead.has_next() {
                self.find_places(self.next, false)?;
            }
            self.advance();
            let Self { engine, hidden, settings, runs, ahead, left, .. } = self;
            let Some(event) = ahead.show(engine, runs)? else {
                return Err(engine.contents().lost(0));
            };
            if is_requested(engine, settings, hidden, left, &event)?
                && let ControlFlow::Break(value) = each(event)
            {
                return Ok(ControlFlow::Break(value));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Passes the events before the next requested one; whether there is one, which is then the next of `ahead`.
    #[inline]
    fn seek(&mut self, examined: &mut impl FnMut(&Event) -> bool) -> Result<bool> {
        self.ahead.drop_shown();
        while self.left > 0 && self.is_in_range() {
            if self.ahead.peek().is_none() {
                if !self.ahead.has_next() {
                    self.find_places(self.next, true)?;
                }
                self.ahead.read(&self.engine, &self.runs)?;
            }
            self.advance();
            let Self { engine, hidden, settings, ahead, left, .. } = self;
            let Some(event) = ahead.peek() else {
                return Err(engine.contents().lost(0));
            };
            let goes_on = examined(event);
            if is_requested(engine, settings, hidden, left, &event.as_ref())? {
                return Ok(true);
            }
            self.ahead.take();
            if !goes_on {
                break;
            }
        }
        Ok(false)
    }

    #[inline]
    fn is_in_range(&self) -> bool {
        self.next >= self.from && self.next <= self.last
    }

    /// Moves to the version after the next one; returns that.
    #[inline]
    fn advance(&mut self) -> u64 {
        let version = self.next;
        // Version 1 is the first: at 0, `from` ends the loop.
        self.next = if self.settings.backwards { version - 1 } else { version + 1 };
        version
    }

    /// Skips hidden events without reading them: versions and times never decrease, so the hidden events
    /// of a stream are its first ones.
    fn pass_hidden(&mut self) -> Result<()> {
        let rules = self.hidden.rules(&self.engine, &self.stream);
        if rules.archived {
            self.from = u64::MAX;
        }
        if rules.truncated_before > 0 || rules.max_count > 0 {
            let newest = self.hidden.newest(&self.engine, &self.stream, &rules)?;
            self.from = self.from.max(rules.first_version(newest));
        }
        // Backwards, the read ends at the first hidden event.
        if !self.settings.backwards {
            if let Some(oldest) = self.hidden.oldest_shown(&rules) {
                self.from = self.first_recorded_at(oldest)?;
            }
            self.next = self.from;
        }
        Ok(())
    }

    /// The first version from `from` on that was recorded at `time` or later; the last version plus one
    /// if there is none.
    fn first_recorded_at(&self, time: u64) -> Result<u64> {
        let (mut low, mut high) = (self.from, self.last.saturating_add(1));
        let mut end = self.ends[0];
        // The first probe is `low`, because in most streams nothing is hidden.
        let mut middle = low;
        while low < high {
            let event = self.look_at(middle, end)?;
            if event.recorded_at().as_micros() < time {
                low = middle + 1;
            } else {
                high = middle;
                end = Head { version: middle, last_position: event.position().get() };
            }
            middle = u64::midpoint(low, high);
        }
        Ok(low)
    }

    /// The event of a version that is at most the version of `end`.
    fn look_at(&self, version: u64, mut end: Head) -> Result<Event> {
        loop {
            let range = (version, version);
            match self.engine.contents().reach(&self.stream, end, version, range)? {
                Reached::Before(before) => end = before,
                Reached::Runs(runs) => {
                    let run = runs.first().ok_or_else(|| self.engine.contents().lost(0))?;
                    let (position, offset) = run.place(0)?;
                    return event_in(&self.engine, &run.segment, LogPlace { offset, position });
                }
            }
        }
    }

    /// Finds the events of the next versions, from `version` on in the direction of the read.
    fn load(&mut self, version: u64) -> Result<()> {
        let all = self.settings.query.is_some();
        let most = if all { self.chunk } else { self.chunk.min(self.left) }.max(1);
        self.chunk = (self.chunk * 2).min(MAX_CHUNK);
        let range = if self.settings.backwards {
            (version.saturating_sub(most - 1).max(self.from), version)
        } else {
            (version, version.saturating_add(most - 1).min(self.last))
        };
        loop {
            // Forwards, ends in indexes that the read has passed are dropped.
            while self.ends.len() > 1 && self.ends[self.ends.len() - 1].version < version {
                self.ends.pop();
            }
            let end = *self.ends.last().ok_or_else(|| self.engine.contents().lost(0))?;
            let stream = &self.stream;
            match self.engine.contents().reach(stream, end, version, range)? {
                Reached::Before(before) if self.settings.backwards => self.ends = vec![before],
                Reached::Before(before) => self.ends.push(before),
                Reached::Runs(mut runs) => {
                    self.keep_nearest(&mut runs);
                    let count: u64 = runs.iter().map(|run| run.len() as u64).sum();
                    let first = runs.first().map_or(version, |run| run.first_version);
                    self.loaded = first..=(first + count).saturating_sub(1);
                    self.runs = runs;
                    return Ok(());
                }
            }
        }
    }

    /// Drops the runs that are read last, because each run keeps a segment mapped once it is read.
    fn keep_nearest(&self, runs: &mut Vec<Run>) {
        let most = self.engine.contents().most_asked_at_once();
        if runs.len() > most {
            if self.settings.backwards {
                runs.drain(..runs.len() - most);
            } else {
                runs.truncate(most);
            }
        }
    }

    /// Looks up the places of the next events, from `version` on in the direction of the read. `headers`: the
    /// headers of their frames are read too.
    fn find_places(&mut self, version: u64, headers: bool) -> Result<()> {
        self.engine.contents().bound_mappings();
        if !self.loaded.contains(&version) {
            self.load(version)?;
        }
        let more = self.ahead.wanted().min(self.left).max(1) - 1;
        let (first, last) =
            (self.from.max(*self.loaded.start()), self.last.min(*self.loaded.end()));
        let versions = if self.settings.backwards {
            first.max(version.saturating_sub(more))..=version
        } else {
            version..=last.min(version.saturating_add(more))
        };
        self.ahead.find(&self.runs, versions, self.settings.backwards, headers)
    }
}

/// Whether an event was requested and is shown; counts it then, and ends a read backwards at a hidden event.
#[inline]
fn is_requested(
    engine: &Engine,
    settings: &ReadSettings,
    hidden: &mut Hidden,
    left: &mut u64,
    event: &EventRef<'_>,
) -> Result<bool> {
    if hidden.hides(engine, event)? {
        if settings.backwards {
            // If an event of a stream is hidden, all events before it in the stream are hidden too.
            *left = 0;
        }
        return Ok(false);
    }
    let wanted = settings.wants(event);
    *left -= u64::from(wanted);
    Ok(wanted)
}
