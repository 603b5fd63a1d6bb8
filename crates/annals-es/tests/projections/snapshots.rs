//! States that are saved as snapshots.

use annals_es::projection::{ErrorPolicy, Memory, Options, Runner};
use annals_es::{Mark, OrderedStore, Position, SnapshotPolicy, TimelineError, Version};

use crate::support::{AsyncLog, Fault, Handled, Log, append_each, each_once, parked, policy, wait};

crate::for_each_store! {
    projection_goes_on_from_its_snapshot,
    snapshot_of_another_schema_is_ignored,
    snapshot_is_saved_every_number_of_events,
    failed_event_is_undone_from_the_snapshot,
    parked_event_stays_parked_after_a_restart,
    read_model_of_the_past_begins_with_a_snapshot,
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

fn read_model_of_the_past_begins_with_a_snapshot<S: OrderedStore>(store: &S) {
    append_each(store, 1..=40);
    let log = Log::new("log").fail(7, [Fault::Error]);
    let snapshots = SnapshotPolicy::events(20);
    let options = policy(ErrorPolicy::park(), 0);
    let (now, parked) = run(store, &log, snapshots, options, 40);
    assert_eq!((now.len(), parked), (39, vec![7]));
    let memory = Memory::new(Vec::new()).snapshots(snapshots);
    let begin = |position: u64| {
        let at_most = Mark::Position(Position::new(position));
        let saved = wait(store.load_snapshot("projection:log@1", at_most)).expect("a read");
        saved.map_or(0, |saved| match saved.mark {
            Mark::Position(position) => position.get(),
            Mark::Version(_) => panic!("a read model has no version"),
        })
    };
    assert!(begin(5) == 0 && begin(35) > 7 && begin(40) > begin(35), "snapshots are of no use");
    let at = |position: u64, expected_calls: u64| {
        let before = log.calls();
        let past = wait(memory.load_at(store, log.clone(), Position::new(position)));
        let past = past.expect("it can be loaded");
        assert_eq!(past.position, Position::new(position.min(40)));
        assert_eq!(log.calls() - before, expected_calls, "at position {position}");
        past.state
    };
    // From the first event: no snapshot is at or before this position.
    assert_eq!(at(5, 5), each_once(5));
    // The snapshots have parked event 7.
    let without = |last| each_once(last).into_iter().filter(|it| it.0 != 7).collect::<Handled>();
    assert_eq!(at(35, 35 - begin(35)), without(35));
    assert_eq!(at(u64::MAX, 0), without(40));
    let times = wait(memory.load_at(store, log.clone(), annals_es::Timestamp::default()));
    assert_eq!(times.expect("it can be loaded").state, Handled::new());

    let failing = log.clone().fail(33, [Fault::Panic]);
    let failed = wait(memory.load_at(store, failing, Position::new(35))).expect_err("it panics");
    assert!(
        matches!(&failed, TimelineError::Projection { position, .. } if position.get() == 33),
        "{failed}"
    );
    let version = wait(memory.load_at(store, log.clone(), Version::new(1)));
    assert!(matches!(version, Err(TimelineError::NoSingleStream)), "{version:?}");
    let asynchronous = wait(memory.load_at_async(store, AsyncLog(log.clone()), Position::new(35)));
    assert_eq!(asynchronous.expect("it can be loaded").state, without(35));
}
