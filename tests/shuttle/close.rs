//! A close during other calls.

use annals::testing::SimStorage;
use annals::{Durability, ExpectedVersion, Position};
use shuttle::thread;

use super::support::*;

/// Every append returns; acknowledged ones are stored, and refused ones are not.
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
            // The close writes every accepted commit.
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
fn close_ends_every_append_and_wait() {
    explore(|| closes_beside_appends(Durability::Sync));
}

#[test]
fn close_of_a_buffered_store_ends_every_append_and_wait() {
    explore(|| closes_beside_appends(Durability::BUFFERED));
}

/// No commit may be accepted after the last sync of a close.
#[test]
fn append_during_a_close_is_durable_or_refused() {
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

/// Dropping the last handle closes the store, in whichever thread that is.
#[test]
fn drop_of_the_last_handle_closes_the_store() {
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
