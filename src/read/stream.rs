//! Reads of one stream: from its head back through the segments that have it, then record by
//! record in either direction.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::hidden::Hidden;
use super::{Events, ReadStream, Settings, Source};
use crate::catalog::Run;
use crate::engine::Engine;
use crate::error::Result;
use crate::event::{AsOf, Position};
use crate::index::metadata::StreamRules;
use crate::view::{Event, EventRef};

impl ReadStream {
    /// Starts the read: pins the head, and tells which it is with [`Events::head`].
    pub fn start(self) -> Result<Events> {
        let head = self.engine.pin(&self.settings)?;
        let events = self.pinned(head)?;
        Ok(Events { head: Position::new(head), source: Source::Stream(Box::new(events)) })
    }

    /// Calls `each` with every event, borrowed from the log, until it breaks.
    pub fn try_for_each<B>(
        self,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>> {
        let head = self.engine.pin(&self.settings)?;
        let mut events = self.pinned(head)?;
        while let Some(event) = events.next()? {
            if let ControlFlow::Break(value) = each(event.as_ref()) {
                return Ok(ControlFlow::Break(value));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pinned(self, visible: u64) -> Result<StreamEvents> {
        let from = self.from_version.max(1);
        let (runs, last) = self.engine.lookup(|catalog| {
            let head = catalog.head_at(&self.stream, visible)?;
            Ok((catalog.stream_runs(&self.stream, head, from)?, head.version))
        })?;
        let last = match self.settings.as_of {
            Some(AsOf::Version(version)) => last.min(version),
            _ => last,
        };
        let left = self.settings.limit;
        // What truncation hides is not even looked at.
        let rules = if self.settings.include_hidden {
            StreamRules::default()
        } else {
            self.engine.metadata.read().rules(&self.stream)
        };
        let from = if rules.archived { u64::MAX } else { from.max(rules.truncated_before) };
        let next = if self.settings.backwards { last } else { from };
        Ok(StreamEvents {
            hidden: Hidden::new(&self.engine, &self.settings),
            engine: self.engine,
            settings: self.settings,
            runs,
            from,
            last,
            next,
            left,
            ahead: Vec::new(),
        })
    }
}

/// The state of an iteration over one stream.
#[derive(Debug)]
pub(super) struct StreamEvents {
    engine: Arc<Engine>,
    settings: Settings,
    hidden: Hidden,
    /// Where the stream's events are, oldest segment first.
    runs: Vec<Run>,
    from: u64,
    last: u64,
    /// The next version to yield.
    next: u64,
    left: u64,
    /// Where the next events are: run, position, offset; the next one last.
    ahead: Vec<(usize, u64, u64)>,
}

/// So many events are looked up at a time.
const AHEAD: u64 = 32;

impl StreamEvents {
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        while self.left > 0 && self.next >= self.from && self.next <= self.last {
            let event = self.event(self.next)?;
            self.next = if self.settings.backwards {
                // Version 1 is the first: below it, `from` ends the loop.
                self.next - 1
            } else {
                self.next + 1
            };
            let event_ref = event.as_ref();
            if self.settings.wants(&event_ref) && !self.hidden.hides(&self.engine, &event_ref)? {
                self.left -= 1;
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn event(&mut self, version: u64) -> Result<Event> {
        if self.ahead.is_empty() {
            self.look_ahead(version)?;
        }
        let (run, position, offset) = self.ahead.pop().ok_or_else(|| self.engine.lost(0))?;
        self.engine.event_in(&self.runs[run].segment, offset, position)
    }

    /// Looks up the places of the next events, and has the processor fetch them all at once: a
    /// stream's events lie scattered, and each would be waited for alone.
    fn look_ahead(&mut self, version: u64) -> Result<()> {
        let wanted = AHEAD.min(self.left).max(1);
        let backwards = self.settings.backwards;
        let (from, last) = (self.from, self.last);
        let versions = (0..wanted).map_while(|distance| {
            if backwards {
                version.checked_sub(distance).filter(|&version| version >= from)
            } else {
                version.checked_add(distance).filter(|&version| version <= last)
            }
        });
        for version in versions.clone() {
            if let Some((run, index)) = self.run_of(version) {
                self.runs[run].prefetch_place(index);
            }
        }
        for version in versions {
            match self.place(version) {
                Ok(place) => self.ahead.push(place),
                Err(error) if self.ahead.is_empty() => return Err(error),
                // Its turn comes.
                Err(_) => break,
            }
        }
        for &(run, _, offset) in &self.ahead {
            self.runs[run].segment.prefetch_record(offset);
        }
        // By the time the last was asked for, the first are there.
        for &(run, _, offset) in &self.ahead {
            self.runs[run].segment.prefetch_frame(offset);
        }
        self.ahead.reverse();
        Ok(())
    }

    /// Where an event is: run, position, offset.
    fn place(&self, version: u64) -> Result<(usize, u64, u64)> {
        let (run, index) = self.run_of(version).ok_or_else(|| self.engine.lost(0))?;
        let (position, offset) = self.runs[run].place(index)?;
        Ok((run, position, offset))
    }

    /// The run that holds a version, and where in it.
    fn run_of(&self, version: u64) -> Option<(usize, usize)> {
        let behind = self.runs.partition_point(|run| run.first_version <= version);
        let run = behind.checked_sub(1)?;
        let index = usize::try_from(version - self.runs[run].first_version).ok()?;
        (index < self.runs[run].len()).then_some((run, index))
    }
}
