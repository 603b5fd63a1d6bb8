//! The names of `src/sync` in front of loom, and the very file under test.

#[path = "../../src/sync/progress.rs"]
mod progress;
#[path = "../../src/sync/wrapped.rs"]
mod wrapped;

/// Nobody's time runs out here: who waits has to be woken.
mod clock {
    pub(crate) use std::time::Instant;
    pub(super) fn runs_out(_: Instant) -> bool {
        false
    }
}

pub(crate) use clock::Instant;
pub(crate) use loom::sync::atomic;
pub(crate) use progress::Mark;
pub(crate) use wrapped::{Condvar, Mutex};

use loom as backend;
