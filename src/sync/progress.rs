//! How a position becomes visible to other threads without a lock, and how those who wait for it
//! are woken.
//!
//! Two protocols, and nothing else, so that a model checker can walk all their interleavings as
//! they stand here: `tests/loom` includes this very file.

use super::atomic::{AtomicU64, Ordering, fence};
use super::{Condvar, Instant, Mutex};

/// A number that only grows, and says that everything up to it has happened.
#[derive(Debug)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    pub(crate) fn new(reached: u64) -> Self {
        Self(AtomicU64::new(reached))
    }

    /// How far it has come. The caller sees everything that was done before it was raised so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Lets others see that everything up to `reached` has happened, which it must have.
    pub(crate) fn raise(&self, reached: u64) {
        self.0.fetch_max(reached, Ordering::Release);
    }
}

/// Wakes those who wait for something that can be seen without a lock. Where nobody waits, it
/// takes none.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    waiting: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Announcer {
    /// To be called once what others may wait for can be seen.
    pub(crate) fn announce(&self) {
        // Orders what was stored before the load of the count, as the waiter's fence orders its
        // count before its look: one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // A waiter that has looked and does not wait yet holds the lock.
            drop(self.lock.lock());
            self.changed.notify_all();
        }
    }

    /// Waits for one announcement, unless what the caller waits for `is_there` already. May come
    /// back for no reason; the caller looks again.
    pub(crate) fn wait(&self, until: Option<Instant>, is_there: impl FnOnce() -> bool) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut guard = self.lock.lock();
        if !is_there() {
            match until {
                Some(until) => {
                    self.changed.wait_until(&mut guard, until);
                }
                None => self.changed.wait(&mut guard),
            }
        }
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
