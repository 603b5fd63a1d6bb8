//! A forward read over all streams that goes on where it ended: what a subscription consists of.
//!
//! The same steps as any other read takes. It only tells, beside the events, how far it has come,
//! and can be told to look no further for now, so that a query without matches ends too.

use std::sync::Arc;

use super::super::hidden::Hidden;
use super::{AllEvents, NOWHERE, Settings};
use crate::engine::Engine;
use crate::engine::matching::FIRST;
use crate::error::Result;
use crate::query::Query;
use crate::read::event::Event;

/// A read up to a head that can be moved on.
#[derive(Debug)]
pub(crate) struct Scan {
    events: AllEvents,
}

impl Scan {
    /// A scan that has come as far as `after` and has nothing before it yet.
    pub(crate) fn new(
        engine: Arc<Engine>,
        after: u64,
        query: Option<Query>,
        include_hidden: bool,
    ) -> Self {
        let settings = Settings { query, include_hidden, ..Settings::new() };
        let events = AllEvents {
            hidden: Hidden::new(&engine, &settings),
            engine,
            left: settings.limit,
            settings,
            next: after.saturating_add(1),
            after,
            head: after,
            stop: u64::MAX,
            ready: Vec::new(),
            cursor: None,
            selected: Vec::new(),
            direct: NOWHERE,
            most: FIRST,
        };
        Self { events }
    }

    /// The head it reads up to.
    pub(crate) fn head(&self) -> u64 {
        self.events.head
    }

    /// Everything at or before this position was looked at, and handed out if it was asked for.
    pub(crate) fn scanned_through(&self) -> u64 {
        let events = &self.events;
        // What the index left out was looked at.
        let next = events.selected.last().copied().unwrap_or(events.next);
        (next - 1).min(events.head)
    }

    /// Goes on behind `after` up to `head`, whatever was in hand before.
    pub(crate) fn resume(&mut self, after: u64, head: u64) {
        let events = &mut self.events;
        // No item of the query matches before this.
        let floor = events.settings.query.as_ref().map_or(0, Query::floor);
        events.after = after.max(floor);
        events.next = events.after.saturating_add(1);
        events.head = head;
        events.hidden = Hidden::new(&events.engine, &events.settings);
        events.ready.clear();
        events.cursor = None;
        events.selected.clear();
        events.direct = NOWHERE;
    }

    /// The next event that is asked for; `None` at the head, once everything at or before `stop` was
    /// looked at, or once `bytes`, from which the bytes of each event are taken that is looked at, is 0.
    pub(crate) fn next_until(&mut self, stop: u64, bytes: &mut usize) -> Result<Option<Event>> {
        self.events.stop = stop;
        loop {
            let Some(event) = self.events.step()? else {
                return Ok(None);
            };
            *bytes = bytes.saturating_sub(event.record_len());
            let Self { events } = self;
            let event_ref = event.as_ref();
            if events.settings.wants(&event_ref)
                && !events.hidden.hides(&events.engine, &event_ref)?
            {
                return Ok(Some(event));
            }
            if event.position().get() >= stop || *bytes == 0 {
                return Ok(None);
            }
        }
    }
}
