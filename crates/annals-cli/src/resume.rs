//! The events that an interrupted import has stored.
//!
//! Owns the comparison of a line with a stored event. Must never accept a different event as equal.

use annals::{AsOf, Event, Position, Result, Store};

use crate::groups::Entry;

/// The stored state of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// The line's event is not stored.
    Not,
    /// The line's event is stored at this position.
    Recorded(u64),
    /// Another event is stored in its place; the message describes it.
    Differs(String),
}

impl Known {
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(crate) fn position(&self) -> Option<u64> {
        if let Self::Recorded(position) = self { Some(*position) } else { None }
    }
}

/// The state of the store that the earlier import left.
#[derive(Debug)]
pub(crate) struct Earlier {
    head: Position,
}

impl Earlier {
    /// The current state of the store.
    pub(crate) fn new(store: &Store) -> Self {
        Self { head: store.head() }
    }

    /// Looks a line up by its id, or else by its place in its stream, where an equal event must be
    /// stored.
    pub(crate) fn look(&self, store: &Store, entry: &Entry) -> Result<Known> {
        if self.head == Position::START {
            return Ok(Known::Not);
        }
        if let Some(id) = entry.record.id {
            let found = store.event(id)?.filter(|event| event.position() <= self.head);
            // A different event with this id is refused by the store later.
            let same = found.filter(|event| is_same(event, entry));
            return Ok(same.map_or(Known::Not, |event| Known::Recorded(event.position().get())));
        }
        let (stream, number) = (&entry.record.stream, entry.number);
        let read = store.read_stream(stream).include_hidden().as_of(AsOf::Position(self.head));
        let Some(event) = read.from_version(number).limit(1).into_iter().next().transpose()? else {
            return Ok(Known::Not);
        };
        let same_time = entry.time.is_none_or(|time| time == event.recorded_at());
        if event.version() == number && is_same(&event, entry) && same_time {
            return Ok(Known::Recorded(event.position().get()));
        }
        Ok(Known::Differs(format!(
            "stream {stream:?} has another event at version {number}; --resume needs the same \
             input as the interrupted import, from its first line"
        )))
    }
}

fn is_same(event: &Event, entry: &Entry) -> bool {
    let record = &entry.record;
    event.stream() == record.stream
        && event.event_type() == record.event_type
        && event.data() == record.data
        && event.content_type() == record.content_type
        && event.metadata() == record.metadata
        && event.tags().eq(record.tags.iter().map(String::as_str))
        && event.schema_version() == record.schema_version
}
