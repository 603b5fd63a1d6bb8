//! Bounds of reads, and the parts of the events they return.

use annals::{
    ContentType, Error, Event, EventParts, ExpectedVersion, NewEvent, Options, Position, Query,
    Uuid,
};

use crate::shared::LONG;

#[test]
fn upper_bound_of_a_read_limits_its_events_and_not_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    for number in 0..20 {
        let event = NewEvent::new("T", "").tag(["even", "odd"][number % 2]);
        store.append(["a", "b"][number % 2], ExpectedVersion::Any, [event]).unwrap();
    }
    let all = || store.read_all();
    let positions = |read: annals::ReadAll| -> Vec<u64> {
        let events = read.start().unwrap();
        assert_eq!(events.head().get(), 20);
        events.map(|event| event.unwrap().position().get()).collect()
    };
    assert_eq!(positions(all().after(3).up_to(6)), [4, 5, 6]);
    assert_eq!(positions(all().after(3).up_to(6).backwards()), [6, 5, 4]);
    assert_eq!(positions(all().up_to(6).matching(Query::tagged(["odd"]))), [2, 4, 6]);
    assert_eq!(positions(all().up_to(5).matching(Query::stream("b")).backwards()), [4, 2]);
    assert_eq!(positions(all().up_to(6).backwards().limit(2)), [6, 5]);
    assert_eq!(positions(all().after(18).up_to(u64::MAX)), [19, 20]);
    for nothing in [all().up_to(0), all().after(7).up_to(7), all().after(9).up_to(3)] {
        assert_eq!(positions(nothing.clone()), [0_u64; 0]);
        assert_eq!(positions(nothing.backwards()), [0_u64; 0]);
    }
    let mut borrowed = Vec::new();
    all().after(17).up_to(19).for_each(|event| borrowed.push(event.position().get())).unwrap();
    assert_eq!(borrowed, [18, 19]);

    let stream = || store.read_stream("a");
    let versions = |read: annals::ReadStream| -> Vec<u64> {
        let events = read.start().unwrap();
        assert_eq!(events.head().get(), 20);
        events.map(|event| event.unwrap().version()).collect()
    };
    assert_eq!(versions(stream().from_version(2).up_to_version(4)), [2, 3, 4]);
    assert_eq!(versions(stream().up_to_version(3).backwards().limit(2)), [3, 2]);
    assert_eq!(versions(stream().from_version(9).up_to_version(u64::MAX)), [9, 10]);
    assert_eq!(versions(stream().up_to_version(0)), [0_u64; 0]);
    assert_eq!(versions(stream().from_version(5).up_to_version(4).backwards()), [0_u64; 0]);
    // Retention applies as of now, unlike in the past.
    store.transaction().truncate_before("a", 3).commit().unwrap();
    assert_eq!(versions(stream().up_to_version(4)), [3, 4]);
    assert_eq!(versions(stream().up_to_version(2)), [0_u64; 0]);
    assert_eq!(positions(all().up_to(6)), [2, 4, 5, 6]);
}

/// Compares the parts of an event with what its accessors return, and checks that no data was copied.
fn assert_parts(event: &Event) {
    let parts = event.clone().into_parts();
    assert_eq!(parts.id, event.id());
    assert_eq!((parts.stream.as_str(), parts.version), (event.stream(), event.version()));
    assert_eq!((parts.position, parts.commit), (event.position(), event.commit()));
    assert_eq!(parts.is_last_in_commit, event.is_last_in_commit());
    assert_eq!(parts.recorded_at, event.recorded_at());
    assert_eq!(parts.event_type, event.event_type());
    assert_eq!(parts.tags, event.tags().collect::<Vec<_>>());
    assert_eq!(parts.schema_version, event.schema_version());
    assert_eq!(parts.content_type, event.content_type());
    for (shared, borrowed) in [
        (&parts.data, event.data()),
        (&event.data_bytes(), event.data()),
        (&parts.metadata, event.metadata()),
        (&event.metadata_bytes(), event.metadata()),
    ] {
        assert_eq!(shared, borrowed);
        let is_shared = shared.is_empty() || shared.as_ptr() == borrowed.as_ptr();
        assert!(is_shared, "{event:?} was copied");
    }
}

#[test]
fn event_parts_equal_the_accessors_and_share_the_data_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    let store = options.open(dir.path()).unwrap();
    // Commits of one to three events, some longer than what is mapped at once, in several segments.
    let (mut number, mut kept) = (0_usize, Vec::new());
    while number < 400 {
        let events = (0..=number % 3).map(|i| {
            let number = number + i;
            let short = u8::try_from(number % 256).unwrap();
            let len = if number.is_multiple_of(50) { 9_000 } else { number % 300 };
            let event = NewEvent::new(format!("Type{}", number % 7), vec![short; len])
                .tags((0..number % 4).map(|tag| format!("tag:{tag}:{}", "x".repeat(number % 40))))
                .schema_version(short.into());
            match number % 3 {
                0 => event.metadata(format!("{{\"n\":{number}}}")),
                1 => event.content_type(ContentType::Json),
                _ => event,
            }
        });
        let events = events.collect::<Vec<_>>();
        let stream = format!("stream-{}-{}", number % 5, "y".repeat(number % 30));
        number += events.len();
        store.append(stream, ExpectedVersion::Any, events).unwrap();
        // The newest event lies at the end of what is written.
        let newest = store.read_all().after((number - 1) as u64).into_iter().next();
        assert_parts(&newest.unwrap().unwrap());
    }
    let count = number as u64;
    assert!(store.stats().segments > 2);
    let mut positions = Vec::new();
    for read in [
        store.read_all(),
        store.read_all().backwards(),
        store.read_all().matching(Query::types(["Type3"])),
        store.read_all().as_of(Position::new(count / 2)),
    ] {
        for event in read {
            let event = event.unwrap();
            assert_parts(&event);
            positions.push(event.position().get());
            kept.push((event.clone(), event.into_parts()));
        }
    }
    assert!(positions.starts_with(&(1..=count).collect::<Vec<_>>()));
    for event in store.read_stream("stream-0-") {
        assert_parts(&event.unwrap());
    }
    for position in 1..=count {
        assert_parts(&store.event_at(position.into()).unwrap().unwrap());
    }
    let mut subscription = store.subscribe().start().unwrap();
    let mut delivered = 0;
    while delivered < count {
        let message = subscription.next_timeout(LONG).unwrap().expect("events");
        message.events().iter().for_each(assert_parts);
        delivered += message.events().len() as u64;
    }
    assert_eq!(delivered, count);
    store.close().unwrap();
    // Parts stay readable without the store.
    for (event, parts) in kept {
        assert_eq!((&parts.data[..], &parts.metadata[..]), (event.data(), event.metadata()));
    }
}

#[test]
fn event_made_of_the_parts_of_a_stored_one_equals_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    let event =
        NewEvent::new("Größer", "data").metadata("meta").tag("a:1").tag("").schema_version(7);
    store
        .append("s-1", ExpectedVersion::Any, [event.clone(), event.id(Uuid::from_u128(9))])
        .unwrap();
    for event in store.read_all() {
        let event = event.unwrap();
        let made = Event::from_parts(event.clone().into_parts()).unwrap();
        assert_eq!(made.clone().into_parts(), event.clone().into_parts());
        assert_eq!(made.id_given(), event.id_given());
        assert_eq!(made.data(), b"data");
    }
    let parts = EventParts::new("s-1", 2, NewEvent::new("T", "x"));
    let again = EventParts::new("s-1", 2, NewEvent::new("T", "x"));
    assert_eq!(parts, again);
    assert_ne!(parts.id, EventParts::new("s-1", 3, NewEvent::new("T", "x")).id);
}

#[test]
fn parts_that_no_recorded_event_has_are_refused() {
    type Change = fn(&mut EventParts);
    let faults: [(&str, Change); 9] = [
        ("stream", |parts| parts.stream = "".into()),
        ("stream", |parts| parts.stream = "s".repeat(1025).into()),
        ("type", |parts| parts.event_type = "t".repeat(256).into()),
        ("tags", |parts| parts.tags = vec!["t".repeat(65_534).into()]),
        ("commit", |parts| parts.commit = 5.into()),
        ("commit", |parts| parts.commit = 0.into()),
        ("commit", |parts| parts.position = 0.into()),
        ("version", |parts| parts.version = 0),
        ("version", |parts| parts.version = u64::MAX),
    ];
    for (what, change) in faults {
        let mut parts = EventParts::new("s", 1, NewEvent::new("T", "x"));
        change(&mut parts);
        match Event::from_parts(parts) {
            Err(Error::InvalidArgument { why, .. }) => assert!(why.contains(what), "{why}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}
