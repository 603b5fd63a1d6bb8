//! Process managers: what happens in one place leads to commands in others, now or at a deadline.
//!
//! A [`ProcessManager`] reacts to events: it records events of its own, which are its memory, sends commands to
//! aggregates, and sets deadlines. All effects of one event and the progress past it are **one commit**, so each
//! event has effect once, also after a crash and with a second [`Runner`] of the same process beside the first.
//! The same holds for a deadline, which is an event too and survives a restart.
//!
//! ```
//! use std::time::Duration;
//!
//! use annals_es::blocking::block_on;
//! use annals_es::process::{ProcessManager, Reaction, Runner, Trigger};
//! use annals_es::{Clock, Commit, Event, EventStore, Expected, MemoryStore, ReadStream, RecordedEvent, encode, next};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! enum OrderEvent {
//!     #[event(name = "OrderPlaced")]
//!     Placed,
//!     #[event(name = "OrderPaid")]
//!     Paid,
//! }
//!
//! #[derive(Serialize, Deserialize, Event)]
//! enum ReminderEvent {
//!     #[event(name = "ReminderSent")]
//!     Sent,
//! }
//!
//! /// Reminds a customer who has not paid an order after a week.
//! struct Reminders;
//!
//! impl ProcessManager<MemoryStore> for Reminders {
//!     type Input = OrderEvent;
//!     type Event = ReminderEvent;
//!     type State = ();
//!     const NAME: &'static str = "reminder";
//!
//!     fn route(&self, _: &OrderEvent, recorded: &RecordedEvent) -> Option<String> {
//!         Some(recorded.stream_id()?.to_owned())
//!     }
//!
//!     fn evolve(_: &mut (), _: &ReminderEvent) {}
//!
//!     fn react(&self, _: &(), trigger: Trigger<'_, OrderEvent>, reaction: &mut Reaction<Self, MemoryStore>) {
//!         match trigger {
//!             Trigger::Event { event: OrderEvent::Placed, .. } => {
//!                 reaction.deadline("payment", Duration::from_secs(7 * 24 * 3600));
//!             }
//!             Trigger::Event { event: OrderEvent::Paid, .. } => reaction.cancel("payment"),
//!             Trigger::Deadline { .. } => reaction.record(ReminderEvent::Sent),
//!         }
//!     }
//! }
//!
//! let store = MemoryStore::new();
//! let placed = encode(&OrderEvent::Placed)?;
//! block_on(store.append(Commit::to("order-1", Expected::NoStream, [placed])))?;
//! let clock = Clock::at(Clock::system().now());
//! let mut runner = Runner::new(store.clone(), Reminders)?.clock(clock.clone());
//! block_on(runner.catch_up())?;
//! clock.advance(Duration::from_secs(8 * 24 * 3600));
//! block_on(runner.catch_up())?;
//! let mut reminders = store.read_stream(ReadStream::of("reminder-1").backwards());
//! assert_eq!(block_on(next(&mut reminders)).unwrap()?.event_type(), "ReminderSent");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Compensation
//!
//! An aggregate may refuse a command. [`Reaction::command_or`] states what happens then: other commands, and events
//! of the process. These effects replace the command in the same commit. [`Reaction::command`] has no answer to a
//! refusal: it fails, and the [`ErrorPolicy`] decides.
//!
//! # Errors
//!
//! A reaction fails if it panics, if a command is refused without an answer, or if the store or an aggregate cannot
//! be read or written. Nothing of it is recorded then. The [`ErrorPolicy`] decides: retries with growing delays,
//! and then the runner stops with the error, or it **parks** the event and goes on. Parked events are events of the
//! stream `parked-NAME`; [`Runner::replay`] and [`Runner::discard`] take them out.
//!
//! # The stream of a process
//!
//! Everything about one process is in the stream `NAME-id`: its own events, and those named `deadline-set`,
//! `deadline-cancelled` and `deadline-passed`. It is read for each reaction, so a process should end: one for each
//! order, not one for all. A runner reads all events about deadlines when it begins, and keeps the open ones in
//! memory.

mod command;
mod commit;
mod deadlines;
mod error;
mod instance;
mod plan;
mod reaction;
mod runner;
mod step;

use crate::event::Event;
use crate::store::{EventStore, RecordedEvent, Timestamp};

pub use crate::parking::ParkedEvent;
pub use crate::policy::ErrorPolicy;
pub use crate::run_handle::RunnerHandle;
pub(crate) use deadlines::DeadlineEvent;
pub use error::{ProcessError, ReactionError, RunError};
pub use reaction::Reaction;
pub use runner::Runner;

/// A process: how it reacts to events and deadlines.
///
/// The methods perform no input or output, so that a reaction can be repeated and tested without a store. Values
/// from outside, such as the time or random numbers, make repetitions differ.
pub trait ProcessManager<S: EventStore>: Sized + Send + Sync + 'static {
    /// The events to react to.
    type Input: Event;
    /// The events of the process itself.
    type Event: Event;
    /// What the process knows: computed from its own events.
    type State: Default + Send + 'static;

    /// The name of the process: the category of its streams, and the name of its checkpoint. It is stored and must
    /// not change.
    const NAME: &'static str;

    /// The id of the process that an event concerns; `None`: the event concerns none.
    fn route(&self, event: &Self::Input, recorded: &RecordedEvent) -> Option<String>;

    /// Changes the state by what the process has recorded.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// Adds to `reaction` what follows from an event or a deadline; nothing: the process does not react.
    fn react(
        &self,
        state: &Self::State,
        trigger: Trigger<'_, Self::Input>,
        reaction: &mut Reaction<Self, S>,
    );
}

/// What a process reacts to.
#[derive(Debug)]
pub enum Trigger<'a, I> {
    /// An event.
    Event {
        /// The event.
        event: &'a I,
        /// The event as it is recorded.
        recorded: &'a RecordedEvent,
    },
    /// A deadline that has passed.
    Deadline {
        /// Its name.
        name: &'a str,
        /// The time that was set.
        at: Timestamp,
    },
}
