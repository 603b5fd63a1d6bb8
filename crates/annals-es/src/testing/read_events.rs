//! Given, when, then: tests of upcasters without a store.
//!
//! Owns the outcome of reading a history as events of a type.

use std::fmt::{self, Debug};

use super::compare;
use super::given_events::GivenEvents;
use crate::event::{Event, EventError, Schemas};

impl GivenEvents {
    /// Reads the events as those of a type, each by the steps from its version to the present one.
    ///
    /// ```
    /// use annals_es::testing::given_history;
    /// use annals_es::{Event, NewEvent, Upcasters};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
    /// #[event(version = 2, upcasters = upcasters)]
    /// struct Deposited {
    ///     cents: u64,
    /// }
    ///
    /// fn upcasters() -> Upcasters<Deposited> {
    ///     Upcasters::new().typed("Deposited", 1, |euros: u64| Ok(Deposited { cents: 100 * euros }.into()))
    /// }
    ///
    /// given_history([NewEvent::new("Deposited", "2")])
    ///     .and([Deposited { cents: 7 }])
    ///     .when_read::<Deposited>()
    ///     .then([Deposited { cents: 200 }, Deposited { cents: 7 }]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the schemas of the type are faulty.
    #[track_caller]
    pub fn when_read<E: Event>(self) -> ReadEvents<E> {
        let schemas = match Schemas::<E>::new() {
            Ok(schemas) => schemas,
            Err(error) => panic!("the schemas are faulty: {error}"),
        };
        let mut found = Vec::new();
        let mut events = self.events().iter();
        let outcome = events.try_for_each(|it| schemas.decode(it, |event| found.push(event)));
        ReadEvents { outcome: outcome.map(|()| found) }
    }
}

/// What a history was read as; see [`GivenEvents::when_read`].
#[must_use = "`then` compares the events"]
pub struct ReadEvents<E> {
    outcome: Result<Vec<E>, EventError>,
}

impl<E: Event> ReadEvents<E> {
    /// Requires that exactly these events were read.
    ///
    /// # Panics
    ///
    /// If others were, or an event could not be read.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = E>)
    where
        E: PartialEq + Debug,
    {
        let expected: Vec<E> = expected.into_iter().collect();
        match self.outcome {
            Ok(came) => compare::list("the events were read as others", &expected, &came),
            Err(error) => {
                let expected = compare::lines(&expected);
                panic!("an event cannot be read: {error}\nexpected:{expected}")
            }
        }
    }

    /// Requires that an event could not be read, with an error that meets a condition.
    ///
    /// # Panics
    ///
    /// If all events were read, or the error is another one.
    #[track_caller]
    pub fn then_failed(self, is_expected: impl FnOnce(&EventError) -> bool)
    where
        E: Debug,
    {
        match self.outcome {
            Ok(came) => panic!("all events were read:{}", compare::lines(&came)),
            Err(error) => {
                assert!(is_expected(&error), "reading failed with another error: {error}");
            }
        }
    }

    /// What was read.
    ///
    /// # Errors
    ///
    /// [`EventError`] of the first event that could not be read.
    pub fn outcome(self) -> Result<Vec<E>, EventError> {
        self.outcome
    }
}

impl<E> fmt::Debug for ReadEvents<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.outcome.as_ref().map(Vec::len);
        f.debug_struct("ReadEvents").field("events", &events).finish()
    }
}
