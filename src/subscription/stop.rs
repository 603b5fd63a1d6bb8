//! Stopping a subscription from another thread.
//!
//! Owns the mark that it is stopped, and the waiter of its consumer.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::wait_list::Waiter;

#[derive(Debug, Default)]
pub(super) struct Signal {
    pub(super) waiter: Arc<Waiter>,
    stopped: AtomicBool,
}

impl Signal {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Stops a subscription from another thread, also while it waits.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// let subscription = store.subscribe().start()?;
/// let stop = subscription.stop_handle();
/// let consumer = std::thread::spawn(move || subscription.count());
/// stop.stop();
/// consumer.join().expect("it has ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct StopHandle {
    signal: Arc<Signal>,
}

impl StopHandle {
    pub(super) fn new(signal: &Arc<Signal>) -> Self {
        Self { signal: Arc::clone(signal) }
    }

    /// Ends the subscription: a call that waits for its next message returns `None`.
    pub fn stop(&self) {
        self.signal.stopped.store(true, Ordering::SeqCst);
        self.signal.waiter.rouse();
    }
}
