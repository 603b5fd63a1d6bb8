//! The time of commits: the clock of the servers.
//!
//! Owns the difference to the clock of this machine, which is measured when the store is opened and every minute. So
//! programs whose clocks differ write times that fit together, as closely as a request takes.

#![allow(clippy::disallowed_methods, reason = "the clock of this machine is read here only")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use annals_es::Timestamp;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Microseconds by which the servers are ahead.
    ahead: AtomicI64,
    /// The last time that was given.
    last: AtomicU64,
}

fn local() -> u64 {
    Timestamp::from(SystemTime::now()).as_micros()
}

impl Clock {
    /// The time, never before one that was given earlier.
    pub(crate) fn now(&self) -> Timestamp {
        let now = local().saturating_add_signed(self.ahead.load(Ordering::Relaxed));
        let last = self.last.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_micros(now.max(last))
    }

    /// When a question is asked.
    pub(crate) fn ask() -> u64 {
        local()
    }

    /// Takes the time of a server that was asked at a time, and has answered now.
    pub(crate) fn set(&self, asked: u64, server: Timestamp) {
        let middle = asked.midpoint(local());
        let ahead = i64::try_from(i128::from(server.as_micros()) - i128::from(middle));
        self.ahead.store(ahead.unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_follows_the_server_and_does_not_go_back() {
        let clock = Clock::default();
        let first = clock.now();
        let later = first.as_micros() + 3_600_000_000;
        clock.set(Clock::ask(), Timestamp::from_micros(later));
        let second = clock.now();
        assert!(second.as_micros() >= later - 1_000_000, "{first:?}, {second:?}");
        clock.set(Clock::ask(), first);
        assert!(clock.now() >= second);
    }
}
