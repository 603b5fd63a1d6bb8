//! A shipper on a thread of its own.
//!
//! Owns the thread and what it shows. Must never end it for a storage that is out of reach.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use annals::Position;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Shipper;
use crate::error::{Error, Result};

/// The longest wait after failures in a row.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The time between two looks at how much there is to upload.
const LOOK: Duration = Duration::from_millis(100);

/// How far a running shipper is.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShipStatus {
    /// The last position in the backup.
    pub position: Position,
    /// Events of the store that are not in the backup.
    pub lag: u64,
    /// How long ago everything was in the backup.
    pub lag_time: Duration,
    /// Bytes of the log that were read since the start.
    pub log_bytes: u64,
    /// Bytes of objects that were written since the start, without manifests.
    pub sent_bytes: u64,
    /// Requests that wrote an object since the start.
    pub puts: u64,
    /// The error of the last attempt, if it failed.
    pub last_error: Option<String>,
    /// The shipping has ended: [`RunningShipper::stop`] returns the reason.
    pub ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung when the thread should stop.
    bell: Condvar,
}

#[derive(Debug)]
struct State {
    stop: bool,
    status: ShipStatus,
    up_to_date: Instant,
}

/// A [`Shipper`] that works until it is stopped or dropped.
#[derive(Debug)]
pub struct RunningShipper {
    shared: Arc<Shared>,
    store: annals::Store,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Shipper {
    /// Ships on a thread of its own. A storage that is out of reach is tried again, with growing waits of up to 30
    /// seconds; other errors end it.
    ///
    /// # Errors
    ///
    /// [`annals::Error::Io`] if no thread can be started.
    pub fn start(self) -> Result<RunningShipper> {
        let status = ShipStatus { position: self.position(), ..ShipStatus::default() };
        let state = State { stop: false, status, up_to_date: Instant::now() };
        let shared = Arc::new(Shared { state: Mutex::new(state), bell: Condvar::new() });
        let (store, of_thread) = (self.store.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("annals-shipper".into())
            .spawn(move || of_thread.run(self))
            .map_err(|source| annals::Error::Io {
                operation: "start a thread for",
                path: "annals-shipper".into(),
                source,
            })?;
        Ok(RunningShipper { shared, store, thread: Some(thread) })
    }
}

impl Shared {
    fn run(&self, mut shipper: Shipper) -> Result<()> {
        let mut failures = 0_u32;
        loop {
            let looked = Instant::now();
            // The last look comes after the stop, so that everything until then is shipped.
            let is_last = self.state.lock().stop;
            let had = shipper.store.stats().log_bytes;
            let looked_at = shipper.ship();
            let mut state = self.state.lock();
            let status = &mut state.status;
            status.last_error = looked_at.as_ref().err().map(ToString::to_string);
            match looked_at {
                Ok(done) => {
                    failures = 0;
                    status.position = done.position;
                    status.log_bytes += done.log_bytes;
                    status.sent_bytes += done.sent_bytes;
                    status.puts += done.puts;
                    state.up_to_date = looked;
                }
                Err(error) if error.is_transient() && !is_last => failures += 1,
                Err(error) => {
                    status.ended = true;
                    return Err(error);
                }
            }
            if is_last {
                state.status.ended = true;
                return Ok(());
            }
            let wait = shipper.options.interval.saturating_mul(1 << failures.min(10));
            let wait = if failures == 0 { wait } else { wait.min(LONGEST_WAIT) };
            let until = Instant::now() + wait;
            let bytes = shipper.options.bytes.filter(|_| failures == 0);
            self.wait(&mut state, until, || {
                bytes.is_some_and(|bytes| {
                    shipper.store.stats().log_bytes >= had.saturating_add(bytes)
                })
            });
        }
    }

    /// Waits for a time, a stop, or until there is enough to upload.
    fn wait(
        &self,
        state: &mut MutexGuard<'_, State>,
        until: Instant,
        is_enough: impl Fn() -> bool,
    ) {
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || MutexGuard::unlocked(state, &is_enough) {
                return;
            }
            self.bell.wait_for(state, left.min(LOOK));
        }
    }
}

impl RunningShipper {
    /// How far it is.
    pub fn status(&self) -> ShipStatus {
        let state = self.shared.state.lock();
        let mut status = state.status.clone();
        let head = self.store.head();
        status.lag = head.get().saturating_sub(status.position.get());
        if status.lag > 0 || status.last_error.is_some() {
            status.lag_time = state.up_to_date.elapsed();
        }
        status
    }

    /// Ships what is left, and ends. Blocks until then.
    ///
    /// # Errors
    ///
    /// The error that ended the shipping, or that of the last attempt.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.state.lock().stop = true;
        self.shared.bell.notify_all();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(Error::Store(annals::Error::Closed)),
        }
    }
}

impl Drop for RunningShipper {
    fn drop(&mut self) {
        // Whoever needs the result calls `stop`.
        let _ = self.end();
    }
}
