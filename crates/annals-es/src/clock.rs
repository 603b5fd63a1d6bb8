//! The time.
//!
//! Owns the only reading of the system's clock in this crate.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use event_listener::Event;

use crate::store::Timestamp;

/// A clock: that of the system, or one that a test sets. Clones show the same time.
///
/// What waits for a time by a clock that a test sets, such as the deadlines of a
/// [`process::Runner`](crate::process::Runner), sees at once that it was set.
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
    set: Option<Arc<SetClock>>,
}

/// A clock that a test sets.
#[derive(Debug)]
struct SetClock {
    micros: AtomicU64,
    was_set: Event,
}

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows this time until it is set.
    pub fn at(time: Timestamp) -> Self {
        let micros = AtomicU64::new(time.as_micros());
        Self { set: Some(Arc::new(SetClock { micros, was_set: Event::new() })) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match &self.set {
            Some(clock) => Timestamp::from_micros(clock.micros.load(Ordering::Acquire)),
            None => system_time(),
        }
    }

    /// Sets the clock and all of its clones. The clock of the system ignores it.
    pub fn set(&self, time: Timestamp) {
        if let Some(clock) = &self.set {
            clock.micros.store(time.as_micros(), Ordering::Release);
            clock.was_set.notify(usize::MAX);
        }
    }

    /// Sets the clock and all of its clones to a later time. The clock of the system ignores it.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().plus(duration));
    }

    /// Waits until the clock is set after this call; for ever with the clock of the system.
    pub(crate) fn when_set(&self) -> impl Future<Output = ()> + Send + use<> {
        let listener = self.set.as_ref().map(|clock| clock.was_set.listen());
        async {
            match listener {
                Some(listener) => listener.await,
                None => pending().await,
            }
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the only reading of the clock; tests use `Clock::at`"
)]
fn system_time() -> Timestamp {
    SystemTime::now().into()
}
