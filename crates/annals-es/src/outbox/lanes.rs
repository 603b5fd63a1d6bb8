//! The events that were read and not sent, by stream.
//!
//! Owns the order of each stream, and the place up to which everything is sent. Must never let two events of a stream
//! be sent at the same time.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::store::{Position, RecordedEvent};

#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The events of a stream that wait; a stream that is being sent has an entry.
    waiting: HashMap<String, VecDeque<RecordedEvent>>,
    /// Streams with a first event that may be sent.
    ready: VecDeque<String>,
    /// The positions of all events that are not sent.
    unsent: BTreeSet<Position>,
    /// Everything up to here was read.
    read: Position,
}

impl Lanes {
    pub(super) fn new(read: Position) -> Self {
        Self { read, ..Self::default() }
    }

    /// Adds an event that was read.
    pub(super) fn push(&mut self, event: RecordedEvent) {
        self.read = event.position();
        self.unsent.insert(event.position());
        match self.waiting.get_mut(event.stream()) {
            Some(waiting) => waiting.push_back(event),
            None => {
                let stream = event.stream().to_owned();
                self.ready.push_back(stream.clone());
                self.waiting.insert(stream, VecDeque::from([event]));
            }
        }
    }

    /// Nothing else is to be sent up to here.
    pub(super) fn read_to(&mut self, position: Position) {
        self.read = self.read.max(position);
    }

    pub(super) fn read(&self) -> Position {
        self.read
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// The next event that may be sent; its stream waits until it is [`done`](Self::done).
    pub(super) fn take(&mut self) -> Option<RecordedEvent> {
        let stream = self.ready.pop_front()?;
        self.waiting.get_mut(&stream)?.pop_front()
    }

    /// An event is sent or parked.
    pub(super) fn done(&mut self, event: &RecordedEvent) {
        self.unsent.remove(&event.position());
        match self.waiting.get(event.stream()) {
            Some(waiting) if waiting.is_empty() => {
                self.waiting.remove(event.stream());
            }
            Some(_) => self.ready.push_back(event.stream().to_owned()),
            None => {}
        }
    }

    /// Everything up to here is sent or parked.
    pub(super) fn sent_through(&self) -> Position {
        match self.unsent.first() {
            Some(first) => Position::new(first.get().saturating_sub(1)),
            None => self.read,
        }
    }
}
