//! Projections that follow a store: restarts, crashes, several runners.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use annals_es::projection::{
    AsyncProjection, FailureCause, Options, ProjectionId, Runner, TargetError, WaitError,
};
use annals_es::{Cause, MemoryStore, OrderedStore, Position, Query, RecordedEvent};
use annals_es_postgres::tokio_postgres::IsolationLevel;
use annals_es_postgres::{Postgres, Tables, position, remove};

use crate::support::{
    Added, Database, Log, RUNTIME, Tests, annals_store, append_each, catch_up, connect, each_once,
    on_runtime, quick, start, wait, wait_until,
};

pub(crate) const TESTS: Tests = &[
    ("events_are_handled_once_over_restarts", events_are_handled_once_over_restarts),
    ("runner_in_a_tokio_task_follows", runner_in_a_tokio_task_follows),
    ("crash_at_any_point_loses_and_repeats_nothing", crash_at_any_point_loses_and_repeats_nothing),
    ("readers_never_see_rows_without_their_position", readers_never_see_rows_without_position),
    ("of_two_runners_of_a_projection_one_fails", of_two_runners_of_a_projection_one_fails),
    ("commit_in_flight_is_waited_for_at_the_start", commit_in_flight_is_waited_for),
    ("runners_that_compete_apply_each_event_once", runners_that_compete_apply_each_event_once),
    ("programs_that_start_at_once_create_the_tables_once", programs_that_start_at_once),
    ("position_without_events_is_committed_at_the_end", position_without_events_is_committed),
    ("savepoint_undoes_a_part_of_a_handler", savepoint_undoes_a_part_of_a_handler),
];

fn events_are_handled_once_over_restarts() {
    let ((store, _store), database) = (annals_store(), Database::new());
    let mut last = 0;
    for round in 1..=4 {
        append_each(&store, last + 1..=last + 10);
        last += 10;
        let target = Postgres::new(database.config());
        let (handle, thread) = start(&store, &Log::new(1), target, Options::new());
        wait(handle.wait_for(Position::new(last))).expect("it follows");
        append_each(&store, [last + 1]);
        last += 1;
        wait(handle.wait_for(Position::new(last))).expect("it follows");
        thread.stop().expect("it stops");
        assert_eq!(database.read(1), each_once(last), "round {round}");
    }
    assert_eq!(database.position(), Some(Position::new(last)));
    assert_eq!(database.active_version(), Some(1));
}

fn runner_in_a_tokio_task_follows() {
    let ((store, _store), database) = (annals_store(), Database::new());
    append_each(&store, 1..=20);
    let mut runner = Runner::new(store.clone()).batch_size(7);
    let target = Postgres::new(database.config());
    let handle = runner.add_async(Log::new(1), target).expect("it fits");
    let (stop, running) = (runner.handle(), RUNTIME.spawn(runner.run()));
    wait(handle.wait_for(Position::new(20))).expect("it follows");
    stop.stop();
    on_runtime(running).expect("no panic").expect("it stops");
    assert_eq!(database.read(1), each_once(20));
    // The connection has ended with the projection.
    let [connections] = database.numbers(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = current_setting('application_name')",
    );
    assert_eq!(connections, 1);
}

/// Ends the program at each point at which the runner waits, also within a transaction: between an event and the
/// commit, and between the commit and the report of the progress.
fn crash_at_every_point<S: OrderedStore>(store: &S, last: u64) {
    let database = Database::new();
    let mut lives = 0;
    for polls in (1..).step_by(3) {
        let mut runner = Runner::new(store.clone()).batch_size(3);
        let target = Postgres::new(database.config());
        let handle = runner.add_async(Log::new(1), target).expect("it fits");
        let mut run = pin!(runner.run());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls % 101 {
            assert!(matches!(run.as_mut().poll(&mut context), Poll::Pending));
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        lives += 1;
        let done = handle.status().position;
        // What the handle shows is committed, and so is what was committed before it was shown.
        let rows = database.read(1);
        assert!(rows.len() as u64 >= done.get(), "life {lives}: {done} of {rows:?}");
        assert_eq!(rows, each_once(rows.len() as u64), "life {lives}");
        if done.get() == last {
            break;
        }
        assert!(lives < 10_000, "it gets nowhere");
    }
    assert!(lives > 3, "it was never interrupted");
    assert_eq!(database.read(1), each_once(last));
}

fn crash_at_any_point_loses_and_repeats_nothing() {
    let store = MemoryStore::new();
    append_each(&store, 1..=40);
    crash_at_every_point(&store, 40);

    let (store, _dir) = annals_store();
    append_each(&store, 1..=40);
    crash_at_every_point(&store, 40);
}

fn readers_never_see_rows_without_position() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=1000);
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &Log::new(1), target, Options::new());
    wait(handle.wait_for(Position::new(7))).expect("it begins");
    let both = "SELECT (SELECT count(*) FROM log_v1), position FROM annals_projections";
    let mut seen = [0, 0];
    while seen[1] < 1000 {
        seen = database.numbers(both);
        assert_eq!(seen[0], seen[1]);
    }
    thread.stop().expect("it stops");

    let mut client = connect(&database.config());
    let id = ProjectionId::new("log", 1);
    let read = on_runtime(async {
        let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let reads = begin.start().await.expect("a transaction");
        position(&reads, &id).await.expect("a look-up")
    });
    assert_eq!(read, Some(Position::new(1000)));
}

fn of_two_runners_of_a_projection_one_fails() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    let (log, mut runners) = (Log::new(1), Vec::new());
    for _ in 0..2 {
        let target = Postgres::new(database.config());
        let (handle, thread) = start(&store, &log, target, Options::new());
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
    assert_eq!(database.read(1), each_once(11));
    assert_eq!(log.handled.load(Ordering::Relaxed), 11, "one of them has not called its handler");
    for (_, thread) in runners {
        thread.stop().expect("it stops");
    }
}

/// A program was killed while its last commit was on the way: the next one begins after that.
fn commit_in_flight_is_waited_for() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    catch_up(&store, &Log::new(1), &database);
    append_each(&store, [11]);
    let former = connect(&database.config());
    let in_flight = former.batch_execute(
        "BEGIN; INSERT INTO log_v1 (position, amount) VALUES (11, 11);
         UPDATE annals_projections SET position = 11, token = '11'",
    );
    on_runtime(in_flight).expect("it is executed");
    let target = Postgres::new(database.config());
    let (handle, thread) = start(&store, &Log::new(1), target, Options::new());
    wait_until(|| {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                         AND application_name = current_setting('application_name')";
        database.numbers(waiting) == [1]
    });
    on_runtime(former.batch_execute("COMMIT")).expect("it is committed");
    wait(handle.wait_for(Position::new(11))).expect("it goes on");
    append_each(&store, [12]);
    wait(handle.wait_for(Position::new(12))).expect("it goes on");
    assert_eq!(database.read(1), each_once(12));
    thread.stop().expect("it stops");
}

/// Several runners change the read model at once, and begin again when another one was faster.
fn runners_that_compete_apply_each_event_once() {
    let (store, database) = (MemoryStore::new(), Database::new());
    let compete = |last: u64| {
        let mut lost = 0;
        loop {
            let mut runner = Runner::new(store.clone()).batch_size(3);
            let target = Postgres::new(database.config());
            let handle = runner.add_async(Log::new(1), target).expect("it fits");
            let thread = runner.spawn_thread().expect("a thread");
            let waited = wait(handle.wait_for(Position::new(last)));
            thread.stop().expect("it stops");
            match waited {
                Ok(()) => return lost,
                Err(error) => assert!(error.to_string().contains("another runner"), "{error}"),
            }
            lost += 1;
        }
    };
    // Again where one of them has done everything before another one began.
    for last in (300..=3_000).step_by(300) {
        append_each(&store, last - 299..=last);
        let lost: u32 = std::thread::scope(|scope| {
            let runners: Vec<_> = (0..3).map(|_| scope.spawn(|| compete(last))).collect();
            runners.into_iter().map(|it| it.join().expect("no panic")).sum()
        });
        assert_eq!(database.read(1), each_once(last));
        if lost > 0 {
            return;
        }
    }
    panic!("they have not competed");
}

fn programs_that_start_at_once() {
    struct Nothing(String);

    impl AsyncProjection for Nothing {
        type Event = Added;
        type Model = Tables;
        type Error = Cause;

        fn name(&self) -> &str {
            &self.0
        }

        fn query(&self) -> Query {
            Query::none()
        }

        async fn handle(&self, _: &mut Tables, _: Added, _: &RecordedEvent) -> Result<(), Cause> {
            Ok(())
        }
    }

    let (store, database) = (MemoryStore::new(), Database::new());
    std::thread::scope(|scope| {
        for program in 0..6 {
            let (store, config) = (&store, database.config());
            scope.spawn(move || {
                let mut runner = Runner::new(store.clone());
                let projection = Nothing(format!("nothing-{program}"));
                let options = quick(annals_es::projection::ErrorPolicy::pause(), 0);
                let target = Postgres::new(config);
                let handle = runner.add_async_with(projection, target, options).expect("it fits");
                let thread = runner.spawn_thread().expect("a thread");
                wait(handle.wait_until_live()).expect("it starts without a retry");
                thread.stop().expect("it stops");
            });
        }
    });
    let active = "SELECT count(*), count(*) FILTER (WHERE active) FROM annals_projections";
    assert_eq!(database.numbers(active), [6, 6]);
}

fn position_without_events_is_committed() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=10);
    catch_up(&store, &Log { event_types: vec!["Other"], ..Log::new(1) }, &database);
    assert_eq!(database.position(), Some(Position::new(10)));
    let id = ProjectionId::new("log", 1);
    on_runtime(remove(&database.client, &id)).expect("it is removed");
    assert_eq!((database.position(), database.active_version()), (None, None));
}

fn savepoint_undoes_a_part_of_a_handler() {
    struct Distinct;

    impl AsyncProjection for Distinct {
        type Event = Added;
        type Model = Tables;
        type Error = Cause;

        fn name(&self) -> &str {
            "distinct"
        }

        async fn prepare(&self, tables: &mut Tables) -> Result<(), Cause> {
            Ok(tables.batch_execute("CREATE TABLE seen (amount int8 PRIMARY KEY)").await?)
        }

        async fn handle(
            &self,
            tables: &mut Tables,
            _: Added,
            recorded: &RecordedEvent,
        ) -> Result<(), Cause> {
            tables.batch_execute("SAVEPOINT one").await?;
            let insert = tables.prepare_cached("INSERT INTO seen VALUES ($1)").await?;
            let amount = i64::try_from(recorded.position().get() % 3)?;
            if tables.execute(&insert, &[&amount]).await.is_err() {
                tables.batch_execute("ROLLBACK TO SAVEPOINT one").await?;
            }
            Ok(())
        }
    }

    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=20);
    let mut runner = Runner::new(store);
    let target = Postgres::new(database.config());
    let handle = runner.add_async(Distinct, target).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(20))).expect("it follows");
    thread.stop().expect("it stops");
    assert_eq!(database.numbers("SELECT count(*) FROM seen"), [3]);
}
