//! Boundaries and queries at a million events and 100,000 tags: an append that a query may forbid
//! beside one that nothing forbids, and a selective query beside the same by scan.
//!
//! `cargo bench --bench query`, about a minute. Rounds of each side in turn, medians; the stores
//! are buffered and in the page cache.

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "rates need no more digits")]

mod common;

use std::time::Instant;

use annals::{ExpectedVersion, NewEvent, Position, Query, Store};
use common::{Input, buffered, directory, median};

const EVENTS: u64 = 1_000_000;
const TAGS: u64 = 100_000;
/// Each has a hundred events.
const GROUPS: u64 = EVENTS / 100;
const ROUNDS: usize = 15;
const APPENDS: u64 = 20_000;

fn event(input: &mut Input, number: u64) -> NewEvent {
    input
        .event()
        .tag(format!("owner:{}", number * 7919 % TAGS))
        .tag(format!("group:{}", number % GROUPS))
}

fn fill(store: &Store) -> Input {
    let mut input = Input::new(3);
    let mut number = 0;
    while number < EVENTS {
        let mut transaction = store.transaction();
        for _ in 0..1000 {
            number += 1;
            let event = event(&mut input, number);
            transaction = transaction.append(input.stream(), ExpectedVersion::Any, [event]);
        }
        transaction.commit().expect("append");
    }
    store.sync().expect("sync");
    input
}

/// Nanoseconds an append. Events and queries are made before.
fn appends(store: &Store, input: &mut Input, boundary: impl Fn(u64) -> Option<Query>) -> f64 {
    let events: Vec<_> = (0..APPENDS)
        .map(|number| (input.stream(), event(input, number), boundary(number)))
        .collect();
    let started = Instant::now();
    for (stream, event, query) in events {
        let transaction = store.transaction().append(stream, ExpectedVersion::Any, [event]);
        let transaction = match query {
            Some(query) => transaction.fail_if(query),
            None => transaction,
        };
        transaction.commit().expect("append");
    }
    started.elapsed().as_nanos() as f64 / APPENDS as f64
}

/// Prints the time of the first append that a boundary guards, which enters the terms of the segments in memory.
fn first(store: &Store, input: &mut Input) {
    let (stream, event) = (input.stream(), event(input, 0));
    let started = Instant::now();
    let transaction = store.transaction().append(stream, ExpectedVersion::Any, [event]);
    transaction.fail_if(Query::tagged(["name:none"])).commit().expect("append");
    println!("the first boundary: {:.1} ms\n", started.elapsed().as_secs_f64() * 1e3);
}

fn boundaries(plain: &Store, bounded: &Store, input: &mut Input) {
    let mut sides: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        // Both stores grow alike, so that sealing in the background weighs on both sides alike.
        let head = bounded.head();
        sides[0].push(appends(plain, input, |_| None));
        sides[1].push(appends(bounded, input, |_| None));
        sides[0].push(appends(plain, input, |_| None));
        sides[2].push(appends(bounded, input, |n| {
            Some(Query::tagged([format!("owner:none-{n}")]).after(head))
        }));
        sides[0].push(appends(plain, input, |_| None));
        sides[3].push(appends(bounded, input, |n| Some(Query::tagged([format!("name:{n}")]))));
    }
    let [plain, kept, after, anywhere] = sides.map(median);
    println!("| buffered append of one event | ns | ratio |\n|---|---|---|");
    println!("| no boundary, in a store that never had one | {plain:.0} | 1 |");
    println!("| no boundary, in a store that has had some | {kept:.0} | {:.2} |", kept / plain);
    println!("| nothing found after a position | {after:.0} | {:.2} |", after / plain);
    println!("| nothing found anywhere | {anywhere:.0} | {:.2} |", anywhere / plain);
}

fn queries(store: &Store) {
    let upto = Position::new(EVENTS);
    let (mut found, mut scanned) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let query = Query::tagged([format!("group:{}", round * 17 % GROUPS)]);
        let started = Instant::now();
        let matches = store.read_all().as_of(upto).matching(query.clone()).into_iter().count();
        found.push(started.elapsed().as_micros() as f64);
        let started = Instant::now();
        let mut count = 0;
        let scan = store.read_all().as_of(upto).for_each(|event| {
            count += usize::from(event.matches(&query));
        });
        scan.expect("scan");
        scanned.push(started.elapsed().as_micros() as f64);
        assert_eq!((matches, count), (100, 100));
    }
    let (found, scanned) = (median(found), median(scanned));
    println!("\n| a query with 100 matches | µs | ratio |\n|---|---|---|");
    println!("| by scan | {scanned:.0} | 1 |");
    println!("| by postings | {found:.0} | {:.0} times as fast |", scanned / found);
}

fn main() {
    let dir = directory();
    let [plain, bounded] = ["plain", "bounded"]
        .map(|name| buffered().open(dir.path().join(name)).expect("a store in a new directory"));
    fill(&plain);
    let mut input = fill(&bounded);
    first(&bounded, &mut input);
    boundaries(&plain, &bounded, &mut input);
    queries(&bounded);
}
