//! The same calls on annals and on both backends of upstream have the same results.

use std::fmt::Debug;

use adapter_tests::in_every_way;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EventStore, EventStoreError, Headers, MemoryBackend, RedbBackend, RunStatus,
    ScanDirection, SnapshotAnchor,
};

use crate::support::{CLIENT, RUN, VENUE, attach, entry_of, key, manifest, sealed};

/// Numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Values, and the variants of errors with their fields; texts are free.
fn shown<T: Debug>(result: &Result<T, EventStoreError>) -> String {
    match result {
        Err(EventStoreError::Backend(_)) => "backend error".into(),
        other => format!("{other:?}"),
    }
}

fn batch(numbers: &mut Numbers, next: u64) -> Vec<AppendEntry> {
    // One batch in eight does not continue the run.
    let first = if numbers.below(8) == 0 { next + numbers.below(3) } else { next };
    (first..first + numbers.below(5))
        .map(|seq| {
            let time = 1000 + numbers.below(500);
            let payload = vec![7; usize::try_from(numbers.below(300)).unwrap()];
            let entry = entry_of(seq, time, Headers::empty(), "exec.orders", "Order", &payload);
            let keys = (0..numbers.below(4)).map(|_| {
                let kind = if numbers.below(2) == 0 { CLIENT } else { VENUE };
                key(kind, &format!("O-{}", numbers.below(30)))
            });
            AppendEntry::new(entry, keys.collect())
        })
        .collect()
}

/// One call on each backend.
fn act(backend: &mut dyn EventStore, choice: u64, numbers: &mut Numbers) -> String {
    let last = backend.high_watermark().unwrap();
    match choice {
        0..=4 => shown(&backend.append_batch(&batch(numbers, last + 1))),
        5 => {
            let anchor = SnapshotAnchor::new(numbers.below(last + 2), "blob", "hash");
            shown(&backend.record_snapshot_anchor(anchor))
        }
        6 => shown(&backend.seal(RunStatus::Running)),
        _ => {
            let (from, to) = (numbers.below(last + 3), numbers.below(last + 3));
            let reverse = backend.scan_range(from, to, ScanDirection::Reverse);
            format!("{} {}", shown(&reverse), shown(&backend.scan_seq(from)))
        }
    }
}

/// Everything that can be read.
fn everything(backend: &dyn EventStore) -> String {
    let pairs = |kind| {
        let mut pairs = backend.iter_index_keys(kind).unwrap();
        pairs.sort();
        pairs
    };
    let found: Vec<_> = (0..30)
        .flat_map(|id| {
            [CLIENT, VENUE].map(|kind| backend.lookup(kind, &format!("O-{id}")).unwrap())
        })
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {found:?}",
        backend.manifest().unwrap(),
        backend.high_watermark().unwrap(),
        backend.latest_snapshot_anchor().unwrap(),
        backend.scan_range(1, u64::MAX, ScanDirection::Forward).unwrap(),
        pairs(CLIENT),
        pairs(VENUE),
    )
}

#[test]
fn random_calls_have_the_results_of_upstreams_backends() {
    for seed in 0..3 {
        in_every_way(|life| {
            let dir = tempfile::tempdir().unwrap();
            let mut redb = RedbBackend::new(dir.path());
            let mut memory = MemoryBackend::new();
            redb.open_run(manifest(RUN)).unwrap();
            memory.open_run(manifest(RUN)).unwrap();
            life.step(|store| drop(attach(store)));
            let mut numbers = Numbers(seed);
            for _ in 0..40 {
                let (choice, seed) = (numbers.below(9), numbers.below(1 << 30));
                let ours = life.step(|store| act(&mut attach(store), choice, &mut Numbers(seed)));
                assert_eq!(ours, act(&mut redb, choice, &mut Numbers(seed)));
                assert_eq!(ours, act(&mut memory, choice, &mut Numbers(seed)));
            }
            let ours = life.step(|store| everything(&attach(store)));
            assert_eq!(ours, everything(&redb));
            assert_eq!(ours, everything(&memory));
            life.step(|store| attach(store).seal(RunStatus::Ended).unwrap());
            redb.seal(RunStatus::Ended).unwrap();
            assert_eq!(life.step(|store| everything(&sealed(store))), everything(&redb));
        });
    }
}
