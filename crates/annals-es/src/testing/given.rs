//! Given, when, then: tests of aggregates without a store.
//!
//! Owns the comparison and its texts. Given and decided events pass through their codec, so that a test also finds
//! events that cannot be written and read.

use std::fmt::Debug;

use super::compare;
use super::recorded::{Recorded, read};
use crate::aggregate::Aggregate;
use crate::event::{Event, Events, encode};
use crate::store::NewEvent;

/// An aggregate to which events have happened.
///
/// # Panics
///
/// If an event cannot be written and read by its codec.
#[track_caller]
#[must_use = "`when` executes a command"]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::initial();
    for event in events {
        for event in through_codec(&event) {
            state.evolve(&event);
        }
    }
    Given { state }
}

/// An aggregate to which events have happened that earlier versions of the program recorded.
///
/// # Panics
///
/// If an event cannot be read.
#[track_caller]
#[must_use = "`when` executes a command"]
pub fn given_recorded<A: Aggregate>(events: impl IntoIterator<Item = NewEvent>) -> Given<A> {
    let mut state = A::initial();
    for event in events {
        match read::<A::Event>(event) {
            Ok(events) => events.iter().for_each(|event| state.evolve(event)),
            Err(error) => panic!("a given event cannot be read: {error}"),
        }
    }
    Given { state }
}

/// The event after it was written and read; a change is found by what follows from it.
#[track_caller]
fn through_codec<E: Event>(event: &E) -> Vec<E> {
    let new = match encode(event) {
        Ok(new) => new,
        Err(error) => panic!("event {} cannot be written: {error}", event.schema()),
    };
    match read(new) {
        Ok(events) => events,
        Err(error) => panic!("an event was written and cannot be read: {error}"),
    }
}

/// An aggregate in a test, before a command; see [`given`].
pub struct Given<A> {
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// Executes a command.
    pub fn when(self, command: &A::Command) -> When<A> {
        let decided = self.state.decide(command);
        When { state: self.state, decided }
    }

    /// Passes the state to assertions.
    pub fn then_state(self, check: impl FnOnce(&A)) -> Self {
        check(&self.state);
        self
    }
}

/// An aggregate in a test, after a command; see [`given`].
#[must_use = "`then` compares the outcome"]
pub struct When<A: Aggregate> {
    state: A,
    decided: Result<Events<A::Event>, A::Error>,
}

impl<A: Aggregate> When<A> {
    /// Requires that the command decided exactly these events; an empty list: that it decided nothing. Returns the
    /// aggregate after them, for a further command.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[track_caller]
    pub fn then(mut self, expected: impl IntoIterator<Item = A::Event>) -> Given<A>
    where
        A::Event: PartialEq + Debug,
    {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        match &self.decided {
            Ok(came) => {
                compare::list("the command decided other events", &expected, came.as_slice());
            }
            Err(error) => {
                let expected = compare::lines(&expected);
                panic!("the command was refused: {error}\nexpected:{expected}")
            }
        }
        for event in &expected {
            let read = through_codec(event);
            compare::list("the codec changes the event", std::slice::from_ref(event), &read);
            for event in &read {
                self.state.evolve(event);
            }
        }
        Given { state: self.state }
    }

    /// Requires that the command was refused with this error.
    ///
    /// # Panics
    ///
    /// If it was not.
    #[track_caller]
    pub fn then_error(self, expected: &A::Error)
    where
        A::Error: PartialEq,
        A::Event: Debug,
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
    pub fn then_refused(self, is_expected: impl FnOnce(&A::Error) -> bool)
    where
        A::Event: Debug,
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

    /// What the command decided.
    ///
    /// # Errors
    ///
    /// The error with which it was refused.
    pub fn decided(self) -> Result<Events<A::Event>, A::Error> {
        self.decided
    }
}

impl<E: Event> From<&E> for Recorded {
    fn from(event: &E) -> Self {
        Self::of(event)
    }
}
