//! The list of threads and tasks that wait for a position to become visible, and how they are
//! woken.
//!
//! Owns the list of waiters and the wake-up, independent of what is waited for. A waiter is a
//! sleeping thread or a task with a stored waker. Must never make the announcing thread pay for many
//! sleepers: it wakes two threads, and each woken thread wakes two more before it continues. Tasks
//! cannot wake others (they may never be polled), so the thread that meets a task in the list wakes
//! it.
//!
//! Why no wake-up is lost:
//! - A waiter enlists and then checks its condition again; the announcer changes the condition and
//!   then checks whether a waiter is enlisted. Each has a sequentially consistent fence between its
//!   two steps, so at least one of them sees the other.
//! - An announcer takes the whole list. The waiters on it are woken by the announcer or by a thread
//!   that it woke; a waiter that enlists again meanwhile is on the next list.
//! - A thread takes its part in waking others from its own state, under the lock under which it
//!   declares itself awake. It is asked only while it is asleep, so that it cannot miss the
//!   request, and for one round at a time.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Instant, Mutex, Rank};

/// The number of sleeping threads that each awake thread wakes.
const WOKEN_BY_EACH: usize = 2;

/// The list of waiters.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The number of enlisted waiters, which the announcer reads without the lock.
    count: AtomicUsize,
    enlisted: Mutex<Enlisted>,
    /// Signalled when a waiter enlists: for the thread that follows a writer in another process.
    pub(crate) wanted: Condvar,
}

#[derive(Debug, Default)]
struct Enlisted {
    /// The number of lists before this one.
    number: u64,
    waiters: Vec<Arc<Waiter>>,
}

/// A waiter that may wait repeatedly.
pub(crate) struct Waiter {
    /// Its place in the list, counted from 1; written under the list's lock.
    list: AtomicU64,
    place: AtomicUsize,
    state: Mutex<WaiterState>,
    woken: Condvar,
}

#[derive(Default)]
struct WaiterState {
    woken: bool,
    asleep: bool,
    task: Option<Waker>,
    /// The waiters to wake next.
    round: Option<Arc<Round>>,
}

/// A waiter for one wait, removed from the list afterwards.
pub(crate) struct OnWatch<'a> {
    watch: &'a Watch,
    waiter: Arc<Waiter>,
}

/// The waiters that one announcement wakes.
struct Round {
    waiters: Vec<Arc<Waiter>>,
    next: AtomicUsize,
}

impl Default for Watch {
    fn default() -> Self {
        let enlisted = Mutex::new(Rank::WatchList, Enlisted::default());
        Self { count: AtomicUsize::new(0), enlisted, wanted: Condvar::new() }
    }
}

impl Default for Waiter {
    fn default() -> Self {
        let state = Mutex::new(Rank::Waiter, WaiterState::default());
        let (list, place) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { list, place, state, woken: Condvar::new() }
    }
}

impl Watch {
    /// Puts a waiter on the list if it is not on it. The waiter must then check its condition again
    /// before it sleeps.
    pub(crate) fn enlist(&self, waiter: &Arc<Waiter>) {
        let mut enlisted = self.enlisted.lock();
        if !enlisted.holds(waiter) {
            enlisted.waiters.push(Arc::clone(waiter));
            waiter.list.store(enlisted.number + 1, Ordering::Relaxed);
            waiter.place.store(enlisted.waiters.len() - 1, Ordering::Relaxed);
            self.count.store(enlisted.waiters.len(), Ordering::SeqCst);
            self.wanted.notify_one();
        }
        drop(enlisted);
        fence(Ordering::SeqCst);
    }

    /// Removes a waiter from the list that no longer waits.
    pub(crate) fn strike(&self, waiter: &Waiter) {
        let mut enlisted = self.enlisted.lock();
        if enlisted.holds(waiter) {
            let place = waiter.place.load(Ordering::Relaxed);
            enlisted.waiters.swap_remove(place);
            if let Some(moved) = enlisted.waiters.get(place) {
                moved.place.store(place, Ordering::Relaxed);
            }
            waiter.list.store(0, Ordering::Relaxed);
            self.count.store(enlisted.waiters.len(), Ordering::SeqCst);
        }
    }

    /// Whether a waiter may wait for the change that was just made.
    pub(crate) fn is_watched(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Wakes all waiters. Must not be called under a lock: a waker runs foreign code.
    pub(crate) fn announce(&self) {
        if !self.is_watched() {
            return;
        }
        let waiters = {
            let mut enlisted = self.enlisted.lock();
            enlisted.number += 1;
            self.count.store(0, Ordering::SeqCst);
            std::mem::take(&mut enlisted.waiters)
        };
        match waiters.as_slice() {
            [] => {}
            [one] => {
                one.wake(None);
            }
            _ => Arc::new(Round { waiters, next: AtomicUsize::new(0) }).go_on(),
        }
    }

    /// Sleeps until a waiter enlists, or until `ended` returns true.
    pub(crate) fn sleep_until_wanted(&self, ended: impl Fn() -> bool) {
        let mut enlisted = self.enlisted.lock();
        while enlisted.waiters.is_empty() && !ended() {
            self.wanted.wait(&mut enlisted);
        }
    }

    /// Sleeps until a deadline, or until `ended` returns true, which [`Watch::end`] makes it check.
    pub(crate) fn sleep_until(&self, until: Instant, ended: impl Fn() -> bool) {
        let mut enlisted = self.enlisted.lock();
        while !ended() && Instant::now() < until {
            self.wanted.wait_out(&mut enlisted, until);
        }
    }

    /// Wakes the thread that sleeps in [`Watch::sleep_until_wanted`] or [`Watch::sleep_until`].
    pub(crate) fn end(&self) {
        drop(self.enlisted.lock());
        self.wanted.notify_all();
    }
}

impl Enlisted {
    fn holds(&self, waiter: &Waiter) -> bool {
        waiter.list.load(Ordering::Relaxed) == self.number + 1
    }
}

impl<'a> OnWatch<'a> {
    pub(crate) fn new(watch: &'a Watch) -> Self {
        Self { watch, waiter: Arc::default() }
    }

    pub(crate) fn waiter(&self) -> &Arc<Waiter> {
        &self.waiter
    }
}

impl Drop for OnWatch<'_> {
    fn drop(&mut self) {
        self.watch.strike(&self.waiter);
    }
}

impl Waiter {
    /// Clears an earlier wake-up. Later ones are seen.
    pub(crate) fn prepare(&self) {
        self.state.lock().woken = false;
    }

    /// Sleeps until it is woken, or until a deadline.
    pub(crate) fn sleep(&self, until: Option<Instant>) {
        let mut state = self.state.lock();
        state.asleep = true;
        while !state.woken {
            match until {
                Some(until) if Instant::now() >= until => break,
                Some(until) => {
                    self.woken.wait_until(&mut state, until);
                }
                None => self.woken.wait(&mut state),
            }
        }
        state.asleep = false;
        let round = state.round.take();
        drop(state);
        if let Some(round) = round {
            round.go_on();
        }
    }

    /// Stores a task's waker, to be called once.
    #[cfg(feature = "async")]
    pub(crate) fn keep(&self, waker: &Waker) {
        let mut state = self.state.lock();
        state.woken = false;
        if !state.task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            let former = state.task.replace(waker.clone());
            drop(state);
            // Dropping a waker may run foreign code, so it happens without the lock.
            drop(former);
        }
    }

    /// Wakes only this waiter.
    pub(crate) fn rouse(&self) {
        self.wake(None);
    }

    /// Wakes the waiter; returns whether it is a thread that continues the round.
    fn wake(&self, round: Option<&Arc<Round>>) -> bool {
        let mut state = self.state.lock();
        state.woken = true;
        let helps = round.is_some() && state.asleep && state.round.is_none();
        if helps {
            state.round = round.map(Arc::clone);
        }
        if state.asleep {
            self.woken.notify_one();
        }
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        helps
    }
}

/// As a waker it wakes the thread that sleeps.
#[cfg(feature = "async")]
impl std::task::Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.rouse();
    }
}

impl Round {
    /// Wakes waiters until enough of them are threads, which wake further ones.
    fn go_on(self: &Arc<Self>) {
        let mut helpers = 0;
        while helpers < WOKEN_BY_EACH {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(waiter) = self.waiters.get(next) else {
                return;
            };
            helpers += usize::from(waiter.wake(Some(self)));
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}
