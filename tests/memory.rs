//! The whole store, with its threads, in a life that is short enough for an interpreter: miri looks
//! for undefined behaviour and data races in it (`just miri`). Elsewhere it is a quick test.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use annals::testing::SimStorage;
use annals::{ExpectedVersion, NewEvent, Options, Position, Query, Store};

/// Four commits fill a segment.
const SIZE: usize = 15_000;
const EACH: u64 = 3;

fn open(sim: &SimStorage) -> Store {
    let storage = Arc::new(sim.process());
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE).storage(storage).open("/store").unwrap()
}

fn append(store: &Store, stream: &str, count: u64) {
    for round in 0..count {
        let event = NewEvent::new("Happened", vec![7; SIZE]).tag("round:any");
        let done = store.append(stream, ExpectedVersion::Exact(round), [event]).unwrap();
        assert_eq!(done.version, round + 1);
    }
}

#[test]
fn writers_and_readers_share_a_store_that_rolls_over() {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    let kept = thread::scope(|scope| {
        scope.spawn(|| append(&store, "a", EACH));
        scope.spawn(|| append(&store, "b", EACH));
        assert!(store.wait_for(Position::new(2), Duration::from_secs(600)).unwrap());
        store.read_all().into_iter().map(|event| event.unwrap()).collect::<Vec<_>>()
    });
    assert!(kept.len() >= 2);
    assert_eq!(store.stream_head("b").unwrap().unwrap().version, EACH);
    store.close().unwrap();
    // What was read stays readable; what is read now comes out of sealed segments.
    assert!(kept.iter().all(|event| event.data()[SIZE - 1] == 7));
    let store = open(&sim);
    assert!(store.stats().sealed_segments > 0);
    assert_eq!(store.read_stream("a").into_iter().map(Result::unwrap).count() as u64, EACH);
    let tagged = store.read_all().matching(Query::tagged(["round:any"]));
    assert_eq!(tagged.into_iter().map(Result::unwrap).count() as u64, 2 * EACH);
    let last = store.event_at(Position::new(2 * EACH)).unwrap().unwrap();
    assert_eq!(store.event(last.id()).unwrap().unwrap().position(), last.position());
}
