//! What tests of an application need: given, when, then for aggregates and decisions, recorded events without a store, and the
//! tests of further stores.
//!
//! A test that needs a store makes a [`MemoryStore`](crate::MemoryStore) of its own, and a [`Clock`](crate::Clock)
//! that it sets.

pub mod conformance;
mod given;
mod given_events;
mod recorded;

pub use given::{Given, When, given, given_recorded};
pub use given_events::{Decided, GivenEvents, given_events};
pub use recorded::{Recorded, read};
