//! Connections that end, commits beside other tables, and what other transactions do to a store.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{
    AppendError, Commit, EventStore, Expected, NewEvent, OrderedStore, Position, ReadAll,
    ReadStream, StoreError, Subscribe,
};
use annals_postgres::{Positions, PostgresStore};
use uuid::Uuid;

use crate::support::{RUNTIME, Schema, Tests, config, connect};

pub(crate) const TESTS: Tests = &[
    ("commit_and_tables_change_together", commit_and_tables_change_together),
    ("failed_change_of_tables_records_nothing", failed_change_of_tables_records_nothing),
    ("repeated_commit_changes_no_tables", repeated_commit_changes_no_tables),
    ("ended_transaction_is_found", ended_transaction_is_found),
    ("ended_connections_lose_and_double_nothing", ended_connections_lose_and_double_nothing),
    ("other_programs_are_heard", other_programs_are_heard),
    ("open_transaction_delays_fast_positions", open_transaction_delays_fast_positions),
    ("fast_positions_go_on_in_another_cluster", fast_positions_go_on_in_another_cluster),
    ("store_works_in_a_runtime", store_works_in_a_runtime),
    ("waiting_is_given_up_without_a_trace", waiting_is_given_up_without_a_trace),
];

fn commit(expected: Expected) -> Commit<PostgresStore> {
    Commit::to("a-1", expected, [NewEvent::new("A", "").id(Uuid::from_u128(1))])
}

fn both() -> [Schema; 2] {
    [Schema::dense(), Schema::fast()]
}

/// A table that a commit changes with it.
fn with_accounts(schema: &Schema) -> (PostgresStore, String, impl Fn() -> i64) {
    let store = schema.store();
    schema.execute("CREATE TABLE {schema}.accounts (id text PRIMARY KEY)");
    let insert = format!("INSERT INTO {}.accounts VALUES ('a-1')", schema.name);
    let count = || schema.number("SELECT count(*) FROM {schema}.accounts");
    (store, insert, count)
}

fn events(store: &PostgresStore) -> usize {
    iter(store.read_stream(ReadStream::of("a-1"))).inspect(|it| assert!(it.is_ok())).count()
}

fn commit_and_tables_change_together() {
    for schema in both() {
        let (store, insert, accounts) = with_accounts(&schema);
        let done = store.append_with(commit(Expected::NoStream), move |tables, done| {
            assert_eq!(done.versions[0].get(), 1);
            Box::pin(async move { Ok(tables.batch_execute(&insert).await?) })
        });
        block_on(done).expect("both are recorded");
        assert_eq!((events(&store), accounts()), (1, 1));
        let conflict = store.append_with(commit_of_another(), |_, _| panic!("it is not called"));
        assert!(matches!(block_on(conflict), Err(AppendError::Conflict(_))));
    }
}

fn commit_of_another() -> Commit<PostgresStore> {
    Commit::to("a-1", Expected::NoStream, [NewEvent::new("A", "")])
}

fn failed_change_of_tables_records_nothing() {
    for schema in both() {
        let (store, insert, accounts) = with_accounts(&schema);
        let done = store.append_with(commit(Expected::NoStream), move |tables, _| {
            Box::pin(async move {
                tables.batch_execute(&insert).await?;
                Ok(tables.batch_execute("SELECT 1 / 0").await?)
            })
        });
        let done = block_on(done);
        assert!(matches!(done, Err(AppendError::Store(StoreError::Backend(_)))), "{done:?}");
        assert_eq!((events(&store), accounts()), (0, 0));
        block_on(store.append(commit(Expected::NoStream))).expect("nothing is left of it");
    }
}

fn repeated_commit_changes_no_tables() {
    for schema in both() {
        let (store, ..) = with_accounts(&schema);
        block_on(store.append(commit(Expected::NoStream))).expect("it is new");
        let again =
            store.append_with(commit(Expected::NoStream), |_, _| panic!("it is not called"));
        assert!(block_on(again).expect("it is recorded").already_recorded);
    }
}

fn ended_transaction_is_found() {
    let schema = Schema::dense();
    let (store, ..) = with_accounts(&schema);
    let done = store.append_with(commit(Expected::NoStream), |tables, _| {
        Box::pin(async move { Ok(tables.batch_execute("ROLLBACK").await?) })
    });
    assert!(block_on(done).is_err());
    assert_eq!(events(&store), 0);
}

/// Ends all connections of a store again and again, while clients append.
fn ended_connections_lose_and_double_nothing() {
    const CLIENTS: u64 = 4;
    const COMMITS: u64 = 60;
    const ENDED: i64 = 5;
    for schema in both() {
        let mut config = config();
        config.application_name(&schema.name);
        let options = annals_postgres::PostgresOptions::new(config).schema(schema.name.as_str());
        let options = options.positions(schema.positions).accept_loss();
        let store = block_on(options.open()).expect("the store opens");
        let (stop, ended) = (AtomicBool::new(false), AtomicI64::new(0));
        let commits: u64 = thread::scope(|scope| {
            let killer = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let now = schema.number(&format!(
                        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE application_name = '{}'",
                        schema.name
                    ));
                    ended.fetch_add(now, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (store, ended) = (&store, &ended);
                    scope.spawn(move || {
                        let mut number = 0;
                        // More of them where the killer is slow.
                        let goes_on = |done| {
                            let most = 100 * COMMITS;
                            let is_early = ended.load(Ordering::Relaxed) < ENDED;
                            done < if is_early { most } else { COMMITS }
                        };
                        while goes_on(number) {
                            let expected = Expected::Exact(number.into());
                            let event = NewEvent::new("A", number.to_string());
                            let commit = Commit::to(format!("a-{client}"), expected, [event]);
                            block_on(store.append(commit)).expect("it is recorded");
                            number += 1;
                        }
                        number
                    })
                })
                .collect();
            let done: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
            stop.store(true, Ordering::Relaxed);
            killer.join().expect("no panic");
            assert!(ended.load(Ordering::Relaxed) >= ENDED);
            done.into_iter().map(|it| it.expect("no client panics")).sum()
        });
        let all = iter(store.read_all(ReadAll::new())).inspect(|it| assert!(it.is_ok())).count();
        assert_eq!(all as u64, commits);
    }
}

fn other_programs_are_heard() {
    for schema in both() {
        let never = Duration::from_secs(3600);
        let store = block_on(schema.options().poll_interval(never).open()).expect("it opens");
        let other = schema.store();
        let mut messages = iter(store.subscribe(Subscribe::after(Position::START)));
        assert!(messages.next().expect("a message").expect("no error").caught_up);
        // The listening session may not be there yet: only what follows it is heard for certain.
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let event = NewEvent::new("A", "");
                    block_on(other.append(Commit::to("a-1", Expected::Any, [event])))
                        .expect("it is recorded");
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let message = messages.next().expect("a message").expect("no error");
            assert!(!message.events.is_empty());
            stop.store(true, Ordering::Relaxed);
        });
    }
}

fn open_transaction_delays_fast_positions() {
    let schema = Schema::fast();
    let store = schema.store();
    let other = connect(&config());
    RUNTIME
        .block_on(other.batch_execute("BEGIN; SELECT pg_current_xact_id()"))
        .expect("a transaction with an id");
    let done = block_on(store.append(commit(Expected::NoStream))).expect("it does not wait");
    assert_eq!(events(&store), 1);
    assert_eq!(block_on(store.head()).expect("the head"), Position::START);
    assert_eq!(iter(store.read_all(ReadAll::new())).count(), 0);
    let waiting = store.wait_for(done.last_position);
    assert!(block_on_timeout(waiting, Duration::from_millis(50)).is_none());
    RUNTIME.block_on(other.batch_execute("COMMIT")).expect("it commits");
    block_on(store.wait_for(done.last_position)).expect("it becomes visible");
    assert_eq!(iter(store.read_all(ReadAll::new())).count(), 1);
}

fn fast_positions_go_on_in_another_cluster() {
    let schema = Schema::fast();
    let first = block_on(schema.store().append(commit(Expected::NoStream))).expect("it is new");
    // As if the tables came from a cluster with many more transactions.
    let later = 1_000_000_u64 << 16;
    schema.execute(&format!(
        "UPDATE {{schema}}.events SET position = position + {later},
             commit_position = commit_position + {later}"
    ));
    let store = schema.store();
    let next = Commit::to("a-2", Expected::NoStream, [NewEvent::new("A", "")]);
    let next = block_on(store.append(next)).expect("it is new");
    assert!(next.first_position.get() > first.last_position.get() + later);
    block_on(store.wait_for(next.last_position)).expect("it becomes visible");
    assert_eq!(iter(store.read_all(ReadAll::new())).count(), 2);
}

fn store_works_in_a_runtime() {
    let schema = Schema::of(Positions::Dense);
    RUNTIME.block_on(async {
        let store = schema.options().open().await.expect("the store opens");
        store.append(commit(Expected::NoStream)).await.expect("it is recorded");
        assert_eq!(store.head().await.expect("the head").get(), 1);
    });
}

fn waiting_is_given_up_without_a_trace() {
    let schema = Schema::dense();
    let store = schema.store();
    for _ in 0..20 {
        let waiting = store.wait_for(Position::new(5));
        assert!(block_on_timeout(waiting, Duration::from_millis(1)).is_none());
        drop(store.subscribe(Subscribe::after(Position::START)));
    }
    block_on(store.append(commit(Expected::NoStream))).expect("it is recorded");
}
