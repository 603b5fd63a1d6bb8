//! Waiting threads and tasks are woken: by a position, by a close, through other waiting threads,
//! and while others leave the list.

use std::task::{Wake, Waker};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::sync::{AtomicMark, Condvar, Mutex, Rank};
use super::watch::{OnWatch, Waiter, Watch};
use super::{Log, model};

/// A position to wait for, and the list of the threads that wait.
struct Awaited {
    durable: AtomicMark,
    closed: AtomicBool,
    watch: Watch,
}

impl Awaited {
    fn new() -> Arc<Self> {
        let closed = AtomicBool::new(false);
        Arc::new(Self { durable: AtomicMark::new(0), closed, watch: Watch::default() })
    }

    /// Publishes a position as a leader does after a sync.
    fn publish(&self, position: u64) {
        self.durable.raise(position);
        self.watch.announce();
    }

    fn is_over(&self, position: u64) -> bool {
        self.durable.get() >= position || self.closed.load(Ordering::Acquire)
    }

    /// As `Positions::wait` and its callers do it.
    fn wait_as(&self, waiter: &std::sync::Arc<Waiter>, over: impl Fn() -> bool) {
        while !over() {
            waiter.prepare();
            self.watch.enlist(waiter);
            if !over() {
                waiter.sleep(None);
            }
        }
    }

    fn wait_for(&self, position: u64) {
        let on_watch = OnWatch::new(&self.watch);
        self.wait_as(on_watch.waiter(), || self.is_over(position));
    }

    /// Joins the threads, and asserts that the list is empty.
    fn ends(&self, waiters: impl IntoIterator<Item = thread::JoinHandle<()>>) {
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(!self.watch.is_watched());
    }
}

fn waiter(awaited: &Arc<Awaited>, position: u64) -> thread::JoinHandle<()> {
    let awaited = Arc::clone(awaited);
    thread::spawn(move || awaited.wait_for(position))
}

#[test]
fn waiting_thread_is_woken_by_its_position() {
    model("waiting_thread_is_woken_by_its_position", None, || {
        let awaited = Awaited::new();
        let waiting = waiter(&awaited, 1);
        awaited.publish(1);
        awaited.ends([waiting]);
    });
}

/// The bytes written before the position was published are visible to the woken thread.
#[test]
fn woken_thread_can_read_its_position() {
    model("woken_thread_can_read_its_position", None, || {
        let (log, awaited) = (Log::new(), Awaited::new());
        let reader = {
            let (log, awaited) = (Arc::clone(&log), Arc::clone(&awaited));
            thread::spawn(move || {
                awaited.wait_for(1);
                log.read_up_to(1);
            })
        };
        log.write(1);
        awaited.publish(1);
        awaited.ends([reader]);
    });
}

#[test]
fn threads_waiting_for_different_positions_are_woken() {
    model("threads_waiting_for_different_positions_are_woken", Some(3), || {
        let awaited = Awaited::new();
        let waiters = [waiter(&awaited, 1), waiter(&awaited, 2)];
        awaited.publish(1);
        awaited.publish(2);
        awaited.ends(waiters);
    });
}

/// As two leaders do, or a leader and the sync of a buffered store.
#[test]
fn concurrent_announcements_wake_a_waiting_thread() {
    model("concurrent_announcements_wake_a_waiting_thread", Some(3), || {
        let awaited = Awaited::new();
        let waiting = waiter(&awaited, 2);
        let other = {
            let awaited = Arc::clone(&awaited);
            thread::spawn(move || awaited.publish(1))
        };
        awaited.publish(2);
        other.join().unwrap();
        awaited.ends([waiting]);
    });
}

/// The announcing thread wakes two, and these wake the third.
#[test]
fn three_waiting_threads_are_woken_through_each_other() {
    model("three_waiting_threads_are_woken_through_each_other", Some(2), || {
        let awaited = Awaited::new();
        let waiters = [(); 3].map(|()| waiter(&awaited, 1));
        awaited.publish(1);
        awaited.ends(waiters);
    });
}

/// An entry of a thread that is awake on the list may never sleep again, and wakes no other.
#[test]
fn waiting_thread_is_woken_past_entries_that_are_awake() {
    model("waiting_thread_is_woken_past_entries_that_are_awake", None, || {
        let awaited = Awaited::new();
        let awake = [(); 2].map(|()| OnWatch::new(&awaited.watch));
        for on_watch in &awake {
            on_watch.waiter().rouse();
            on_watch.waiter().sleep(None);
            awaited.watch.enlist(on_watch.waiter());
        }
        let waiting = waiter(&awaited, 1);
        awaited.publish(1);
        awaited.ends([waiting]);
    });
}

/// A thread that has to wake others is woken itself for another reason, as by a `StopHandle`.
#[test]
fn stopped_thread_still_wakes_others() {
    model("stopped_thread_still_wakes_others", Some(2), || {
        let awaited = Awaited::new();
        let stopped = Arc::new(AtomicBool::new(false));
        let signals: [std::sync::Arc<Waiter>; 2] = Default::default();
        let subscriptions = signals.clone().map(|waiter| {
            let (awaited, stopped) = (Arc::clone(&awaited), Arc::clone(&stopped));
            thread::spawn(move || {
                let over = || awaited.is_over(1) || stopped.load(Ordering::Acquire);
                awaited.wait_as(&waiter, over);
                awaited.watch.strike(&waiter);
            })
        });
        let third = waiter(&awaited, 1);
        awaited.publish(1);
        stopped.store(true, Ordering::Release);
        for waiter in &signals {
            waiter.rouse();
        }
        awaited.ends(subscriptions.into_iter().chain([third]));
    });
}

#[test]
fn stop_ends_a_wait() {
    model("stop_ends_a_wait", None, || {
        let awaited = Awaited::new();
        let stopped = Arc::new(AtomicBool::new(false));
        let signal = std::sync::Arc::<Waiter>::default();
        let subscription = {
            let (awaited, stopped) = (Arc::clone(&awaited), Arc::clone(&stopped));
            let signal = std::sync::Arc::clone(&signal);
            thread::spawn(move || {
                awaited.wait_as(&signal, || stopped.load(Ordering::Acquire));
                awaited.watch.strike(&signal);
            })
        };
        stopped.store(true, Ordering::Release);
        signal.rouse();
        awaited.ends([subscription]);
    });
}

/// Other threads leave the list before, during and after an announcement.
#[test]
fn leaving_thread_does_not_lose_the_wake_up_of_others() {
    model("leaving_thread_does_not_lose_the_wake_up_of_others", Some(3), || {
        let awaited = Awaited::new();
        let passer = {
            let awaited = Arc::clone(&awaited);
            thread::spawn(move || {
                let [one, other] = [(); 2].map(|()| OnWatch::new(&awaited.watch));
                awaited.watch.enlist(one.waiter());
                awaited.watch.enlist(other.waiter());
                drop(one);
                drop(other);
            })
        };
        let waiting = waiter(&awaited, 1);
        awaited.publish(1);
        awaited.ends([passer, waiting]);
    });
}

#[test]
fn waiting_thread_is_woken_by_the_close() {
    model("waiting_thread_is_woken_by_the_close", None, || {
        let awaited = Awaited::new();
        let waiting = waiter(&awaited, 1);
        awaited.closed.swap(true, Ordering::AcqRel);
        awaited.watch.announce();
        awaited.ends([waiting]);
    });
}

/// The thread that follows a writer of another process sleeps until a thread waits, or until the
/// close.
#[test]
fn following_thread_is_woken_by_a_wait_and_by_the_close() {
    model("following_thread_is_woken_by_a_wait_and_by_the_close", Some(3), || {
        let awaited = Awaited::new();
        let follower = {
            let awaited = Arc::clone(&awaited);
            thread::spawn(move || {
                let ended = || awaited.closed.load(Ordering::Acquire);
                awaited.watch.sleep_until_wanted(ended);
                if !ended() {
                    awaited.publish(1);
                    awaited.watch.sleep_until_wanted(ended);
                }
            })
        };
        awaited.wait_for(1);
        awaited.closed.swap(true, Ordering::AcqRel);
        awaited.watch.announce();
        awaited.watch.end();
        follower.join().unwrap();
    });
}

/// A minimal executor: one task, polled again once it was woken.
struct Executor {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Default for Executor {
    fn default() -> Self {
        Self { woken: Mutex::new(Rank::Waiter, false), changed: Condvar::new() }
    }
}

impl Wake for Executor {
    fn wake(self: std::sync::Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

impl Executor {
    fn sleep(&self) {
        let mut woken = self.woken.lock();
        while !std::mem::take(&mut *woken) {
            self.changed.wait(&mut woken);
        }
    }
}

/// Polls as `Subscription::poll_next` does.
fn task(awaited: &Arc<Awaited>, position: u64) -> thread::JoinHandle<()> {
    let awaited = Arc::clone(awaited);
    thread::spawn(move || {
        let executor = std::sync::Arc::<Executor>::default();
        let waker = Waker::from(std::sync::Arc::clone(&executor));
        let on_watch = OnWatch::new(&awaited.watch);
        while !awaited.is_over(position) {
            on_watch.waiter().keep(&waker);
            awaited.watch.enlist(on_watch.waiter());
            if !awaited.is_over(position) {
                executor.sleep();
            }
        }
    })
}

#[test]
fn waiting_task_is_woken() {
    model("waiting_task_is_woken", None, || {
        let awaited = Awaited::new();
        let waiting = task(&awaited, 1);
        awaited.publish(1);
        awaited.ends([waiting]);
    });
}

#[test]
fn task_that_waits_again_is_woken_again() {
    model("task_that_waits_again_is_woken_again", Some(3), || {
        let awaited = Awaited::new();
        let waiting = task(&awaited, 2);
        awaited.publish(1);
        awaited.publish(2);
        awaited.ends([waiting]);
    });
}

/// Tasks wake no others, so the thread that meets one goes on with the list.
#[test]
fn tasks_and_a_thread_that_wait_together_are_woken() {
    model("tasks_and_a_thread_that_wait_together_are_woken", Some(2), || {
        let awaited = Awaited::new();
        let waiters = [task(&awaited, 1), waiter(&awaited, 1), task(&awaited, 1)];
        awaited.publish(1);
        awaited.ends(waiters);
    });
}
