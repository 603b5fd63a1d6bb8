//! Read models in SQLite: each event once, whatever happens in between.

#![allow(missing_docs)]
#![allow(clippy::doc_markdown, clippy::unnecessary_literal_bound, reason = "names in tests")]

mod support;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use annals_es::projection::{
    ErrorPolicy, FailureCause, Handle, Options, ProjectionId, Runner, RunnerThread, State,
    TargetError, WaitError,
};
use annals_es::{AnnalsStore, MemoryStore, OrderedStore, Position};
use annals_es_sqlite::{Sqlite, active_version, position, remove, rusqlite::Connection};
use support::{
    Fault, Log, Waiting, annals_store, append, append_each, copy_store, database, each_once, open,
    read, wait,
};

fn start<S: OrderedStore>(
    store: &S,
    log: &Log,
    path: &std::path::Path,
    options: Options,
) -> (Handle, RunnerThread) {
    let mut runner = Runner::new(store.clone()).batch_size(7);
    let target = Sqlite::open(path).expect("a database");
    let handle = runner.add_with(log.clone(), target, options).expect("it fits");
    (handle, runner.spawn_thread().expect("a thread"))
}

fn quick(policy: ErrorPolicy, retries: u32) -> Options {
    let (first, longest) = (Duration::from_micros(10), Duration::from_millis(1));
    Options::new().on_error(policy.retries(retries).backoff(first, longest))
}

#[test]
fn events_are_handled_once_over_restarts() {
    let ((store, _store), (path, _dir)) = (annals_store(), database());
    let mut last = 0;
    for round in 1..=4 {
        append_each(&store, last + 1..=last + 10);
        last += 10;
        let (handle, thread) = start(&store, &Log::new(1), &path, Options::new());
        wait(handle.wait_for(Position::new(last))).expect("it follows");
        append_each(&store, [last + 1]);
        last += 1;
        wait(handle.wait_for(Position::new(last))).expect("it follows");
        thread.stop().expect("it stops");
        assert_eq!(read(&path, 1), each_once(last), "round {round}");
    }
    let connection = Connection::open(&path).expect("a database");
    let id = ProjectionId::new("log", 1);
    assert_eq!(position(&connection, &id).expect("a look-up"), Some(Position::new(last)));
    assert_eq!(active_version(&connection, "log").expect("a look-up"), Some(1));
}

/// Ends the program at each point at which the runner waits, also within a transaction: between an event and the
/// commit, between the commit and the report of the progress.
fn crash_at_every_point<S: OrderedStore>(store: &S, last: u64) {
    let (path, _dir) = database();
    let mut lives = 0;
    for polls in (1..).step_by(3) {
        let mut runner = Runner::new(store.clone()).batch_size(3);
        let target = Sqlite::open(&path).expect("a database");
        let log = Waiting(Log::new(1));
        let handle = runner.add_async(log, target).expect("it fits");
        let mut run = pin!(runner.run());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls % 23 {
            assert!(matches!(run.as_mut().poll(&mut context), Poll::Pending));
            // The engine reads in a thread of its own.
            std::thread::yield_now();
        }
        lives += 1;
        let done = handle.status().position;
        // What the handle shows is committed, and so is what was committed before it was shown.
        let rows = read(&path, 1);
        assert!(rows.len() as u64 >= done.get(), "life {lives}: {done} of {rows:?}");
        assert_eq!(rows, each_once(rows.len() as u64), "life {lives}");
        if done.get() == last {
            break;
        }
        assert!(lives < 100_000, "it gets nowhere");
    }
    assert!(lives > 3, "it was never interrupted");
    assert_eq!(read(&path, 1), each_once(last));
}

#[test]
fn crash_at_any_point_loses_and_repeats_nothing() {
    let store = MemoryStore::new();
    append_each(&store, 1..=60);
    crash_at_every_point(&store, 60);

    let (store, _dir) = annals_store();
    append_each(&store, 1..=60);
    crash_at_every_point(&store, 60);
}

#[test]
fn readers_never_see_rows_without_their_position() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=1000);
    let (handle, thread) = start(&store, &Log::new(1), &path, Options::new());
    wait(handle.wait_for(Position::new(7))).expect("it begins");
    let reader = Connection::open(&path).expect("a database");
    let both = "SELECT (SELECT count(*) FROM log_v1), position FROM annals_projections";
    let mut seen = (0_u64, 0_u64);
    while seen.1 < 1000 {
        seen = reader.query_row(both, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("both");
        assert_eq!(seen.0, seen.1);
    }
    thread.stop().expect("it stops");
}

#[test]
fn changes_of_a_failed_event_are_undone() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=20);
    let log = Log::new(1).fail(5, [Fault::Error, Fault::Panic]).fail(6, [Fault::Panic]);
    let log = log.fail(20, [Fault::End("ROLLBACK")]);
    let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::pause(), 2));
    wait(handle.wait_for(Position::new(19))).expect("the last retry succeeds");
    let waited = wait(handle.wait_for(Position::new(20)));
    assert!(waited.is_ok(), "{waited:?}");
    assert_eq!(read(&path, 1), each_once(20));
    thread.stop().expect("it stops");
}

#[test]
fn handler_that_ends_the_transaction_is_refused() {
    for ends in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "END"] {
        let (store, (path, _dir)) = (MemoryStore::new(), database());
        append_each(&store, 1..=20);
        // An event in the middle of a transaction, and the last one of another.
        let log = Log::new(1).fail(5, [Fault::End(ends)]).fail(14, [Fault::End(ends)]);
        let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::pause(), 0));
        for at in [5, 14] {
            let waited = wait(handle.wait_for(Position::new(20)));
            let Err(WaitError::Paused { error: Some(error), .. }) = waited else {
                panic!("it pauses, found {waited:?}")
            };
            assert_eq!(error.event.as_ref().map(|it| it.position.get()), Some(at), "{error}");
            assert!(error.to_string().contains("not authorized"), "{error}");
            assert_eq!(read(&path, 1), each_once(at - 1), "{ends}");
            wait(handle.resume());
        }
        wait(handle.wait_for(Position::new(20))).expect("it goes on");
        assert_eq!(read(&path, 1), each_once(20), "{ends}");
        thread.stop().expect("it stops");
    }
}

#[test]
fn rollback_that_a_handler_ignores_commits_nothing() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=20);
    let log = Log::new(1).fail(5, [Fault::IgnoreRollback]).fail(14, [Fault::IgnoreRollback]);
    let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::pause(), 0));
    for _ in 0..2 {
        let waited = wait(handle.wait_for(Position::new(20)));
        assert!(matches!(waited, Err(WaitError::Paused { .. })), "{waited:?}");
        assert_eq!(read(&path, 1), each_once(handle.status().position.get()));
        wait(handle.resume());
    }
    wait(handle.wait_for(Position::new(20))).expect("it goes on");
    assert_eq!(read(&path, 1), each_once(20));
    thread.stop().expect("it stops");
}

#[test]
fn parked_events_outlive_the_program() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=10);
    let log = Log::new(1).fail(3, [Fault::Error]).fail(8, [Fault::Panic]);
    let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::park(), 0));
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    let before = handle.parked();
    thread.stop().expect("it stops");

    let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::park(), 0));
    wait(handle.wait_until_live()).expect("it catches up");
    assert_eq!(handle.parked(), before);
    let positions: Vec<_> = before.iter().map(|it| it.position.get()).collect();
    assert_eq!(
        (positions, before[0].stream.as_str(), before[0].attempts),
        (vec![3, 8], "log-1", 1)
    );
    wait(handle.replay_parked(Position::new(8))).expect("it succeeds now");
    wait(handle.discard_parked(Position::new(3))).expect("it is parked");
    thread.stop().expect("it stops");

    let (handle, thread) = start(&store, &log, &path, Options::new());
    wait(handle.wait_until_live()).expect("it catches up");
    assert!(handle.parked().is_empty());
    let mut rows = read(&path, 1);
    rows.sort_unstable();
    let mut expected = each_once(10);
    expected.retain(|it| it.0 != 3);
    assert_eq!(rows, expected);
    thread.stop().expect("it stops");
}

#[test]
fn of_two_runners_of_a_projection_one_fails() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=10);
    let mut runners = Vec::new();
    for _ in 0..2 {
        let (handle, thread) = start(&store, &Log::new(1), &path, Options::new());
        wait(handle.wait_for(Position::new(10))).expect("it catches up");
        runners.push((handle, thread));
    }
    append_each(&store, [11]);
    let results: Vec<_> =
        runners.iter().map(|(handle, _)| wait(handle.wait_for(Position::new(11)))).collect();
    let failed = results.iter().filter_map(|it| match it {
        Err(WaitError::Failed(error)) => Some(&error.cause),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(matches!(failed[..], [FailureCause::Target(TargetError::Moved { .. })]), "{results:?}");
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1);
    assert_eq!(read(&path, 1), each_once(11));
    for (_, thread) in runners {
        thread.stop().expect("it stops");
    }
}

/// A store with ten events of which the database has all, restored to a state of five, and five others.
fn restored() -> (AnnalsStore, Vec<tempfile::TempDir>, std::path::PathBuf) {
    let (store, dir) = annals_store();
    let (path, database) = database();
    append_each(&store, 1..=5);
    let backup = tempfile::tempdir().expect("a directory");
    store.engine().clone().close().expect("it closes");
    copy_store(&dir.path().join("store"), &backup.path().join("store"));
    let store = open(&dir.path().join("store"));
    append_each(&store, 6..=10);
    let (handle, thread) = start(&store, &Log::new(1), &path, Options::new());
    wait(handle.wait_for(Position::new(10))).expect("it follows");
    thread.stop().expect("it stops");
    assert_eq!(read(&path, 1), each_once(10));
    let restored = open(&backup.path().join("store"));
    (restored, vec![dir, database, backup], path)
}

#[test]
fn read_model_ahead_of_a_restored_store_is_found_out() {
    let (store, _dirs, path) = restored();
    let failed = |expected_head: &str| {
        let (handle, mut thread) = start(&store, &Log::new(1), &path, Options::new());
        let waited = wait(handle.wait_until_live());
        let Err(WaitError::Failed(error)) = waited else { panic!("it fails, found {waited:?}") };
        assert!(
            matches!(&error.cause, FailureCause::Target(TargetError::OtherHistory(_))),
            "{expected_head}: {error}"
        );
        assert!(error.to_string().contains("rebuild_if_restored"), "{error}");
        assert_eq!(handle.status().state, State::Failed);
        thread.join().expect("nothing is left to run");
    };
    failed("the store is shorter");
    // Other events took the places of those that are lost.
    append_each(&store, [60, 70, 80, 90, 100, 110]);
    failed("the store is longer");
    assert_eq!(read(&path, 1), each_once(10), "the read model is left as it was");
}

#[test]
fn read_model_of_a_restored_store_is_rebuilt_by_choice() {
    let (store, _dirs, path) = restored();
    append_each(&store, [60, 70]);
    let options = || quick(ErrorPolicy::pause(), 0).rebuild_if_restored();

    let without_clear = Log { clears: false, ..Log::new(1) };
    let (handle, thread) = start(&store, &without_clear, &path, options());
    let waited = wait(handle.wait_until_live());
    let Err(WaitError::Failed(error)) = waited else { panic!("it fails, found {waited:?}") };
    assert!(matches!(error.cause, FailureCause::Target(TargetError::NotCleared)), "{error}");
    assert_eq!(read(&path, 1), each_once(10));
    thread.stop().expect("it stops");

    let (handle, thread) = start(&store, &Log::new(1), &path, options());
    wait(handle.wait_for(Position::new(7))).expect("it is rebuilt");
    let mut expected = each_once(5);
    expected.extend([(6, 60), (7, 70)]);
    assert_eq!(read(&path, 1), expected);
    assert!(handle.status().active);
    thread.stop().expect("it stops");

    // It belongs to the history now.
    let (handle, thread) = start(&store, &Log::new(1), &path, Options::new());
    wait(handle.wait_until_live()).expect("it catches up");
    thread.stop().expect("it stops");
}

#[test]
fn new_version_takes_over_in_one_transaction() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=50);
    let (former, former_thread) = start(&store, &Log::new(1), &path, Options::new());
    wait(former.wait_until_live()).expect("it catches up");
    let reader = Connection::open(&path).expect("a database");
    let served = || -> (i64, u32) {
        let sum =
            "SELECT sum(amount), (SELECT version FROM annals_projections WHERE active) FROM log";
        reader.query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("the view")
    };
    let sum = (1..=50).sum::<i64>();
    assert_eq!(served(), (sum, 1));

    // The new version fails at its last event, and does not take over before it is handled.
    let new = Log::new(2).fail(50, [Fault::Error]);
    let (new, new_thread) = start(&store, &new, &path, quick(ErrorPolicy::pause(), 0));
    wait(new.wait_until_active()).expect_err("it pauses");
    assert_eq!((served(), new.status().active), ((sum, 1), false));
    append_each(&store, [51]);
    wait(former.wait_for(Position::new(51))).expect("it serves meanwhile");
    assert_eq!(served(), (sum + 51, 1));
    wait(new.resume());
    wait(new.wait_until_active()).expect("it takes over");
    wait(former.stop());
    assert_eq!(served(), ((sum + 51) * 10, 2));
    former_thread.stop().expect("it stops");
    new_thread.stop().expect("it stops");
    remove(&reader, &ProjectionId::new("log", 1)).expect("it is removed");
    assert_eq!(active_version(&reader, "log").expect("a look-up"), Some(2));
}

#[test]
fn events_of_large_commits_are_handled_in_several_transactions() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append(&store, 1..=40);
    let log = Log::new(1).fail(40, [Fault::Error]);
    let (handle, thread) = start(&store, &log, &path, quick(ErrorPolicy::pause(), 0));
    wait(handle.wait_for(Position::new(40))).expect_err("it pauses");
    assert_eq!(read(&path, 1), each_once(39));
    thread.stop().expect("it stops");
}

#[test]
fn position_without_events_is_committed_when_the_projection_stops() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=10);
    let log = Log { event_types: vec!["Other"], ..Log::new(1) };
    let (handle, thread) = start(&store, &log, &path, Options::new());
    wait(handle.wait_for(Position::new(10))).expect("it advances");
    thread.stop().expect("it stops");
    let connection = Connection::open(&path).expect("a database");
    let id = ProjectionId::new("log", 1);
    assert_eq!(position(&connection, &id).expect("a look-up"), Some(Position::new(10)));
}

#[test]
fn locked_database_is_retried() {
    let (store, (path, _dir)) = (MemoryStore::new(), database());
    append_each(&store, 1..=3);
    let blocker = Connection::open(&path).expect("a database");
    blocker
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n); BEGIN IMMEDIATE")
        .expect("a lock");
    let connection = Connection::open(&path).expect("a database");
    connection.busy_timeout(Duration::ZERO).expect("a setting");
    let mut runner = Runner::new(store.clone());
    let options = quick(ErrorPolicy::pause(), u32::MAX);
    let handle = runner.add_with(Log::new(1), Sqlite::new(connection), options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let began = Instant::now();
    while handle.status().state != State::Retrying {
        assert!(began.elapsed() < Duration::from_secs(60), "{handle:?}");
        std::thread::yield_now();
    }
    blocker.execute_batch("COMMIT").expect("it is unlocked");
    wait(handle.wait_for(Position::new(3))).expect("it goes on");
    assert_eq!(read(&path, 1), each_once(3));
    thread.stop().expect("it stops");
}
