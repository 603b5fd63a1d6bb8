//! Ctrl-C, SIGTERM and SIGHUP: the first one ends the command cleanly, the second one at once.
//!
//! Owns the one flag of the process. The signal handler must never do more than set it, or end the
//! process.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{self, Failure};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Handles signals from now on.
pub(crate) fn listen() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(failure::INTERRUPTED.into());
        }
    })
    .map_err(|e| Failure::Fault(format!("cannot listen for signals: {e}")))
}

/// Whether a signal requested the end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
