//! The classic table of events, as it is.

use annals_es::blocking::{block_on, iter};
use annals_es::{
    ContentType, Position, Query, ReadAll, ReadStream, RecordedEvent, StoreError, Version,
};
use annals_postgres::{ClassicTable, Error, PostgresOptions};
use uuid::Uuid;

use crate::support::{RUNTIME, Schema, Tests, config, connect};

pub(crate) const TESTS: Tests = &[
    ("classic_rows_are_events", classic_rows_are_events),
    ("classic_streams_are_read_by_version", classic_streams_are_read_by_version),
    ("classic_table_with_uuids_is_numbered_by_time", classic_table_with_uuids_is_numbered_by_time),
    ("classic_table_that_was_altered_is_refused", classic_table_that_was_altered_is_refused),
    ("classic_row_without_a_value_is_named", classic_row_without_a_value_is_named),
    ("classic_row_in_flight_is_waited_for", classic_row_in_flight_is_waited_for),
];

const TABLE: &str = "CREATE SCHEMA {schema};
    CREATE TABLE {schema}.events (
        id bigserial PRIMARY KEY,
        aggregate_id text NOT NULL,
        aggregate_type varchar(100) NOT NULL,
        event_type text NOT NULL,
        data jsonb NOT NULL,
        metadata json,
        version bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (aggregate_id, version)
    );
    CREATE INDEX ON {schema}.events (event_type);";

fn open(schema: &Schema) -> Result<ClassicTable, Error> {
    let table = format!("{}.events", schema.name);
    block_on(PostgresOptions::new(config()).open_classic(&table))
}

/// Rows of three aggregates, with more than a page of rows in all and gaps in the ids.
fn filled() -> Schema {
    let schema = Schema::dense();
    schema.execute(TABLE);
    schema.execute(
        "INSERT INTO {schema}.events (id, aggregate_id, aggregate_type, event_type, data, metadata, version, created_at)
         SELECT 10 * n, 'a' || n % 3, 'order-item', 'Type' || n % 2, json_build_object('n', n),
                CASE WHEN n % 2 = 0 THEN '{\"by\":  \"ann\"}'::json END, (n + 2) / 3,
                '2020-01-01Z'::timestamptz + n * interval '1.000001 s'
         FROM generate_series(1, 1500) n",
    );
    schema
}

fn all(table: &ClassicTable, read: ReadAll) -> Vec<RecordedEvent> {
    iter(table.read_all(read)).map(|event| event.expect("an event")).collect()
}

fn classic_rows_are_events() {
    let schema = filled();
    let table = open(&schema).expect("it opens");
    let events = all(&table, ReadAll::new());
    assert_eq!(events.len(), 1500);
    let event = &events[3];
    assert_eq!((event.stream(), event.version().get()), ("order%2Ditem-a1", 2));
    assert_eq!((event.position().get(), event.event_type()), (40, "Type0"));
    assert_eq!((event.data(), event.metadata()), (&b"{\"n\": 4}"[..], &b"{\"by\":  \"ann\"}"[..]));
    assert_eq!(event.content_type(), ContentType::Json);
    assert_eq!(event.tags().collect::<Vec<_>>(), ["row:40"]);
    assert_eq!(event.recorded_at().as_micros(), 1_577_836_804_000_004);
    assert_eq!((event.schema_version(), event.is_last_in_commit()), (0, true));
    assert!(events[2].metadata().is_empty());
    assert!(events.windows(2).all(|two| two[0].position() < two[1].position()));

    let part = all(&table, ReadAll::new().after(40.into()).up_to(Position::new(75)));
    assert_eq!(part.iter().map(|it| it.position().get()).collect::<Vec<_>>(), [50, 60, 70]);
    let last = all(&table, ReadAll::matching(Query::types(["Type0"])).backwards().limit(2));
    assert_eq!(last.iter().map(|it| it.position().get()).collect::<Vec<_>>(), [15_000, 14_980]);
    let last = block_on(table.last()).expect("an answer").expect("an event");
    assert_eq!(last.id(), events[1499].id());
    // The table is as it was, and no connection was left in a transaction.
    for _ in 0..50 {
        drop(iter(table.read_all(ReadAll::new())).next());
    }
    assert_eq!(schema.number("SELECT count(*) FROM {schema}.events"), 1500);
}

fn classic_streams_are_read_by_version() {
    let schema = filled();
    let table = open(&schema).expect("it opens");
    let versions = |read: ReadStream| -> Vec<u64> {
        iter(table.read_stream(read))
            .map(|event| event.expect("an event").version().get())
            .collect()
    };
    let stream = || ReadStream::of("order%2Ditem-a1");
    assert_eq!(versions(stream()), (1..=500).collect::<Vec<_>>());
    assert_eq!(versions(stream().backwards().limit(3)), [500, 499, 498]);
    assert_eq!(versions(stream().from(4.into()).up_to(Version::new(6))), [4, 5, 6]);
    assert_eq!(versions(stream().up_to_position(Position::new(75))), [1, 2, 3]);
    for none in ["order-item-a1", "order%2Ditem-", "order%2Ditem-a9", "it's \\ odd", "a\0b", "-"] {
        assert!(versions(ReadStream::of(none)).is_empty(), "{none}");
    }
    let version = |stream: &str| block_on(table.stream_version(&stream.into())).expect("a version");
    assert_eq!((version("order%2Ditem-a2").get(), version("order-1").get()), (500, 0));
    let found = block_on(table.find_event(&"order%2Ditem-a1".into(), Version::new(2)));
    assert_eq!(found.expect("an answer").expect("an event").position().get(), 40);
}

fn classic_table_with_uuids_is_numbered_by_time() {
    let schema = Schema::dense();
    schema.execute(
        "CREATE SCHEMA {schema};
         CREATE TABLE {schema}.events (
            id uuid PRIMARY KEY, aggregate_id uuid, aggregate_type text, event_type text, event_version text,
            payload bytea, metadata jsonb, sequence integer, created_at timestamp);
         INSERT INTO {schema}.events VALUES
            ('00000000-0000-0000-0000-000000000009', '00000000-0000-0000-0000-00000000000a', 'A', 'T', '1.0',
             '\\x00ff', '{}', 2, '2020-01-01 00:00:01'),
            ('00000000-0000-0000-0000-000000000008', '00000000-0000-0000-0000-00000000000b', 'A', 'T', '2.1',
             '[1]', NULL, 1, '2020-01-01 00:00:02'),
            ('00000000-0000-0000-0000-000000000007', '00000000-0000-0000-0000-00000000000a', 'A', 'T', NULL,
             NULL, NULL, 1, '2020-01-01 00:00:01')",
    );
    let table = open(&schema).expect("it opens");
    let events = all(&table, ReadAll::new());
    let ids: Vec<Uuid> = events.iter().map(RecordedEvent::id).collect();
    assert_eq!(ids, [7, 9, 8].map(Uuid::from_u128));
    let kinds: Vec<_> = events.iter().map(|it| (it.content_type(), it.schema_version())).collect();
    let (binary, json) = (ContentType::Binary, ContentType::Json);
    assert_eq!(kinds, [(binary, 0), (binary, 1), (json, 2)]);
    assert_eq!(events[1].data(), [0, 255]);
    assert_eq!(events[2].tags().collect::<Vec<_>>(), ["event_version:2.1"]);
    let positions: Vec<u64> = events.iter().map(|it| it.position().get()).collect();
    assert_eq!(positions, [1, 2, 3]);
    let stream = "A-00000000-0000-0000-0000-00000000000a";
    let read: Vec<_> = iter(table.read_stream(ReadStream::of(stream))).collect();
    assert_eq!(read.len(), 2);
    assert_eq!(iter(table.read_stream(ReadStream::of("A-no-uuid"))).count(), 0);
}

fn classic_table_that_was_altered_is_refused() {
    let refused = |change: &str| {
        let schema = Schema::dense();
        schema.execute(TABLE);
        schema.execute(change);
        match open(&schema) {
            Err(Error::Column { column, what, .. }) => (column, what),
            other => panic!("{other:?}"),
        }
    };
    for column in ["id", "aggregate_type", "data", "metadata", "version", "created_at"] {
        let (found, what) = refused(&format!("ALTER TABLE {{schema}}.events DROP COLUMN {column}"));
        assert_eq!((&*found, &*what), (column, "it is missing"));
    }
    let change = "ALTER TABLE {schema}.events ALTER COLUMN version TYPE text";
    let (column, what) = refused(change);
    assert!(column == "version" && what.contains("it has the type text"), "{what}");
    let change = "ALTER TABLE {schema}.events ALTER COLUMN created_at TYPE date";
    assert_eq!(refused(change).0, "created_at");
    let (column, what) = refused("ALTER TABLE {schema}.events ADD COLUMN tenant text");
    assert!(column == "tenant" && what.contains("view"), "{what}");

    let schema = Schema::dense();
    assert!(matches!(open(&schema), Err(Error::NoTable { .. })));
    schema.execute(TABLE);
    schema.execute(
        "ALTER TABLE {schema}.events RENAME TO wide;
         ALTER TABLE {schema}.wide ADD COLUMN tenant text;
         CREATE VIEW {schema}.events AS SELECT id, aggregate_id, aggregate_type, event_type, data, metadata,
             version, created_at FROM {schema}.wide",
    );
    let view = open(&schema).expect("a view without the column opens");
    assert!(block_on(view.last()).expect("an answer").is_none());
}

fn classic_row_without_a_value_is_named() {
    let schema = filled();
    schema.execute(
        "ALTER TABLE {schema}.events ALTER COLUMN version DROP NOT NULL;
         UPDATE {schema}.events SET version = NULL WHERE id = 50",
    );
    let table = open(&schema).expect("it opens");
    let error = iter(table.read_all(ReadAll::new())).find_map(Result::err).expect("an error");
    let StoreError::Backend(cause) = error else { panic!("{error:?}") };
    let error = cause.downcast_ref::<Error>().expect("an error of the crate");
    assert!(matches!(error, Error::Column { column, .. } if column == "version"), "{error:?}");
}

/// A row with a lower id is committed after one with a higher id: a reader that saw only the higher one would miss it.
fn classic_row_in_flight_is_waited_for() {
    let schema = filled();
    let table = open(&schema).expect("it opens");
    let insert = |id: u64| {
        format!(
            "INSERT INTO {}.events (id, aggregate_id, aggregate_type, event_type, data, version)
             VALUES ({id}, 'late-{id}', 'A', 'T', '1', 1)",
            schema.name
        )
    };
    let slow = connect(&config());
    RUNTIME.block_on(slow.batch_execute(&format!("BEGIN; {}", insert(20_000)))).expect("begun");
    schema.execute(&insert(20_001));
    let looking = std::thread::spawn(move || {
        let last = block_on(table.last()).expect("an answer").expect("an event");
        (last.position().get(), all(&table, ReadAll::new()).len())
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'
                 AND relation = '{schema}.events'::regclass";
    while schema.number(waits) == 0 {
        std::thread::yield_now();
    }
    RUNTIME.block_on(slow.batch_execute("COMMIT")).expect("committed");
    assert_eq!(looking.join().expect("it ends"), (20_001, 1502));
}
