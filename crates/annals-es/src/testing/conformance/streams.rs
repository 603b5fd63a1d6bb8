//! Tests of [`EventStore`]: single streams and snapshots.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "each is named for what it tests")]

use std::ops::ControlFlow;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;
use uuid::Uuid;

use super::{append, collect, count, event, failed_checks, types};
use crate::blocking::block_on;
use crate::store::{
    AppendError, Commit, ContentType, EventStore, Expected, FailedCheck, NewEvent, ReadStream,
    Snapshot, StreamName, Version, next,
};

pub fn append_returns_places<S: EventStore, G>((store, _guard): (S, G)) {
    let first = append(&store, "a-1", [event("A"), event("B")]);
    let second = append(&store, "a-1", [event("C")]);
    assert_eq!((&first.versions[..], first.already_recorded), (&[Version::new(2)][..], false));
    assert_eq!(second.versions, [Version::new(3)]);
    assert!(first.first_position < first.last_position);
    assert!(first.last_position < second.first_position);
    assert_eq!(second.first_position, second.last_position);
    assert!(first.recorded_at <= second.recorded_at);
    let read = collect(store.read_stream(ReadStream::of("a-1")));
    let places: Vec<_> = read.iter().map(|it| (it.version().get(), it.position())).collect();
    let last = second.last_position;
    assert_eq!(places, [(1, first.first_position), (2, first.last_position), (3, last)]);
}

pub fn visited_events_are_those_of_a_read<S: EventStore, G>((store, _guard): (S, G)) {
    append(&store, "a-1", (0..600).map(|_| event("A").metadata("{}")));
    let of = || ReadStream::of("a-1").from(Version::new(3));
    for read in [of(), of().limit(40), of().backwards(), ReadStream::of("none-1")] {
        let expected = collect(store.read_stream(read.clone()));
        let mut seen = 0;
        let visited = store.visit_stream(read, |event| {
            let recorded = &expected[seen];
            assert_eq!(
                (event.version(), event.position()),
                (recorded.version(), recorded.position())
            );
            assert_eq!(event.stream(), recorded.stream());
            assert_eq!(event.event_type(), recorded.event_type());
            assert_eq!(event.recorded_at(), recorded.recorded_at());
            assert_eq!(event.schema_version(), recorded.schema_version());
            assert_eq!(event.content_type(), recorded.content_type());
            assert_eq!((event.data(), event.metadata()), (recorded.data(), recorded.metadata()));
            assert_eq!(event.data_bytes(), recorded.data_bytes());
            seen += 1;
            ControlFlow::<()>::Continue(())
        });
        assert!(block_on(visited).expect("a read").is_continue());
        assert_eq!(seen, expected.len());
    }
    let stopped = store.visit_stream(of(), |event| {
        if event.version().get() < 550 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(event.version())
        }
    });
    assert_eq!(block_on(stopped).expect("a read"), ControlFlow::Break(Version::new(550)));
}

pub fn expectation_is_checked<S: EventStore, G>((store, _guard): (S, G)) {
    let exact = |version| Expected::Exact(Version::new(version));
    append(&store, "here-1", [event("A"), event("B")]);
    for (stream, expected, holds) in [
        ("here-1", Expected::NoStream, false),
        ("here-1", exact(0), false),
        ("here-1", exact(1), false),
        ("here-1", exact(2), true),
        ("here-1", exact(2), false),
        ("here-1", Expected::StreamExists, true),
        ("gone-1", Expected::StreamExists, false),
        ("gone-1", exact(1), false),
        ("gone-1", exact(0), true),
        ("none-1", Expected::NoStream, true),
        ("none-1", Expected::Any, true),
    ] {
        let before = block_on(store.stream_version(&stream.into())).expect("a version");
        let done = block_on(store.append(Commit::to(stream, expected, [event("C")])));
        if holds {
            assert_eq!(done.expect("it holds").versions, [before.next()], "{stream} {expected}");
            continue;
        }
        let expected = FailedCheck::Version { stream: stream.into(), expected, actual: before };
        assert_eq!(failed_checks(done), [expected]);
        assert_eq!(count(&store, stream) as u64, before.get());
    }
}

pub fn event_keeps_its_parts<S: EventStore, G>((store, _guard): (S, G)) {
    let id = Uuid::from_u128(0xabcd);
    let full = NewEvent::new("Deposited", r#"{"amount":5}"#)
        .id(id)
        .schema_version(3)
        .content_type(ContentType::Json)
        .metadata(r#"{"user":"ann"}"#)
        .tag("account:1")
        .tag("owner:ann");
    let bare = NewEvent::new("Closed", Bytes::from_static(&[0, 255, 7])).schema_version(0);
    let done = append(&store, "a-1", [full, bare]);
    let read = collect(store.read_stream(ReadStream::of("a-1")));
    let [full, bare] = &read[..] else { panic!("{read:?}") };
    assert_eq!((full.id(), full.event_type(), full.schema_version()), (id, "Deposited", 3));
    assert_eq!((full.data(), full.content_type()), (&br#"{"amount":5}"#[..], ContentType::Json));
    assert_eq!(full.data_bytes(), full.data());
    assert_eq!(full.metadata(), br#"{"user":"ann"}"#);
    assert_eq!(full.tags().collect::<Vec<_>>(), ["account:1", "owner:ann"]);
    assert_eq!((bare.data(), bare.content_type()), (&[0, 255, 7][..], ContentType::Binary));
    assert_eq!((bare.schema_version(), bare.metadata().len()), (0, 0));
    assert_eq!(bare.tags().count(), 0);
    assert_ne!(bare.id(), id);
    for event in [full, bare] {
        assert_eq!((event.stream(), event.recorded_at()), ("a-1", done.recorded_at));
        assert_eq!(event.commit(), done.first_position);
        assert_eq!(event.is_last_in_commit(), event.version().get() == 2);
    }
}

pub fn stream_is_read_in_parts<S: EventStore, G>((store, _guard): (S, G)) {
    let mut third = None;
    for name in ["A", "B", "C", "D", "E"] {
        let done = append(&store, "a-1", [event(name)]);
        append(&store, "a-2", [event("Other")]);
        third = if name == "C" { Some(done.last_position) } else { third };
    }
    let third = third.expect("three events");
    let of = || ReadStream::of("a-1");
    let version = Version::new;
    let read = |read| types(store.read_stream(read));
    assert_eq!(read(of()), ["A", "B", "C", "D", "E"]);
    assert_eq!(read(of().from(version(4))), ["D", "E"]);
    assert_eq!(read(of().from(version(2)).up_to(version(3))), ["B", "C"]);
    assert_eq!(read(of().up_to_position(third)), ["A", "B", "C"]);
    assert_eq!(read(of().backwards().limit(2)), ["E", "D"]);
    assert_eq!(read(of().up_to(version(3)).backwards()), ["C", "B", "A"]);
    assert_eq!(read(of().up_to_position(third).backwards().limit(1)), ["C"]);
    assert_eq!(read(of().limit(1)), ["A"]);
    assert!(read(of().limit(0)).is_empty());
    assert!(read(of().from(version(6))).is_empty());
    assert!(read(ReadStream::of("a-3")).is_empty());
}

pub fn read_is_pinned<S: EventStore, G>((store, _guard): (S, G)) {
    append(&store, "a-1", [event("A"), event("B")]);
    let mut read = store.read_stream(ReadStream::of("a-1"));
    append(&store, "a-1", [event("C")]);
    assert_eq!(block_on(next(&mut read)).expect("an event").expect("no error").event_type(), "A");
    append(&store, "a-1", [event("D")]);
    assert_eq!(types(read), ["B", "C"]);
}

pub fn version_and_event_are_found<S: EventStore, G>((store, _guard): (S, G)) {
    let id = Uuid::from_u128(7);
    append(&store, "a-1", [event("A"), event("B").id(id)]);
    let (here, elsewhere) = (StreamName::from("a-1"), StreamName::from("a-2"));
    assert_eq!(block_on(store.stream_version(&here)).expect("a version"), Version::new(2));
    assert_eq!(block_on(store.stream_version(&elsewhere)).expect("a version"), Version::NONE);
    let found = block_on(store.find_event(&here, id)).expect("no error").expect("it is recorded");
    assert_eq!((found.version().get(), found.id()), (2, id));
    assert!(block_on(store.find_event(&elsewhere, id)).expect("no error").is_none());
    let unknown = Uuid::from_u128(8);
    assert!(block_on(store.find_event(&here, unknown)).expect("no error").is_none());
}

pub fn repeated_commit_returns_first_result<S: EventStore, G>((store, _guard): (S, G)) {
    let [a, b] = [1, 2].map(Uuid::from_u128);
    let commit = Commit::to("a-1", Expected::NoStream, [event("A").id(a), event("B").id(b)]);
    let first = block_on(store.append(commit.clone())).expect("it is new");
    append(&store, "a-1", [event("C")]);
    let repeated = block_on(store.append(commit)).expect("it is recorded");
    assert!(repeated.already_recorded);
    assert_eq!(repeated.versions, first.versions);
    assert_eq!(repeated.last_position, first.last_position);
    assert_eq!(repeated.recorded_at, first.recorded_at);
    assert_eq!(count(&store, "a-1"), 3);
}

pub fn reused_id_is_refused<S: EventStore, G>((store, _guard): (S, G)) {
    let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
    append(&store, "a-1", [event("A").id(a), event("B").id(b)]);
    for events in [
        vec![event("Other").id(a)],
        vec![event("A").id(a).tag("more"), event("B").id(b)],
        vec![event("B").id(b), event("A").id(a)],
        vec![event("A").id(a), event("C").id(c)],
    ] {
        let done = block_on(store.append(Commit::to("a-1", Expected::Any, events)));
        assert!(
            matches!(&done, Err(AppendError::IdReused { id }) if [a, b].contains(id)),
            "{done:?}"
        );
    }
    let twice = [event("C").id(c), event("D").id(c)];
    let done = block_on(store.append(Commit::to("a-1", Expected::Any, twice)));
    assert!(matches!(done, Err(AppendError::DuplicateId { id }) if id == c), "{done:?}");
    assert_eq!(count(&store, "a-1"), 2);
}

pub fn large_event_is_refused<S: EventStore, G>((store, _guard): (S, G)) {
    let large = NewEvent::new("Large", vec![0; 80 << 20]);
    let done = block_on(store.append(Commit::to("a-1", Expected::Any, [large])));
    assert!(matches!(done, Err(AppendError::TooLarge { size, max, .. }) if size > max), "{done:?}");
    assert_eq!(count(&store, "a-1"), 0);
}

pub fn snapshot_is_found_by_mark<S: EventStore, G>((store, _guard): (S, G)) {
    let version = Version::new;
    append(&store, "a-1", ["A", "B", "C", "D"].map(event));
    let save = |at, state: &'static str, schema| {
        let snapshot = Snapshot::new("a-1", version(at), state).schema_version(schema);
        block_on(store.save_snapshot(snapshot))
    };
    let load = |at| {
        let found = block_on(store.load_snapshot("a-1", version(at).into())).expect("no error");
        found.map(|it| (it.mark, it.schema_version, it.state))
    };
    save(2, "two", 1).expect("it is new");
    save(4, "four", 1).expect("it is new");
    assert_eq!(load(1), None);
    assert_eq!(load(3), Some((version(2).into(), 1, Bytes::from_static(b"two"))));
    assert_eq!(load(u64::MAX), Some((version(4).into(), 1, Bytes::from_static(b"four"))));
    save(4, "four", 1).expect("it is the same");
    assert!(save(4, "another", 1).is_err());
    save(4, "four of schema 2", 2).expect("its schema is newer");
    assert_eq!(load(4), Some((version(4).into(), 2, Bytes::from_static(b"four of schema 2"))));
    let other = block_on(store.load_snapshot("a-2", version(4).into()));
    assert_eq!(other.expect("no error"), None);
}

pub fn snapshot_is_saved_with_commit<S: EventStore, G>((store, _guard): (S, G)) {
    let commit = |expected, at: u64| {
        let snapshot = Snapshot::new("a-1", Version::new(at), format!("{at}"));
        Commit::to("a-1", expected, [event("A")]).snapshot(snapshot)
    };
    let load = || {
        let found = block_on(store.load_snapshot("a-1", Version::MAX.into())).expect("no error");
        found.map(|it| it.mark)
    };
    block_on(store.append(commit(Expected::NoStream, 1))).expect("the stream is new");
    assert_eq!(load(), Some(Version::new(1).into()));
    assert!(block_on(store.append(commit(Expected::NoStream, 2))).is_err());
    assert_eq!(load(), Some(Version::new(1).into()));
}

pub fn snapshot_ahead_is_refused<S: EventStore, G>((store, _guard): (S, G)) {
    append(&store, "a-1", [event("A")]);
    let ahead = Snapshot::new("a-1", Version::new(2), "2");
    assert!(block_on(store.save_snapshot(ahead)).is_err());
}

/// Threads that read, decide and append until they succeed. None needs more attempts than there are commits.
pub fn contenders_all_succeed<S: EventStore, G>((store, _guard): (S, G)) {
    const THREADS: usize = 4;
    const COMMITS: usize = 10;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut attempts = 0;
                let mut left = COMMITS;
                while left > 0 {
                    attempts += 1;
                    assert!(
                        attempts <= THREADS * COMMITS,
                        "a conflict is returned before its cause"
                    );
                    let version = block_on(store.stream_version(&"a-1".into())).expect("a version");
                    let commit = Commit::to("a-1", Expected::Exact(version), [event("A")]);
                    match block_on(store.append(commit)) {
                        Ok(_) => left -= 1,
                        Err(AppendError::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(count(&store, "a-1"), THREADS * COMMITS);
    // A future that is dropped before it is polled does nothing.
    let unpolled = store.append(Commit::to("a-1", Expected::Any, [event("A")]));
    drop(unpolled);
    let mut read = store.read_stream(ReadStream::of("a-1").limit(1));
    let mut polled = pin!(next(&mut read));
    let ready = polled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(!matches!(ready, Poll::Ready(None)));
    assert_eq!(count(&store, "a-1"), THREADS * COMMITS);
}
