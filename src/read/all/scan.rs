//! A forward read over all streams that can continue after its head moves: the read of a subscription.
//!
//! It takes the same steps as every other read. In addition it reports how far it has come, and can be
//! limited for one call, so that a query without matches returns too.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::hidden::Hidden;
use super::{AllEvents, NOWHERE, ReadSettings};
use crate::engine::Engine;
use crate::engine::matching::FIRST;
use crate::error::Result;
use crate::log::segment::Window;
use crate::query::Query;
use crate::read::event::Event;

/// A read up to a head that can be moved forward.
#[derive(Debug)]
pub(crate) struct Scan {
    events: AllEvents,
}

impl Scan {
    /// A scan that continues after `after`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        after: u64,
        query: Option<Query>,
        include_hidden: bool,
    ) -> Self {
        let settings = ReadSettings { query, include_hidden, ..ReadSettings::new() };
        let events = AllEvents {
            hidden: Hidden::new(&engine, &settings),
            engine,
            left: settings.limit,
            settings,
            next: after.saturating_add(1),
            after,
            last: after,
            stop: u64::MAX,
            ready: VecDeque::new(),
            cursor: None,
            window: Window::default(),
            selected: Vec::new(),
            direct: NOWHERE,
            most: FIRST,
        };
        Self { events }
    }

    /// The head it reads up to.
    pub(crate) fn head(&self) -> u64 {
        self.events.last
    }

    /// Every event at or before this position was examined, and returned if it was requested.
    pub(crate) fn scanned_through(&self) -> u64 {
        let events = &self.events;
        // Events that the index left out count as examined.
        let next = events.selected.last().copied().unwrap_or(events.next);
        (next - 1).min(events.last)
    }

    /// Continues after `after` up to `head`; events that were prepared for return are dropped.
    pub(crate) fn resume(&mut self, after: u64, head: u64) {
        let events = &mut self.events;
        // No item of the query matches at or before its floor.
        let floor = events.settings.query.as_ref().map_or(0, Query::floor);
        events.after = after.max(floor);
        events.next = events.after.saturating_add(1);
        events.last = head;
        events.hidden = Hidden::new(&events.engine, &events.settings);
        events.ready.clear();
        events.cursor = None;
        events.selected.clear();
        events.direct = NOWHERE;
    }

    /// The next requested event. `None` at the head, once every event at or before `stop` was examined,
    /// or once `bytes` is 0; the size of each examined event is subtracted from `bytes`.
    pub(crate) fn next_until(&mut self, stop: u64, bytes: &mut usize) -> Result<Option<Event>> {
        self.events.stop = stop;
        while let Some(event) = self.events.peek()? {
            let position = event.position().get();
            *bytes = bytes.saturating_sub(event.record_len());
            let shows = self.events.shows_next()?;
            let event = self.events.take();
            if shows {
                return Ok(event);
            }
            if position >= stop || *bytes == 0 {
                break;
            }
        }
        Ok(None)
    }
}
