//! Limits: what exceeds one is refused, and a refusal changes nothing.

use annals::{Error, Event, ExpectedVersion, NewEvent, Options, Position, Query, Store, Uuid};

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
    assert_eq!(limit(append("s", event().tag(text(65_534)))), (65_536, 65_535));
    assert_eq!(limit(append("s", event().tags(vec!["t"; 32_768]))), (65_536, 65_535));
    assert_eq!(limit(append("s", event().tag(text(256)).tags(vec![""; 33_000]))), (66_258, 65_535));
    let commit = limit(append("s", NewEvent::new("T", vec![0; 300_000])));
    assert_eq!(commit.1, (1 << 20) / 4);
    assert_eq!(store.head(), Position::START);

    append(&text(1024), event()).unwrap();
    append("s", NewEvent::new(text(255), "")).unwrap();
    append("s", event().tag(text(65_533))).unwrap();
    append("s", event().tags(vec![""; 65_535])).unwrap();
    append("s", NewEvent::new("T", vec![0; 250_000])).unwrap();
    append("s", NewEvent::new("T", "")).unwrap();
    assert_eq!(store.head(), Position::new(6));
}

#[test]
fn refusal_over_a_limit_names_size_limit_and_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Options::new().segment_size(1 << 20).max_event_size(90_000).open(&path).unwrap();
    let message = |stream: &str, event: NewEvent| {
        store.append(stream, ExpectedVersion::Any, [event]).unwrap_err().to_string()
    };
    let text = |len| "a".repeat(len);
    let large = || NewEvent::new("T", vec![0; 80_000]);
    for (message, parts) in [
        (message(&text(1025), event()), ["1025", "1024", "a hash of it"]),
        (message("s", NewEvent::new(text(256), "")), ["256", "255", "a shorter one"]),
        (message("s", event().tag(text(70_000))), ["70002", "65535", "hashes of long values"]),
        (message("s", NewEvent::new("T", text(90_001))), ["90001", "90000", "max_event_size"]),
        (
            store.append("s", ExpectedVersion::Any, vec![large(); 4]).unwrap_err().to_string(),
            ["320", "262144", "segment_size"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn event_of_more_than_64_mib_is_recorded_if_segments_are_large_enough() {
    let dir = tempfile::tempdir().unwrap();
    let size = 70 << 20;
    let data = annals::Bytes::from(vec![7; size]);
    let event = NewEvent::new("T", data.clone()).metadata("large");
    let options = Options::new().max_event_size(Options::MAX_EVENT_SIZE);
    let store = options.segment_size(5 * size as u64).open(dir.path().join("store")).unwrap();
    store.append("s", ExpectedVersion::Any, [event]).unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    let read = store.event_at(Position::new(1)).unwrap().unwrap();
    assert!(read.data() == data && read.metadata() == b"large");
}

/// Events that versions before feature bit 2 refused: without a type, with empty, long and many tags.
fn extended() -> [NewEvent; 4] {
    [
        NewEvent::new("", "no type"),
        event().tags(["", "", "x"]),
        event().tags(["l".repeat(256), String::new(), "m".repeat(60_000)]),
        event().tags((0..1000).map(|number| format!("n{number}"))),
    ]
}

#[test]
fn events_with_empty_types_and_empty_long_and_many_tags_are_read_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let check = |store: &Store, rounds: u64| {
        let all: Vec<Event> = store.read_stream("s").into_iter().map(Result::unwrap).collect();
        for (event, expected) in all.iter().zip(extended().iter().cycle()) {
            let again = NewEvent::new(event.event_type(), event.data()).tags(event.tags());
            assert_eq!(again, *expected);
        }
        let count = |query: &str| {
            let query: Query = query.parse().unwrap();
            let slow = all.iter().filter(|event| event.matches(&query)).count();
            assert_eq!(
                store.read_all().matching(query.clone()).into_iter().count(),
                slow,
                "{query}"
            );
            slow as u64
        };
        assert_eq!(count("type:\"\""), rounds);
        assert_eq!(count("tag:\"\""), 2 * rounds);
        assert_eq!(count("tag:\"\" tag:x type:T,\"\""), rounds);
        assert_eq!(count(&format!("tag:{} tag:\"\"", "l".repeat(256))), rounds);
        assert_eq!(count(&format!("tag:{}", "m".repeat(60_000))), rounds);
        assert_eq!(count("tag:n999 or tag:n0"), rounds);
        assert_eq!(count("type:\"\" tag:\"\""), 0);
    };
    let store = open(&dir);
    store.append("s", ExpectedVersion::Any, extended()).unwrap();
    check(&store, 1);
    store.close().unwrap();

    let store = open(&dir);
    let mut rounds = 1;
    while store.stats().sealed_segments < 3 {
        store.append("s", ExpectedVersion::Any, extended()).unwrap();
        store.append("t", ExpectedVersion::Any, [NewEvent::new("U", vec![1; 200_000])]).unwrap();
        rounds += 1;
    }
    check(&store, rounds);
    store.compact().unwrap();
    check(&store, rounds);
    store.close().unwrap();
    assert_eq!(annals::verify(dir.path().join("store"), |_| {}).unwrap().faults, []);
}

#[test]
fn event_states_whether_its_id_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let given = Uuid::from_u128(5);
    let check = |store: &Store| {
        let events: Vec<Event> = store.read_all().into_iter().map(Result::unwrap).collect();
        let origins: Vec<_> = events.iter().map(Event::id_given).collect();
        assert_eq!(origins, [Some(true), Some(false), Some(true)]);
        assert!(events.iter().all(|event| event.as_ref().id_given() == event.id_given()));
        assert!(events.iter().all(|it| it.clone().into_parts().id_given == it.id_given()));
        events[1].id()
    };
    let store = open(&dir);
    let events = [event().id(given), event(), event().id_derived_from(given, "x")];
    store.append("s", ExpectedVersion::Any, events).unwrap();
    let generated = check(&store);
    // A repetition under an id that the store generated leaves the event as it is.
    let repeated = store.append("s", ExpectedVersion::Any, [event().id(generated)]).unwrap();
    assert!(repeated.already_recorded);
    store.close().unwrap();
    check(&open(&dir));
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
fn empty_stream_names_and_commits_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let append = |stream: &str, event| store.append(stream, ExpectedVersion::Any, [event]);
    assert!(matches!(append("", event()), Err(Error::InvalidArgument { what: "stream", .. })));
    let no_name = store.archive("").unwrap_err();
    assert!(matches!(no_name, Error::InvalidArgument { what: "name", .. }), "{no_name:?}");
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
