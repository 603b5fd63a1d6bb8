//! Look-ups over many small segments, with an index file each and with their indexes merged, in one
//! run.
//!
//! `cargo bench --bench compaction`. The store is in the page cache; the measured cost is the work
//! per index file, which compaction saves.

#![allow(missing_docs, reason = "a bench")]

mod common;

use std::path::Path;

use annals::{ExpectedVersion, NewEvent, Options, Query, QueryItem, Store, Uuid};
use common::{Input, buffered, config, copy, directory};
use criterion::{Criterion, criterion_group, criterion_main};

const SEGMENTS: u64 = 64;
const SEGMENT: u64 = 256 << 10;

fn options() -> Options {
    buffered().segment_size(SEGMENT).compaction(false)
}

/// A stream with an event in each segment, and a tag that one event in the middle has.
fn fill(path: &Path) {
    let store = options().open(path).expect("open");
    let mut input = Input::new(7);
    let mut segments = 0;
    while segments <= SEGMENTS {
        store.append(input.stream(), ExpectedVersion::Any, input.events(10)).expect("append");
        let now = store.stats().segments;
        if now > segments {
            segments = now;
            let mut event = NewEvent::new("Seen", "");
            if segments == SEGMENTS / 2 {
                event = event.tag("rare");
            }
            store.append("cold-1", ExpectedVersion::Any, [event]).expect("append");
        }
    }
    store.close().expect("close");
    // Opening and closing seals the remaining segments.
    options().open(path).expect("open").close().expect("close");
}

fn measure(criterion: &mut Criterion, name: &str, store: &Store) {
    let rare = Query::none().or(QueryItem::new().tags(["rare"]));
    criterion.bench_function(&format!("compaction/{name}/a stream in every segment"), |bencher| {
        bencher.iter(|| {
            let mut events = 0_u64;
            store.read_stream("cold-1").for_each(|_| events += 1).expect("read");
            assert!(events >= SEGMENTS);
        });
    });
    criterion.bench_function(&format!("compaction/{name}/a rare tag"), |bencher| {
        bencher.iter(|| {
            let mut events = 0_u64;
            store.read_all().matching(rare.clone()).for_each(|_| events += 1).expect("read");
            assert_eq!(events, 1);
        });
    });
    let mut unknown = 0_u128;
    criterion.bench_function(&format!("compaction/{name}/an id that is not there"), |bencher| {
        bencher.iter(|| {
            unknown += 1;
            assert!(store.event(Uuid::from_u128(unknown)).expect("read").is_none());
        });
    });
}

fn look_ups(criterion: &mut Criterion) {
    let dir = directory();
    let (apart, merged) = (dir.path().join("apart"), dir.path().join("merged"));
    fill(&apart);
    copy(&apart, &merged);
    let apart = options().open(&apart).expect("open");
    let merged = options().open(&merged).expect("open");
    merged.compact().expect("compact");
    assert!(apart.stats().index_files >= SEGMENTS && merged.stats().index_files == 1);
    measure(criterion, "apart", &apart);
    measure(criterion, "merged", &merged);
}

criterion_group! { name = benches; config = config(); targets = look_ups }
criterion_main!(benches);
