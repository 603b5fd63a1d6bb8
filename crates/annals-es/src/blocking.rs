//! Calls for programs without an executor.
//!
//! Owns the waiting for a future. Must never start a thread.

use std::cell::RefCell;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_core::Stream;

/// Runs a future in the calling thread, which sleeps while the future waits.
///
/// It may be called in a future that another `block_on` runs, and must not be called in a task of an executor:
/// it would block the executor's thread.
///
/// ```
/// use annals_es::blocking::block_on;
///
/// assert_eq!(block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    match run(future, None) {
        Some(output) => output,
        // Without a deadline, the loop ends with an output only.
        None => unreachable!("a wait without a deadline has ended without an output"),
    }
}

/// Runs a future like [`block_on`], for a limited time. `None`: the time has passed, and the future was dropped.
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::blocking::block_on_timeout;
///
/// let never = std::future::pending::<()>();
/// assert_eq!(block_on_timeout(never, Duration::from_millis(1)), None);
/// ```
pub fn block_on_timeout<F: IntoFuture>(future: F, timeout: Duration) -> Option<F::Output> {
    run(future, Instant::now().checked_add(timeout))
}

/// The items of a stream as an iterator that blocks.
///
/// ```
/// use annals_es::{EventStore, MemoryStore, ReadStream, blocking};
///
/// let store = MemoryStore::new();
/// let events = blocking::iter(store.read_stream(ReadStream::of("account-1")));
/// assert_eq!(events.count(), 0);
/// ```
pub fn iter<S: Stream + Unpin>(stream: S) -> Iter<S> {
    Iter { stream }
}

/// An iterator over a stream; see [`iter`].
#[derive(Debug)]
pub struct Iter<S> {
    stream: S,
}

impl<S: Stream + Unpin> Iterator for Iter<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        block_on(crate::store::next(&mut self.stream))
    }
}

/// Wakes a thread. A wake-up between a poll and the sleep that follows it is not lost.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

thread_local! {
    /// The parker of the thread, while no wait uses it.
    static SPARE: RefCell<Option<(Arc<Parker>, Waker)>> = const { RefCell::new(None) };
}

fn run<F: IntoFuture>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let (parker, waker) = SPARE.with(|spare| spare.borrow_mut().take()).unwrap_or_else(|| {
        let woken = AtomicBool::new(false);
        let parker = Arc::new(Parker { thread: thread::current(), woken });
        let waker = Waker::from(Arc::clone(&parker));
        (parker, waker)
    });
    let mut future = pin!(future.into_future());
    let mut context = Context::from_waker(&waker);
    let output = loop {
        parker.woken.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            break Some(output);
        }
        if !sleep(&parker, deadline) {
            break None;
        }
    };
    // A late wake-up of this future makes a later wait poll once more than necessary.
    SPARE.with(|spare| *spare.borrow_mut() = Some((parker, waker)));
    output
}

/// Sleeps until the parker is woken; false if the deadline passes first.
fn sleep(parker: &Parker, deadline: Option<Instant>) -> bool {
    while !parker.woken.load(Ordering::Acquire) {
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return false,
            Some(left) => thread::park_timeout(left),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc;

    use super::*;

    /// A future that another thread completes.
    fn completed_elsewhere(after: Duration) -> impl Future<Output = u32> {
        let (sender, receiver) = mpsc::channel();
        let mut spawned = false;
        poll_fn(move |context| {
            if !std::mem::replace(&mut spawned, true) {
                let (sender, waker) = (sender.clone(), context.waker().clone());
                thread::spawn(move || {
                    thread::sleep(after);
                    let _ = sender.send(7);
                    waker.wake();
                });
            }
            receiver.try_recv().map_or(Poll::Pending, Poll::Ready)
        })
    }

    #[test]
    fn block_on_returns_what_another_thread_completes() {
        for _ in 0..50 {
            assert_eq!(block_on(completed_elsewhere(Duration::from_micros(50))), 7);
        }
    }

    #[test]
    fn block_on_within_a_future_of_block_on_returns() {
        let nested = async {
            let inner = block_on(completed_elsewhere(Duration::from_micros(10)));
            inner + completed_elsewhere(Duration::from_micros(10)).await
        };
        assert_eq!(block_on(nested), 14);
    }

    #[test]
    fn timeout_drops_a_future_that_is_not_ready() {
        let never = async { block_on_timeout(std::future::pending::<()>(), Duration::ZERO) };
        assert_eq!(block_on(never), None);
        let soon = completed_elsewhere(Duration::from_micros(10));
        assert_eq!(block_on_timeout(soon, Duration::from_secs(60)), Some(7));
    }
}
