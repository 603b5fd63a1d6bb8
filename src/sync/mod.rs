//! Locks, condition variables, atomics, threads, and the clock for waits.
//!
//! Everything that makes one thread wait for another, or see its changes, is imported from here, so
//! that it can be replaced as a whole. In a normal build these are the types of `parking_lot` and
//! of the standard library. Under `--cfg annals_shuttle` they belong to shuttle, which runs one
//! thread at a time, chooses the next thread at each of these operations, and repeats a schedule
//! that failed: see `docs/internals/concurrency.md`.
//!
//! Each lock has a [`Rank`], and is taken in the order of ranks; builds with debug assertions check
//! that. No other module names a lock of `parking_lot` or of the standard library.
//!
//! Plain counters, and flags that only mean "done once already", do not need this and use the
//! standard library's atomics.

pub(crate) mod wait_list;

#[cfg(annals_shuttle)]
mod clock;
mod held;
mod progress;
mod rank;
mod ranked;
#[cfg(annals_shuttle)]
mod wrapped;

pub(crate) use progress::AtomicMark;

/// Checks, in builds with debug assertions, that this thread holds no lock that is for memory alone.
///
/// # Panics
///
/// If it does.
#[cfg(feature = "testing")]
#[inline]
#[track_caller]
pub(crate) fn check_storage() {
    held::HeldRank::check_storage();
}

/// Checks, in builds with debug assertions, that this thread holds no lock that an append or a read takes.
///
/// # Panics
///
/// If it does.
#[cfg(feature = "tracing")]
#[inline]
#[track_caller]
pub(crate) fn check_report() {
    held::HeldRank::check_report();
}

pub(crate) use rank::Rank;
pub(crate) use ranked::{Condvar, Mutex, MutexGuard, RwLock};

#[cfg(not(annals_shuttle))]
pub(crate) use {
    std::sync::{atomic, mpsc},
    std::thread,
    std::time::Instant,
};

#[cfg(annals_shuttle)]
pub(crate) use {
    clock::Instant,
    shuttle::sync::{atomic, mpsc},
    shuttle::thread,
};

/// The types that `ranked` wraps.
#[cfg(not(annals_shuttle))]
use parking_lot as raw;
#[cfg(annals_shuttle)]
use wrapped as raw;

/// The types that `wrapped` wraps.
#[cfg(annals_shuttle)]
use shuttle as backend;

/// Lets other threads run, and returns whether a deadline is still ahead.
pub(crate) fn yields_until(until: Instant) -> bool {
    thread::yield_now();
    #[cfg(not(annals_shuttle))]
    return Instant::now() < until;
    #[cfg(annals_shuttle)]
    return !clock::runs_out(until);
}
