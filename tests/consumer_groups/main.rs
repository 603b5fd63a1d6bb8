//! Consumer groups: order in a stream, nothing skipped, nothing lost in parking.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod failing;
mod order;
mod parking;
mod stopping;
mod support;
