//! Copies between directories and PostgreSQL.
//!
//! They need a server: `ANNALS_ES_POSTGRES` has the parameters of its connection, such as `host=localhost user=postgres`.
//! Without it they are ignored. `.ci/postgres` starts one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

#[path = "../copy/histories.rs"]
#[allow(dead_code, reason = "shared")]
mod histories;
mod support;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals_conformance::{AnySuite, run};
use annals_copy::{
    Classic, Directory, Error, PositionMap, Postgres, Report, Settings, Source, Step, Target,
    Until, copy,
};
use annals_es::blocking::block_on;
use annals_es::{
    AppendError, Commit, EventStore as _, Expected, NewEvent, OrderedStore as _, Position,
    StoreError,
};

use histories::{Places, contents, fill, long_ago, target};
use support::{Schema, server};

const TESTS: &[(&str, fn())] = &[
    (
        "history_is_the_same_after_a_way_there_and_back",
        history_is_the_same_after_a_way_there_and_back,
    ),
    (
        "copy_that_is_stopped_goes_on_and_doubles_nothing",
        copy_that_is_stopped_goes_on_and_doubles_nothing,
    ),
    ("programs_on_a_server_are_switched_over", programs_on_a_server_are_switched_over),
    ("records_are_not_lost_by_accident", records_are_not_lost_by_accident),
    ("times_that_go_back_are_raised", times_that_go_back_are_raised),
    ("classic_table_is_taken_over", classic_table_is_taken_over),
    (
        "rows_of_a_table_are_what_an_import_makes_of_them",
        rows_of_a_table_are_what_an_import_makes_of_them,
    ),
    ("source_without_a_store_is_refused", source_without_a_store_is_refused),
];

fn main() -> ExitCode {
    let missing = server().is_none();
    let missing =
        missing.then(|| "ANNALS_ES_POSTGRES names no server; .ci/postgres starts one".to_owned());
    run([AnySuite::tests(TESTS.to_vec(), missing)])
}

fn copy_all(from: &mut dyn Source, to: &mut dyn Target, settings: &Settings) -> Report {
    copy(from, to, settings, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn with_checkpoints(places: &Places) {
    let store = long_ago().open(places.old()).unwrap();
    for (name, at) in [("a", 0), ("b", 1), ("c", 77), ("d", store.head().get())] {
        store.cursors().reset(name, at).unwrap();
    }
    store.close().unwrap();
}

fn history_is_the_same_after_a_way_there_and_back() {
    for positions in ["dense", "fast"] {
        let (places, schema) = (Places::new(), Schema::new(positions));
        fill(&places.old(), 0..700);
        with_checkpoints(&places);
        let there = copy_all(
            &mut Directory::source(places.old()).unwrap(),
            &mut schema.target(),
            &Settings::default(),
        );
        assert_eq!(there.positions_moved, positions == "fast");
        assert_eq!((there.checkpoints, there.times_raised), (4, 0));
        let map = places.file("map");
        let mut back = target(&places.new_place()).unwrap();
        let report = copy_all(&mut schema.source(), &mut back, &Settings::default().map(&map));
        back.close().unwrap();
        assert_eq!(contents(&places.old()), contents(&places.new_place()), "{positions}");
        assert_eq!(report.events_compared, there.events_copied);
        // Every position of the server, and the one before it.
        let map = PositionMap::load(map).unwrap();
        let mut source = schema.source();
        let events: Vec<_> = source.read(Position::START, Position::MAX).unwrap().collect();
        for (expected, event) in (1..).zip(events) {
            let position = event.unwrap().position();
            assert_eq!(map.new_position(position).get(), expected);
            let before = Position::new(position.get() - 1);
            assert_eq!(map.new_position(before).get(), expected - 1);
        }
        assert_eq!(map.new_position(Position::MAX).get(), report.events_compared);
    }
}

fn copy_that_is_stopped_goes_on_and_doubles_nothing() {
    for positions in ["dense", "fast"] {
        let (places, schema) = (Places::new(), Schema::new(positions));
        fill(&places.old(), 0..1500);
        let mut stops = 0;
        loop {
            let mut source = Directory::source(places.old()).unwrap();
            let done =
                copy(
                    &mut source,
                    &mut schema.target(),
                    &Settings::default(),
                    &mut |step| match step {
                        Step::Copied { .. } => ControlFlow::Break(()),
                        _ => ControlFlow::Continue(()),
                    },
                );
            match done {
                Err(Error::Stopped) => stops += 1,
                done => break assert!(done.unwrap().events_compared > 1500),
            }
        }
        assert!(stops > 1, "{stops}");
        // A program that appends to the target too early is noticed.
        append_visibly(&schema, "own-1");
        let mut source = Directory::source(places.old()).unwrap();
        let refused = copy(&mut source, &mut schema.target(), &Settings::default(), &mut |_| {
            ControlFlow::Continue(())
        });
        assert!(matches!(refused, Err(Error::NotACopy { .. })), "{refused:?}");
    }
}

fn append(schema: &Schema, stream: &str) -> Result<Position, AppendError> {
    let event = NewEvent::new("A", "{}").tag("a");
    let commit =
        Commit::to(stream, Expected::Any, [event.clone()]).and("all-1", Expected::Any, [event]);
    block_on(schema.store().append(commit)).map(|done| done.last_position)
}

/// Appends, and waits until reads show it: a store with fast positions shows commits once older transactions of the
/// cluster have ended, and other tests have some.
fn append_visibly(schema: &Schema, stream: &str) -> Position {
    let position = append(schema, stream).unwrap();
    block_on(schema.store().wait_for(position)).unwrap();
    position
}

/// Programs append until they are fenced off. Each acknowledged commit is in the directory, and the way back from there
/// to another schema is complete as well.
fn programs_on_a_server_are_switched_over() {
    for positions in ["dense", "fast"] {
        let (places, schema) = (Places::new(), Schema::new(positions));
        let first = append_visibly(&schema, "first-1");
        block_on(schema.store().save_checkpoint("mailer", first)).unwrap();
        let may_fence = AtomicBool::new(false);
        let acknowledged = thread::scope(|scope| {
            let programs: Vec<_> = (0..3)
                .map(|number| {
                    let (schema, may_fence) = (&schema, &may_fence);
                    scope.spawn(move || {
                        let mut count = 0;
                        loop {
                            match append(schema, &format!("s-{number}")) {
                                Ok(_) => count += 1,
                                Err(AppendError::Store(StoreError::Fenced { .. })) => break count,
                                Err(error) => panic!("{error:?}"),
                            }
                            if count > 10 {
                                may_fence.store(true, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            let mut fences = 0;
            let mut target = target(&places.new_place()).unwrap();
            let settings = Settings::default().until(Until::Switched);
            let report = copy(&mut schema.source(), &mut target, &settings, &mut |step| {
                if step == Step::Fencing {
                    fences += 1;
                    while !may_fence.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                }
                ControlFlow::Continue(())
            });
            let report = report.unwrap();
            target.close().unwrap();
            assert!(report.is_complete && fences == 1);
            programs.into_iter().map(|it| it.join().unwrap()).sum::<usize>()
        });
        let found = contents(&places.new_place());
        assert_eq!(found.iter().filter(|line| line.contains(" all-1@")).count(), acknowledged + 1);
        assert!(found.contains(&"cursor mailer 2".to_owned()));

        let other = Schema::new(positions);
        let mut back = other.target();
        let report = copy_all(
            &mut Directory::source(places.new_place()).unwrap(),
            &mut back,
            &Settings::default().until(Until::Switched),
        );
        assert!(report.is_complete && report.events_compared == 2 * (acknowledged as u64 + 1));
        append(&other, "s-1").unwrap();
        assert!(matches!(
            annals::Store::open(places.new_place()),
            Err(annals::Error::Fenced { to, .. }) if to == back.name()
        ));
    }
}

fn records_are_not_lost_by_accident() {
    let (places, schema) = (Places::new(), Schema::new("dense"));
    fill(&places.old(), 0..50);
    histories::furnish(&places.old());
    let mut source = Directory::source(places.old()).unwrap();
    let tell = &mut |_| ControlFlow::Continue(());
    let refused = copy(&mut source, &mut schema.target(), &Settings::default(), tell);
    assert!(matches!(refused, Err(Error::CannotKeep { .. })), "{refused:?}");
    assert_eq!(schema.head(), Position::START);
    let report = copy(&mut source, &mut schema.target(), &Settings::default().leave_out(), tell);
    // Hidden events are copied as well.
    assert_eq!(report.unwrap().events_copied, schema.head().get());
}

fn times_that_go_back_are_raised() {
    let (places, schema) = (Places::new(), Schema::new("fast"));
    for number in 0..5 {
        append_visibly(&schema, &format!("s-{number}"));
    }
    schema.execute(
        "UPDATE {schema}.events SET recorded_at = recorded_at - 60000000 WHERE stream = 's-3' OR
             commit_position IN (SELECT commit_position FROM {schema}.events WHERE stream = 's-3')",
    );
    let mut to = target(&places.new_place()).unwrap();
    let report = copy_all(&mut schema.source(), &mut to, &Settings::default());
    to.close().unwrap();
    assert_eq!((report.times_raised, report.events_compared), (1, 10));
    annals::verify(places.new_place(), |_| ()).unwrap();
}

/// The table, a store beside it in the same database, and a directory; while it grows, and stopped in between.
fn classic_table_is_taken_over() {
    let (places, schema) = (Places::new(), Schema::new("dense"));
    schema.execute(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.classic (
            id bigserial PRIMARY KEY, aggregate_id text, aggregate_type text, event_type text, data jsonb,
            metadata jsonb, version bigint, created_at timestamptz, UNIQUE (aggregate_id, version))",
    );
    let grow = |from: u64, to: u64| {
        schema.execute(&format!(
            "INSERT INTO {{schema}}.classic (aggregate_id, aggregate_type, event_type, data, version, created_at)
             SELECT 'a' || n % 7, 'order', 'T', json_build_object('n', n), n / 7 + 1,
                    '2020-01-01Z'::timestamptz + n % 1000 * interval '1 s'
             FROM generate_series({from}, {to}) n"
        ));
        // Numbers that no row has.
        schema.execute("SELECT nextval('{schema}.classic_id_seq')");
    };
    let table = || Classic::source(&schema.table("classic")).unwrap();
    grow(0, 2000);
    let mut steps = 0;
    let stopped = copy(&mut table(), &mut schema.target(), &Settings::default(), &mut |_| {
        steps += 1;
        if steps > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    grow(2001, 2500);
    let report = copy_all(&mut table(), &mut schema.target(), &Settings::default());
    assert_eq!((report.events_compared, report.positions_moved), (2501, true));
    // Times begin again twice.
    assert!(report.times_raised > 0);
    let map = places.file("map");
    let mut to = target(&places.new_place()).unwrap();
    copy_all(&mut table(), &mut to, &Settings::default().map(&map));
    to.close().unwrap();
    let map = PositionMap::load(map).unwrap();
    for (old, new) in [(2001, 2001), (2002, 2001), (2003, 2002), (2502, 2501), (2503, 2501)] {
        assert_eq!(map.new_position(Position::new(old)).get(), new, "{old}");
    }
    let of_store = copy_all(
        &mut schema.source(),
        &mut target(&places.new_place()).unwrap(),
        &Settings::default(),
    );
    assert_eq!((of_store.events_copied, of_store.events_compared), (0, 2501));

    let refused = copy(
        &mut table(),
        &mut schema.target(),
        &Settings::default().until(Until::Switched),
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    schema.execute("ALTER TABLE {schema}.classic DROP COLUMN metadata");
    let refused = Classic::source(&schema.table("classic")).unwrap_err().to_string();
    assert!(refused.contains("column metadata: it is missing"), "{refused}");
}

/// The same table through `annals import --format postgres-csv`.
fn rows_of_a_table_are_what_an_import_makes_of_them() {
    let schema = Schema::new("dense");
    for (id, data, version) in
        [("bigserial", "jsonb", "text"), ("uuid", "json", "integer"), ("text", "bytea", "text")]
    {
        schema.execute("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
        schema.execute(&format!(
            "CREATE TABLE {{schema}}.classic (
                id {id}, aggregate_id varchar(40), aggregate_type text, event_type text, event_version {version},
                data {data}, metadata jsonb, version integer, created_at timestamptz)"
        ));
        let of = |n: &str| match id {
            "uuid" => format!("('00000000-0000-0000-0000-' || lpad({n}::text, 12, '0'))::uuid"),
            _ => n.to_owned(),
        };
        let data = match data {
            "bytea" => "decode('00ff', 'hex')".to_owned(),
            json => format!("(' {{\"b\": 1.50,  \"ü\":\"x\"}}')::{json}"),
        };
        schema.execute(&format!(
            "INSERT INTO {{schema}}.classic
             SELECT {}, CASE WHEN n % 2 = 0 THEN 'a-' || n ELSE 'ü' || n END, 'order-item', 'T' || n,
                    CASE n % 3 WHEN 0 THEN NULL ELSE n END, {data}, CASE WHEN n % 2 = 0 THEN '{{\"by\": \"ann\"}}'::jsonb END, 1,
                    '1969-12-31 23:59:58.25Z'::timestamptz + n * interval '0.7000017 s'
             FROM generate_series(1, 9) n",
            of("n")
        ));
        let csv = schema.csv("SELECT * FROM {schema}.classic ORDER BY created_at");
        let mut rows =
            annals_lines::events_table::Table::new(annals_lines::events_table::Form::Csv);
        let imported: Vec<annals_lines::Record> =
            csv.lines().filter_map(|line| rows.decode(line.as_bytes()).unwrap()).collect();
        let mut table = Classic::source(&schema.table("classic")).unwrap();
        let read: Vec<_> =
            table.read(Position::START, Position::MAX).unwrap().map(Result::unwrap).collect();
        assert_eq!((imported.len(), read.len()), (9, 9));
        for (record, event) in imported.iter().zip(&read) {
            assert_eq!(record.id, Some(event.id()));
            assert_eq!(
                (&*record.stream, &*record.event_type),
                (event.stream(), event.event_type())
            );
            assert_eq!((&record.data[..], &record.metadata[..]), (event.data(), event.metadata()));
            assert_eq!(record.tags, event.tags().collect::<Vec<_>>());
            assert_eq!(record.schema_version, event.schema_version());
            assert_eq!(format!("{:?}", record.content_type), format!("{:?}", event.content_type()));
            assert_eq!(record.version, Some(event.version().to_string()));
            let time = record.time().unwrap();
            assert_eq!(time.as_micros(), event.recorded_at().as_micros());
        }
    }
}

fn source_without_a_store_is_refused() {
    let schema = Schema::new("dense");
    assert!(matches!(Postgres::source(&schema.url()), Err(Error::Failed { .. })));
    let url = format!("{}&positions=sparse", schema.url());
    assert!(matches!(Postgres::target(&url), Err(Error::Unsupported { .. })));
    drop(schema.target());
    assert!(Postgres::source(&schema.url()).is_ok());
}
