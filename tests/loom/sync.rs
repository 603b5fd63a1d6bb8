//! Loom's types under the names of `src/sync`, and the files under test.

#[path = "../../src/sync/progress.rs"]
mod progress;
#[path = "../../src/sync/rank.rs"]
#[allow(dead_code, reason = "the engine uses all of it")]
mod rank;
#[path = "../../src/sync/ranked.rs"]
mod ranked;
#[path = "../../src/sync/wrapped.rs"]
mod wrapped;

/// Ranks are not checked: loom finds a wrong order as a deadlock.
mod held {
    use super::rank::Rank;

    pub(super) struct HeldRank;

    impl HeldRank {
        pub(super) fn take(_: Rank) -> Self {
            Self
        }
        pub(super) fn took(_: Rank) -> Self {
            Self
        }
        #[allow(clippy::unused_self, reason = "the engine's form uses it")]
        pub(super) fn retake(&self) {}
    }
}

/// Timeouts never expire here: every waiting thread has to be woken.
mod clock {
    pub(crate) use std::time::Instant;
    pub(super) fn runs_out(_: Instant) -> bool {
        false
    }
    pub(super) fn run_out(_: Instant) {}
}

pub(crate) use clock::Instant;
pub(crate) use loom::sync::atomic;
pub(crate) use progress::AtomicMark;
pub(crate) use rank::Rank;
pub(crate) use ranked::{Condvar, Mutex};

use loom as backend;
use wrapped as raw;
