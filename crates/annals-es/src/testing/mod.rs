//! What tests of an application need: given, when, then for aggregates, decisions, projections, processes and upcasters,
//! and recorded events without a store. The tests of further stores are in the crate `annals-conformance`.
//!
//! | to test | begin with | then |
//! |---|---|---|
//! | an aggregate | [`given`], [`given_recorded`] | [`Given::when`], [`When::then`] |
//! | a decision | [`given_events`] | [`GivenEvents::when`], [`Decided::then`] |
//! | a projection | [`given_events`] | [`GivenEvents::when_projected`], [`Projected::then`] |
//! | a process with its deadlines | [`given_process`] | [`GivenProcess::when`], [`Reacted::then`] |
//! | upcasters | [`given_history`], [`read`] | [`GivenEvents::when_read`], [`ReadEvents::then`] |
//!
//! Events pass through their codec on the way, so that a test also finds events that cannot be written and read. A check
//! that fails panics with what was expected and what came.
//!
//! A test that needs a store makes a [`MemoryStore`](crate::MemoryStore) of its own, which takes less than a
//! microsecond, and a [`Clock`](crate::Clock) that it sets.

mod compare;
mod effect;
mod given;
mod given_events;
mod given_process;
mod projected;
mod read_events;
mod recorded;

pub use effect::Effect;
pub use given::{Given, When, given, given_recorded};
pub use given_events::{Decided, GivenEvents, given_events, given_history};
pub use given_process::{GivenProcess, Reacted, given_process};
pub use projected::Projected;
pub use read_events::ReadEvents;
pub use recorded::{Recorded, read};
