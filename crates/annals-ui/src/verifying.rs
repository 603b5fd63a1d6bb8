//! Verifying the store in the background, one run at a time.
//!
//! Owns the state of the run. Must never start a second one beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::verify::VerifyReport;
use annals::{Timestamp, verify};
use parking_lot::Mutex;

use crate::fault;
use crate::text;

/// The newest run.
#[derive(Debug, Default)]
pub(crate) struct Verifying {
    state: Mutex<Option<Run>>,
}

/// A run of `verify`.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) began: Timestamp,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) took: Duration,
    /// `None` while it runs.
    pub(crate) result: Option<Result<VerifyReport, String>>,
    started: Instant,
}

impl Run {
    fn new() -> Self {
        Self {
            began: text::now(),
            done_bytes: 0,
            total_bytes: 0,
            took: Duration::ZERO,
            result: None,
            started: Instant::now(),
        }
    }

    /// The share that is done, in percent.
    pub(crate) fn percent(&self) -> u64 {
        match self.result {
            Some(_) => 100,
            None => (self.done_bytes.saturating_mul(100) / self.total_bytes.max(1)).min(99),
        }
    }
}

impl Verifying {
    /// The newest run, if there was one.
    pub(crate) fn newest(&self) -> Option<Run> {
        self.state.lock().clone()
    }

    /// Starts a run on a thread for blocking work, unless one is running.
    pub(crate) fn start(self: &Arc<Self>, path: PathBuf) {
        {
            let mut state = self.state.lock();
            if state.as_ref().is_some_and(|run| run.result.is_none()) {
                return;
            }
            *state = Some(Run::new());
        }
        let (verifying, progress) = (Arc::clone(self), Arc::clone(self));
        let run = tokio::task::spawn_blocking(move || {
            verify(path, |done| {
                progress.change(|run| {
                    run.done_bytes = done.done_bytes;
                    run.total_bytes = done.total_bytes;
                });
            })
        });
        tokio::spawn(async move {
            // A run that panicked is over too: it would refuse every later one.
            let result = match run.await {
                Ok(report) => report.map_err(|error| fault::described(&error)),
                Err(_) => Err("the run failed inside the server".to_owned()),
            };
            verifying.change(|run| run.result = Some(result));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.state.lock().as_mut() {
            change(run);
            run.took = run.started.elapsed();
        }
    }
}
