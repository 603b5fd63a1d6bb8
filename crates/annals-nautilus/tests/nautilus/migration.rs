//! Runs of the redb backend, written by upstream's writer, copied to annals.

use std::path::Path;

use adapter_tests::in_every_way;
use annals_nautilus::annals::Store;
use annals_nautilus::nautilus_event_store::{
    EventStore, EventStoreWriter, RedbBackend, RunStatus, ScanDirection, Verifier, noop_halt,
    recover_predecessors,
};
use annals_nautilus::{RunStore, copy_redb, copy_run};
use nautilus_core::time::get_atomic_clock_static;

use crate::support::{
    CLIENT, INSTANCE, VENUE, attach_to, backend_text, keyed, manifest, orders, patient, plain,
};
use crate::tools::{draft, end};

/// Two sealed runs with the events of orders, an anchor in the first, and a run that is not sealed.
fn redb_runs(base: &Path) {
    for (run_id, count) in [("run-1", 600), ("run-2", 3), ("run-3", 1)] {
        let mut backend = Box::new(RedbBackend::new(base));
        backend.open_run(manifest(run_id)).unwrap();
        let clock = get_atomic_clock_static();
        let config = patient();
        let writer = EventStoreWriter::spawn(backend, clock, noop_halt(), config).unwrap();
        for event in orders(count) {
            writer.submit(draft(&event)).unwrap();
        }
        if run_id == "run-1" {
            writer.record_snapshot_anchor("blob", "hash").unwrap();
        }
        if run_id != "run-3" {
            writer.close(end()).unwrap();
        }
    }
}

/// Everything that upstream's trait reads.
fn everything(backend: &dyn EventStore) -> impl PartialEq + std::fmt::Debug {
    let pairs = |kind| {
        let mut pairs = backend.iter_index_keys(kind).unwrap();
        pairs.sort();
        pairs
    };
    (
        backend.manifest().unwrap(),
        backend.latest_snapshot_anchor().unwrap(),
        backend.scan_range(1, u64::MAX, ScanDirection::Forward).unwrap(),
        [pairs(CLIENT), pairs(VENUE)],
    )
}

fn copy(base: &Path, store: &Store) -> Vec<String> {
    copy_redb(base, INSTANCE, &RunStore::new(store.clone())).unwrap()
}

#[test]
fn runs_of_redb_are_copied_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    redb_runs(dir.path());
    in_every_way(|life| {
        assert_eq!(life.step(|store| copy(dir.path(), store)), ["run-1", "run-2"]);
        assert!(life.step(|store| copy(dir.path(), store)).is_empty());
        for run_id in ["run-1", "run-2"] {
            life.step(|store| {
                let source = RedbBackend::open_sealed(dir.path(), INSTANCE, run_id).unwrap();
                let runs = RunStore::new(store.clone());
                let copy = runs.open_sealed(INSTANCE, run_id).unwrap();
                assert_eq!(everything(&copy), everything(&source));
                assert_eq!(copy.lookup(VENUE, "V-001").unwrap(), Some(7));
                let report = Verifier::new(Box::new(copy)).verify().unwrap();
                assert!(report.is_clean(), "{report:?}");
            });
        }
    });
    // Upstream's recovery seals the third.
    recover_predecessors(dir.path(), INSTANCE).unwrap();
    in_every_way(|life| {
        assert_eq!(life.step(|store| copy(dir.path(), store)), ["run-1", "run-2", "run-3"]);
    });
}

#[test]
fn interrupted_copy_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    redb_runs(dir.path());
    in_every_way(|life| {
        life.step(|store| {
            let source = RedbBackend::open_sealed(dir.path(), INSTANCE, "run-2").unwrap();
            let entries = source.scan_range(1, 5, ScanDirection::Forward).unwrap();
            let batch: Vec<_> = entries
                .into_iter()
                .map(annals_nautilus::nautilus_event_store::AppendEntry::without_indices)
                .collect();
            attach_to(store, "run-2").append_batch(&batch).unwrap();
        });
        assert_eq!(life.step(|store| copy(dir.path(), store)), ["run-1", "run-2"]);
        life.step(|store| {
            let source = RedbBackend::open_sealed(dir.path(), INSTANCE, "run-2").unwrap();
            let copy = RunStore::new(store.clone()).open_sealed(INSTANCE, "run-2").unwrap();
            assert_eq!(copy.manifest().unwrap(), source.manifest().unwrap());
            let all = |it: &dyn EventStore| it.scan_range(1, 99, ScanDirection::Forward).unwrap();
            assert_eq!(all(&copy), all(&source));
        });
    });
}

#[test]
fn other_run_of_the_same_id_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    redb_runs(dir.path());
    let source = || RedbBackend::open_sealed(dir.path(), INSTANCE, "run-2").unwrap();
    let into = |store: &Store| copy_run(&source(), &RunStore::new(store.clone()));
    in_every_way(|life| {
        life.step(|store| attach_to(store, "run-2").append_batch(&[keyed(1, &["O-1"])]).unwrap());
        assert!(backend_text(life.step(into)).contains("another run run-2"));
        life.step(|store| attach_to(store, "run-2").append_batch(&plain(2..=2)).unwrap());
        life.step(|store| attach_to(store, "run-2").seal(RunStatus::Ended).unwrap());
        assert!(backend_text(life.step(into)).contains("another run run-2"));
    });
}

#[test]
fn run_that_is_not_sealed_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = RedbBackend::new(dir.path());
    source.open_run(manifest("run-1")).unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    assert!(backend_text(copy_run(&source, &runs)).contains("is not sealed"));
    assert!(runs.list_runs(INSTANCE).unwrap().is_empty());
}
