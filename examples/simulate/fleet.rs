//! Runs lives on many threads. Which thread runs which life makes no difference to any of them.

use std::num::NonZero;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use annals::testing::simulation::{Failure, Kind, Life, Report};

use crate::show::Progress;

/// Failures that are kept to be shrunk and shown; more of them are only counted.
const SHOWN: usize = 5;

/// What to run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The first seed.
    pub(crate) first: u64,
    /// The maximum number of seeds.
    pub(crate) seeds: u64,
    /// For so long at most.
    pub(crate) time: Option<Duration>,
    /// Whether the first failure is the end.
    pub(crate) until_failure: bool,
    /// The number of threads.
    pub(crate) threads: usize,
    /// Each seed in each of these.
    pub(crate) kinds: Vec<Kind>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// What happened, failures included.
    pub(crate) report: Report,
    /// Lives, whole or not.
    pub(crate) lives: u64,
    /// Seeds that were run in full.
    pub(crate) seeds: u64,
    /// Lives that failed.
    pub(crate) failed: u64,
    /// The first of them, by seed.
    pub(crate) shown: Vec<Failure>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The cores of this machine.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs a plan.
pub(crate) fn run(plan: &Plan) -> Fleet {
    let started = Instant::now();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let all = Mutex::new(Fleet::default());
    let progress = Progress::new(plan);
    let in_time = || plan.time.is_none_or(|time| started.elapsed() < time);
    without_noise(|| {
        thread::scope(|scope| {
            for _ in 0..plan.threads.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && in_time() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(seed) = plan.first.checked_add(index) else { break };
                        if index >= plan.seeds {
                            break;
                        }
                        let lived: Vec<_> =
                            plan.kinds.iter().map(|&kind| Life::new(kind, seed).run()).collect();
                        let mut fleet = all.lock().unwrap_or_else(PoisonError::into_inner);
                        fleet.seeds += 1;
                        for lived in lived {
                            fleet.take_in(lived);
                        }
                        if plan.until_failure && fleet.failed > 0 {
                            stop.store(true, Ordering::Relaxed);
                        }
                        progress.show(&fleet, started.elapsed());
                    }
                });
            }
        });
    });
    let mut fleet = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    fleet.took = started.elapsed();
    fleet
}

impl Fleet {
    fn take_in(&mut self, lived: Result<Report, Failure>) {
        self.lives += 1;
        match lived {
            Ok(report) => self.report.merge(&report),
            Err(failure) => {
                self.report.merge(&failure.report);
                self.failed += 1;
                self.shown.push(failure);
                self.shown.sort_by_key(|failure| failure.life.seed);
                self.shown.truncate(SHOWN);
            }
        }
    }
}

/// Panics are failures of lives here, and reported as such: none of them prints by itself.
pub(crate) fn without_noise<T>(run: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let done = run();
    panic::set_hook(hook);
    done
}
