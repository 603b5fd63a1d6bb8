//! Given, when, then: tests of processes, with the aggregates that they command and with their deadlines.
//!
//! Owns a store in memory, a runner and the clock of both. What is compared are the events that the runner and the
//! aggregates record, so that refused commands and their compensation are part of the test.

use std::fmt;
use std::time::Duration;

use super::compare;
use super::effect::{Effect, compare_effects};
use crate::blocking::block_on;
use crate::clock::Clock;
use crate::event::{Event, Schemas, encode};
use crate::memory::MemoryStore;
use crate::policy::ErrorPolicy;
use crate::process::{DeadlineEvent, ProcessManager, ReactionError, RunError, Runner};
use crate::store::{Commit, EventStore, Expected, StreamName, Timestamp};

/// A process in a test, in a store of its own without events. `make` is given the store for the repositories that the
/// process sends commands to.
///
/// The clock of the test begins at [`Timestamp::default`] and moves only by
/// [`when_time_passes`](GivenProcess::when_time_passes). A reaction that fails is not repeated.
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::process::{ProcessManager, Reaction, Trigger};
/// use annals_es::testing::{Effect, given_process};
/// use annals_es::{Event, MemoryStore, RecordedEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// struct OrderPlaced;
///
/// #[derive(Serialize, Deserialize, Event)]
/// struct ReminderSent;
///
/// struct Reminders;
///
/// impl ProcessManager<MemoryStore> for Reminders {
///     type Input = OrderPlaced;
///     type Event = ReminderSent;
///     type State = ();
///     const NAME: &'static str = "reminder";
///
///     fn route(&self, _: &OrderPlaced, recorded: &RecordedEvent) -> Option<String> {
///         Some(recorded.stream_id()?.to_owned())
///     }
///
///     fn evolve(_: &mut (), _: &ReminderSent) {}
///
///     fn react(&self, _: &(), trigger: Trigger<'_, OrderPlaced>, reaction: &mut Reaction<Self, MemoryStore>) {
///         match trigger {
///             Trigger::Event { .. } => reaction.deadline("payment", Duration::from_secs(60)),
///             Trigger::Deadline { .. } => reaction.record(ReminderSent),
///         }
///     }
/// }
///
/// given_process(|_| Reminders)
///     .when("order-1", &OrderPlaced)
///     .then([Effect::deadline("reminder-1", "payment", Duration::from_secs(60))])
///     .when_time_passes(Duration::from_secs(59))
///     .then_nothing()
///     .when_time_passes(Duration::from_secs(1))
///     .then([Effect::passed("reminder-1", "payment"), Effect::event("reminder-1", &ReminderSent)]);
/// ```
///
/// # Panics
///
/// If the schemas of the process are faulty.
#[track_caller]
#[must_use = "`when` lets something happen"]
pub fn given_process<M>(make: impl FnOnce(&MemoryStore) -> M) -> GivenProcess<M>
where
    M: ProcessManager<MemoryStore>,
{
    let clock = Clock::at(Timestamp::default());
    let store = MemoryStore::with_clock(clock.clone());
    let (runner, deadlines) = match (Runner::new(store.clone(), make(&store)), Schemas::new()) {
        (Ok(runner), Ok(deadlines)) => (runner, deadlines),
        (Err(error), _) | (_, Err(error)) => panic!("the schemas are faulty: {error}"),
    };
    let runner = runner.clock(clock.clone()).on_error(ErrorPolicy::pause().retries(0));
    GivenProcess { store, clock, runner, deadlines }
}

/// A process in a test, before an event or a deadline; see [`given_process`].
pub struct GivenProcess<M: ProcessManager<MemoryStore>> {
    store: MemoryStore,
    clock: Clock,
    runner: Runner<M, MemoryStore>,
    deadlines: Schemas<DeadlineEvent>,
}

impl<M: ProcessManager<MemoryStore>> GivenProcess<M> {
    /// Adds events to a stream. The process reacts to them, and what follows from that is given too: it is not compared.
    ///
    /// # Panics
    ///
    /// If an event cannot be written by its codec, or the process cannot react.
    #[track_caller]
    pub fn and_in<E: Event>(
        mut self,
        stream: impl Into<StreamName>,
        events: impl IntoIterator<Item = E>,
    ) -> Self {
        let stream = stream.into();
        for event in events {
            self.append(&stream, &event);
        }
        if let Err(error) = block_on(self.runner.catch_up()) {
            panic!("the process cannot react to a given event: {error}");
        }
        self
    }

    /// Adds an event to a stream, and lets the process react to it and to everything that follows.
    ///
    /// # Panics
    ///
    /// If the event cannot be written by its codec.
    #[track_caller]
    pub fn when<E: Event>(self, stream: impl Into<StreamName>, event: &E) -> Reacted<M> {
        self.append(&stream.into(), event);
        self.react()
    }

    /// Moves the clock, and lets the process react to the deadlines that have passed and to everything that follows.
    pub fn when_time_passes(self, duration: Duration) -> Reacted<M> {
        self.clock.advance(duration);
        self.react()
    }

    /// The store, with the events of the process and of the aggregates.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    #[track_caller]
    fn append<E: Event>(&self, stream: &StreamName, event: &E) {
        let new = match encode(event) {
            Ok(new) => new,
            Err(error) => panic!("event {} cannot be written: {error}", event.schema()),
        };
        if let Err(error) = block_on(self.store.append(Commit::to(stream, Expected::Any, [new]))) {
            panic!("event {} cannot be appended: {error}", event.schema());
        }
    }

    fn react(mut self) -> Reacted<M> {
        let before = self.store.events().len();
        let outcome = block_on(self.runner.catch_up());
        let events = self.store.events();
        let effects = events[before..].iter().map(|it| Effect::of(it, &self.deadlines)).collect();
        Reacted { effects, outcome, given: self }
    }
}

/// A process in a test, after an event or a deadline; see [`given_process`].
#[must_use = "`then` compares what followed"]
pub struct Reacted<M: ProcessManager<MemoryStore>> {
    given: GivenProcess<M>,
    effects: Vec<Effect>,
    outcome: Result<(), RunError>,
}

impl<M: ProcessManager<MemoryStore>> Reacted<M> {
    /// Requires that exactly these events were recorded: those of each stream in this order. Returns the process, for
    /// further events.
    ///
    /// # Panics
    ///
    /// If others were recorded, or the process could not react.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = Effect>) -> GivenProcess<M> {
        let expected: Vec<Effect> = expected.into_iter().collect();
        if let Err(error) = &self.outcome {
            panic!("the process cannot react: {error}\nexpected:{}", compare::lines(&expected));
        }
        compare_effects("the process had other effects", &expected, &self.effects);
        self.given
    }

    /// Requires that nothing was recorded.
    ///
    /// # Panics
    ///
    /// If something was recorded, or the process could not react.
    #[track_caller]
    pub fn then_nothing(self) -> GivenProcess<M> {
        self.then([])
    }

    /// Requires that the process could not react, with an error that meets a condition.
    ///
    /// # Panics
    ///
    /// If it could, or the error is another one.
    #[track_caller]
    pub fn then_failed(self, is_expected: impl FnOnce(&ReactionError) -> bool) {
        match self.outcome {
            Ok(()) => panic!("the process has reacted:{}", compare::lines(&self.effects)),
            Err(RunError::Process(error)) => {
                assert!(
                    is_expected(&error.cause),
                    "the process failed with another error: {error}"
                );
            }
            Err(error) => panic!("the runner failed: {error}"),
        }
    }
}

impl<M: ProcessManager<MemoryStore>> fmt::Debug for GivenProcess<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, now) = (&self.store, self.clock.now());
        f.debug_struct("GivenProcess")
            .field("store", store)
            .field("now", &now)
            .finish_non_exhaustive()
    }
}

impl<M: ProcessManager<MemoryStore>> fmt::Debug for Reacted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (effects, outcome) = (&self.effects, &self.outcome);
        f.debug_struct("Reacted")
            .field("effects", effects)
            .field("outcome", outcome)
            .finish_non_exhaustive()
    }
}
