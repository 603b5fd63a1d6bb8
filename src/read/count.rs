//! Counts the events that a read over all streams would show.
//!
//! Owns the choice between the indexes and the events. Must never count by index what reads could hide.

use std::sync::Arc;

use super::ReadAll;
use crate::engine::matching::count_sealed;
use crate::error::Result;
use crate::event::{AsOf, Position};
use crate::query::Query;

impl ReadAll {
    /// The number of events that this read shows, without reading them where the indexes have the answer.
    ///
    /// Without a query, that is the number of positions. With one, the indexes of sealed segments answer: for one type,
    /// tag, category or stream from a number in each, otherwise from lists of positions. The matches in segments that are not
    /// sealed are read; they are bounded by [`Options::segment_size`](crate::Options::segment_size). If the store hides
    /// events ([`Store::archive`](crate::Store::archive), [`Store::truncate_before`](crate::Store::truncate_before),
    /// [`StreamMetadata`](crate::StreamMetadata)) and the read does not
    /// [include them](ReadAll::include_hidden), all events of the read are examined.
    ///
    /// ```
    /// # use annals::{ExpectedVersion, NewEvent, Query, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("ledger"))?;
    /// # for (stream, kind) in [("account-1", "Opened"), ("account-2", "Opened"), ("account-1", "Closed")] {
    /// #     store.append(stream, ExpectedVersion::Any, [NewEvent::new(kind, "")])?;
    /// # }
    /// assert_eq!(store.read_all().matching(Query::types(["Opened"])).count()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`ReadAll::start`] and of reading.
    pub fn count(self) -> Result<u64> {
        let engine = Arc::clone(&self.engine);
        let hides = engine.contents().hides_events() && !self.settings.include_hidden;
        let head = self.pin()?;
        let last = head.min(self.up_to);
        let limit = self.settings.limit;
        if hides {
            return self.at(head).examined();
        }
        let Some(query) = self.settings.query.clone() else {
            return Ok(last.saturating_sub(self.after).min(limit));
        };
        let after = self.after.max(Query::floor(&query));
        let counted = count_sealed(engine.contents(), &query, after, last)?;
        if counted.events >= limit || counted.next > last {
            return Ok(counted.events.min(limit));
        }
        let mut rest = self.at(head);
        rest.after = counted.next - 1;
        rest.settings.limit = limit - counted.events;
        rest.settings.backwards = false;
        Ok(counted.events + rest.examined()?)
    }

    /// The same read with the head at a position that was pinned before.
    fn at(mut self, head: u64) -> Self {
        self.settings.as_of = Some(AsOf::Position(Position::new(head)));
        self
    }

    fn examined(self) -> Result<u64> {
        let mut events = 0;
        for event in self {
            event?;
            events += 1;
        }
        Ok(events)
    }
}
