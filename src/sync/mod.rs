//! Locks, condition variables, atomics, threads, and the clock that waits go by.
//!
//! Everything that makes one thread wait for another, or see what it did, is named here and taken
//! from here, so that it can be exchanged as a whole. In a normal build these are the types of
//! `parking_lot` and of the standard library, and nothing else. Under `--cfg annals_shuttle` they
//! belong to shuttle, which runs one thread at a time, chooses whose turn it is at each of these
//! operations, and repeats a choice that failed: see `docs/memory-model.md`.
//!
//! Plain counters, and marks whose only meaning is "done once already", need none of this and use
//! the standard library's atomics.

#[cfg(annals_shuttle)]
mod clock;
mod progress;
#[cfg(annals_shuttle)]
mod wrapped;

pub(crate) use progress::Mark;

#[cfg(not(annals_shuttle))]
pub(crate) use {
    parking_lot::{Condvar, Mutex, MutexGuard, RwLock},
    std::sync::{atomic, mpsc},
    std::thread,
    std::time::Instant,
};

#[cfg(annals_shuttle)]
pub(crate) use {
    clock::Instant,
    shuttle::sync::{atomic, mpsc},
    shuttle::thread,
    wrapped::{Condvar, Mutex, MutexGuard, RwLock},
};

/// What `wrapped` wraps.
#[cfg(annals_shuttle)]
use shuttle as backend;
