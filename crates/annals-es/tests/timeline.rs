//! States of the past.

#![allow(missing_docs)]

#[path = "../examples/seat_rush.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_rush;

use std::collections::BTreeSet;
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

#[test]
fn example_sells_each_seat_once_and_shows_how_the_hall_filled() {
    let mut out = Vec::new();
    seat_rush::run(&mut out).expect("the example runs");
    let out = String::from_utf8(out).expect("text");
    let number = |of: &str| -> u32 {
        let line = out.lines().find(|line| line.contains(of)).expect("a line");
        line.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number")
    };
    assert!(out.starts_with("100 customers want one of 40 seats at once\n"), "{out}");
    let declined = number("had a seat until the card was declined");
    assert_eq!(number("have a seat and paid for it"), 40, "{out}");
    assert_eq!(number("found all seats sold"), 60 - declined, "{out}");
    assert!(declined <= 25, "that many cards are bad:\n{out}");
    assert!(number("times a seat was refused") >= 40 * (60 - declined), "{out}");
    let released = format!("{declined:>5} seats were released for others, 0 had two holders");
    assert!(out.contains(&released), "{out}");

    let hall: Vec<_> = out.lines().filter(|line| line.starts_with("  position ")).collect();
    assert_eq!(hall.len(), 11, "{out}");
    assert!(hall[0].ends_with(&format!("  0  {}", ".".repeat(40))), "{out}");
    assert!(hall[10].ends_with(&"#".repeat(40)), "{out}");
    assert!(out.contains(" seats sold before and 40 after\n"), "{out}");

    let (_, holders) = out.split_once("who has which seat:\n").expect("a table");
    let words: Vec<_> = holders.split_whitespace().collect();
    let seats: Vec<u32> = words.iter().step_by(2).map(|it| it.parse().expect("a seat")).collect();
    assert_eq!(seats, (1..=40).collect::<Vec<_>>(), "{out}");
    let customers: BTreeSet<&str> = words.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(customers.len(), 40, "nobody has two:\n{out}");
    let has_bad_card = |name: &&str| {
        let number = name.trim_start_matches("customer-").parse::<u32>().expect("a number");
        number.is_multiple_of(4)
    };
    assert!(!customers.iter().any(has_bad_card), "{out}");
}
