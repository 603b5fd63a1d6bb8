//! The number of attempts, and the delays between them.

use std::time::Duration;

/// The number of attempts of a failing handler, and the delays between them: each twice the
/// previous one, up to a limit.
///
/// ```
/// use std::time::Duration;
/// use annals::consumer_group::Retry;
///
/// let retry = Retry::new()
///     .attempts(8)
///     .first_delay(Duration::from_millis(50))
///     .max_delay(Duration::from_secs(5));
/// # let _ = retry;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub(super) attempts: u32,
    first_delay: Duration,
    max_delay: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Five attempts, the second after 100 ms, at most 10 s apart.
    pub const fn new() -> Self {
        let (first_delay, max_delay) = (Duration::from_millis(100), Duration::from_secs(10));
        Self { attempts: 5, first_delay, max_delay }
    }

    /// The number of attempts after which an event is parked, at least one.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The time between the first attempt and the second.
    pub const fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest time between two attempts.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// The delay after this number of failed attempts.
    pub(super) fn delay_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        self.first_delay.saturating_mul(1 << doublings).min(self.max_delay)
    }

    pub(super) fn longest(&self) -> Duration {
        self.max_delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delays_double_up_to_their_limit() {
        let ms = Duration::from_millis;
        let retry = Retry::new().first_delay(ms(3)).max_delay(ms(20));
        let delays: Vec<_> = (1..=5).map(|attempts| retry.delay_after(attempts)).collect();
        assert_eq!(delays, [ms(3), ms(6), ms(12), ms(20), ms(20)]);
        assert_eq!(retry.delay_after(u32::MAX), ms(20));
        let long = Retry::new().first_delay(Duration::MAX).max_delay(Duration::MAX);
        assert_eq!(long.delay_after(40), Duration::MAX);
        assert_eq!(Retry::new().first_delay(Duration::ZERO).delay_after(9), Duration::ZERO);
    }
}
