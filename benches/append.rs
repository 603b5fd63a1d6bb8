//! Appends: the cost of one event, a batch, a transaction, an expected version and a given id, each
//! buffered and synced in the same run.
//!
//! `cargo bench --bench append`. Every sample starts with an empty store; opening and closing it
//! is not counted.

#![allow(missing_docs, reason = "a bench")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use annals::{ExpectedVersion, NewEvent, Options, Store};
use common::{Input, buffered, config, directory, synced};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

/// Events of a batch, and of a transaction over as many streams.
const BATCH: usize = 100;
const ACROSS: usize = 4;

/// Measures `append`, which is given the store and what to append, prepared outside the clock.
fn measure<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    options: &Options,
    events: usize,
    prepare: impl Fn(&mut Input, u64) -> T,
    append: impl Fn(&Store, T),
) {
    // Events are prepared in portions of this size, to bound memory.
    const AHEAD: u64 = 4096;
    let open = |path: &Path| options.clone().open(path.join("store")).expect("open");
    group.throughput(Throughput::Elements(events as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let dir = directory();
            let store = open(dir.path());
            let mut input = Input::new(7);
            let (mut spent, mut done) = (Duration::ZERO, 0);
            while done < iterations {
                let until = iterations.min(done + AHEAD);
                let prepared: Vec<T> = (done..until).map(|i| prepare(&mut input, i)).collect();
                let started = Instant::now();
                for item in prepared {
                    append(&store, item);
                }
                spent += started.elapsed();
                done = until;
            }
            spent
        });
    });
}

fn append_one(store: &Store, (stream, expected, event): (String, ExpectedVersion, NewEvent)) {
    store.append(stream, expected, [event]).expect("append");
}

fn appends(criterion: &mut Criterion, name: &str, options: &Options) {
    let mut group = criterion.benchmark_group(name);
    let any = ExpectedVersion::Any;
    let one = |input: &mut Input, _| (input.stream(), any, input.event());
    measure(&mut group, "one event", options, 1, one, append_one);
    let expected = |input: &mut Input, i| {
        // One stream: the version is known beforehand.
        ("account-1".to_owned(), ExpectedVersion::Exact(i), input.event())
    };
    measure(&mut group, "one event, expected version", options, 1, expected, append_one);
    let given_id = |input: &mut Input, _| {
        let id = input.id();
        (input.stream(), any, input.event().id(id))
    };
    measure(&mut group, "one event, given id", options, 1, given_id, append_one);
    let batch = |input: &mut Input, _| (input.stream(), input.events(BATCH));
    measure(&mut group, "batch of 100", options, BATCH, batch, |store, (stream, events)| {
        store.append(stream, any, events).expect("append");
    });
    let across = |input: &mut Input, _| {
        std::array::from_fn::<_, ACROSS, _>(|_| (input.stream(), input.event()))
    };
    let name = "transaction over 4 streams";
    measure(&mut group, name, options, ACROSS, across, |store, parts| {
        let mut transaction = store.transaction();
        for (stream, event) in parts {
            transaction = transaction.append(stream, any, [event]);
        }
        transaction.commit().expect("commit");
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    appends(criterion, "append, buffered", &buffered());
    appends(criterion, "append, synced", &synced());
}

criterion_group! { name = benches; config = config(); targets = all }
criterion_main!(benches);
