//! Ctrl-C, SIGTERM and SIGHUP: the first one ends the command cleanly, the second one at once.
//!
//! Owns the one flag of the process. The signal handler must never do more than set it, or end the
//! process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(any(feature = "backup", feature = "top"))]
use std::time::{Duration, Instant};

use crate::failure::{self, Failure};

/// The longest wait between two looks for a signal.
#[cfg(any(feature = "backup", feature = "top"))]
const SLICE: Duration = Duration::from_millis(100);

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// Whether a pager shows the output. It receives the same signals, and the process has to outlive it.
static IS_PAGED: AtomicBool = AtomicBool::new(false);
static BEFORE_EXIT: OnceLock<fn()> = OnceLock::new();

/// Handles signals from now on.
pub(crate) fn listen() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) && !IS_PAGED.load(Ordering::Relaxed) {
            if let Some(undo) = BEFORE_EXIT.get() {
                undo();
            }
            std::process::exit(failure::INTERRUPTED.into());
        }
    })
    .map_err(|e| Failure::Fault(format!("cannot listen for signals: {e}")))
}

/// A second signal no longer ends the process: the pager decides when it is closed.
#[cfg(unix)]
pub(crate) fn leave_to_pager() {
    IS_PAGED.store(true, Ordering::Relaxed);
}

/// Sets what is done before a second signal ends the process. Only the first function that is given counts.
#[cfg(feature = "top")]
pub(crate) fn before_exit(undo: fn()) {
    let _given_before = BEFORE_EXIT.set(undo);
}

/// Whether a signal requested the end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Waits for this time, or until a signal requests the end.
#[cfg(any(feature = "backup", feature = "top"))]
pub(crate) fn pause(time: Duration) {
    let started = Instant::now();
    while !requested() && started.elapsed() < time {
        std::thread::sleep(SLICE.min(time.saturating_sub(started.elapsed())));
    }
}
