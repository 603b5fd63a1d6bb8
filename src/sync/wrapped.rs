//! Wraps a model checker's locks, which are like the standard library's, in the interface of
//! `parking_lot`.
//!
//! Only what the engine uses. Poisoning is ignored: `parking_lot` has none, and a thread that
//! panicked has failed the test.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use super::backend::sync;
use super::clock::{self, Instant};

#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

/// Empty only while its condition variable waits.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a sync::Mutex<T>,
    held: Option<sync::MutexGuard<'a, T>>,
}

#[derive(Default)]
pub(crate) struct RwLock<T>(sync::RwLock<T>);

pub(crate) use sync::{RwLockReadGuard, RwLockWriteGuard};

#[derive(Default)]
pub(crate) struct Condvar(sync::Condvar);

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, held: Some(acquire(&self.0)) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|held| MutexGuard { mutex: &self.0, held: Some(held) })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acquire<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const WAITS: &str = "a guard is not used while its condition variable waits";

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_deref().expect(WAITS)
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_deref_mut().expect(WAITS)
    }
}

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl Condvar {
    pub(crate) fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect(WAITS);
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// The timeout either expires now, whatever its length, or never, so that a notification is
    /// required. A lost wake-up is therefore a deadlock, and not a wait that a timeout ends.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) {
        if clock::runs_out(until) {
            Self::let_others_go(guard);
        } else {
            self.wait(guard);
        }
    }

    /// The timeout expires now: a thread that polls at intervals is woken by no other thread.
    #[allow(clippy::unused_self, reason = "as if it waited")]
    pub(crate) fn wait_out<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) {
        clock::run_out(until);
        Self::let_others_go(guard);
    }

    fn let_others_go<T>(guard: &mut MutexGuard<'_, T>) {
        guard.held = None;
        super::backend::thread::yield_now();
        guard.held = Some(acquire(guard.mutex));
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
