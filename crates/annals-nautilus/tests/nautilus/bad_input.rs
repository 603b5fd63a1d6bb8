//! Input that upstream's backends do not meet, or that is not for them: typed errors, and nothing lost.

use adapter_tests::in_every_way;
use annals_nautilus::RunStore;
use annals_nautilus::annals::{ExpectedRecord, ExpectedVersion, NewEvent, Options, Store};
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EventStore, EventStoreError, Headers, RunStatus, ScanDirection, SnapshotAnchor,
};

use crate::support::{
    CLIENT, INSTANCE, RUN, attach, backend_text, entry_of, manifest, plain, sealed,
};

const STREAM: &str = "nautilus-trader-7/run-1";
const MANIFEST: &str = "nautilus/run/trader-7/run-1";

fn corrupted_text<T: std::fmt::Debug>(result: Result<T, EventStoreError>) -> String {
    match result {
        Err(EventStoreError::Corrupted(text)) => text,
        other => panic!("expected a corrupted run, got {other:?}"),
    }
}

#[test]
fn events_of_another_schema_are_corrupted_entries() {
    in_every_way(|life| {
        life.step(|store| attach(store).append_batch(&plain(1..=1)).unwrap());
        let foreign = [&[][..], &[1, 0, 5], &[2; 80], &[1, 200, 3], &[1, 15, 1]];
        for metadata in foreign {
            let metadata = [metadata, &[0; 40]].concat();
            let event = NewEvent::new("Order", "x").metadata(metadata);
            life.step(|store| store.append(STREAM, ExpectedVersion::Any, [event]).unwrap());
        }
        life.step(|store| {
            let backend = attach(store);
            // The run can be opened, so that recovery can quarantine it.
            assert_eq!(backend.high_watermark().unwrap(), 6);
            for seq in 2..=6 {
                let text = corrupted_text(backend.scan_seq(seq));
                assert!(text.contains(&format!("entry {seq}")), "{text}");
            }
            corrupted_text(backend.scan_range(1, 6, ScanDirection::Forward));
            assert!(backend.scan_seq(1).unwrap().is_some());
            drop(backend);
            let runs = RunStore::new(store.clone());
            let outcome = runs.recover(INSTANCE).unwrap();
            assert_eq!(outcome.recovered[0].status, RunStatus::Quarantined);
            assert_eq!(outcome.parent_run_id, None);
        });
    });
}

#[test]
fn entry_that_was_moved_has_a_wrong_hash() {
    in_every_way(|life| {
        life.step(|store| attach(store).append_batch(&plain(1..=2)).unwrap());
        life.step(|store| {
            let first = store.read_stream(STREAM).into_iter().next().unwrap().unwrap();
            let moved = NewEvent::new(first.event_type(), first.data_bytes());
            let moved = moved.metadata(first.metadata_bytes());
            store.append(STREAM, ExpectedVersion::Any, [moved]).unwrap();
        });
        let read = life.step(|store| attach(store).scan_seq(3));
        assert!(matches!(read, Err(EventStoreError::HashMismatch { seq: 3 })), "{read:?}");
    });
}

#[test]
fn records_of_another_schema_are_a_corrupted_run() {
    for key in [MANIFEST, "nautilus/anchor/trader-7/run-1"] {
        for value in ["", "foreign", "\u{1}\u{9}12345678901234567890"] {
            in_every_way(|life| {
                life.step(|store| drop(attach(store)));
                life.step(|store| store.records().put(key, value, ExpectedRecord::Any).unwrap());
                life.step(|store| {
                    let runs = RunStore::new(store.clone());
                    let mut backend = runs.backend();
                    let opened = backend.open_run(manifest(RUN));
                    if key.contains("anchor") {
                        assert!(matches!(opened, Err(EventStoreError::CrashedPredecessor)));
                        corrupted_text(backend.latest_snapshot_anchor());
                    } else {
                        corrupted_text(opened);
                        corrupted_text(runs.list_runs(INSTANCE));
                    }
                });
            });
        }
    }
}

#[test]
fn manifest_of_another_run_is_a_corrupted_run() {
    in_every_way(|life| {
        life.step(|store| drop(attach(store)));
        life.step(|store| {
            let value = store.records().get(MANIFEST).unwrap().unwrap().value;
            let key = "nautilus/run/trader-7/run-2";
            store.records().put(key, value, ExpectedRecord::NoRecord).unwrap();
        });
        let listed = life.step(|store| RunStore::new(store.clone()).list_runs(INSTANCE));
        assert!(corrupted_text(listed).contains("run-2"));
    });
}

#[test]
fn run_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    let mut first = runs.backend();
    first.open_run(manifest(RUN)).unwrap();
    first.append_batch(&plain(1..=1)).unwrap();
    let text = backend_text(runs.clone().backend().open_run(manifest(RUN)));
    assert!(text.contains("is open already"), "{text}");
    // Recovery leaves it alone, and another run can be open beside it.
    assert!(runs.recover(INSTANCE).unwrap().recovered.is_empty());
    runs.backend().open_run(manifest("run-2")).unwrap();
    assert_eq!(first.append_batch(&plain(2..=2)).unwrap(), 2);
    drop(first);
    let again = runs.backend().open_run(manifest(RUN));
    assert!(matches!(again, Err(EventStoreError::CrashedPredecessor)), "{again:?}");
}

#[test]
fn store_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let _runs = RunStore::open(dir.path().join("ledger")).unwrap();
    let text = backend_text(RunStore::open(dir.path().join("ledger")));
    assert!(text.contains("open for writing elsewhere"), "{text}");
}

/// Two backends of one run, which two `RunStore`s over one store do not prevent.
fn two_of_one_run(store: &Store) -> [annals_nautilus::AnnalsBackend; 2] {
    let mut backends = [attach(store), attach(store)];
    backends[0].append_batch(&plain(1..=2)).unwrap();
    backends
}

#[test]
fn second_writer_of_a_run_loses_nothing_of_the_first() {
    in_every_way(|life| {
        life.step(|store| {
            let [mut first, mut second] = two_of_one_run(store);
            let late = second.append_batch(&plain(1..=1));
            let refused =
                matches!(late, Err(EventStoreError::OutOfOrder { high_watermark: 2, seq: 1 }));
            assert!(refused, "{late:?}");
            // It continues where the error says.
            assert_eq!(second.append_batch(&plain(3..=3)).unwrap(), 3);
            // A seal does not cut off entries that the sealing handle does not know.
            let seal = first.seal(RunStatus::Ended);
            assert!(matches!(seal, Err(EventStoreError::OutOfOrder { high_watermark: 3, .. })));
            first.seal(RunStatus::Ended).unwrap();
            let late = second.append_batch(&plain(4..=4));
            assert!(matches!(late, Err(EventStoreError::Closed)), "{late:?}");
            assert_eq!(second.manifest().unwrap(), first.manifest().unwrap());
        });
        assert_eq!(life.step(|store| sealed(store).manifest().unwrap().high_watermark), 3);
    });
}

#[test]
fn anchor_after_another_handle_sealed_the_run_is_refused() {
    in_every_way(|life| {
        life.step(|store| {
            let [mut first, mut second] = two_of_one_run(store);
            let late = second.append_batch(&plain(1..=1));
            assert!(matches!(late, Err(EventStoreError::OutOfOrder { .. })), "{late:?}");
            first.seal(RunStatus::Ended).unwrap();
            let late = second.record_snapshot_anchor(SnapshotAnchor::new(1, "blob", "hash"));
            assert!(matches!(late, Err(EventStoreError::Closed)), "{late:?}");
        });
        assert_eq!(life.step(|store| sealed(store).latest_snapshot_anchor().unwrap()), None);
    });
}

#[test]
fn ids_out_of_range_are_refused() {
    in_every_way(|life| {
        for (instance, run) in [("", "r"), ("i", ""), ("a/b", "r"), ("i", "a/b")] {
            let mut wrong = manifest(run);
            instance.clone_into(&mut wrong.instance_id);
            let refused = life.step(|store| RunStore::new(store.clone()).backend().open_run(wrong));
            assert!(backend_text(refused).contains("empty or has a slash"));
        }
        let long = manifest(&"r".repeat(1100));
        let refused = life.step(|store| RunStore::new(store.clone()).backend().open_run(long));
        assert!(backend_text(refused).contains("1024"));
        let open =
            life.step(|store| RunStore::new(store.clone()).open_sealed(INSTANCE, "none").map(drop));
        assert!(backend_text(open).contains("there is no run"));
        life.step(|store| drop(attach(store)));
        let open =
            life.step(|store| RunStore::new(store.clone()).open_sealed(INSTANCE, RUN).map(drop));
        assert!(backend_text(open).contains("is not sealed"));
    });
}

#[test]
fn entry_over_the_limit_is_refused_and_the_run_continues() {
    in_every_way(|life| {
        life.step(|store| attach(store).append_batch(&plain(1..=1)).unwrap());
        let payload = vec![0; 17 << 20];
        let large = entry_of(2, 9, Headers::empty(), "a", "Order", &payload);
        let refused = life.step(|store| {
            let batch = [AppendEntry::without_indices(large)];
            attach(store).append_batch(&batch)
        });
        assert!(backend_text(refused).contains("limit"));
        life.step(|store| {
            let mut backend = attach(store);
            assert_eq!(backend.high_watermark().unwrap(), 1);
            assert_eq!(backend.lookup(CLIENT, "O-1").unwrap(), None);
            assert_eq!(backend.append_batch(&plain(2..=2)).unwrap(), 2);
        });
    });
}

#[test]
fn entry_of_the_largest_size_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    let mut backend = runs.backend();
    backend.open_run(manifest(RUN)).unwrap();
    let large = entry_of(1, 9, Headers::empty(), "a", "Order", &vec![7; (32 << 20) - 1000]);
    let batch = [AppendEntry::without_indices(large.clone())];
    assert_eq!(backend.append_batch(&batch).unwrap(), 1);
    assert_eq!(backend.scan_seq(1).unwrap(), Some(large));
}

#[test]
fn store_that_is_read_only_refuses_writes_and_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let runs = RunStore::open(&path).unwrap();
    let mut backend = runs.backend();
    backend.open_run(manifest(RUN)).unwrap();
    backend.append_batch(&plain(1..=3)).unwrap();
    backend.seal(RunStatus::Ended).unwrap();
    // Beside the writer. The seal has no events; a reader sees such a commit with the next one, or with the close.
    let reader = RunStore::new(Options::new().read_only(true).open(&path).unwrap());
    assert_eq!(reader.list_runs(INSTANCE).unwrap().len(), 1);
    drop((backend, runs));
    let read = reader.open_sealed(INSTANCE, RUN).unwrap();
    assert_eq!(read.scan_range(1, 3, ScanDirection::Forward).unwrap().len(), 3);
    let text = backend_text(reader.backend().open_run(manifest("run-2")));
    assert!(text.contains("reading only"), "{text}");
}
