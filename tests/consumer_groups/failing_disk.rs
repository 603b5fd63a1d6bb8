//! Consumer groups on a failing disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use annals::testing::{Fault, Operation, SimStorage};
use annals::{Durability, Error, ExpectedVersion, MappedWrites, NewEvent, Query, Store};

use super::shared::{ROOT, simulated};
use super::support::{LONG, append, group, quick};

fn open(storage: &SimStorage) -> Store {
    // A commit that is copied into memory cannot fail.
    let options = simulated(storage).mapped_writes(MappedWrites::Never);
    options.durability(Durability::BUFFERED).open(ROOT).unwrap()
}

#[test]
fn full_disk_delays_parking_and_loses_nothing() {
    let storage = SimStorage::new(5);
    let store = open(&storage);
    append(&store, 40, 4);
    // The segment is full, and there is no room for another one.
    storage.set_free_space(Some(0));
    for size in [9000, 1000, 50, 0] {
        let filler = || NewEvent::new("F", vec![1; size]);
        while store.append("f", ExpectedVersion::Any, [filler()]).is_ok() {}
    }
    let head = store.head().get();
    let poisoned = |position: u64| position.is_multiple_of(10) && position <= 40;
    let running = group(&store)
        .retry(quick(2))
        .store_progress_every(1, Duration::from_millis(1))
        .start(
            move |delivery| {
                if poisoned(delivery.event().position().get()) { Err("no") } else { Ok(()) }
            },
        )
        .unwrap();
    assert!(running.wait_for(9, LONG), "{:?}", running.stop());
    // Time for what must not happen.
    thread::sleep(Duration::from_millis(80));
    let parked_early = group(&store).parked().unwrap().len();
    assert_eq!(running.progress().get(), 9, "it is not parked yet");
    storage.set_free_space(None);
    assert!(running.wait_for(head, LONG), "{:?}", running.stop());
    running.stop().unwrap();
    assert_eq!(parked_early, 0, "the disk was not full");
    let parked = group(&store).parked().unwrap();
    let positions: Vec<u64> = parked.iter().map(|it| it.event.position().get()).collect();
    assert_eq!(positions, [10, 20, 30, 40]);
}

#[test]
fn full_disk_counts_no_attempt_of_a_handler_that_succeeded() {
    let storage = SimStorage::new(7);
    let store = open(&storage);
    append(&store, 1, 1);
    storage.set_free_space(Some(0));
    for size in [9000, 1000, 50, 0] {
        let filler = || NewEvent::new("F", vec![1; size]);
        while store.append("f", ExpectedVersion::Any, [filler()]).is_ok() {}
    }
    let calls = Arc::new(AtomicU32::new(0));
    let has_room = Arc::new(AtomicBool::new(false));
    let (counter, room) = (Arc::clone(&calls), Arc::clone(&has_room));
    let running = group(&store)
        .matching(Query::types(["Happened"]))
        .retry(quick(2))
        .start_transactional(move |delivery, transaction| {
            counter.fetch_add(1, Ordering::SeqCst);
            assert!(delivery.attempt() <= 2);
            // One failure, after the commits that the disk had no room for.
            if room.swap(false, Ordering::SeqCst) {
                return Err("no");
            }
            let note = NewEvent::new("Noted", vec![1; 9000]);
            Ok(transaction.append("notes", ExpectedVersion::Any, [note]))
        })
        .unwrap();
    while calls.load(Ordering::SeqCst) < 6 {
        thread::sleep(Duration::from_millis(1));
    }
    has_room.store(true, Ordering::SeqCst);
    storage.set_free_space(None);
    assert!(running.wait_for(1, LONG), "{:?}", running.stop());
    running.stop().unwrap();
    assert_eq!(group(&store).parked().unwrap().len(), 0);
    assert_eq!(store.stream_head("notes").unwrap().unwrap().version, 1);
}

#[test]
fn failed_write_ends_the_group_with_its_error() {
    let storage = SimStorage::new(6);
    let store = open(&storage);
    append(&store, 20, 4);
    storage.inject_at(".seg", Fault::FailFrom { operation: Operation::Write, nth: 1 });
    let running = group(&store)
        .retry(quick(1))
        .start(|delivery| if delivery.event().position().get() == 7 { Err("no") } else { Ok(()) })
        .unwrap();
    for _ in 0..60_000 {
        if !running.is_running() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let told = running.stop();
    let is_expected =
        matches!(&told, Err(Error::OutcomeUnknown { .. } | Error::WriterPoisoned { .. }));
    assert!(is_expected, "{told:?}");
    storage.clear_faults();
    drop(store);
    // The next group delivers the event again.
    let store = open(&storage);
    assert!(store.cursors().get("g").unwrap().is_none_or(|cursor| cursor.get() < 7));
    let running = group(&store).start(|_| Ok::<(), String>(())).unwrap();
    assert!(running.wait_for(20, LONG));
    running.stop().unwrap();
}
