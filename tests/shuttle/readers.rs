//! A read-only store beside its writer: figures, reads, waits, subscriptions. A cycle among the
//! locks of following the writer is a deadlock here.

use annals::testing::SimStorage;
use annals::{Position, Store};
use shuttle::thread::{self, JoinHandle};

use super::support::*;

/// Almost a quarter of a segment: three such commits fill one.
const LARGE: usize = 7_500;

fn open_reader(sim: &SimStorage) -> Store {
    options(sim.process()).read_only(true).open(ROOT).unwrap()
}

fn writer(store: &Store, commits: u64, size: usize) -> JoinHandle<()> {
    let store = store.clone();
    thread::spawn(move || {
        for commit in 1..=commits {
            assert_eq!(append(&store, "s", size).unwrap().version, commit * 2);
        }
    })
}

/// Figures of a reader never go back, in whichever call it follows the writer.
fn figures(reader: &Store) -> JoinHandle<()> {
    let reader = reader.clone();
    thread::spawn(move || {
        let mut seen = 0;
        for _ in 0..3 {
            let stats = reader.stats();
            assert!(stats.events >= seen, "{} after {seen}", stats.events);
            assert!(stats.segments > stats.sealed_segments);
            seen = stats.events;
        }
    })
}

#[test]
fn stats_of_a_follower_return_during_reads() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "s0", 10).unwrap();
        let reader = open_reader(&sim);
        let reads = {
            let reader = reader.clone();
            thread::spawn(move || {
                let mut seen = 0;
                for _ in 0..3 {
                    let head = check_prefix(&reader, false).unwrap();
                    assert!(head >= seen);
                    seen = head;
                }
            })
        };
        let threads = [figures(&reader), reads, writer(&store, 3, 10)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(check_prefix(&reader, false).unwrap(), 8);
        reader.close().unwrap();
        store.close().unwrap();
    });
}

#[test]
fn waits_and_subscriptions_of_a_follower_see_new_events() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "s0", 10).unwrap();
        let reader = open_reader(&sim);
        let waits = {
            let reader = reader.clone();
            thread::spawn(move || {
                assert!(reader.wait_for(Position::new(6), FOR_EVER).unwrap());
                assert!(reader.event_at(Position::new(6)).unwrap().is_some());
            })
        };
        let follows = {
            let reader = reader.clone();
            thread::spawn(move || {
                let events = reader.subscribe().start().unwrap().events();
                for (event, position) in events.take(6).zip(1..) {
                    assert_eq!(event.unwrap().position().get(), position);
                }
            })
        };
        let threads = [waits, follows, figures(&reader), writer(&store, 2, 10)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        reader.close().unwrap();
        store.close().unwrap();
    });
}

/// The writer rolls over and seals segments while the reader reads.
#[test]
fn follower_reads_on_through_rollovers_during_stats() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "s0", 10).unwrap();
        let reader = open_reader(&sim);
        let reads = {
            let reader = reader.clone();
            thread::spawn(move || {
                for _ in 0..4 {
                    check_prefix(&reader, false).unwrap();
                    if let Some(head) = reader.stream_head("s").unwrap() {
                        let found = reader.event_at(head.last_position).unwrap().unwrap();
                        assert_eq!((found.stream(), found.version()), ("s", head.version));
                    }
                }
            })
        };
        let threads = [figures(&reader), reads, writer(&store, 5, LARGE)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(check_prefix(&reader, false).unwrap(), 12);
        assert!(reader.stats().segments > 1);
        reader.close().unwrap();
        store.close().unwrap();
    });
}
