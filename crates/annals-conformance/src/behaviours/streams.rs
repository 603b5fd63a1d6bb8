//! Reads of one stream.

use std::ops::ControlFlow;

use annals_es::blocking::block_on;
use annals_es::{EventStore, Position, ReadStream, StreamName, Version, next};
use uuid::Uuid;

use crate::Backend;
use crate::support::{
    append, behaviours, clients, collect, count, event, open, stream, types, version,
};

behaviours! { "streams", EventStore:
    stream_is_read_in_parts, stream_is_read_backwards, stream_is_read_as_of_a_position,
    missing_stream_is_empty, read_is_pinned, long_stream_is_read_whole,
    large_events_are_read_in_order, visited_events_are_those_of_a_read, version_is_the_number_of_events, event_is_found_by_id,
    similar_names_are_different_streams, abandoned_read_does_no_harm, reads_may_be_interleaved,
    stream_is_read_beside_appends,
}

fn stream_is_read_in_parts<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-2", [event("Other")]);
    append(&store, "a-1", ["A", "B", "C", "D", "E"].map(event));
    append(&store, "a-2", [event("Other")]);
    let of = || ReadStream::of("a-1");
    let at = Version::new;
    let read = |read| types(store.read_stream(read));
    assert_eq!(read(of()), ["A", "B", "C", "D", "E"]);
    assert_eq!(read(of().from(Version::NONE)), ["A", "B", "C", "D", "E"]);
    assert_eq!(read(of().from(at(4))), ["D", "E"]);
    assert_eq!(read(of().from(at(2)).up_to(at(3))), ["B", "C"]);
    assert_eq!(read(of().limit(1)), ["A"]);
    assert_eq!(read(of().from(at(2)).limit(2)), ["B", "C"]);
    assert!(read(of().limit(0)).is_empty());
    assert!(read(of().from(at(6))).is_empty());
    assert!(read(of().from(at(4)).up_to(at(3))).is_empty());
    assert!(read(of().from(Version::MAX)).is_empty());
}

fn stream_is_read_backwards<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", ["A", "B", "C", "D", "E"].map(event));
    let of = || ReadStream::of("a-1").backwards();
    let read = |read| types(store.read_stream(read));
    assert_eq!(read(of()), ["E", "D", "C", "B", "A"]);
    assert_eq!(read(of().limit(2)), ["E", "D"]);
    assert_eq!(read(of().up_to(Version::new(3))), ["C", "B", "A"]);
    assert_eq!(read(of().from(Version::new(2)).up_to(Version::new(3))), ["C", "B"]);
}

fn stream_is_read_as_of_a_position<B: Backend>(backend: &B) {
    let store = open(backend);
    let mut third = Position::START;
    for name in ["A", "B", "C", "D", "E"] {
        let done = append(&store, "a-1", [event(name)]);
        append(&store, "a-2", [event("Other")]);
        third = if name == "C" { done.last_position } else { third };
    }
    let of = |position| ReadStream::of("a-1").up_to_position(position);
    let read = |read| types(store.read_stream(read));
    assert_eq!(read(of(third)), ["A", "B", "C"]);
    assert_eq!(read(of(Position::new(third.get() - 1))), ["A", "B"]);
    assert_eq!(read(of(third).backwards().limit(1)), ["C"]);
    assert!(read(of(Position::START)).is_empty());
    assert_eq!(read(of(Position::MAX)).len(), 5);
}

fn missing_stream_is_empty<B: Backend>(backend: &B) {
    let store = open(backend);
    assert_eq!((count(&store, "a-1"), version(&store, "a-1")), (0, Version::NONE));
    append(&store, "a-2", [event("A")]);
    assert_eq!((count(&store, "a-1"), version(&store, "a-1")), (0, Version::NONE));
}

fn read_is_pinned<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A"), event("B")]);
    let mut read = store.read_stream(ReadStream::of("a-1"));
    append(&store, "a-1", [event("C")]);
    assert_eq!(block_on(next(&mut read)).expect("an event").expect("no error").event_type(), "A");
    append(&store, "a-1", [event("D")]);
    assert_eq!(types(read), ["B", "C"]);
}

fn long_stream_is_read_whole<B: Backend>(backend: &B) {
    let store = open(backend);
    for _ in 0..5 {
        append(&store, "a-1", (0..700).map(|_| event("A")));
    }
    let versions = |read| -> Vec<u64> {
        collect(store.read_stream(read)).iter().map(|it| it.version().get()).collect()
    };
    assert_eq!(versions(ReadStream::of("a-1")), (1..=3500).collect::<Vec<u64>>());
    let backwards = ReadStream::of("a-1").backwards();
    assert_eq!(versions(backwards), (1..=3500).rev().collect::<Vec<u64>>());
    let limited = ReadStream::of("a-1").from(Version::new(1000)).limit(1500);
    assert_eq!(versions(limited), (1000..2500).collect::<Vec<u64>>());
}

fn large_events_are_read_in_order<B: Backend>(backend: &B) {
    let store = open(backend);
    for number in 0..12_u8 {
        let size = if number % 3 == 0 { 3 << 20 } else { 10 };
        append(&store, "a-1", [annals_es::NewEvent::new("A", vec![number; size])]);
    }
    for backwards in [false, true] {
        let read = ReadStream::of("a-1");
        let read = collect(store.read_stream(if backwards { read.backwards() } else { read }));
        let mut firsts: Vec<u8> = read.iter().map(|it| it.data()[0]).collect();
        if backwards {
            firsts.reverse();
        }
        assert_eq!(firsts, (0..12).collect::<Vec<u8>>());
    }
}

fn visited_events_are_those_of_a_read<B: Backend>(backend: &B) {
    let store = open(backend);
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

fn version_is_the_number_of_events<B: Backend>(backend: &B) {
    let store = open(backend);
    for number in 1..=5 {
        append(&store, "a-1", (0..number).map(|_| event("A")));
        let expected = number * (number + 1) / 2;
        assert_eq!(version(&store, "a-1"), Version::new(expected));
        assert_eq!(count(&store, "a-1") as u64, expected);
    }
}

fn event_is_found_by_id<B: Backend>(backend: &B) {
    let store = open(backend);
    let id = Uuid::from_u128(7);
    append(&store, "a-1", [event("A"), event("B").id(id)]);
    let (here, elsewhere) = (StreamName::from("a-1"), StreamName::from("a-2"));
    let found = block_on(store.find_event(&here, id)).expect("no error").expect("it is recorded");
    assert_eq!((found.version().get(), found.id(), found.event_type()), (2, id, "B"));
    assert!(block_on(store.find_event(&elsewhere, id)).expect("no error").is_none());
    let unknown = Uuid::from_u128(8);
    assert!(block_on(store.find_event(&here, unknown)).expect("no error").is_none());
    let generated = stream(&store, "a-1")[0].id();
    let found = block_on(store.find_event(&here, generated)).expect("no error");
    assert_eq!(found.expect("it is recorded").event_type(), "A");
}

fn similar_names_are_different_streams<B: Backend>(backend: &B) {
    let store = open(backend);
    let names = ["a-1", "a-10", "a-", "a", "A-1", "a-1 ", " a-1", "a_1", "a-%", "a-1/x", "a-01"];
    for (number, name) in names.iter().enumerate() {
        append(&store, name, (0..=number).map(|_| event("A")));
    }
    for (number, name) in names.iter().enumerate() {
        let read = stream(&store, name);
        assert_eq!(read.len(), number + 1, "{name:?}");
        assert!(read.iter().all(|it| it.stream() == *name));
    }
}

fn abandoned_read_does_no_harm<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", (0..2000).map(|_| event("A")));
    for _ in 0..40 {
        let mut read = store.read_stream(ReadStream::of("a-1"));
        block_on(next(&mut read)).expect("an event").expect("no error");
    }
    append(&store, "a-1", [event("B")]);
    assert_eq!(count(&store, "a-1"), 2001);
}

fn reads_may_be_interleaved<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", (0..1200).map(|_| event("A")));
    let mut reads: Vec<_> = (0..12).map(|_| store.read_stream(ReadStream::of("a-1"))).collect();
    for number in 1..=1200 {
        for read in &mut reads {
            let event = block_on(next(read)).expect("an event").expect("no error");
            assert_eq!(event.version().get(), number);
        }
    }
    assert!(reads.iter_mut().all(|read| block_on(next(read)).is_none()));
}

/// A reader sees a stream grow by whole commits, and never shrink.
fn stream_is_read_beside_appends<B: Backend>(backend: &B) {
    const COMMITS: usize = 30;
    let store = open(backend);
    clients(3, |client| {
        if client == 0 {
            (0..COMMITS).for_each(|_| drop(append(&store, "a-1", ["A", "B", "C"].map(event))));
            return;
        }
        let mut seen = 0;
        while seen < 3 * COMMITS {
            let read = stream(&store, "a-1");
            assert!(
                read.len() >= seen && read.len().is_multiple_of(3),
                "{seen}, then {}",
                read.len()
            );
            let is_gapless = (1..).zip(&read).all(|(number, it)| it.version().get() == number);
            assert!(is_gapless);
            seen = read.len();
        }
    });
}
