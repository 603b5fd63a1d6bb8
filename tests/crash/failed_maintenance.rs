//! Background work that fails: the close names it, and no acknowledged event is lost.

use std::sync::Arc;

use annals::snapshot::Snapshot;
use annals::testing::{Crash, Fault, Keep, Operation, SimStorage};
use annals::{Error, ExpectedVersion, FailedMaintenance, Maintenance, NewEvent, Options, Store};

use super::support::{ROOT, append, open};

/// The work that the close could not do.
fn undone(closed: annals::Result<()>) -> Vec<FailedMaintenance> {
    match closed {
        Ok(()) => Vec::new(),
        Err(Error::MaintenanceFailed { failed }) => failed,
        Err(other) => panic!("{other:?}"),
    }
}

fn tasks(closed: annals::Result<()>) -> Vec<Maintenance> {
    undone(closed).into_iter().map(|it| it.task).collect()
}

/// Asserts that every event is there after a power loss, and that the opening has done the failed
/// work.
fn comes_back(sim: &SimStorage, events: u64) {
    sim.clear_faults();
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    let store = open(sim).unwrap();
    assert_eq!(store.head().get(), events);
    assert_eq!(store.read_all().into_iter().map(Result::unwrap).count() as u64, events);
    store.close().unwrap();
    let report = annals::testing::verify_on(&sim.process(), ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn maintenance_failing_until_the_close_is_named_by_it() {
    for (place, operation, expected) in [
        ("/checkpoints/", Operation::Open, Maintenance::Checkpoint),
        ("/checkpoints/", Operation::Write, Maintenance::Checkpoint),
        ("/checkpoints/", Operation::Rename, Maintenance::Checkpoint),
        ("/index/", Operation::Open, Maintenance::Index { segment: 1 }),
        ("/index/", Operation::Write, Maintenance::Index { segment: 1 }),
    ] {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 10, 2_000);
        sim.inject_at(place, Fault::FailFrom { operation, nth: 1 });
        // These fill the segment and begin another one.
        append(&store, 11, 40, 2_000);
        let failed = undone(store.close());
        let tasks: Vec<_> = failed.iter().map(|it| it.task.clone()).collect();
        assert_eq!(tasks, [expected], "{place} {operation:?}");
        assert!(matches!(failed[0].error, Error::Io { .. }), "{failed:?}");
        comes_back(&sim, 40);
    }
}

#[test]
fn segment_that_cannot_be_sealed_is_named_by_the_close() {
    let sim = SimStorage::new(2);
    let store = open(&sim).unwrap();
    append(&store, 1, 20, 2_000);
    // The seal is the first change to the first segment once appends go to the second.
    let mut number = 21;
    while store.stats().segments == 1 {
        if number == 26 {
            sim.inject_at("0001.seg", Fault::FailFrom { operation: Operation::SetLen, nth: 1 });
        }
        append(&store, number, number, 2_000);
        number += 1;
    }
    let sealed = store.stats().sealed_segments;
    let tasks = tasks(store.close());
    assert_eq!((sealed, tasks), (0, vec![Maintenance::Seal { segment: 1 }]));
    comes_back(&sim, number - 1);
}

#[test]
fn maintenance_that_succeeds_in_the_end_lets_the_close_succeed() {
    let sim = SimStorage::new(3);
    let store = open(&sim).unwrap();
    append(&store, 1, 10, 2_000);
    for place in ["/checkpoints/", "/index/"] {
        sim.inject_at(place, Fault::FailFrom { operation: Operation::Open, nth: 1 });
    }
    append(&store, 11, 40, 2_000);
    assert!(store.stats().maintenance_failures > 0);
    sim.clear_faults();
    store.close().unwrap();
    comes_back(&sim, 40);
}

#[test]
fn leftover_files_that_could_not_be_listed_are_listed_again() {
    let sim = SimStorage::new(6);
    let store = open(&sim).unwrap();
    sim.inject_at("/index", Fault::FailFrom { operation: Operation::ReadDir, nth: 1 });
    append(&store, 1, 20, 2_000);
    assert!(store.stats().maintenance_failures > 0);
    sim.clear_faults();
    append(&store, 21, 40, 2_000);
    store.close().unwrap();
    comes_back(&sim, 40);
}

#[test]
fn compaction_that_is_asked_for_makes_good_one_that_failed_in_the_background() {
    let sim = SimStorage::new(7);
    sim.inject_at(".lvl", Fault::FailFrom { operation: Operation::Open, nth: 1 });
    let options = Options::new().storage(Arc::new(sim.process()));
    let store = options.segment_size(Options::MIN_SEGMENT_SIZE).open(ROOT).unwrap();
    // Enough segments for a merge.
    append(&store, 1, 80, 9_000);
    while store.stats().maintenance_failures == 0 {
        std::thread::yield_now();
    }
    sim.clear_faults();
    assert!(store.compact().unwrap().merges > 0);
    store.close().unwrap();
    comes_back(&sim, 80);
}

fn append_with_snapshot(store: &Store, key: &str, version: u64) {
    store
        .transaction()
        .append(key, ExpectedVersion::Exact(version - 1), [NewEvent::new("T", "x")])
        .snapshot(Snapshot::new(key, version, "state"))
        .commit()
        .unwrap();
}

#[test]
fn unsaved_snapshot_is_named_by_the_close_unless_a_later_one_was_saved() {
    let sim = SimStorage::new(4);
    let store = open(&sim).unwrap();
    sim.inject_at("/snapshots/", Fault::FailFrom { operation: Operation::Open, nth: 1 });
    append_with_snapshot(&store, "a", 1);
    append_with_snapshot(&store, "b", 1);
    assert_eq!(store.stats().snapshot_failures, 2);
    sim.clear_faults();
    append_with_snapshot(&store, "b", 2);
    assert_eq!(tasks(store.close()), [Maintenance::Snapshot { key: "a".into() }]);
    let store = open(&sim).unwrap();
    assert!(store.snapshots().load("a").unwrap().is_none());
    assert!(store.snapshots().load("b").unwrap().is_some());
    store.close().unwrap();
}

#[test]
fn close_error_states_that_events_are_durable_and_which_work_failed() {
    let sim = SimStorage::new(5);
    let store = open(&sim).unwrap();
    append(&store, 1, 1, 100);
    sim.inject_at("/checkpoints/", Fault::FailFrom { operation: Operation::Open, nth: 1 });
    let error = store.close().unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("everything appended is durable"), "{text}");
    assert!(text.contains("write a checkpoint: cannot"), "{text}");
    comes_back(&sim, 1);
}
