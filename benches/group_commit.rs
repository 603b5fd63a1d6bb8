//! Group commit: synced single appends by 1 to 16 threads, and by one thread that submits.
//!
//! `cargo bench --bench group_commit`. Compare the growth of the rate from the first line to the
//! others within one run.

#![allow(missing_docs, reason = "a bench")]

mod common;

use std::collections::VecDeque;
use std::time::Instant;

use annals::{ExpectedVersion, Store};
use common::{Input, config, directory, synced};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Appends of one iteration, shared by the threads.
const ROUND: u64 = 64;
/// Commits that the submitting thread keeps in flight.
const IN_FLIGHT: usize = 1024;

fn open() -> (tempfile::TempDir, Store) {
    let dir = directory();
    let store = synced().open(dir.path().join("store")).expect("open");
    (dir, store)
}

fn append(store: &Store, seed: u64, count: u64) {
    let mut input = Input::new(seed);
    for _ in 0..count {
        let event = input.event();
        store.append(input.stream(), ExpectedVersion::Any, [event]).expect("append");
    }
}

fn submit(store: &Store, count: u64) {
    let mut input = Input::new(7);
    let mut tickets = VecDeque::new();
    for _ in 0..count {
        let event = input.event();
        let transaction = store.transaction();
        let transaction = transaction.append(input.stream(), ExpectedVersion::Any, [event]);
        tickets.push_back(transaction.submit().expect("submit"));
        if tickets.len() > IN_FLIGHT {
            tickets.pop_front().expect("a ticket").wait().expect("wait");
        }
    }
    for ticket in tickets {
        ticket.wait().expect("wait");
    }
}

fn groups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group commit");
    group.throughput(Throughput::Elements(ROUND));
    for threads in [1, 2, 4, 8, 16] {
        group.bench_function(format!("{threads} threads"), |bencher| {
            bencher.iter_custom(|iterations| {
                let (_dir, store) = open();
                let each = iterations * ROUND / threads;
                let started = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let store = &store;
                        scope.spawn(move || append(store, thread + 1, each));
                    }
                });
                started.elapsed()
            });
        });
    }
    group.bench_function("1 thread that submits", |bencher| {
        bencher.iter_custom(|iterations| {
            let (_dir, store) = open();
            let started = Instant::now();
            submit(&store, iterations * ROUND);
            started.elapsed()
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = config(); targets = groups }
criterion_main!(benches);
