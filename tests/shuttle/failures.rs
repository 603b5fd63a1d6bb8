//! Failed writes and syncs while other commits wait for them.

use annals::testing::{Fault, Operation, SimStorage};
use annals::{Error, Position, Store};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;

use super::support::*;

/// The result of an append that met a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    Refused,
    Unknown,
}

pub(crate) fn told<T>(done: annals::Result<T>) -> Told {
    match done {
        Ok(_) => Told::Done,
        Err(Error::WriterPoisoned { .. } | Error::DiskFull { .. } | Error::Closed) => Told::Refused,
        Err(Error::OutcomeUnknown { .. }) => Told::Unknown,
        // A file could not be created, before anything was written.
        Err(Error::Io { .. }) => Told::Refused,
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) fn appender(
    store: &Store,
    name: &'static str,
    size: usize,
) -> thread::JoinHandle<Vec<(String, Told)>> {
    let store = store.clone();
    thread::spawn(move || {
        let streams = (0..3).map(|round| format!("{name}-{round}"));
        streams.map(|stream| (stream.clone(), told(append(&store, &stream, size)))).collect()
    })
}

/// Acknowledged commits are stored and refused ones are not, after a power loss as well.
pub(crate) fn check_outcomes(store: &Store, outcomes: &[(String, Told)]) {
    check_prefix(store, false).unwrap();
    for (stream, told) in outcomes {
        let there = is_there(store, stream);
        match told {
            Told::Done => assert!(there, "{stream} was acknowledged and is lost"),
            Told::Refused => assert!(!there, "{stream} was refused and is there"),
            Told::Unknown => {}
        }
    }
}

fn with_fault(fault: fn(u64) -> Fault, size: usize) {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    append(&store, "first", 10).unwrap();
    sim.inject_at("log", fault(thread_rng().gen_range(1..6)));
    let appenders = ["a", "b", "c"].map(|name| appender(&store, name, size));
    let waiter = {
        let store = store.clone();
        thread::spawn(move || {
            // The position may never be reached: then the close ends the wait.
            let _ = unless_closed(store.wait_for(Position::new(8), FOR_EVER));
        })
    };
    let outcomes: Vec<_> = appenders.into_iter().flat_map(|it| it.join().unwrap()).collect();
    let seen = check_prefix(&store, false).unwrap();
    let _ = store.close();
    waiter.join().unwrap();
    let store = after_power_loss(&sim);
    assert!(store.head().get() >= seen, "a reader saw {seen}");
    assert!(is_there(&store, "first"));
    check_outcomes(&store, &outcomes);
}

#[test]
fn failed_sync_ends_every_waiting_commit() {
    explore(|| with_fault(|nth| Fault::SyncDropsPages { nth }, 10));
}

#[test]
fn failed_write_ends_every_waiting_commit() {
    explore(|| with_fault(|nth| Fault::Fail { operation: Operation::Write, nth }, 10));
}

#[test]
fn failed_sync_during_a_rollover_ends_every_waiting_commit() {
    explore(|| with_fault(|nth| Fault::SyncDropsPages { nth }, 7_500));
}

#[test]
fn failed_creation_of_a_segment_ends_every_waiting_commit() {
    explore(|| with_fault(|nth| Fault::Fail { operation: Operation::Allocate, nth }, 7_500));
}
