//! Commits with a given recorded time.

#![allow(clippy::disallowed_methods, reason = "tests ask the clock that the store goes by")]

use std::time::{Duration, SystemTime};

use annals::{
    Durability, Error, ExpectedVersion, NewEvent, Options, Position, Store, StreamMetadata,
    Timestamp,
};

/// A time in the year 2020, plus these seconds.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros((1_577_836_800 + seconds) * 1_000_000)
}

fn record(store: &Store, time: Timestamp, data: &str) -> annals::Result<Timestamp> {
    let event = NewEvent::new("T", data);
    let transaction = store.transaction().append("s", ExpectedVersion::Any, [event]);
    transaction.recorded_at(time).commit().map(|done| done.recorded_at)
}

#[test]
fn migrated_history_is_read_as_of_its_own_times() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Options::new().segment_size(Options::MIN_SEGMENT_SIZE).open(dir.path()).unwrap();
    let store = open();
    let large = "x".repeat(3_000);
    for second in 0..100 {
        assert_eq!(record(&store, at(second / 2 * 10), &large).unwrap(), at(second / 2 * 10));
    }
    assert!(store.stats().segments > 3);
    let now = store.append("s", ExpectedVersion::Exact(100), [NewEvent::new("T", "now")]).unwrap();
    assert!(SystemTime::from(now.recorded_at) > SystemTime::from(at(365 * 86_400)));
    let check = |store: &Store| {
        for (time, head) in
            [(at(0), 2), (at(9), 2), (at(10), 4), (at(255), 52), (at(490), 100), (at(10_000), 100)]
        {
            assert_eq!(store.position_at(time).unwrap(), Position::new(head), "{time:?}");
            assert_eq!(store.read_all().as_of(time).into_iter().count() as u64, head);
            assert_eq!(store.read_stream("s").as_of(time).into_iter().count() as u64, head);
        }
        assert_eq!(store.position_at(Timestamp::from_micros(0)).unwrap(), Position::START);
        let event = store.event_at(Position::new(51)).unwrap().unwrap();
        assert_eq!(event.recorded_at(), at(250));
    };
    check(&store);
    store.close().unwrap();
    check(&open());
    let report = annals::verify(dir.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.events), (0, 101));
    // Limits by age use these times.
    let store = open();
    let metadata = StreamMetadata::new().max_age(Duration::from_secs(86_400));
    store.set_stream_metadata("s", metadata).unwrap();
    assert_eq!(store.read_stream("s").into_iter().count(), 1);
}

#[test]
fn given_time_before_the_last_commit_or_ahead_of_the_clock_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    record(&store, Timestamp::from_micros(0), "the epoch").unwrap();
    record(&store, at(10), "").unwrap();
    record(&store, at(10), "the same again").unwrap();
    let Err(Error::RecordedTime { given, earliest, .. }) = record(&store, at(9), "earlier") else {
        panic!("times went back");
    };
    assert_eq!((given, earliest), (at(9), at(10)));
    let ahead = Timestamp::from(SystemTime::now() + Duration::from_secs(3_600));
    let refused = record(&store, ahead, "ahead").unwrap_err();
    let Error::RecordedTime { earliest, latest, .. } = refused else { panic!("{refused:?}") };
    assert!(earliest == at(10) && latest < ahead);
    let clock = SystemTime::from(latest).elapsed().unwrap();
    assert!(clock < Duration::from_secs(600), "the latest is the clock's time");
    assert_eq!(store.head().get(), 3, "nothing was written");
    // A wrong time is no conflict, and the store goes on.
    record(&store, at(11), "").unwrap();
    let now = store.append("s", ExpectedVersion::Exact(4), [NewEvent::new("T", "")]).unwrap();
    assert!(matches!(record(&store, at(12), ""), Err(Error::RecordedTime { .. })));
    assert_eq!(record(&store, now.recorded_at, "with it").unwrap(), now.recorded_at);
}

#[test]
fn given_time_before_a_commit_in_flight_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::BUFFERED).open(dir.path()).unwrap();
    let submit = |time| {
        let event = NewEvent::new("T", "");
        store.transaction().append("s", ExpectedVersion::Any, [event]).recorded_at(time).submit()
    };
    let first = submit(at(5)).unwrap();
    assert!(matches!(submit(at(4)), Err(Error::RecordedTime { .. })));
    let second = submit(at(6)).unwrap();
    assert_eq!(first.wait().unwrap().recorded_at, at(5));
    assert_eq!(second.wait().unwrap().recorded_at, at(6));
}

#[test]
fn repeated_commit_keeps_the_time_it_was_recorded_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = annals::Uuid::from_u128(7);
    let again = |time| {
        let event = NewEvent::new("T", "").id(id);
        let transaction = store.transaction().append("s", ExpectedVersion::Any, [event]);
        transaction.recorded_at(time).commit().unwrap()
    };
    assert_eq!(again(at(1)).recorded_at, at(1));
    record(&store, at(50), "").unwrap();
    let repeated = again(at(1));
    assert!(repeated.already_recorded);
    assert_eq!(repeated.recorded_at, at(1));
    assert_eq!(store.head().get(), 2);
}

#[test]
fn given_time_applies_to_commits_without_events() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    record(&store, at(1), "").unwrap();
    let done = store.transaction().cursor("c", 1).recorded_at(at(2)).commit().unwrap();
    assert_eq!(done.recorded_at, at(2));
    assert!(matches!(record(&store, at(1), ""), Err(Error::RecordedTime { .. })));
    // A transaction that writes nothing ignores the given time.
    let question = store.transaction().check("s", ExpectedVersion::Exact(1));
    question.recorded_at(at(0)).commit().unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(matches!(record(&store, at(1), ""), Err(Error::RecordedTime { .. })));
    record(&store, at(2), "").unwrap();
}

#[test]
fn remaining_change_of_a_repeated_commit_does_not_end_the_migration() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    record(&store, at(1), "").unwrap();
    let append = |cursor: bool| {
        let event = NewEvent::new("T", "").id(annals::Uuid::from_u128(7));
        let transaction = store.transaction().append("s", ExpectedVersion::Any, [event]);
        let transaction = if cursor { transaction.cursor("c", 1) } else { transaction };
        transaction.recorded_at(at(2)).commit().unwrap()
    };
    append(false);
    record(&store, at(5), "").unwrap();
    // The event is recorded and the cursor is new: the cursor is moved, without recording the
    // clock's time.
    assert!(append(true).already_recorded);
    assert_eq!(store.cursors().get("c").unwrap(), Some(Position::new(1)));
    record(&store, at(6), "").unwrap();
}

#[test]
fn given_time_applies_to_async_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let commit = |time| {
        let transaction =
            store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
        futures::executor::block_on(transaction.recorded_at(time).commit_async())
    };
    assert_eq!(commit(at(7)).unwrap().recorded_at, at(7));
    assert!(matches!(commit(at(6)), Err(Error::RecordedTime { .. })));
}
