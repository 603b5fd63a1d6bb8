//! What the backends of evento are tested for, retold, its bank, and what annals promises beyond.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::unused_async, reason = "evento's macros take functions that are `async`")]
#![allow(missing_docs, reason = "evento's macros generate public items")]

mod bad_input;
mod bank;
mod copy;
mod events;
mod pages;
mod projections;
mod subscribers;
mod subscriptions;
mod support;
mod tenants;
mod upstream;
mod writers;
