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
}

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

    fn event(&self, version: u64) -> Result<Event> {
        let behind = self.runs.partition_point(|run| run.first_version <= version);
        let run = behind.checked_sub(1).map(|at| &self.runs[at]);
        let run = run.ok_or_else(|| self.engine.lost(0))?;
        let index = usize::try_from(version - run.first_version).unwrap_or(usize::MAX);
        if index >= run.len() {
            return Err(self.engine.lost(0));
        }
        let (position, offset) = run.place(index)?;
        self.engine.event_in(&run.segment, offset, position)
    }
}
