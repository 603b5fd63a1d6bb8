//! Opening: a new store, a closed one, one whose writer was killed, one with many segments.
//!
//! `cargo bench --bench open`. A kill is a copy of the directory that was taken while the store
//! was open; every opening gets a fresh one, in the page cache. Closing is not counted.

#![allow(missing_docs, reason = "a bench")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use annals::{ExpectedVersion, Opened, Options, Store};
use common::{Input, buffered, config, copy, directory, empty};
use criterion::{Criterion, criterion_group, criterion_main};

const SEGMENT: u64 = 16 << 20;

fn options() -> Options {
    buffered().segment_size(SEGMENT)
}

fn fill(store: &Store, bytes: u64) {
    let mut input = Input::new(7);
    let until = store.stats().log_bytes + bytes;
    while store.stats().log_bytes < until {
        store.append(input.stream(), ExpectedVersion::Any, input.events(10)).expect("append");
    }
}

/// Measures `open` alone, with `prepare` before and the close after it.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    prepare: impl Fn(&Path),
    open: impl Fn(&Path) -> Store,
) {
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                let dir = directory();
                let path = dir.path().join("store");
                prepare(&path);
                let started = Instant::now();
                let store = open(&path);
                spent += started.elapsed();
                drop(store);
            }
            spent
        });
    });
}

fn opens(criterion: &mut Criterion) {
    let open = |path: &Path| options().open(path).expect("open");
    let dir = directory();
    measure(criterion, "open/a new store", |_| {}, open);

    let half = dir.path().join("half");
    let store = open(&half);
    fill(&store, SEGMENT / 2);
    let killed = dir.path().join("killed");
    copy(&half, &killed);
    store.close().expect("close");
    let clean = |path: &Path| {
        let store = open(path);
        assert_eq!(*store.opened(), Opened::Clean);
        store
    };
    measure(criterion, "open/closed, half a segment", |path| copy(&half, path), clean);
    measure(criterion, "open/killed, half a segment", |path| copy(&killed, path), open);
    let read = |path: &Path| options().read_only(true).open(path).expect("open");
    measure(criterion, "open/killed, half a segment, read-only", |path| copy(&killed, path), read);

    let small = options().segment_size(Options::MIN_SEGMENT_SIZE);
    let many = dir.path().join("many");
    let store = small.clone().open(&many).expect("open");
    fill(&store, 200 * Options::MIN_SEGMENT_SIZE);
    store.close().expect("close");
    let small = |path: &Path| small.clone().open(path).expect("open");
    measure(criterion, "open/closed, 200 sealed segments", |path| copy(&many, path), small);
    let without = |path: &Path| {
        copy(&many, path);
        empty(&path.join("checkpoints"));
    };
    measure(criterion, "open/200 sealed segments, no checkpoint", without, small);
}

criterion_group! { name = benches; config = config(); targets = opens }
criterion_main!(benches);
