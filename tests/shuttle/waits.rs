//! Waits for a position, for room, for an interval and for a ticket are all woken.

use std::time::Duration;

use annals::testing::SimStorage;
use annals::{Durability, ExpectedVersion, Position};
use shuttle::{future, thread};

use super::support::*;

#[test]
fn wait_for_a_position_is_woken() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let wait = |position: u64, timeout: Duration| {
            let store = store.clone();
            thread::spawn(move || {
                let position = Position::new(position);
                let there = store.wait_for(position, timeout).unwrap();
                assert!(there || timeout != FOR_EVER);
                assert!(!there || store.event_at(position).unwrap().is_some());
            })
        };
        let waiters = [wait(2, FOR_EVER), wait(4, FOR_EVER), wait(3, Duration::from_secs(1))];
        append(&store, "s", 10).unwrap();
        let events = [event(10), event(10)];
        let ticket = store.transaction().append("s", ExpectedVersion::Any, events).submit();
        // No thread waits for the ticket: the store's own thread has to write the group.
        drop(ticket.unwrap());
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(store.head().get(), 4);
    });
}

#[test]
fn wait_for_a_version_is_woken_in_threads_and_tasks() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let thread = {
            let store = store.clone();
            thread::spawn(move || {
                assert!(store.wait_for_version("s", 3, FOR_EVER).unwrap());
                assert!(store.stream_head("s").unwrap().unwrap().version >= 3);
            })
        };
        let task = {
            let task = store.wait_for_version_async("s", 4);
            let store = store.clone();
            thread::spawn(move || {
                future::block_on(task).unwrap();
                assert_eq!(store.stream_head("s").unwrap().unwrap().version, 4);
            })
        };
        append(&store, "s", 10).unwrap();
        append(&store, "other", 10).unwrap();
        let events = [event(10), event(10)];
        let ticket = store.transaction().append("s", ExpectedVersion::Any, events).submit();
        drop(ticket.unwrap());
        for waiter in [thread, task] {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn buffered_store_is_synced_at_its_interval() {
    explore(|| {
        let sim = SimStorage::new(1);
        let interval = Duration::from_millis(5);
        let options = options(sim.process()).durability(Durability::Buffered { interval });
        // Room for one commit: the others wait for it.
        let store = options.max_pending_bytes(500).open(ROOT).unwrap();
        let writer = |number: u64| {
            let (store, sim) = (store.clone(), sim.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let done = append(&store, &format!("own-{number}"), 100).unwrap();
                    assert!(store.head() >= done.last_position);
                }
                if number == 1 {
                    store.sync().unwrap();
                    assert!(after_power_loss(&sim).head().get() >= 4);
                }
            })
        };
        let writers = [writer(1), writer(2), writer(3)];
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(check_prefix(&store, false).unwrap(), 12);
        store.close().unwrap();
        assert_eq!(after_power_loss(&sim).head().get(), 12);
    });
}

/// A sync during commits that do not wait for one publishes only what was written when it began.
#[test]
fn sync_publishes_only_what_it_synced() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let writer = {
            let store = store.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    let transaction = store.transaction().durability(Durability::BUFFERED);
                    let events = [event(10), event(10)];
                    transaction.append("s", ExpectedVersion::Any, events).commit().unwrap();
                }
            })
        };
        let syncer = {
            let store = store.clone();
            thread::spawn(move || store.sync().unwrap())
        };
        for _ in 0..3 {
            let head = store.head();
            let lasting = after_power_loss(&sim).head();
            assert!(lasting >= head, "a reader saw {head:?}, and the disk has {lasting:?}");
        }
        for thread in [writer, syncer] {
            thread.join().unwrap();
        }
    });
}

/// Tickets as futures: the waker is called, whichever thread leads the group.
#[test]
fn ticket_wakes_its_task() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let task = |stream: &'static str| {
            let store = store.clone();
            thread::spawn(move || {
                let events = [event(10), event(10)];
                let ticket = store.transaction().append(stream, ExpectedVersion::Any, events);
                let done = future::block_on(ticket.submit().unwrap()).unwrap();
                assert!(store.head() >= done.last_position);
            })
        };
        let tasks = [task("a"), task("b")];
        append(&store, "c", 10).unwrap();
        for task in tasks {
            task.join().unwrap();
        }
        store.close().unwrap();
    });
}
