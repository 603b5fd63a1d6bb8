//! States that are saved as snapshots.

use annals_es::projection::{ErrorPolicy, Memory, Options, Runner};
use annals_es::{Mark, OrderedStore, Position, SnapshotPolicy};

use crate::support::{Fault, Handled, Log, append_each, each_once, parked, policy, wait};

crate::for_each_store! {
    projection_goes_on_from_its_snapshot,
    snapshot_of_another_schema_is_ignored,
    snapshot_is_saved_every_number_of_events,
    failed_event_is_undone_from_the_snapshot,
    parked_event_stays_parked_after_a_restart,
}

/// Runs a projection up to a position; returns what it has.
fn run<S: OrderedStore>(
    store: &S,
    log: &Log,
    snapshots: SnapshotPolicy,
    options: Options,
    to: u64,
) -> (Handled, Vec<u64>) {
    let memory = Memory::new(Vec::new()).snapshots(snapshots);
    let view = memory.view();
    let mut runner = Runner::new(store.clone()).batch_size(10);
    let handle = runner.add_with(log.clone(), memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(to))).expect("it follows");
    thread.stop().expect("it stops");
    assert_eq!(view.snapshot_failures(), 0);
    (view.read_blocking().clone(), parked(&handle))
}

fn projection_goes_on_from_its_snapshot<S: OrderedStore>(store: &S) {
    append_each(store, 1..=50);
    let log = Log::new("log");
    let policy = SnapshotPolicy::events(1000);
    run(store, &log, policy, Options::new(), 50);
    assert_eq!(log.calls(), 50);
    // It was saved when the projection was stopped.
    append_each(store, 51..=60);
    let (handled, _) = run(store, &log, policy, Options::new(), 60);
    assert_eq!((handled, log.calls()), (each_once(60), 60));
}

fn snapshot_of_another_schema_is_ignored<S: OrderedStore>(store: &S) {
    append_each(store, 1..=20);
    let log = Log::new("log");
    let policy = SnapshotPolicy::events(1000);
    run(store, &log, policy, Options::new(), 20);
    append_each(store, 21..=30);
    let other = Log::new("log");
    run(store, &other, policy.schema_version(2), Options::new(), 30);
    assert_eq!(other.calls(), 30);
    // A program of the former version passes over the newer snapshot and finds its own.
    append_each(store, 31..=32);
    let former = Log::new("log");
    let (handled, _) = run(store, &former, policy, Options::new(), 32);
    assert_eq!((handled, former.calls()), (each_once(32), 12));
}

fn snapshot_is_saved_every_number_of_events<S: OrderedStore>(store: &S) {
    append_each(store, 1..=100);
    run(store, &Log::new("log"), SnapshotPolicy::events(30), Options::new(), 100);
    let mut at_most = Position::MAX;
    let mut marks = Vec::new();
    while let Some(snapshot) =
        wait(store.load_snapshot("projection:log@1", Mark::Position(at_most))).expect("a look-up")
    {
        let Mark::Position(at) = snapshot.mark else { panic!("a position") };
        marks.push(at.get());
        at_most = Position::new(at.get() - 1);
    }
    // A store may remove older ones.
    assert_eq!(marks[..2], [100, 90]);
    assert!(marks.iter().all(|at| [30, 60, 90, 100].contains(at)), "{marks:?}");
}

fn failed_event_is_undone_from_the_snapshot<S: OrderedStore>(store: &S) {
    append_each(store, 1..=100);
    let log = Log::new("log").fail(95, [Fault::Panic]);
    let options = policy(ErrorPolicy::pause(), 1);
    let (handled, _) = run(store, &log, SnapshotPolicy::events(30), options, 100);
    assert_eq!(handled, each_once(100));
    // 95 calls until the failure, again 91 to 94, and then 95 to 100.
    assert_eq!(log.calls(), 95 + 4 + 6);
}

fn parked_event_stays_parked_after_a_restart<S: OrderedStore>(store: &S) {
    append_each(store, 1..=20);
    let log = Log::new("log").fail(5, [Fault::Error]);
    let options = policy(ErrorPolicy::park(), 0);
    let snapshots = SnapshotPolicy::events(8);
    let mut expected = each_once(30);
    expected.retain(|it| it.0 != 5);
    let (handled, parked) = run(store, &log, snapshots, options.clone(), 20);
    assert_eq!((handled.len(), parked), (19, vec![5]));
    append_each(store, 21..=30);
    // The failure of a later event takes the state back to the snapshot, which leaves the parked event out.
    let log = log.fail(27, [Fault::Error]);
    let retried = policy(ErrorPolicy::park(), 1);
    let (handled, parked) = run(store, &log, snapshots, retried, 30);
    assert_eq!((handled, parked), (expected, vec![5]));
}
