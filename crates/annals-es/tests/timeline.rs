//! States of the past.

#![allow(missing_docs)]

use std::time::Duration;

use annals_es::blocking::block_on;
use annals_es::{
    Clock, Commit, Event, EventStore, Expected, MemoryStore, NewEvent, Position, Query, Timeline,
    TimelineError, Timestamp, encode,
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
