//! Locks with a rank, over those of `parking_lot` or of a model checker.
//!
//! Every lock of the crate is one of these. Without debug assertions they add nothing to the
//! wrapped types: the rank is not stored and nothing is checked.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::held::HeldRank;
use super::rank::Rank;
use super::{Instant, raw};

/// A rank, in builds that check it.
#[derive(Debug, Clone, Copy)]
struct DebugRank {
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl DebugRank {
    fn new(rank: Rank) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        Self {
            #[cfg(debug_assertions)]
            rank,
        }
    }

    /// Without checks, all ranks are equal.
    fn rank(self) -> Rank {
        #[cfg(debug_assertions)]
        return self.rank;
        #[cfg(not(debug_assertions))]
        Rank::Machine
    }
}

/// A mutex that is taken in the order of [`Rank`].
pub(crate) struct Mutex<T> {
    inner: raw::Mutex<T>,
    kept: DebugRank,
}

/// Releases the mutex when it is dropped.
pub(crate) struct MutexGuard<'a, T> {
    inner: raw::MutexGuard<'a, T>,
    held: HeldRank,
}

/// A lock for one writer or many readers. A thread must take it once: a second read would deadlock
/// if a writer waits between the two.
pub(crate) struct RwLock<T> {
    inner: raw::RwLock<T>,
    kept: DebugRank,
}

/// Releases a read lock when it is dropped.
pub(crate) struct RwLockReadGuard<'a, T> {
    inner: raw::RwLockReadGuard<'a, T>,
    _held: HeldRank,
}

/// Releases a write lock when it is dropped.
pub(crate) struct RwLockWriteGuard<'a, T> {
    inner: raw::RwLockWriteGuard<'a, T>,
    _held: HeldRank,
}

/// A condition variable for a [`Mutex`].
#[derive(Default)]
pub(crate) struct Condvar(raw::Condvar);

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl<T> Mutex<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        Self { inner: raw::Mutex::new(value), kept: DebugRank::new(rank) }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = HeldRank::take(self.kept.rank());
        MutexGuard { inner: self.inner.lock(), held }
    }

    /// Takes the lock if that needs no wait. Allowed in any order, because a thread that does not
    /// wait cannot be part of a deadlock.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        Some(MutexGuard { inner, held: HeldRank::took(self.kept.rank()) })
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl<T> RwLock<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        Self { inner: raw::RwLock::new(value), kept: DebugRank::new(rank) }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = HeldRank::take(self.kept.rank());
        RwLockReadGuard { inner: self.inner.read(), _held: held }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = HeldRank::take(self.kept.rank());
        RwLockWriteGuard { inner: self.inner.write(), _held: held }
    }
}

#[allow(dead_code, reason = "not every test that includes this file uses all of it")]
impl Condvar {
    pub(crate) fn new() -> Self {
        Self(raw::Condvar::new())
    }

    #[track_caller]
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.held.retake();
        self.0.wait(&mut guard.inner);
    }

    #[track_caller]
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) {
        guard.held.retake();
        self.0.wait_until(&mut guard.inner, until);
    }

    /// Waits until a deadline that always arrives, for a thread that polls.
    #[track_caller]
    pub(crate) fn wait_out<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) {
        guard.held.retake();
        #[cfg(not(any(annals_shuttle, annals_loom)))]
        self.0.wait_until(&mut guard.inner, until);
        #[cfg(any(annals_shuttle, annals_loom))]
        self.0.wait_out(&mut guard.inner, until);
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

#[cfg(all(test, debug_assertions, not(annals_shuttle)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// The message of a closure's panic; `None` if it does not panic.
    fn panic_of(f: impl FnOnce()) -> Option<String> {
        let panic = catch_unwind(AssertUnwindSafe(f)).err()?;
        Some(panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn lock_taken_in_order_passes() {
        let (writer, catalog) = (Mutex::new(Rank::Writer, 1), RwLock::new(Rank::Catalog, 2));
        let first = writer.lock();
        let second = catalog.read();
        // Released in the order of acquisition instead of the reverse order.
        drop(first);
        assert_eq!(*second, 2);
        drop(second);
        drop(catalog.write());
        drop(writer.lock());
    }

    #[test]
    fn lock_taken_against_its_rank_panics_with_both_names() {
        let (writer, catalog) = (Mutex::new(Rank::Writer, ()), RwLock::new(Rank::Catalog, ()));
        let panic = panic_of(|| {
            let _catalog = catalog.read();
            drop(writer.lock());
        });
        let text = panic.expect("it is against the order");
        assert!(text.contains("Writer") && text.contains("Catalog"), "{text}");
        // A lock that unwinding released is no longer held.
        drop(writer.lock());
    }

    #[test]
    fn second_read_of_one_lock_panics() {
        let catalog = RwLock::new(Rank::Catalog, ());
        let _first = catalog.read();
        assert!(panic_of(|| drop(catalog.read())).is_some());
    }

    #[test]
    fn try_lock_is_allowed_in_any_order_and_its_lock_is_held() {
        let (writer, catalog) = (Mutex::new(Rank::Writer, ()), RwLock::new(Rank::Catalog, ()));
        let held = catalog.read();
        let tried = writer.try_lock().expect("nobody else has it");
        drop(held);
        assert!(panic_of(|| drop(Mutex::new(Rank::Follower, ()).lock())).is_some());
        drop(tried);
        drop(Mutex::new(Rank::Follower, ()).lock());
    }

    #[test]
    fn wait_with_a_higher_lock_held_panics() {
        let (writer, catalog) = (Mutex::new(Rank::Writer, ()), RwLock::new(Rank::Catalog, ()));
        let condition = Condvar::new();
        let mut guard = writer.lock();
        condition.wait_until(&mut guard, Instant::now());
        let held = catalog.read();
        assert!(panic_of(|| condition.wait_until(&mut guard, Instant::now())).is_some());
        drop(held);
        condition.wait_until(&mut guard, Instant::now());
    }
}
