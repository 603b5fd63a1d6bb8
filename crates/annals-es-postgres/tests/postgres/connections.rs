//! Connections that end, and servers that cannot be reached or do not answer.

use std::time::Duration;

use annals_es::projection::{ErrorPolicy, Runner, State, WaitError};
use annals_es::{MemoryStore, Position};
use annals_es_postgres::Postgres;

use crate::proxy::{Cut, Proxy};
use crate::support::{
    Database, Fault, Log, Tests, append_each, each_once, quick, start, wait, wait_until,
};

pub(crate) const TESTS: Tests = &[
    ("connection_cut_at_any_request_loses_and_repeats_nothing", connection_cut_at_any_request),
    ("sessions_that_are_terminated_lose_and_repeat_nothing", sessions_that_are_terminated),
    ("event_whose_connection_ends_is_not_parked", event_whose_connection_ends_is_not_parked),
    ("server_out_of_reach_is_retried_then_paused", server_out_of_reach_is_retried_then_paused),
    ("server_that_does_not_answer_is_given_up", server_that_does_not_answer_is_given_up),
    ("lock_of_another_session_is_retried", lock_of_another_session_is_retried),
];

/// Runs a projection of three events, whose connection is cut once. Returns whether it was.
fn run_with_cut(database: &Database, cut: Cut, at: u64) -> bool {
    database.execute(
        "DROP TABLE IF EXISTS annals_projections, annals_parked, log_v1 CASCADE;
         DROP VIEW IF EXISTS log",
    );
    let store = MemoryStore::new();
    append_each(&store, 1..=3);
    let proxy = Proxy::cutting(cut, at);
    let log = Log::new(1).fail(3, [Fault::Error]);
    let mut runner = Runner::new(store).batch_size(2);
    let target = Postgres::new(proxy.config(&database.config()));
    let options = quick(ErrorPolicy::pause(), 5);
    let handle = runner.add_async_with(log, target, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let waited = wait(handle.wait_for(Position::new(3)));
    assert!(waited.is_ok(), "{cut:?} {at}: {waited:?}");
    wait(handle.wait_until_live()).expect("it is live");
    assert_eq!(database.read(1), each_once(3), "{cut:?} {at}");
    assert_eq!(database.position(), Some(Position::new(3)), "{cut:?} {at}");
    thread.stop().expect("it stops");
    proxy.requests() >= at
}

fn connection_cut_at_any_request() {
    let database = Database::new();
    for cut in [Cut::Before, Cut::After] {
        let runs = (1..1000).take_while(|at| run_with_cut(&database, cut, *at)).count();
        assert!((25..999).contains(&runs), "the connection was cut at {runs} requests");
    }
}

fn sessions_that_are_terminated() {
    let (store, database) = (MemoryStore::new(), Database::new());
    let target = Postgres::new(database.config());
    let options = quick(ErrorPolicy::pause(), u32::MAX);
    let (handle, thread) = start(&store, &Log::new(1), target, options);
    let (mut last, mut terminated) = (0, 0);
    while terminated < 10 {
        append_each(&store, last + 1..=last + 10);
        last += 10;
        // Time for up to some transactions, of which one is hit at an arbitrary point.
        std::thread::sleep(Duration::from_micros(5000 + last * 977 % 20_000));
        terminated += database.terminate();
        assert!(last < 10_000, "{terminated} sessions were terminated");
    }
    wait(handle.wait_for(Position::new(last))).expect("it goes on");
    assert_eq!(database.read(1), each_once(last));
    thread.stop().expect("it stops");
}

fn event_whose_connection_ends_is_not_parked() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    let log = Log::new(1).fail(5, [Fault::Disconnect]).fail(6, [Fault::Error]);
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &log, target, quick(ErrorPolicy::park(), 0));
    let waited = wait(handle.wait_for(Position::new(10)));
    let Err(WaitError::Paused { error: Some(error), .. }) = waited else {
        panic!("it pauses, found {waited:?}")
    };
    assert!(error.event.is_none() && error.to_string().contains("has ended"), "{error}");
    assert!(handle.parked().is_empty());
    wait(handle.resume());
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    let parked: Vec<_> = handle.parked().iter().map(|it| it.position.get()).collect();
    assert_eq!(parked, [6]);
    let mut expected = each_once(10);
    expected.retain(|it| it.0 != 6);
    assert_eq!(database.read(1), expected);
    thread.stop().expect("it stops");
}

fn server_out_of_reach_is_retried_then_paused() {
    let (store, database, proxy) = (MemoryStore::new(), Database::new(), Proxy::new());
    append_each(&store, 1..=5);
    let target = || Postgres::new(proxy.config(&database.config()));

    let (handle, thread) = start(&store, &Log::new(1), target(), quick(ErrorPolicy::pause(), 3));
    wait(handle.wait_for(Position::new(5))).expect("it follows");
    proxy.set_down(true);
    append_each(&store, 6..=10);
    let waited = wait(handle.wait_for(Position::new(10)));
    let Err(WaitError::Paused { error: Some(error), .. }) = waited else {
        panic!("it pauses, found {waited:?}")
    };
    assert_eq!(error.attempts, 4);
    proxy.set_down(false);
    wait(handle.resume());
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    assert_eq!(database.read(1), each_once(10));
    thread.stop().expect("it stops");

    // A server that comes back is found by the retries; also one that is out of reach at the start.
    proxy.set_down(true);
    let options = quick(ErrorPolicy::pause(), 0).retry_outages();
    let (handle, thread) = start(&store, &Log::new(1), target(), options);
    wait_until(|| handle.status().error.is_some_and(|it| it.attempts > 3));
    assert_eq!(handle.status().state, State::Retrying);
    append_each(&store, 11..=20);
    proxy.set_down(false);
    wait(handle.wait_for(Position::new(20))).expect("it goes on");
    assert_eq!(database.read(1), each_once(20));
    thread.stop().expect("it stops");
}

fn server_that_does_not_answer_is_given_up() {
    let (store, database, proxy) = (MemoryStore::new(), Database::new(), Proxy::new());
    append_each(&store, 1..=5);
    let target = Postgres::new(proxy.config(&database.config()));
    let target = target.time_limit(Duration::from_millis(200));
    let options = quick(ErrorPolicy::pause(), u32::MAX);
    let (handle, thread) = start(&store, &Log::new(1), target, options);
    wait(handle.wait_for(Position::new(5))).expect("it follows");
    proxy.set_silent(true);
    append_each(&store, 6..=10);
    wait_until(|| {
        let error = handle.status().error;
        error.is_some_and(|it| it.to_string().contains("has not answered within 200ms"))
    });
    proxy.set_silent(false);
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    assert_eq!(database.read(1), each_once(10));
    thread.stop().expect("it stops");
}

fn lock_of_another_session_is_retried() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=5);
    let mut config = database.config();
    let options = config.get_options().map(|it| format!("{it} -c lock_timeout=10ms"));
    config.options(options.expect("the schema"));
    let retries = quick(ErrorPolicy::pause(), u32::MAX);
    let (handle, thread) = start(&store, &Log::new(1), Postgres::new(config), retries);
    wait(handle.wait_for(Position::new(5))).expect("it follows");
    database.execute("BEGIN; SELECT FROM annals_projections FOR UPDATE");
    append_each(&store, 6..=10);
    wait_until(|| handle.status().state == State::Retrying);
    let error = handle.status().error.expect("the error is shown").to_string();
    assert!(error.contains("lock timeout"), "{error}");
    database.execute("COMMIT");
    wait(handle.wait_for(Position::new(10))).expect("it goes on");
    assert_eq!(database.read(1), each_once(10));
    thread.stop().expect("it stops");
}
