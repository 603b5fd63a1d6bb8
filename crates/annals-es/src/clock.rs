//! The time.
//!
//! Owns the only reading of the system's clock in this crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::store::Timestamp;

/// A clock: that of the system, or one that a test sets. Clones show the same time.
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::{Clock, Timestamp};
///
/// let clock = Clock::at(Timestamp::from_micros(1_000_000));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_micros(2_000_000));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The time of a clock that a test sets, in µs.
    set: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows this time until it is set.
    pub fn at(time: Timestamp) -> Self {
        Self { set: Some(Arc::new(AtomicU64::new(time.as_micros()))) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.set {
            Some(micros) => Timestamp::from_micros(micros.load(Ordering::Acquire)),
            None => system_time(),
        }
    }

    /// Sets the clock and all of its clones. The clock of the system ignores it.
    pub fn set(&self, time: Timestamp) {
        if let Some(micros) = &self.set {
            micros.store(time.as_micros(), Ordering::Release);
        }
    }

    /// Sets the clock and all of its clones to a later time. The clock of the system ignores it.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the only reading of the clock; tests use `Clock::at`"
)]
fn system_time() -> Timestamp {
    SystemTime::now().into()
}
