//! What these tests share: the schedulers, a small store, and what must hold of what is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use annals::testing::{Crash, Keep, SimStorage, Storage};
use annals::{Appended, Error, ExpectedVersion, NewEvent, Options, Position, Result, Store};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

pub(crate) const ROOT: &str = "/store";
/// No end to a wait: somebody has to wake it.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

/// Runs a scenario under many schedules: half of them random, half with few, well-placed switches.
/// `ANNALS_SCHEDULES` and `ANNALS_SEED` say how many and which; a failure prints a schedule that
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
    // It warns that it takes every ordering for the strongest one: loom's part.
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(scenario);
}

/// With the store's own threads, and the smallest segments.
pub(crate) fn options(storage: impl Storage) -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE).storage(Arc::new(storage))
}

pub(crate) fn open(sim: &SimStorage) -> Store {
    options(sim.process()).open(ROOT).unwrap()
}

/// What the disk holds if the power goes now and nothing survives that was not synced. The store
/// that is opened there has no threads.
pub(crate) fn after_power_loss(sim: &SimStorage) -> Store {
    let fork = sim.fork();
    fork.crash(Crash::new(1).keep(Keep::Nothing));
    options(fork.process()).background(false).open(ROOT).unwrap()
}

pub(crate) fn event(size: usize) -> NewEvent {
    NewEvent::new("Happened", vec![7; size])
}

/// A commit of two events, so that there is such a thing as half of it.
pub(crate) fn append(store: &Store, stream: &str, size: usize) -> Result<Appended> {
    store.append(stream, ExpectedVersion::Any, [event(size), event(size)])
}

/// Reads up to the pinned head: no gaps, no half commit, no end before the head.
pub(crate) fn check_prefix(store: &Store, include_unsynced: bool) -> Result<u64> {
    let read = store.read_all();
    let read = if include_unsynced { read.include_unsynced() } else { read };
    let events = read.start()?;
    let head = events.head().get();
    let mut versions: HashMap<String, u64> = HashMap::new();
    let (mut position, mut whole) = (0, true);
    for event in events {
        let event = event?;
        position += 1;
        assert_eq!(event.position().get(), position);
        let version = versions.entry(event.stream().into()).or_default();
        *version += 1;
        assert_eq!(event.version(), *version, "of {}", event.stream());
        assert!(event.data().iter().all(|&byte| byte == 7));
        whole = event.is_last_in_commit();
    }
    assert_eq!(position, head, "an end without an error is the end");
    assert!(whole, "half a commit is visible, up to {head}");
    Ok(head)
}

/// A failure that a close explains, and nothing else.
pub(crate) fn unless_closed<T>(done: Result<T>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(Error::Closed) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Whether the events of a commit are there, all or none.
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
