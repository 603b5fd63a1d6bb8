//! Given, when, then: a history of events, and tests of decisions on it without a store.
//!
//! Owns the history of a test. Facts receive the events that their queries select, so that a test also finds a query
//! that is too narrow.

use std::fmt::Debug;

use super::compare;
use super::recorded::Recorded;
use crate::decision::{Decision, Selection};
use crate::event::{Event, Events, Schemas};
use crate::store::{NewEvent, Position, RecordedEvent, StreamName, Version};

/// A history of events, in order, in stream `test-1`.
///
/// # Panics
///
/// If an event cannot be written by its codec.
#[track_caller]
#[must_use = "a history is decided on, projected or read"]
pub fn given_events<E: Event>(events: impl IntoIterator<Item = E>) -> GivenEvents {
    GivenEvents { history: Vec::new() }.and(events)
}

/// A history of events as earlier versions of the program recorded them, or without any.
#[must_use = "a history is decided on, projected or read"]
pub fn given_history(events: impl IntoIterator<Item = NewEvent>) -> GivenEvents {
    events.into_iter().fold(GivenEvents { history: Vec::new() }, GivenEvents::and_recorded)
}

/// A history in a test; see [`given_events`] and [`given_history`].
#[derive(Debug)]
pub struct GivenEvents {
    history: Vec<RecordedEvent>,
}

impl GivenEvents {
    /// Adds further events, in stream `test-1`.
    ///
    /// # Panics
    ///
    /// If an event cannot be written by its codec.
    #[track_caller]
    pub fn and<E: Event>(self, events: impl IntoIterator<Item = E>) -> Self {
        self.and_in("test-1", events)
    }

    /// Adds further events, in a stream.
    ///
    /// # Panics
    ///
    /// If an event cannot be written by its codec.
    #[track_caller]
    pub fn and_in<E: Event>(
        mut self,
        stream: impl Into<StreamName>,
        events: impl IntoIterator<Item = E>,
    ) -> Self {
        let stream = stream.into();
        for event in events {
            self = self.and_recorded(Recorded::of(&event).stream(&stream));
        }
        self
    }

    /// Adds an event that an earlier version of the program recorded, or one with a stream, a time or metadata of its
    /// own. Its version and position follow from the history.
    pub fn and_recorded(mut self, event: impl Into<Recorded>) -> Self {
        let event = event.into();
        let of_stream = self.history.iter().filter(|it| it.stream() == event.stream_name());
        let version = Version::new(of_stream.count() as u64 + 1);
        let position = Position::new(self.history.len() as u64 + 1);
        self.history.push(event.version(version).position(position).build());
        self
    }

    /// The events, as they are recorded.
    pub fn events(&self) -> &[RecordedEvent] {
        &self.history
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
            Ok(came) => {
                compare::list("the command decided other events", &expected, came.as_slice());
            }
            Err(error) => {
                let expected = compare::lines(&expected);
                panic!("the command was refused: {error}\nexpected:{expected}")
            }
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
            Ok(came) => {
                let came = compare::lines(came.as_slice());
                panic!("the command was not refused, and decided:{came}\nexpected: {expected:?}")
            }
            Err(came) => {
                compare::value("the command was refused with another error", expected, &came);
            }
        }
    }

    /// Requires that the command was refused with an error that meets a condition.
    ///
    /// # Panics
    ///
    /// If it was not.
    #[track_caller]
    pub fn then_refused(self, is_expected: impl FnOnce(&D::Error) -> bool)
    where
        D::Event: Debug,
    {
        match self.decided {
            Ok(came) => {
                panic!(
                    "the command was not refused, and decided:{}",
                    compare::lines(came.as_slice())
                )
            }
            Err(error) => {
                assert!(is_expected(&error), "the command was refused with another error: {error}");
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
