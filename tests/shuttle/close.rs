//! A close beside everything else.

use annals::testing::SimStorage;
use annals::{Durability, ExpectedVersion, Position};
use shuttle::thread;

use super::support::*;

/// Every append ends, those that were acknowledged stay, and those that were refused do not exist.
fn closes_beside_appends(durability: Durability) {
    let sim = SimStorage::new(1);
    let store = options(sim.process()).durability(durability).open(ROOT).unwrap();
    let appender = |name: &'static str| {
        let store = store.clone();
        thread::spawn(move || {
            let streams = (0..3).map(|round| format!("{name}-{round}"));
            let outcomes = streams.map(|stream| {
                let done = unless_closed(append(&store, &stream, 7_500));
                (stream, done.is_some())
            });
            outcomes.collect::<Vec<_>>()
        })
    };
    let appenders = [appender("a"), appender("b")];
    let submitter = {
        let store = store.clone();
        thread::spawn(move || {
            let events = [event(10), event(10)];
            let ticket = store.transaction().append("t", ExpectedVersion::Any, events).submit();
            // What was accepted before the close is written by it.
            let ticket = unless_closed(ticket).map(|ticket| ticket.wait().unwrap());
            vec![("t".to_owned(), ticket.is_some())]
        })
    };
    let waiter = {
        let store = store.clone();
        thread::spawn(move || unless_closed(store.wait_for(Position::new(1_000), FOR_EVER)))
    };
    store.close().unwrap();
    let outcomes = appenders.into_iter().chain([submitter]).flat_map(|it| it.join().unwrap());
    let outcomes: Vec<_> = outcomes.collect();
    assert!(waiter.join().unwrap().is_none());
    let store = after_power_loss(&sim);
    check_prefix(&store, false).unwrap();
    for (stream, acknowledged) in outcomes {
        assert_eq!(is_there(&store, &stream), acknowledged, "{stream}");
    }
}

#[test]
fn ends_every_append_and_wait() {
    explore(|| closes_beside_appends(Durability::Sync));
}

#[test]
fn ends_every_append_and_wait_of_a_buffered_store() {
    explore(|| closes_beside_appends(Durability::BUFFERED));
}

/// Nothing joins behind the last sync of a close.
#[test]
fn meets_one_append() {
    explore(|| {
        let sim = SimStorage::new(1);
        let options = options(sim.process()).durability(Durability::BUFFERED);
        let store = options.open(ROOT).unwrap();
        append(&store, "first", 10).unwrap();
        let appender = {
            let store = store.clone();
            thread::spawn(move || unless_closed(append(&store, "s", 10)).is_some())
        };
        store.close().unwrap();
        let acknowledged = appender.join().unwrap();
        assert_eq!(is_there(&after_power_loss(&sim), "s"), acknowledged);
    });
}

/// Dropping the last handles closes too, whichever thread has the last.
#[test]
fn the_last_handle_closes() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let user = |stream: &'static str| {
            let store = store.clone();
            thread::spawn(move || append(&store, stream, 10).unwrap())
        };
        let users = [user("a"), user("b")];
        drop(store);
        for user in users {
            user.join().unwrap();
        }
        let store = after_power_loss(&sim);
        assert!(is_there(&store, "a") && is_there(&store, "b"));
    });
}
