//! Fences, imports, and tables of an earlier version.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use annals_es::blocking::block_on;
use annals_es::{
    AppendError, Commit, ContentType, EventParts, EventStore, Expected, NewEvent, OrderedStore,
    Position, ReadAll, RecordedEvent, StoreError, Timestamp, Version, next,
};
use annals_postgres::{Error, PostgresStore};
use uuid::Uuid;

use crate::support::{Schema, Tests};

pub(crate) const TESTS: Tests = &[
    ("fenced_store_is_read_and_records_nothing", fenced_store_is_read_and_records_nothing),
    ("fence_is_after_every_acknowledged_commit", fence_is_after_every_acknowledged_commit),
    ("imported_commits_are_as_they_were", imported_commits_are_as_they_were),
    ("import_is_recorded_whole_or_not_at_all", import_is_recorded_whole_or_not_at_all),
    ("import_at_an_earlier_time_is_refused", import_at_an_earlier_time_is_refused),
    ("tables_of_version_1_are_brought_up_to_date", tables_of_version_1_are_brought_up_to_date),
];

const BOTH: [fn() -> Schema; 2] = [Schema::dense, Schema::fast];

fn append(store: &PostgresStore, stream: &str) -> Result<Position, AppendError> {
    let commit = Commit::to(stream, Expected::Any, [NewEvent::new("A", "")]);
    block_on(store.append(commit)).map(|done| done.last_position)
}

fn read_all(store: &PostgresStore) -> Vec<RecordedEvent> {
    let mut events = store.read_all(ReadAll::new());
    block_on(async {
        let mut all = Vec::new();
        while let Some(event) = next(&mut events).await {
            all.push(event.expect("an event"));
        }
        all
    })
}

fn is_fenced<T: std::fmt::Debug>(done: Result<T, AppendError>) -> bool {
    matches!(done, Err(AppendError::Store(StoreError::Fenced { to })) if to == "elsewhere")
}

fn fenced_store_is_read_and_records_nothing() {
    for make in BOTH {
        let schema = make();
        let (store, other) = (schema.store(), schema.store());
        let first = append(&store, "a-1").expect("it is recorded");
        block_on(store.wait_for(first)).expect("it is visible");
        block_on(store.save_checkpoint("mailer", first)).expect("it is saved");
        block_on(store.raise_fence("elsewhere")).expect("it is fenced");
        for store in [&store, &other, &schema.store()] {
            assert!(is_fenced(append(store, "a-1")) && is_fenced(append(store, "b-1")));
            assert!(is_fenced(block_on(store.save_checkpoint("other", first))));
            assert!(is_fenced(block_on(store.reset_checkpoint("mailer", Position::START))));
            let also = store
                .append_with(Commit::to("c-1", Expected::Any, [NewEvent::new("A", "")]), |_, _| {
                    Box::pin(async { Ok(()) })
                });
            assert!(is_fenced(block_on(also)));
            assert_eq!(block_on(store.fence()).expect("an answer").as_deref(), Some("elsewhere"));
            assert_eq!(read_all(store).len(), 1);
            let mailer = block_on(store.checkpoint("mailer")).expect("an answer");
            assert_eq!(mailer, Some(first));
        }
        let lifted = block_on(store.lift_fence()).expect("it is lifted");
        assert_eq!(lifted.as_deref(), Some("elsewhere"));
        assert_eq!(block_on(other.lift_fence()).expect("an answer"), None);
        append(&other, "a-1").expect("it is recorded");
        block_on(other.reset_checkpoint("mailer", Position::START)).expect("it is set");
        let mailer = block_on(other.checkpoint("mailer")).expect("an answer");
        assert_eq!(mailer, Some(Position::START));
    }
}

/// Programs append while the store is fenced: what was acknowledged is visible once the fence is raised, and nothing is
/// recorded afterwards.
fn fence_is_after_every_acknowledged_commit() {
    for make in BOTH {
        for _ in 0..5 {
            let schema = make();
            let store = schema.store();
            let (acknowledged, raised) = (AtomicU64::new(0), AtomicBool::new(false));
            thread::scope(|scope| {
                for number in 0..4 {
                    let own = schema.store();
                    let (acknowledged, raised) = (&acknowledged, &raised);
                    scope.spawn(move || {
                        let stream = format!("s-{number}");
                        loop {
                            let was_raised = raised.load(Ordering::SeqCst);
                            match append(&own, &stream) {
                                Ok(_) => {
                                    assert!(!was_raised, "recorded after the fence");
                                    acknowledged.fetch_add(1, Ordering::SeqCst);
                                }
                                done => break assert!(is_fenced(done)),
                            }
                        }
                    });
                }
                while acknowledged.load(Ordering::SeqCst) < 40 {
                    thread::yield_now();
                }
                block_on(store.raise_fence("elsewhere")).expect("it is fenced");
                raised.store(true, Ordering::SeqCst);
                // Commits whose acknowledgement is on its way are there as well.
                let seen = read_all(&store).len() as u64;
                assert!(seen >= acknowledged.load(Ordering::SeqCst));
            });
            let count = read_all(&store).len() as u64;
            assert_eq!(count, acknowledged.load(Ordering::SeqCst));
        }
    }
}

fn event(stream: &str, version: u64, number: u64, time: u64) -> EventParts {
    let mut new = NewEvent::new(format!("Type{number}"), format!("[{number}]"))
        .schema_version(7)
        .content_type(ContentType::Json)
        .metadata(format!("{{\"n\":{number}}}"));
    new.tags = (0..number % 3).map(|tag| format!("tag:{tag}")).collect();
    let (id, position) = (Uuid::from_u128(1000 + u128::from(number)), Position::new(number));
    let time = Timestamp::from_micros(time);
    EventParts::of(new, id, stream.into(), Version::new(version), position, time)
}

/// The parts of a commit as one, of one time.
fn commit(parts: impl IntoIterator<Item = EventParts>) -> Vec<RecordedEvent> {
    let mut parts: Vec<EventParts> = parts.into_iter().collect();
    let (first, last) = (parts[0].position, parts.len() - 1);
    for (index, part) in parts.iter_mut().enumerate() {
        (part.commit, part.is_last_in_commit) = (first, index == last);
    }
    parts.into_iter().map(RecordedEvent::from).collect()
}

fn imported_commits_are_as_they_were() {
    for make in BOTH {
        let schema = make();
        let store = schema.store();
        let commits = vec![
            commit([event("a-1", 1, 1, 10), event("b-1", 1, 2, 10), event("a-1", 2, 3, 10)]),
            commit([event("a-1", 3, 4, 10)]),
            commit([event("b-1", 2, 5, 25), event("b-1", 3, 6, 25)]),
        ];
        let done = block_on(store.import(commits.clone())).expect("it is recorded");
        block_on(store.wait_for(done[2].last_position)).expect("it is visible");
        let read = read_all(&store);
        let comparable = |event: &RecordedEvent| {
            let tags: Vec<String> = event.tags().map(str::to_owned).collect();
            (
                (event.id(), event.stream().to_owned(), event.version(), tags),
                (event.event_type().to_owned(), event.schema_version(), event.content_type()),
                (event.recorded_at(), event.is_last_in_commit()),
                (event.data_bytes(), event.metadata().to_vec()),
            )
        };
        let wanted: Vec<_> = commits.iter().flatten().map(comparable).collect();
        assert_eq!(read.iter().map(comparable).collect::<Vec<_>>(), wanted);
        // The same again is recorded once, and what programs append follows.
        let again = block_on(store.import(commits)).expect("it is recorded");
        assert!(again.iter().all(|done| done.already_recorded));
        append(&store, "a-1").expect("it is recorded");
        assert_eq!(block_on(store.stream_version(&"a-1".into())).expect("a version").get(), 4);
    }
}

fn import_is_recorded_whole_or_not_at_all() {
    for make in BOTH {
        let schema = make();
        let store = schema.store();
        let gap = vec![commit([event("a-1", 1, 1, 10)]), commit([event("a-1", 3, 2, 10)])];
        let refused = block_on(store.import(gap));
        assert!(matches!(refused, Err(AppendError::Conflict(_))), "{refused:?}");
        let position = append(&store, "b-1").expect("it is recorded");
        block_on(store.wait_for(position)).expect("it is visible");
        assert_eq!(read_all(&store).len(), 1);
        assert!(matches!(block_on(store.import(vec![vec![]])), Err(AppendError::Empty)));
    }
}

fn import_at_an_earlier_time_is_refused() {
    for make in BOTH {
        let schema = make();
        let store = schema.store();
        block_on(store.import(vec![commit([event("a-1", 1, 1, 10)])])).expect("it is recorded");
        let refused = block_on(store.import(vec![commit([event("a-1", 2, 2, 9)])]));
        let Err(AppendError::Store(StoreError::Backend(cause))) = refused else {
            panic!("{refused:?}")
        };
        let error = cause.downcast_ref::<Error>().expect("an error of the crate");
        let Error::RecordedTime { given, earliest } = error else { panic!("{error:?}") };
        assert_eq!((given.as_micros(), earliest.as_micros()), (9, 10));
    }
}

fn tables_of_version_1_are_brought_up_to_date() {
    let schema = Schema::dense();
    append(&schema.store(), "a-1").expect("it is recorded");
    schema.execute(
        "ALTER TABLE {schema}.head DROP COLUMN fence;
         UPDATE {schema}.store SET schema_version = 1",
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| append(&schema.store(), "a-1").expect("it is recorded"));
        }
    });
    assert_eq!(read_all(&schema.store()).len(), 5);
    assert_eq!(schema.number("SELECT schema_version::bigint FROM {schema}.store"), 2);
}
