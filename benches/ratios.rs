//! Pairs of workloads in turn within one run: a commit with a record beside the same commit with an event of
//! that size, a read of a record beside one of an event, a subscription to whole commits beside a plain one,
//! the stream of a task beside the iterator.
//!
//! `cargo bench --bench ratios` prints the rates and their ratio; `-- sync` runs the pairs whose name holds
//! "sync". Rates differ from machine to machine and from hour to hour; ratios within one run are what to
//! compare.

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::print_stdout, reason = "this is what it is for")]

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use annals::subscription::Subscribe;
use annals::{Event, ExpectedRecord, ExpectedVersion, Options, Position, Store, Transaction};
use common::{Input, STREAMS, buffered, directory, median, synced};
use futures::StreamExt as _;

const REPETITIONS: usize = 5;
/// Commits that are made in one store before the other has its turn.
const TURN: u64 = 50;
/// Events, and records, of the store that is read.
const FILLED: u64 = 200_000;

fn key(number: u64) -> String {
    format!("balance/account-{number:08}")
}

fn per_second(count: u64, spent: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    let count = count as f64;
    count / spent.as_secs_f64()
}

fn rate(count: u64, started: Instant) -> f64 {
    per_second(count, started.elapsed())
}

/// Whether a pair of this name was asked for.
fn is_wanted(name: &str) -> bool {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    filter.is_none_or(|filter| name.contains(&filter))
}

fn report(name: &str, ours: f64, against: f64) {
    println!("| {name} | {ours:.0} | {against:.0} | {:.2} |", ours / against);
}

/// Measures two workloads, each of which returns a rate, in turn, and prints the medians.
fn in_turn(name: &str, mut ours: impl FnMut() -> f64, mut against: impl FnMut() -> f64) {
    if !is_wanted(name) {
        return;
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for repetition in 0..=REPETITIONS {
        let rates = (ours(), against());
        // One run of each is not counted.
        if repetition > 0 {
            a.push(rates.0);
            b.push(rates.1);
        }
    }
    report(name, median(a), median(b));
}

/// One of two stores that commits are made in.
struct Committing {
    store: Store,
    input: Input,
    spent: Duration,
    _dir: tempfile::TempDir,
}

impl Committing {
    fn open(options: &Options) -> Self {
        let dir = directory();
        let store = options.clone().open(dir.path().join("store")).expect("open");
        let mut input = Input::new(7);
        // The first record of a store, and the first commit of a session, do more.
        let begin = with_record(with_event(store.transaction(), &mut input), &mut input);
        begin.commit().expect("commit");
        Self { store, input, spent: Duration::ZERO, _dir: dir }
    }

    fn commit(&mut self, count: u64, add: &Add) {
        let started = Instant::now();
        for _ in 0..count {
            add(self.store.transaction(), &mut self.input).commit().expect("commit");
        }
        self.spent += started.elapsed();
    }
}

/// Adds to a transaction what is measured.
type Add = dyn for<'a> Fn(Transaction<'a>, &mut Input) -> Transaction<'a>;

/// Makes commits in two stores, in turns that are short beside the drift of a disk, and prints the rates.
fn commits_in_turn(name: &str, options: &Options, count: u64, ours: &Add, against: &Add) {
    if !is_wanted(name) {
        return;
    }
    let (mut a, mut b) = (Committing::open(options), Committing::open(options));
    let turns = count.div_ceil(TURN);
    for turn in 0..turns {
        if turn % 2 == 0 {
            a.commit(TURN, ours);
            b.commit(TURN, against);
        } else {
            b.commit(TURN, against);
            a.commit(TURN, ours);
        }
    }
    let rate = |side: &Committing| per_second(turns * TURN, side.spent);
    report(name, rate(&a), rate(&b));
}

fn with_event<'a>(transaction: Transaction<'a>, input: &mut Input) -> Transaction<'a> {
    transaction.append(input.stream(), ExpectedVersion::Any, [input.event()])
}

fn with_record<'a>(transaction: Transaction<'a>, input: &mut Input) -> Transaction<'a> {
    let (key, value) = (key(input.below(STREAMS)), input.value());
    transaction.put(key, value, ExpectedRecord::Any)
}

fn compare_commits(name: &str, options: &Options, count: u64) {
    commits_in_turn(
        &format!("{name}, a record, against an event"),
        options,
        count,
        &with_record,
        &with_event,
    );
    commits_in_turn(
        &format!("{name}, an event and a record, against two events"),
        options,
        count,
        &|it, input| with_record(with_event(it, input), input),
        &|it, input| with_event(with_event(it, input), input),
    );
}

/// A store that was closed and opened again, with `count` events and as many records, four of each in a commit.
fn filled(count: u64) -> (Store, tempfile::TempDir) {
    let dir = directory();
    let open = || buffered().segment_size(16 << 20).open(dir.path().join("store")).expect("open");
    let (store, mut input) = (open(), Input::new(7));
    for commit in 0..count / 4 {
        let events = input.events(4);
        let stream = input.stream();
        let mut transaction = store.transaction().append(stream, ExpectedVersion::Any, events);
        for number in commit * 4..commit * 4 + 4 {
            transaction = transaction.put(key(number), input.value(), ExpectedRecord::Any);
        }
        transaction.commit().expect("commit");
    }
    store.close().expect("close");
    (open(), dir)
}

fn read_records(store: &Store, events: u64, count: u64) -> f64 {
    let mut input = Input::new(5);
    let keys: Vec<String> = (0..count).map(|_| key(input.below(events))).collect();
    let started = Instant::now();
    for key in &keys {
        let found = store.records().get(key).expect("read");
        black_box(found.expect("a record").value.len());
    }
    rate(count, started)
}

fn read_events(store: &Store, events: u64, count: u64) -> f64 {
    let mut input = Input::new(5);
    let started = Instant::now();
    for _ in 0..count {
        let found = store.event_at(Position::new(1 + input.below(events))).expect("read");
        black_box(found.expect("an event").data().len());
    }
    rate(count, started)
}

fn len(event: annals::Result<Event>) -> usize {
    event.expect("an event").data().len()
}

fn catch_up(subscribe: Subscribe, events: u64) -> f64 {
    let started = Instant::now();
    let mut bytes = 0;
    for message in subscribe.start().expect("start") {
        let message = message.expect("a message");
        if message.is_caught_up() {
            break;
        }
        bytes += message.events().iter().map(|event| event.data().len()).sum::<usize>();
    }
    black_box(bytes);
    rate(events, started)
}

fn iterate(store: &Store, events: u64) -> f64 {
    let started = Instant::now();
    black_box(store.read_all().into_iter().map(len).sum::<usize>());
    rate(events, started)
}

fn poll(store: &Store, events: u64) -> f64 {
    let started = Instant::now();
    let add = |sum, event| std::future::ready(sum + len(event));
    black_box(futures::executor::block_on(store.read_all().into_stream().fold(0, add)));
    rate(events, started)
}

fn main() {
    // `cargo test --benches` runs this with `--test`: once, small, for its errors alone.
    let quick = std::env::args().any(|arg| arg == "--test");
    let scale = |count: u64| if quick { count / 100 } else { count };
    println!("| workload, 256 bytes each | 1/s | against, 1/s | ratio |");
    println!("|---|---:|---:|---:|");
    compare_commits("commit, buffered", &buffered(), scale(300_000));
    compare_commits("commit, sync", &synced(), scale(10_000));
    let events = scale(FILLED);
    let (store, _dir) = filled(events);
    // Each record and event is verified once.
    assert_eq!(store.records().list().count() as u64, events);
    assert_eq!(store.read_all().into_iter().count() as u64, events);
    let reads = scale(100_000);
    in_turn(
        "read, a record at random, against an event at a position",
        || read_records(&store, events, reads),
        || read_events(&store, events, reads),
    );
    in_turn(
        "subscription, whole commits of 4 events, against plain",
        || catch_up(store.subscribe().whole_commits(), events),
        || catch_up(store.subscribe(), events),
    );
    in_turn(
        "scan, stream of a task, against the iterator",
        || poll(&store, events),
        || iterate(&store, events),
    );
}
