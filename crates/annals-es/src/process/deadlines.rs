//! Deadlines: their events, and the open ones of all processes of a type by time.
//!
//! Owns the schedule, which is computed from events and may be computed again at any time. Must never decide that
//! a deadline has passed: that is an event.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::store::{StreamName, Timestamp};

/// An event about a deadline, in the stream of its process.
#[derive(Debug, Serialize, Deserialize, annals_es_macros::Event)]
pub(crate) enum DeadlineEvent {
    #[event(name = "deadline-set")]
    Set { name: String, at: Timestamp },
    #[event(name = "deadline-cancelled")]
    Cancelled { name: String },
    #[event(name = "deadline-passed")]
    Passed { name: String },
}

/// Whether an event is about a deadline.
pub(super) fn is_deadline(event_type: &str) -> bool {
    DeadlineEvent::version_of(event_type).is_some()
}

/// The open deadlines, by time.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    times: HashMap<(StreamName, String), Timestamp>,
    queue: BTreeSet<(Timestamp, StreamName, String)>,
}

impl Schedule {
    pub(super) fn apply(&mut self, stream: StreamName, event: DeadlineEvent) {
        match event {
            DeadlineEvent::Set { name, at } => {
                self.remove(&stream, &name);
                self.queue.insert((at, stream.clone(), name.clone()));
                self.times.insert((stream, name), at);
            }
            DeadlineEvent::Cancelled { name } | DeadlineEvent::Passed { name } => {
                self.remove(&stream, &name);
            }
        }
    }

    pub(super) fn remove(&mut self, stream: &StreamName, name: &str) {
        let key = (stream.clone(), name.to_owned());
        if let Some(at) = self.times.remove(&key) {
            self.queue.remove(&(at, key.0, key.1));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The time of the next deadline.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _, _)| *at)
    }

    /// The first deadline that has passed at this time: its stream and name.
    pub(super) fn due(&self, now: Timestamp) -> Option<(StreamName, String)> {
        let (_, stream, name) = self.queue.first().filter(|(at, _, _)| *at <= now)?;
        Some((stream.clone(), name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, at: u64) -> DeadlineEvent {
        DeadlineEvent::Set { name: name.into(), at: Timestamp::from_micros(at) }
    }

    #[test]
    fn deadline_that_is_set_again_or_ended_is_due_no_more() {
        let mut schedule = Schedule::default();
        let [one, two] = ["p-1", "p-2"].map(StreamName::from);
        schedule.apply(one.clone(), set("a", 5));
        schedule.apply(one.clone(), set("b", 3));
        schedule.apply(two.clone(), set("a", 4));
        schedule.apply(one.clone(), set("a", 1));
        let due = |schedule: &Schedule, now| {
            let due = schedule.due(Timestamp::from_micros(now));
            due.map(|(stream, name)| (stream.as_str().to_owned(), name))
        };
        assert_eq!(due(&schedule, 0), None);
        assert_eq!(due(&schedule, 9), Some(("p-1".into(), "a".into())));
        schedule.apply(one.clone(), DeadlineEvent::Passed { name: "a".into() });
        schedule.apply(one, DeadlineEvent::Cancelled { name: "b".into() });
        assert_eq!(schedule.next(), Some(Timestamp::from_micros(4)));
        schedule.remove(&two, "a");
        assert_eq!((schedule.next(), schedule.len()), (None, 0));
    }
}
