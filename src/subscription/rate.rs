//! Events and positions per second, over the last ten seconds.
//!
//! Owns the counts of each second. Must never read a clock itself: its caller passes the time, so that
//! a simulated clock gives the same figures in every run.

/// The number of seconds that are counted, the current one included.
const SECONDS: usize = 10;

/// In microseconds.
const SECOND: u64 = 1_000_000;

/// How fast a subscription delivers: the average over the last nine to ten seconds, or since the
/// subscription has a handle if that is less, and over one second at least. See
/// [`Progress::rate`](super::Progress::rate).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Rate {
    /// Delivered events per second.
    pub events_per_second: f64,
    /// Scanned positions per second, with events that are not selected. The lag divided by this is
    /// the time to catch up in seconds, as long as nothing is appended.
    pub positions_per_second: f64,
}

/// The counts of the last seconds.
#[derive(Debug)]
pub(super) struct RateWindow {
    /// When the first second began, in microseconds.
    began: u64,
    seconds: [Counts; SECONDS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// The number of the second, from 0.
    second: u64,
    events: u64,
    positions: u64,
}

impl RateWindow {
    pub(super) fn new(now: u64) -> Self {
        Self { began: now, seconds: Default::default() }
    }

    pub(super) fn add(&mut self, now: u64, events: u64, positions: u64) {
        let second = now.saturating_sub(self.began) / SECOND;
        let counts = &mut self.seconds[(second % SECONDS as u64) as usize];
        if counts.second != second {
            *counts = Counts { second, ..Counts::default() };
        }
        counts.events += events;
        counts.positions += positions;
    }

    #[allow(clippy::cast_precision_loss, reason = "an average of less than 2^52")]
    pub(super) fn rate(&self, now: u64) -> Rate {
        let age = now.saturating_sub(self.began);
        let oldest = (age / SECOND).saturating_sub(SECONDS as u64 - 1);
        let counted = || self.seconds.iter().filter(|counts| counts.second >= oldest);
        let seconds = (age - oldest * SECOND).max(SECOND) as f64 / SECOND as f64;
        let average = |sum: u64| sum as f64 / seconds;
        Rate {
            events_per_second: average(counted().map(|it| it.events).sum()),
            positions_per_second: average(counted().map(|it| it.positions).sum()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(window: &RateWindow, now: u64) -> (f64, f64) {
        let rate = window.rate(now);
        (rate.events_per_second, rate.positions_per_second)
    }

    #[test]
    fn rate_is_the_average_since_the_start_and_then_of_ten_seconds() {
        let began = 77_000_123;
        let mut window = RateWindow::new(began);
        assert_eq!(rates(&window, began), (0.0, 0.0));
        window.add(began, 10, 30);
        // The first second counts as a whole one.
        assert_eq!(rates(&window, began + 1), (10.0, 30.0));
        assert_eq!(rates(&window, began + 4 * SECOND), (2.5, 7.5));
        for second in 1..100 {
            let now = began + second * SECOND;
            window.add(now, 10, 30);
            let counted = (second + 1).min(10) * 10;
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let seconds = second.clamp(1, 9) as f64;
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let expected = counted as f64 / seconds;
            assert!((rates(&window, now).0 - expected).abs() < 1e-9, "second {second}");
        }
        // At the end of a second: ten events in each of ten seconds.
        assert!((rates(&window, began + 100 * SECOND - 1).0 - 10.0).abs() < 1e-4);
    }

    #[test]
    fn rate_is_zero_after_ten_idle_seconds() {
        let mut window = RateWindow::new(0);
        window.add(3 * SECOND, 9, 9);
        assert!((rates(&window, 13 * SECOND - 1).0 - 0.9).abs() < 1e-4);
        assert_eq!(rates(&window, 13 * SECOND), (0.0, 0.0));
        // A clock that stands before the start, as on another machine, is not an error.
        window.add(0, 1, 1);
        assert_eq!(RateWindow::new(5 * SECOND).rate(0), RateWindow::new(0).rate(0));
    }
}
