//! Limits: what exceeds one is refused, and a refusal changes nothing.

use annals::{Error, ExpectedVersion, NewEvent, Options, Position, Store, Uuid};

fn open(dir: &tempfile::TempDir) -> Store {
    Options::new().segment_size(1 << 20).open(dir.path().join("store")).unwrap()
}

fn event() -> NewEvent {
    NewEvent::new("T", "x")
}

/// The size and maximum of the limit that an append exceeds.
fn limit(result: Result<annals::Appended, Error>) -> (u64, u64) {
    match result {
        Err(Error::LimitExceeded { size, max, .. }) => (size, max),
        other => panic!("{other:?}"),
    }
}

#[test]
fn size_at_a_limit_is_accepted_and_above_it_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let append = |stream: &str, event| store.append(stream, ExpectedVersion::Any, [event]);
    let text = |len| "a".repeat(len);

    assert_eq!(limit(append(&text(1025), event())), (1025, 1024));
    assert_eq!(limit(append("s", NewEvent::new(text(256), ""))), (256, 255));
    assert_eq!(limit(append("s", event().tag(text(256)))), (256, 255));
    assert_eq!(limit(append("s", event().tags(vec!["t"; 65]))), (65, 64));
    let commit = limit(append("s", NewEvent::new("T", vec![0; 300_000])));
    assert_eq!(commit.1, (1 << 20) / 4);
    assert_eq!(store.head(), Position::START);

    append(&text(1024), event()).unwrap();
    append("s", NewEvent::new(text(255), "")).unwrap();
    append("s", event().tag(text(255)).tags(vec!["t"; 63])).unwrap();
    append("s", NewEvent::new("T", vec![0; 250_000])).unwrap();
    append("s", NewEvent::new("T", "")).unwrap();
    assert_eq!(store.head(), Position::new(5));
}

#[test]
fn event_larger_than_the_configured_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().max_event_size(10).open(dir.path().join("store")).unwrap();
    let event = |data: usize, metadata: usize| {
        NewEvent::new("T", vec![0; data]).metadata(vec![0; metadata])
    };
    let append = |event| store.append("s", ExpectedVersion::Any, [event]);
    assert_eq!(limit(append(event(8, 3))), (11, 10));
    append(event(8, 2)).unwrap();
}

#[test]
fn empty_names_and_commits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let append = |stream: &str, event| store.append(stream, ExpectedVersion::Any, [event]);
    assert!(matches!(append("", event()), Err(Error::InvalidArgument { what: "stream", .. })));
    assert!(matches!(append("s", NewEvent::new("", "")), Err(Error::InvalidArgument { .. })));
    assert!(matches!(append("s", event().tag("")), Err(Error::InvalidArgument { .. })));
    let none: [NewEvent; 0] = [];
    assert!(matches!(store.append("s", ExpectedVersion::Exact(0), none), Err(Error::EmptyCommit)));
    assert!(matches!(store.transaction().commit(), Err(Error::EmptyCommit)));
    assert_eq!(store.head(), Position::START);
}

#[test]
fn nil_id_is_refused_in_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let nil = || event().id(Uuid::nil());
    let refused = |result: Result<(), Error>| {
        let message = result.as_ref().unwrap_err().to_string();
        assert!(matches!(result, Err(Error::InvalidArgument { what: "event id", .. })));
        assert!(message.contains("nil UUID"), "{message}");
    };
    refused(store.append("s", ExpectedVersion::Any, [nil()]).map(drop));
    refused(store.append("s", ExpectedVersion::Any, [event(), nil()]).map(drop));
    let transaction = || store.transaction().append("s", ExpectedVersion::Any, [nil(), nil()]);
    refused(transaction().commit().map(drop));
    refused(transaction().submit().map(drop));
    assert_eq!(store.head(), Position::START);
    assert!(store.event(Uuid::nil()).unwrap().is_none());
}

#[test]
fn event_id_is_unique_in_every_segment_and_session() {
    let dir = tempfile::tempdir().unwrap();
    let id = |n| Uuid::from_u128(n);
    let batch = || [event().id(id(1)), event().id(id(2))];
    let store = open(&dir);
    let first = store.append("a", ExpectedVersion::NoStream, batch()).unwrap();
    // Enough events to seal the segment that holds the ids.
    for _ in 0..12 {
        store.append("b", ExpectedVersion::Any, [NewEvent::new("T", vec![1; 200_000])]).unwrap();
    }
    store.close().unwrap();

    let store = open(&dir);
    assert!(store.stats().sealed_segments >= 1);
    let again = store.append("a", ExpectedVersion::NoStream, batch()).unwrap();
    assert!(again.already_recorded);
    assert_eq!((again.last_position, again.version), (first.last_position, first.version));
    assert_eq!(again.recorded_at, first.recorded_at);

    let append = |events: Vec<NewEvent>| store.append("a", ExpectedVersion::Any, events);
    let reused = |result| matches!(result, Err(Error::IdReused { .. }));
    assert!(reused(append(vec![NewEvent::new("T", "other").id(id(1))])), "other contents");
    assert!(reused(append(vec![event().id(id(2)), event().id(id(1))])), "another order");
    assert!(reused(append(vec![event().id(id(1)), event().id(id(9))])), "mixed with a new one");
    assert!(reused(append(vec![event().id(id(1)), event()])), "mixed with a generated one");
    assert!(reused(store.append("b", ExpectedVersion::Any, batch())), "another stream");
    let twice = append(vec![event().id(id(7)), event().id(id(7))]);
    assert!(matches!(twice, Err(Error::DuplicateId { id: given }) if given == id(7)));
    assert_eq!(store.head(), Position::new(14));
}
