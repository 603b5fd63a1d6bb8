//! A clock that advances only when a timeout expires.
//!
//! Under shuttle no operation takes time, and a real clock would make an execution impossible to
//! repeat. Each execution has its own clock, which begins at zero.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shuttle::rand::{Rng as _, thread_rng};

shuttle::lazy_static! {
    static ref NOW: AtomicU64 = AtomicU64::new(0);
}

/// In nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.load(Ordering::Relaxed))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().0.saturating_sub(self.0))
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).expect("a time of this age")
    }
}

/// Whether a wait ends because its deadline has passed, decided at random; if so, the clock
/// advances to the deadline for all threads.
pub(super) fn runs_out(until: Instant) -> bool {
    let runs_out = thread_rng().r#gen();
    if runs_out {
        run_out(until);
    }
    runs_out
}

/// Advances the clock for all threads.
pub(super) fn run_out(until: Instant) {
    NOW.fetch_max(until.0, Ordering::Relaxed);
}
