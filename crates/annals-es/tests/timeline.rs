//! States of the past.

#![allow(missing_docs)]

#[path = "../examples/seat_rush.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_rush;

use std::collections::BTreeSet;
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    AnnalsStore, Clock, Commit, Event, EventStore, Expected, MemoryStore, NewEvent, Position,
    Query, QueryItem, Schema, Timeline, TimelineError, Timestamp, Upcasters, Version, encode,
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
        let past = block_on(sum.at(Timestamp::from_micros(seconds * 1_000_000)))?;
        assert_eq!((past.state, past.position.get()), expected, "at {seconds} s");
    }
    let none = block_on(sum.between(Position::new(3), Position::new(1)))?;
    assert_eq!((none.before.state, none.after.state, iter(none.events).count()), (6, 6, 0));

    block_on(store.append(Commit::to("a-1", Expected::Any, [NewEvent::new("Added", "?")])))?;
    let unreadable = block_on(sum.at(Position::MAX));
    assert!(matches!(unreadable, Err(TimelineError::Event(_))), "{unreadable:?}");
    assert_eq!(block_on(sum.at(Position::new(4)))?.state, 10);
    Ok(())
}

fn add<S: EventStore>(store: &S, stream: &str, amount: u64) {
    let added = encode(&Added { amount }).expect("it is written");
    block_on(store.append(Commit::to(stream, Expected::Any, [added]))).expect("it is appended");
}

#[test]
fn version_is_a_point_of_the_only_stream() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new();
    for amount in 1..=4 {
        add(&store, "a-1", amount);
        add(&store, "a-2", 10);
    }
    let of = |query| Timeline::new(store.clone(), query, 0, |sum, it: Added, _| *sum += it.amount);
    let sum = of(Query::stream("a-1"))?;
    for (version, expected) in [(0, (0, 0)), (1, (1, 1)), (3, (6, 5)), (4, (10, 7)), (9, (10, 7))] {
        let past = block_on(sum.at(Version::new(version)))?;
        assert_eq!((past.state, past.position.get()), expected, "at version {version}");
    }
    let change = block_on(sum.between(Version::new(1), Position::new(5)))?;
    assert_eq!((change.before.state, change.after.state), (1, 6));
    let between: Vec<_> = iter(change.events).map(|it| it.map(|it| it.version().get())).collect();
    assert_eq!(between.into_iter().collect::<Result<Vec<_>, _>>()?, [2, 3]);

    let item = || QueryItem::new().stream("a-1");
    for query in [Query::category("a"), Query::from(item()).or(item().types(["Added"]))] {
        let none = block_on(of(query)?.at(Version::new(1)));
        assert!(matches!(none, Err(TimelineError::NoSingleStream)), "{none:?}");
    }
    let nothing = block_on(of(Query::stream("a-3"))?.at(Version::MAX))?;
    assert_eq!((nothing.state, nothing.position), (0, Position::START));
    Ok(())
}

#[test]
fn version_of_a_hidden_event_is_an_error() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let engine = annals::Store::open(dir.path().join("store"))?;
    let store = AnnalsStore::blocking(engine.clone());
    (1..=4).for_each(|amount| add(&store, "a-1", amount));
    engine.truncate_before("a-1", 3)?;
    let query = Query::stream("a-1");
    let sum = Timeline::new(store, query, 0, |sum, it: Added, _| *sum += it.amount)?;
    let hidden = block_on(sum.at(Version::new(2))).expect_err("it is hidden");
    assert!(
        matches!(&hidden, TimelineError::Hidden { version, .. } if version.get() == 2),
        "{hidden}"
    );
    assert!(block_on(sum.at(Version::new(3))).is_ok());
    Ok(())
}

#[test]
fn events_between_are_those_of_the_states() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new();
    (1..=3).for_each(|amount| add(&store, "a-1", amount));
    let query = Query::category("a");
    let sum = Timeline::new(store.clone(), query, [0, 7], |sum, it: Added, _| sum[0] += it.amount)?;
    let change = block_on(sum.between(Position::new(1), Position::MAX))?;
    // Appended before the events are read, after the states were.
    add(&store, "a-1", 9);
    let differences = change.difference()?;
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].to_string(), "/0: 1 -> 6");
    let between = iter(change.events).map(|it| it.map(|it| it.position().get()));
    assert_eq!(between.collect::<Result<Vec<_>, _>>()?, [2, 3]);
    // No event of the query comes between, and one is appended afterwards.
    let none = block_on(sum.between(Position::new(4), Position::MAX))?;
    add(&store, "a-1", 9);
    assert_eq!((none.difference()?, iter(none.events).count()), (Vec::new(), 0));
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
    assert_eq!((change.before.state, change.after.state, iter(change.events).count()), (1, 3, 1));
    Ok(())
}

#[test]
fn example_sells_each_seat_once_and_shows_how_the_hall_filled() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = annals::Store::open(dir.path()).expect("a store");
    let (mut out, mut in_memory) = (Vec::new(), Vec::new());
    seat_rush::run(&AnnalsStore::blocking(engine), &mut out).expect("the example runs");
    seat_rush::run(&MemoryStore::new(), &mut in_memory).expect("the example runs");
    for out in [out, in_memory] {
        sells_each_seat_once(&String::from_utf8(out).expect("text"));
    }
}

fn sells_each_seat_once(out: &str) {
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
