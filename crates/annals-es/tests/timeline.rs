//! States of the past.

#![allow(missing_docs)]

use std::time::Duration;

use annals_es::blocking::block_on;
use annals_es::{
    Clock, Commit, Event, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Schema,
    Timeline, TimelineError, Timestamp, Upcasters, encode,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
struct Added {
    amount: u64,
}

#[test]
fn state_at_a_time_has_the_events_up_to_it() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::at(Timestamp::from_micros(1_000_000));
    let store = MemoryStore::with_clock(clock.clone());
    for amount in 1..=4 {
        block_on(store.append(Commit::to("a-1", Expected::Any, [encode(&Added { amount })?])))?;
        clock.advance(Duration::from_secs(1));
    }
    let sum = Timeline::new(store.clone(), Query::category("a"), 0, |sum, added: Added, _| {
        *sum += added.amount;
    })?;
    for (seconds, expected) in [(0, (0, 0)), (1, (1, 1)), (2, (3, 2)), (9, (10, 4))] {
        let past = block_on(sum.at_time(Timestamp::from_micros(seconds * 1_000_000)))?;
        assert_eq!((past.state, past.position.get()), expected, "at {seconds} s");
    }
    let none = block_on(sum.between(Position::new(3), Position::new(1)))?;
    assert_eq!((none.before.state, none.after.state, none.events.len()), (6, 6, 0));

    block_on(store.append(Commit::to("a-1", Expected::Any, [NewEvent::new("Added", "?")])))?;
    let unreadable = block_on(sum.at(Position::MAX));
    assert!(matches!(unreadable, Err(TimelineError::Event(_))), "{unreadable:?}");
    assert_eq!(block_on(sum.at(Position::new(4)))?.state, 10);
    Ok(())
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "AmountAdded", upcasters = renamed)]
struct Renamed {
    amount: u64,
}

fn renamed() -> Upcasters<Renamed> {
    Upcasters::new().rename("Added", 1, Schema::new("AmountAdded", 1))
}

#[test]
fn query_by_type_includes_events_of_earlier_names() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new();
    let events = [encode(&Added { amount: 1 })?, encode(&Renamed { amount: 2 })?];
    block_on(store.append(Commit::to("a-1", Expected::Any, events)))?;
    let query = Query::types(["AmountAdded"]);
    let sum = Timeline::new(store, query, 0, |sum, added: Renamed, _| *sum += added.amount)?;
    assert_eq!(block_on(sum.at(Position::MAX))?.state, 3);
    let change = block_on(sum.between(Position::new(1), Position::new(2)))?;
    assert_eq!((change.before.state, change.after.state, change.events.len()), (1, 3, 1));
    Ok(())
}
