//! The history checker: clients use a store at random while faults strike it, and what they saw is explained afterwards.
//!
//! [`run`] makes a history, [`check`] explains it or returns what cannot be explained:
//!
//! - appends to a stream are linearizable: each takes effect between its call and its return, expectations hold at
//!   that point, and reads and conflicts show a version that the stream had during the call;
//! - a commit that was acknowledged is found at the end, whole, where it was acknowledged, and unchanged;
//! - a commit that was refused is not found, one with an unknown outcome is found whole or not at all, and none is found
//!   twice, also not under other ids;
//! - positions never go back: the head of the store, and what a consumer has scanned;
//! - a subscription, and a reader that continues after the last position it saw, get each event up to where they are,
//!   once and in order.

mod check;
mod record;
mod run;

pub use check::{Summary, Violation, check, check_with_stale_reads};
pub use record::{Ended, Event, History, Line, Log, Operation, Outcome};
pub use run::{Load, run, stored};
