//! Reads of a store of 200,000 events in several sealed segments: scans by both paths, pages, one
//! stream, one event, queries, the past.
//!
//! `cargo bench --bench read`. The store is in the page cache, and was verified by a first scan.

#![allow(missing_docs, reason = "a bench")]

mod common;

use std::hint::black_box;

use annals::{Event, ExpectedVersion, Position, Query, Store, Timestamp, Uuid};
use common::{Input, buffered, config, directory};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 200_000;
/// One in this number of events goes to the stream that is read: 100 of them, scattered.
const SCATTERED: u64 = EVENTS / 100;
const PAGE: u64 = 50;

struct Filled {
    store: Store,
    ids: Vec<Uuid>,
    middle: Timestamp,
    _dir: tempfile::TempDir,
}

fn fill() -> Filled {
    let dir = directory();
    let open = || buffered().segment_size(16 << 20).open(dir.path().join("store")).expect("open");
    let (store, mut input) = (open(), Input::new(7));
    let mut ids = Vec::new();
    for i in 0..EVENTS {
        let rare = i % 1000 == 500;
        let stream = match i % SCATTERED {
            0 => "scattered-1".to_owned(),
            _ if rare => format!("rare-{}", i % 7),
            _ => input.stream(),
        };
        let event = input.event().tag(format!("owner:{}", i % 500));
        let event = if i % 10 == 3 {
            ids.push(input.id());
            event.id(ids[ids.len() - 1])
        } else {
            event
        };
        store.append(stream, ExpectedVersion::Any, [event]).expect("append");
    }
    // Closing waits for the segments that are still being sealed.
    store.close().expect("close");
    let store = open();
    let middle = store.event_at(Position::new(EVENTS / 2)).expect("read").expect("an event");
    let middle = middle.recorded_at();
    Filled { store, ids, middle, _dir: dir }
}

fn sum(events: impl IntoIterator<Item = annals::Result<Event>>) -> (u64, usize) {
    let add = |(count, bytes), event: annals::Result<Event>| {
        (count + 1, bytes + event.expect("an event").data().len())
    };
    events.into_iter().fold((0, 0), add)
}

fn reads(criterion: &mut Criterion) {
    let Filled { store, ids, middle, _dir } = &fill();
    assert_eq!(sum(store.read_all()).0, EVENTS);
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("borrowed", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            store.read_all().for_each(|event| bytes += event.data().len()).expect("scan");
            bytes
        });
    });
    group.bench_function("owned", |bencher| bencher.iter(|| sum(store.read_all())));
    group.bench_function("parts", |bencher| {
        bencher.iter(|| {
            let parts = |event: annals::Result<Event>| event.expect("an event").into_parts();
            store.read_all().into_iter().map(parts).map(|parts| parts.data.len()).sum::<usize>()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("page of 50");
    let mut input = Input::new(3);
    group.throughput(Throughput::Elements(PAGE));
    group.bench_function("forwards, from anywhere", |bencher| {
        bencher.iter(|| sum(store.read_all().after(input.below(EVENTS - PAGE)).limit(PAGE)));
    });
    group.bench_function("backwards, from the head", |bencher| {
        bencher.iter(|| sum(store.read_all().backwards().limit(PAGE)));
    });
    group.bench_function("backwards, as of a position", |bencher| {
        bencher.iter(|| {
            let position = Position::new(PAGE + input.below(EVENTS - PAGE));
            sum(store.read_all().as_of(position).backwards().limit(PAGE))
        });
    });
    group.bench_function("backwards, as of a time", |bencher| {
        bencher.iter(|| sum(store.read_all().as_of(*middle).backwards().limit(PAGE)));
    });
    group.finish();

    streams(criterion, store, *middle);
    points(criterion, store, ids);
    queries(criterion, store);
}

fn streams(criterion: &mut Criterion, store: &Store, middle: Timestamp) {
    let mut group = criterion.benchmark_group("stream of 100 scattered events");
    group.throughput(Throughput::Elements(100));
    group.bench_function("owned", |bencher| {
        bencher.iter(|| sum(store.read_stream("scattered-1")));
    });
    group.bench_function("borrowed", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            let read = store.read_stream("scattered-1");
            read.for_each(|event| bytes += event.data().len()).expect("read");
            bytes
        });
    });
    group.throughput(Throughput::Elements(50));
    group.bench_function("its first half, as of a time", |bencher| {
        bencher.iter(|| sum(store.read_stream("scattered-1").as_of(middle)));
    });
    group.finish();
}

fn points(criterion: &mut Criterion, store: &Store, ids: &[Uuid]) {
    let mut group = criterion.benchmark_group("point");
    let mut input = Input::new(5);
    group.bench_function("event by id", |bencher| {
        bencher.iter(|| {
            let index = usize::try_from(input.below(ids.len() as u64)).unwrap_or(0);
            store.event(ids[index]).expect("read").expect("an event")
        });
    });
    group.bench_function("id that is not there", |bencher| {
        bencher.iter(|| black_box(store.event(input.id()).expect("read").is_none()));
    });
    group.bench_function("event at a position", |bencher| {
        bencher.iter(|| store.event_at(Position::new(1 + input.below(EVENTS))).expect("read"));
    });
    group.bench_function("head of a stream", |bencher| {
        bencher.iter(|| store.stream_head(&input.stream()).expect("read"));
    });
    group.finish();
}

fn queries(criterion: &mut Criterion, store: &Store) {
    let mut group = criterion.benchmark_group("query");
    let queries = [
        ("a category with 200 events", Query::category("rare")),
        ("a tag with 400 events", Query::tagged(["owner:42"])),
        ("a type with 50,000 events", Query::types(["MoneyDeposited"])),
    ];
    for (name, query) in queries {
        let count = sum(store.read_all().matching(query.clone())).0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |bencher| {
            bencher.iter(|| sum(store.read_all().matching(query.clone())));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = reads }
criterion_main!(benches);
