//! Given, when, then: tests of decisions without a store.
//!
//! Owns the history of a test. Facts receive the events that their queries select, so that a test also finds a query
//! that is too narrow.

use std::fmt::Debug;

use super::recorded::Recorded;
use crate::decision::{Decision, Selection};
use crate::event::{Event, Events, Schemas, encode};
use crate::store::{NewEvent, Position, RecordedEvent};

/// A history of events, in order.
///
/// # Panics
///
/// If an event cannot be written by its codec.
#[track_caller]
pub fn given_events<E: Event>(events: impl IntoIterator<Item = E>) -> GivenEvents {
    GivenEvents { history: Vec::new() }.and(events)
}

/// A history in a test, before a decision; see [`given_events`].
#[derive(Debug)]
#[must_use = "`when` makes a decision"]
pub struct GivenEvents {
    history: Vec<RecordedEvent>,
}

impl GivenEvents {
    /// Adds further events.
    ///
    /// # Panics
    ///
    /// If an event cannot be written by its codec.
    #[track_caller]
    pub fn and<E: Event>(mut self, events: impl IntoIterator<Item = E>) -> Self {
        for event in events {
            match encode(&event) {
                Ok(event) => self = self.and_recorded(event),
                Err(error) => panic!("event {} cannot be written: {error}", event.schema()),
            }
        }
        self
    }

    /// Adds an event that an earlier version of the program recorded.
    pub fn and_recorded(mut self, event: NewEvent) -> Self {
        let position = Position::new(self.history.len() as u64 + 1);
        self.history.push(Recorded::new(event).position(position).build());
        self
    }

    /// Makes a decision on the facts of the history.
    ///
    /// # Panics
    ///
    /// If the schemas are faulty, a query names a type that the events do not have, or an event cannot be read.
    #[track_caller]
    pub fn when<D: Decision>(self, decision: &D) -> Decided<D> {
        let mut facts = decision.facts();
        let done =
            Schemas::<D::Event>::new().map_err(|error| error.to_string()).and_then(|schemas| {
                let selection =
                    Selection::of(&facts, &schemas).map_err(|error| error.to_string())?;
                let selected = selection.union();
                for recorded in self.history.iter().filter(|it| selected.matches(it)) {
                    let apply = |event| selection.apply(&mut facts, recorded, &event);
                    schemas.decode(recorded, apply).map_err(|error| error.to_string())?;
                }
                Ok(())
            });
        if let Err(error) = done {
            panic!("the facts cannot be read: {error}");
        }
        Decided { decided: decision.decide(&facts), given: self }
    }
}

/// A history in a test, after a decision; see [`given_events`].
#[must_use = "`then` compares the outcome"]
pub struct Decided<D: Decision> {
    given: GivenEvents,
    decided: Result<Events<D::Event>, D::Error>,
}

impl<D: Decision> Decided<D> {
    /// Requires that exactly these events were decided; an empty list: none. Returns the history with them, for a
    /// further decision.
    ///
    /// # Panics
    ///
    /// If others were decided, or the command was refused.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> GivenEvents
    where
        D::Event: PartialEq + Debug,
    {
        let expected: Vec<D::Event> = expected.into_iter().collect();
        match &self.decided {
            Ok(events) => {
                assert_eq!(events.as_slice(), expected, "the command decided other events");
            }
            Err(error) => panic!("the command was refused: {error}; expected were {expected:?}"),
        }
        self.given.and(expected)
    }

    /// Requires that the command was refused with this error.
    ///
    /// # Panics
    ///
    /// If it was not.
    #[track_caller]
    pub fn then_error(self, expected: &D::Error)
    where
        D::Error: PartialEq,
        D::Event: Debug,
    {
        match self.decided {
            Ok(events) => panic!("the command was not refused, and decided {events:?}"),
            Err(error) => {
                assert_eq!(&error, expected, "the command was refused with another error");
            }
        }
    }

    /// What was decided.
    ///
    /// # Errors
    ///
    /// The error with which the command was refused.
    pub fn decided(self) -> Result<Events<D::Event>, D::Error> {
        self.decided
    }
}
