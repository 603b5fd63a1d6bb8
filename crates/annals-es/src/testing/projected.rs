//! Given, when, then: tests of projections without a store and without a runner.
//!
//! Owns the read model of a test. The projection receives the events that its query selects, so that a test also finds
//! a query that is too narrow.

use std::fmt::{self, Debug};

use super::compare;
use super::given_events::GivenEvents;
use crate::blocking::block_on;
use crate::event::Schemas;
use crate::projection::{AsyncProjection, FailureCause, Projection, Synchronous, apply};
use crate::store::Position;

impl GivenEvents {
    /// Prepares a read model and projects the events into it: those that the query of the projection selects, up to the
    /// first that cannot be handled.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::convert::Infallible;
    ///
    /// use annals_es::projection::Projection;
    /// use annals_es::testing::given_history;
    /// use annals_es::{Event, RecordedEvent};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, Event)]
    /// struct Deposited {
    ///     amount: u64,
    /// }
    ///
    /// struct Balances;
    ///
    /// impl Projection for Balances {
    ///     type Event = Deposited;
    ///     type Model = BTreeMap<String, u64>;
    ///     type Error = Infallible;
    ///
    ///     fn name(&self) -> &str {
    ///         "balances"
    ///     }
    ///
    ///     fn handle(
    ///         &self,
    ///         balances: &mut BTreeMap<String, u64>,
    ///         event: Deposited,
    ///         recorded: &RecordedEvent,
    ///     ) -> Result<(), Infallible> {
    ///         *balances.entry(recorded.stream().to_owned()).or_default() += event.amount;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// given_history([])
    ///     .and_in("account-1", [Deposited { amount: 5 }, Deposited { amount: 2 }])
    ///     .and_in("account-2", [Deposited { amount: 1 }])
    ///     .when_projected(Balances, BTreeMap::new())
    ///     .then(&BTreeMap::from([("account-1".to_owned(), 7), ("account-2".to_owned(), 1)]));
    /// ```
    ///
    /// # Panics
    ///
    /// If the schemas are faulty.
    #[track_caller]
    #[must_use = "`then` compares the read model"]
    pub fn when_projected<P: Projection>(
        self,
        projection: P,
        model: P::Model,
    ) -> Projected<P::Model>
    where
        P::Model: Sized,
    {
        self.when_projected_async(Synchronous(projection), model)
    }

    /// Like [`when_projected`](Self::when_projected), for an asynchronous projection. It blocks while handlers wait.
    ///
    /// # Panics
    ///
    /// If the schemas are faulty.
    #[track_caller]
    #[must_use = "`then` compares the read model"]
    #[allow(clippy::needless_pass_by_value, reason = "a runner takes it by value too")]
    pub fn when_projected_async<P: AsyncProjection>(
        self,
        projection: P,
        mut model: P::Model,
    ) -> Projected<P::Model>
    where
        P::Model: Sized,
    {
        let schemas = match Schemas::<P::Event>::new() {
            Ok(schemas) => schemas,
            Err(error) => panic!("the schemas are faulty: {error}"),
        };
        let query = projection.query();
        let query = schemas.with_earlier_names(&query).unwrap_or(query);
        let prepared = block_on(projection.prepare(&mut model));
        let mut failure = prepared
            .err()
            .map(|error| Failure { at: None, cause: FailureCause::Handler(error.into()) });
        let mut handled = 0;
        for event in self.events().iter().filter(|event| query.matches(event)) {
            if failure.is_some() {
                break;
            }
            match block_on(apply(&projection, &schemas, &mut model, event, None)) {
                Ok(()) => handled += 1,
                Err(cause) => failure = Some(Failure { at: Some(event.position()), cause }),
            }
        }
        Projected { model, failure, handled }
    }
}

/// A read model after the events of a test; see [`GivenEvents::when_projected`].
pub struct Projected<M> {
    model: M,
    failure: Option<Failure>,
    handled: u64,
}

struct Failure {
    /// The event, or `None` while the read model was prepared.
    at: Option<Position>,
    cause: FailureCause,
}

impl<M> Projected<M> {
    /// Requires that all events were handled, and that the read model is this one.
    ///
    /// # Panics
    ///
    /// If an event could not be handled, or the read model is another one.
    #[track_caller]
    pub fn then(self, expected: &M) -> Self
    where
        M: PartialEq + Debug,
    {
        self.then_model(|came| compare::value("the read model is another one", expected, came))
    }

    /// Requires that all events were handled, and passes the read model to assertions.
    ///
    /// # Panics
    ///
    /// If an event could not be handled.
    #[track_caller]
    pub fn then_model(self, check: impl FnOnce(&M)) -> Self {
        if let Some(Failure { at, cause }) = &self.failure {
            panic!("{}: {cause}", place(*at));
        }
        check(&self.model);
        self
    }

    /// Requires that the query of the projection selected this number of events, and that all were handled.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[track_caller]
    pub fn then_handled(self, events: u64) -> Self {
        let handled = self.handled;
        self.then_model(|_| {
            compare::value("the number of events that were handled", &events, &handled);
        })
    }

    /// Requires that an event could not be handled, with a cause that meets a condition.
    ///
    /// # Panics
    ///
    /// If all events were handled, or the cause is another one.
    #[track_caller]
    pub fn then_failed(self, is_expected: impl FnOnce(&FailureCause) -> bool) {
        match self.failure {
            None => panic!("all {} events were handled; a failure was expected", self.handled),
            Some(Failure { at, cause }) => {
                assert!(is_expected(&cause), "{} with another cause: {cause}", place(at));
            }
        }
    }

    /// The read model.
    pub fn into_model(self) -> M {
        self.model
    }
}

fn place(at: Option<Position>) -> String {
    match at {
        Some(position) => format!("event {position} of the history cannot be handled"),
        None => "the read model cannot be prepared".to_owned(),
    }
}

impl<M> fmt::Debug for Projected<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projected").field("handled", &self.handled).finish_non_exhaustive()
    }
}
