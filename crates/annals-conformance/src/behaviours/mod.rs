//! The behaviours, one module per group. Each is a function of a backend with empty contents that panics if the store
//! does something else.

pub(crate) mod atomic_checkpoints;
pub(crate) mod boundaries;
pub(crate) mod checkpoints;
pub(crate) mod events;
pub(crate) mod expectations;
pub(crate) mod idempotency;
pub(crate) mod limits;
pub(crate) mod ordered;
pub(crate) mod positions;
pub(crate) mod several_streams;
pub(crate) mod snapshots;
pub(crate) mod streams;
pub(crate) mod subscriptions;
