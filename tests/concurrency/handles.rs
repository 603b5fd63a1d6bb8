//! Handles that outlive the store: events, tickets and clones after a close.

use std::thread;

use annals::{Error, ExpectedVersion, NewEvent, Options, Store};

use super::support::{Place, check_prefix};

fn submit(store: &Store, byte: u8) -> annals::Ticket {
    let event = NewEvent::new("T", vec![byte; 700]);
    store.transaction().append("s", ExpectedVersion::Any, [event]).submit().unwrap()
}

#[test]
fn events_outlive_the_store_its_files_and_the_process_lock() {
    let place = Place::new();
    let store = place.open();
    for byte in 0..200 {
        submit(&store, byte).wait().unwrap();
    }
    let events: Vec<_> = store.read_all().into_iter().map(|event| event.unwrap()).collect();
    let data: Vec<_> = events.iter().map(annals::Event::data_bytes).collect();
    let iterator = store.read_all().start().unwrap();
    store.close().unwrap();
    let next = place.open();
    next.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    drop(next);
    std::fs::remove_dir_all(place.path()).unwrap();
    let check = move || {
        for (byte, (event, data)) in (0..200_u8).zip(events.iter().zip(&data)) {
            assert_eq!((event.data(), &data[..]), (&[byte; 700][..], &[byte; 700][..]));
            assert_eq!((event.stream(), event.version()), ("s", u64::from(byte) + 1));
        }
    };
    thread::spawn(check).join().unwrap();
    drop(iterator);
}

#[test]
fn tickets_outlive_the_store() {
    for by_drop in [false, true] {
        for waiting_before in [false, true] {
            let place = Place::new();
            let store = place.open();
            let tickets: Vec<_> = (0..50).map(|byte| submit(&store, byte)).collect();
            let wait = move || {
                tickets.into_iter().map(annals::Ticket::wait).collect::<annals::Result<Vec<_>>>()
            };
            let outcome = if waiting_before {
                let waiter = thread::spawn(wait);
                close(store, by_drop);
                waiter.join().unwrap()
            } else {
                close(store, by_drop);
                wait()
            };
            // The close makes every accepted commit durable, and ends the waits for them.
            let done = outcome.unwrap();
            assert_eq!(done.last().unwrap().last_position.get(), 50);
            assert_eq!(check_prefix(&place.open()).unwrap(), 50);
        }
    }
}

fn close(store: Store, by_drop: bool) {
    if by_drop {
        drop(store);
    } else {
        store.close().unwrap();
    }
}

#[test]
fn dropped_tickets_do_not_affect_their_commits() {
    let place = Place::new();
    let store = place.open();
    for byte in 0..100 {
        drop(submit(&store, byte));
    }
    store.sync().unwrap();
    assert_eq!(check_prefix(&store).unwrap(), 100);
}

#[test]
fn closed_store_returns_closed_and_releases_its_lock() {
    let place = Place::new();
    let store = place.open();
    let clone = store.clone();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    let locked = Options::new().open(place.path());
    assert!(matches!(locked, Err(Error::Locked { .. })), "{locked:?}");
    store.close().unwrap();
    let refused = clone.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    assert!(matches!(clone.read_all().start(), Err(Error::Closed)));
    assert!(matches!(clone.stream_head("s"), Err(Error::Closed)));
    assert!(matches!(clone.sync(), Err(Error::Closed)));
    let next = place.open();
    assert_eq!(next.head().get(), 1);
    // Closing again does nothing, and does not release the lock of the next store.
    clone.close().unwrap();
    let locked = Options::new().open(place.path());
    assert!(matches!(locked, Err(Error::Locked { .. })), "{locked:?}");
}

#[test]
fn appends_during_a_close_all_return() {
    for _ in 0..5 {
        let place = Place::new();
        let store = place.open();
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                thread::spawn(move || {
                    let mut last = 0;
                    loop {
                        let event = NewEvent::new("T", vec![1; 300]);
                        match store.append("s", ExpectedVersion::Any, [event]) {
                            Ok(done) => last = done.last_position.get(),
                            Err(Error::Closed) => return last,
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                })
            })
            .collect();
        thread::sleep(std::time::Duration::from_millis(30));
        store.close().unwrap();
        let acknowledged = writers.into_iter().map(|it| it.join().unwrap()).max().unwrap();
        let store = place.open();
        let found = check_prefix(&store).unwrap();
        assert!(found >= acknowledged, "{found} events, {acknowledged} acknowledged");
        assert_eq!(*store.opened(), annals::Opened::Clean);
    }
}
