//! Appends that fill segments faster than they are sealed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals::testing::{Fault, Operation, SimStorage};
use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};

use crate::support::{Place, check_prefix};

const MOST: u64 = 8;

fn append(store: &Store, count: u64) {
    for number in 0..count {
        let event = NewEvent::new("T", vec![7; 4_000]);
        store.append(format!("s-{}", number % 7), ExpectedVersion::Any, [event]).unwrap();
    }
}

#[test]
fn unsealed_segments_of_a_fast_writer_stay_within_the_bound() {
    let place = Place::new();
    let store = Place::options().durability(Durability::BUFFERED).open(place.path()).unwrap();
    let ended = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(store.stats().unsealed_segments);
            }
            most
        });
        let writers: Vec<_> = (0..3).map(|_| scope.spawn(|| append(&store, 1_000))).collect();
        for writer in writers {
            writer.join().unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    let stats = store.stats();
    assert!(stats.segments > 150 && most <= MOST, "at most {most}; {stats:?}");
    assert_eq!(stats.segments, stats.sealed_segments + stats.unsealed_segments + 1);
    store.close().unwrap();
    assert_eq!(check_prefix(&place.open()).unwrap(), 3_000);
}

#[test]
fn appends_do_not_wait_for_a_segment_that_cannot_be_sealed() {
    let sim = SimStorage::new(5);
    let options = || {
        Options::new()
            .storage(Arc::new(sim.process()))
            .segment_size(Options::MIN_SEGMENT_SIZE)
            .durability(Durability::BUFFERED)
    };
    let store = options().open("/store").unwrap();
    // No index file can be written.
    sim.inject_at("/index/", Fault::FailFrom { operation: Operation::Open, nth: 1 });
    append(&store, 400);
    let stats = store.stats();
    assert!(stats.unsealed_segments > MOST, "{stats:?}");
    sim.clear_faults();
    // Once sealing works again, the bound applies again.
    let mut count = 400;
    while store.stats().unsealed_segments > MOST {
        append(&store, 20);
        count += 20;
        assert!(count < 100_000, "{:?}", store.stats());
    }
    store.close().unwrap();
    assert_eq!(check_prefix(&options().open("/store").unwrap()).unwrap(), count);
}

#[test]
fn close_ends_the_wait_for_a_segment_to_be_sealed() {
    for _ in 0..5 {
        let place = Place::new();
        let store = Place::options().durability(Durability::BUFFERED).open(place.path()).unwrap();
        thread::scope(|scope| {
            let writer = store.clone();
            let appending = scope.spawn(move || {
                let mut count = 0;
                let event = || NewEvent::new("T", vec![7; 16_000]);
                while writer.append("s", ExpectedVersion::Any, [event()]).is_ok() {
                    count += 1;
                }
                count
            });
            while store.stats().segments < 20 {
                thread::yield_now();
            }
            store.clone().close().unwrap();
            let count = appending.join().unwrap();
            assert_eq!(check_prefix(&place.open()).unwrap(), count);
        });
    }
}
