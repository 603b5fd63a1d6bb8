//! What a consumer does with an event that it cannot handle.
//!
//! Owns the delays between attempts. Must never wait itself.

use std::time::Duration;

/// What happens when an event cannot be handled: retries with growing delays, and then a pause, or the event is
/// parked and the consumer goes on: a projection, or a process manager.
///
/// Failures that concern no event, such as a database that cannot be reached, are retried in the same way and
/// never park an event. A projection can retry these without end; see
/// [`Options::retry_outages`](crate::projection::Options::retry_outages).
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::process::ErrorPolicy;
///
/// let policy = ErrorPolicy::park().retries(3).backoff(Duration::from_millis(50), Duration::from_secs(5));
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPolicy {
    retries: u32,
    first_delay: Duration,
    longest_delay: Duration,
    pub(crate) parks: bool,
    pub(crate) most_parked: usize,
}

impl ErrorPolicy {
    /// Pauses the consumer at the event. It is the default: no event is ever left out.
    pub fn pause() -> Self {
        Self {
            retries: 5,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(30),
            parks: false,
            most_parked: 1000,
        }
    }

    /// Parks the event and goes on. Later events of the same stream are handled without it. When
    /// [`most_parked`](Self::most_parked) events are parked, the consumer pauses instead.
    pub fn park() -> Self {
        Self { parks: true, ..Self::pause() }
    }

    /// Sets how often an event is tried again; `u32::MAX`: without end. Default: 5.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the delay before the first retry, and the longest one; each is twice the one before. Default: 100 ms and
    /// 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_delay, self.longest_delay) = (first, longest);
        self
    }

    /// Sets how many events may be parked. They are kept in memory as a list. Default: 1,000.
    #[must_use]
    pub fn most_parked(mut self, events: usize) -> Self {
        self.most_parked = events;
        self
    }

    /// The delay after a number of failed attempts, from 1; `None` if there is no further one.
    pub(crate) fn delay(&self, attempts: u32) -> Option<Duration> {
        if attempts > self.retries && self.retries != u32::MAX {
            return None;
        }
        Some(self.capped_delay(attempts))
    }

    /// The delay after a number of failed attempts, however many are allowed.
    pub(crate) fn capped_delay(&self, attempts: u32) -> Duration {
        let factor = 2_u32.checked_pow(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_delay.saturating_mul(factor).min(self.longest_delay)
    }
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self::pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(10), Duration::from_millis(35));
        let policy = ErrorPolicy::pause().retries(4).backoff(first, longest);
        let delays: Vec<_> = (1..=5).map(|it| policy.delay(it).map(|it| it.as_millis())).collect();
        assert_eq!(delays, [Some(10), Some(20), Some(35), Some(35), None]);
        assert_eq!(policy.retries(u32::MAX).delay(u32::MAX), Some(longest));
    }
}
