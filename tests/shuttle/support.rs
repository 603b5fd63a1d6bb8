//! Helpers of these tests: the schedulers, a small store, and checks of what is read.

use std::sync::Arc;
use std::time::Duration;

use annals::testing::{Crash, Keep, SimStorage, Storage};
use annals::{Appended, Error, ExpectedVersion, NewEvent, Options, Position, Result, Store};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

pub(crate) use crate::shared::ROOT;
use crate::shared::{check_prefix as check, small_segments};

/// A wait without a timeout: another thread has to end it.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// Runs a scenario under many schedules: half of them random, half with few, well-placed switches.
/// `ANNALS_SCHEDULES` and `ANNALS_SEED` set their number and seed; a failure prints a schedule that
/// `ANNALS_REPLAY` repeats.
pub(crate) fn explore(scenario: fn()) {
    if let Ok(schedule) = std::env::var("ANNALS_REPLAY") {
        let scheduler = shuttle::scheduler::ReplayScheduler::new_from_encoded(&schedule);
        return run(scheduler, scenario);
    }
    let number = |name, default: u64| {
        let given = std::env::var(name).ok();
        given.map_or(default, |text| text.parse().expect("a number"))
    };
    let schedules = usize::try_from(number("ANNALS_SCHEDULES", 60)).unwrap();
    let seed = number("ANNALS_SEED", 1);
    run(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2)), scenario);
    run(PctScheduler::new_from_seed(seed, 3, schedules / 2), scenario);
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    // It warns that every ordering is treated as the strongest one; loom checks the others.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(scenario);
}

/// Options with the store's own threads and the smallest segments.
pub(crate) fn options(storage: impl Storage) -> Options {
    small_segments().storage(Arc::new(storage))
}

pub(crate) fn open(sim: &SimStorage) -> Store {
    options(sim.process()).open(ROOT).unwrap()
}

/// The store on the disk after a power loss that keeps nothing unsynced, opened without threads.
pub(crate) fn after_power_loss(sim: &SimStorage) -> Store {
    let fork = sim.fork();
    fork.crash(Crash::new(1).keep(Keep::Nothing));
    options(fork.process()).background(false).open(ROOT).unwrap()
}

pub(crate) fn event(size: usize) -> NewEvent {
    NewEvent::new("Happened", vec![7; size])
}

/// A commit of two events, so that half of it could be seen.
pub(crate) fn append(store: &Store, stream: &str, size: usize) -> Result<Appended> {
    store.append(stream, ExpectedVersion::Any, [event(size), event(size)])
}

/// Asserts that what a read sees is whole, without gaps and what [`append`] wrote. Returns its head.
pub(crate) fn check_prefix(store: &Store, include_unsynced: bool) -> Result<u64> {
    check(store, include_unsynced, |event| {
        assert!(event.data().iter().all(|&byte| byte == 7), "{event:?}");
    })
}

/// `None` for an error that a close causes; panics for any other.
pub(crate) fn unless_closed<T>(done: Result<T>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(Error::Closed) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Whether the events of a commit are there; asserts that all or none are.
pub(crate) fn is_there(store: &Store, stream: &str) -> bool {
    match store.stream_head(stream).unwrap() {
        None => false,
        Some(head) => {
            assert_eq!(head.version, 2, "half of {stream}");
            assert!(head.last_position > Position::START);
            true
        }
    }
}
