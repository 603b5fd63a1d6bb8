//! Handlers that fail: what they have changed is undone, and the policy decides.

use std::time::Duration;

use annals_es::projection::{ErrorPolicy, FailureCause, Options, WaitError};
use annals_es::{MemoryStore, Position};
use annals_es_postgres::Postgres;

use crate::support::{
    Database, Fault, Log, Tests, append_each, catch_up, each_once, quick, start, wait, wait_until,
};

pub(crate) const TESTS: Tests = &[
    ("changes_of_a_failed_event_are_undone", changes_of_a_failed_event_are_undone),
    ("transaction_that_a_handler_has_ended_is_found_out", ended_transaction_is_found_out),
    ("failure_that_a_handler_ignores_commits_nothing", ignored_failure_commits_nothing),
    ("error_of_a_statement_is_shown_with_its_cause", error_of_a_statement_is_shown),
    ("statement_of_a_cancelled_handler_is_cancelled", statement_of_a_handler_is_cancelled),
    ("parked_events_outlive_the_program", parked_events_outlive_the_program),
    ("column_that_the_target_has_not_written_is_refused", damaged_column_is_refused),
];

fn paused(waited: Result<(), WaitError>) -> String {
    match waited {
        Err(WaitError::Paused { error: Some(error), .. }) => error.to_string(),
        waited => panic!("it pauses, found {waited:?}"),
    }
}

fn changes_of_a_failed_event_are_undone() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=20);
    let log = Log::new(1).fail(5, [Fault::Error, Fault::Panic]).fail(6, [Fault::Panic]);
    let log = log.fail(20, [Fault::ReturnFailure]);
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target, quick(ErrorPolicy::pause(), 2));
    wait(handle.wait_for(Position::new(20))).expect("the last retry succeeds");
    assert_eq!(database.read(1), each_once(20));
    thread.stop().expect("it stops");
}

fn ended_transaction_is_found_out() {
    // The end of a transaction shows when it is committed, or when the next event changes a table.
    let (ended, read_only) = ("has ended the transaction", "in a read-only transaction");
    for (ends, at, expected) in [
        ("ROLLBACK", 7, ended),
        ("ROLLBACK; BEGIN", 7, ended),
        ("ROLLBACK; BEGIN READ WRITE", 7, ended),
        ("ROLLBACK; BEGIN READ WRITE", 5, ended),
        ("ROLLBACK", 5, read_only),
        ("ROLLBACK; BEGIN", 5, read_only),
    ] {
        let (store, database) = (MemoryStore::new(), Database::new());
        append_each(&store, 1..=20);
        let log = Log::new(1).fail(at, [Fault::End(ends)]);
        let target = Postgres::new(database.config());
        let (handle, thread) = start(&store, &log, target, quick(ErrorPolicy::pause(), 0));
        let error = paused(wait(handle.wait_for(Position::new(20))));
        assert!(error.contains(expected), "{error}");
        let committed = database.position().map_or(0, Position::get);
        assert_eq!(database.read(1), each_once(committed), "{ends} at {at}");
        wait(handle.resume());
        wait(handle.wait_for(Position::new(20))).expect("it goes on");
        assert_eq!(database.read(1), each_once(20), "{ends}");
        thread.stop().expect("it stops");
    }
}

fn ignored_failure_commits_nothing() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=20);
    // The last event of a batch, and one in the middle.
    let log = Log::new(1).fail(7, [Fault::IgnoreFailure]).fail(10, [Fault::IgnoreFailure]);
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target, quick(ErrorPolicy::pause(), 0));
    let error = paused(wait(handle.wait_for(Position::new(20))));
    assert!(error.contains("has ignored that a statement failed"), "{error}");
    assert_eq!(database.read(1), []);
    wait(handle.resume());
    let error = paused(wait(handle.wait_for(Position::new(20))));
    // It shows at the next statement; what was handled before that one is handled again, and committed.
    assert!(error.contains("position 11") && error.contains("aborted"), "{error}");
    assert_eq!(database.read(1), each_once(10));
    wait(handle.resume());
    wait(handle.wait_for(Position::new(20))).expect("it goes on");
    assert_eq!(database.read(1), each_once(20));
    thread.stop().expect("it stops");
}

fn error_of_a_statement_is_shown() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=3);
    let log = Log::new(1).fail(2, [Fault::ReturnFailure]);
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target, quick(ErrorPolicy::park(), 0));
    wait(handle.wait_for(Position::new(3))).expect("it goes on");
    let parked = handle.parked();
    assert!(parked[0].error.contains("division by zero"), "{parked:?}");
    thread.stop().expect("it stops");
}

fn statement_of_a_handler_is_cancelled() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    // Another statement may also be too late on a busy machine, and what comes after it is handled again.
    let log = Log::new(1).fail(5, [(); 9].map(|()| Fault::Hang));
    let options = quick(ErrorPolicy::park(), 1).timeout(Duration::from_secs(1));
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target, options);
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    let parked = handle.parked();
    assert_eq!((parked.len(), parked[0].position, parked[0].attempts), (1, Position::new(5), 2));
    wait_until(|| {
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
                          AND application_name = current_setting('application_name')
                          AND pid <> pg_backend_pid()";
        database.numbers(sleeping) == [0]
    });
    let mut expected = each_once(10);
    expected.retain(|it| it.0 != 5);
    assert_eq!(database.read(1), expected);
    thread.stop().expect("it stops");
}

fn parked_events_outlive_the_program() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    let log = Log::new(1).fail(3, [Fault::Error]).fail(8, [Fault::Panic]);
    let target = || Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target(), quick(ErrorPolicy::park(), 0));
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    let mut before = handle.parked();
    thread.stop().expect("it stops");
    assert_eq!(before[0].error, "the handler\0refuses");
    before[0].error = "the handler\u{fffd}refuses".into();

    let (handle, thread) = start(&store, &log, target(), quick(ErrorPolicy::park(), 0));
    wait(handle.wait_until_live()).expect("it catches up");
    assert_eq!(handle.parked(), before);
    let positions: Vec<_> = before.iter().map(|it| it.position.get()).collect();
    assert_eq!((positions, before[0].stream.as_str()), (vec![3, 8], "log-1"));
    wait(handle.replay_parked(Position::new(8))).expect("it succeeds now");
    wait(handle.discard_parked(Position::new(3))).expect("it is parked");
    thread.stop().expect("it stops");

    let (handle, thread) = start(&store, &log, target(), Options::new());
    wait(handle.wait_until_live()).expect("it catches up");
    assert!(handle.parked().is_empty());
    let mut rows = database.read(1);
    rows.sort_unstable();
    let mut expected = each_once(10);
    expected.retain(|it| it.0 != 3);
    assert_eq!(rows, expected);
    thread.stop().expect("it stops");
}

fn damaged_column_is_refused() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=3);
    catch_up(&store, &Log::new(1), &database);
    database.execute("UPDATE annals_projections SET position = -1");
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &Log::new(1), target, quick(ErrorPolicy::pause(), 1));
    let waited = wait(handle.wait_until_live());
    let Err(WaitError::Paused { error: Some(error), .. }) = waited else {
        panic!("it pauses, found {waited:?}")
    };
    assert!(matches!(error.cause, FailureCause::Target(_)), "{error}");
    assert!(error.to_string().contains("position -1 is out of range"), "{error}");
    thread.stop().expect("it stops");
}
