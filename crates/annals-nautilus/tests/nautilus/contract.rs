//! What upstream tests its redb backend for: a run, its entries and its seal; each in four ways.

use adapter_tests::in_every_way;
use annals_nautilus::RunStore;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EntryHash, EventStore, EventStoreError, Headers, RunStatus, ScanDirection,
    SnapshotAnchor,
};
use nautilus_core::UUID4;

use crate::support::{
    CLIENT, RUN, attach, attach_to, backend_text, entry, entry_of, manifest, plain, sealed, seqs,
    takes_large_commits,
};

const FORWARD: ScanDirection = ScanDirection::Forward;
const REVERSE: ScanDirection = ScanDirection::Reverse;

#[test]
fn backend_without_a_run_refuses_every_method() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = RunStore::open(dir.path().join("ledger")).unwrap().backend();
    let anchor = SnapshotAnchor::new(0, "blob", "hash");
    let texts = [
        backend_text(backend.append_batch(&[])),
        backend_text(backend.scan_range(1, 1, FORWARD)),
        backend_text(backend.scan_seq(1)),
        backend_text(backend.lookup(CLIENT, "O-1")),
        backend_text(backend.iter_index_keys(CLIENT)),
        backend_text(backend.record_snapshot_anchor(anchor)),
        backend_text(backend.latest_snapshot_anchor()),
        backend_text(backend.seal(RunStatus::Ended)),
        backend_text(backend.manifest()),
        backend_text(backend.high_watermark()),
    ];
    assert!(texts.iter().all(|text| text.contains("no run open")), "{texts:?}");
}

#[test]
fn new_run_is_running_and_empty_whatever_its_manifest_states() {
    in_every_way(|life| {
        let mut given = manifest(RUN);
        given.status = RunStatus::Ended;
        given.high_watermark = 9;
        given.end_ts_init = Some(9.into());
        life.step(|store| RunStore::new(store.clone()).backend().open_run(given).unwrap());
        let read = life.step(|store| attach(store).manifest().unwrap());
        assert_eq!(read, manifest(RUN));
    });
}

#[test]
fn appended_entries_are_scanned_in_both_directions() {
    in_every_way(|life| {
        assert_eq!(life.step(|store| attach(store).append_batch(&plain(1..=2)).unwrap()), 2);
        assert_eq!(life.step(|store| attach(store).append_batch(&plain(3..=5)).unwrap()), 5);
        life.step(|store| {
            let backend = attach(store);
            let all = backend.scan_range(1, 5, FORWARD).unwrap();
            assert_eq!(all, (1..=5).map(entry).collect::<Vec<_>>());
            assert_eq!(seqs(&backend.scan_range(2, 4, REVERSE).unwrap()), [4, 3, 2]);
            assert_eq!(seqs(&backend.scan_range(4, u64::MAX, FORWARD).unwrap()), [4, 5]);
            for (from, to) in [(0, 3), (4, 3), (6, 9)] {
                assert!(backend.scan_range(from, to, FORWARD).unwrap().is_empty());
            }
            assert_eq!(backend.scan_seq(3).unwrap(), Some(entry(3)));
            assert_eq!(backend.scan_seq(0).unwrap(), None);
            assert_eq!(backend.scan_seq(6).unwrap(), None);
            assert_eq!(backend.manifest().unwrap().high_watermark, 5);
        });
    });
}

#[test]
fn every_field_of_an_entry_is_read_back() {
    in_every_way(|life| {
        let some = Some(UUID4::new());
        let long = "Payload".repeat(100);
        let entries = [
            (Headers { correlation_id: some, causation_id: None }, "a", "Order", &b"x"[..]),
            (Headers { correlation_id: None, causation_id: some }, "events.ordre-é", "", b""),
            (Headers { correlation_id: some, causation_id: some }, "a.b", &long, &[0; 3000]),
        ];
        let entries: Vec<_> = (1..)
            .zip(entries)
            // Times that go back.
            .map(|(seq, (headers, topic, name, data))| {
                entry_of(seq, 90 - seq, headers, topic, name, data)
            })
            .collect();
        let batch: Vec<_> = entries.iter().cloned().map(AppendEntry::without_indices).collect();
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        assert_eq!(life.step(|store| attach(store).scan_range(1, 3, FORWARD).unwrap()), entries);
    });
}

#[test]
fn batch_that_does_not_continue_the_run_is_refused_whole() {
    in_every_way(|life| {
        life.step(|store| attach(store).append_batch(&plain(1..=2)).unwrap());
        for (batch, wrong) in [(vec![4], 4), (vec![2, 3], 2), (vec![3, 5], 5), (vec![3, 3], 3)] {
            let result = life.step(|store| attach(store).append_batch(&plain(batch)));
            let refused = matches!(result, Err(EventStoreError::OutOfOrder { high_watermark: 2, seq }) if seq == wrong);
            assert!(refused, "{result:?}");
        }
        assert_eq!(life.step(|store| attach(store).append_batch(&[]).unwrap()), 2);
        assert_eq!(life.step(|store| attach(store).append_batch(&plain(3..=3)).unwrap()), 3);
    });
}

#[test]
fn sealed_run_takes_nothing_and_states_its_end() {
    for status in [RunStatus::Ended, RunStatus::CrashedRecovered, RunStatus::Quarantined] {
        in_every_way(|life| {
            let times = [(1, 30), (2, 70), (3, 50)];
            let batch = times.map(|(seq, time)| {
                AppendEntry::without_indices(entry_of(
                    seq,
                    time,
                    Headers::empty(),
                    "a",
                    "Order",
                    b"x",
                ))
            });
            life.step(|store| attach(store).append_batch(&batch).unwrap());
            life.step(|store| {
                let mut backend = attach(store);
                let text = backend_text(backend.seal(RunStatus::Running));
                assert!(text.contains("terminal"), "{text}");
                backend.seal(status).unwrap();
                assert!(matches!(
                    backend.append_batch(&plain(4..=4)),
                    Err(EventStoreError::Closed)
                ));
                assert!(matches!(backend.append_batch(&[]), Err(EventStoreError::Closed)));
                assert!(matches!(backend.seal(status), Err(EventStoreError::Closed)));
                let anchor = SnapshotAnchor::new(1, "blob", "hash");
                let result = backend.record_snapshot_anchor(anchor);
                assert!(matches!(result, Err(EventStoreError::Closed)));
            });
            let read = life.step(|store| sealed(store).manifest().unwrap());
            let mut expected = manifest(RUN);
            expected.status = status;
            expected.high_watermark = 3;
            // The largest, and not the last one.
            expected.end_ts_init = Some(70.into());
            assert_eq!(read, expected);
            assert_eq!(seqs(&sealed(life.store()).scan_range(1, 9, FORWARD).unwrap()), [1, 2, 3]);
        });
    }
}

#[test]
fn sealed_run_without_entries_has_no_end() {
    in_every_way(|life| {
        life.step(|store| attach(store).seal(RunStatus::Ended).unwrap());
        let read = life.step(|store| sealed(store).manifest().unwrap());
        assert_eq!((read.end_ts_init, read.high_watermark), (None, 0));
    });
}

#[test]
fn sealed_run_is_not_opened_again_and_the_next_one_is() {
    in_every_way(|life| {
        life.step(|store| attach(store).seal(RunStatus::Ended).unwrap());
        life.step(|store| {
            let mut backend = RunStore::new(store.clone()).backend();
            let text = backend_text(backend.open_run(manifest(RUN)));
            assert!(text.contains("sealed already"), "{text}");
            backend.open_run(manifest("run-2")).unwrap();
            backend.append_batch(&plain(1..=1)).unwrap();
            backend.seal(RunStatus::Ended).unwrap();
            // The same backend begins the next run.
            backend.open_run(manifest("run-3")).unwrap();
            assert_eq!(backend.high_watermark().unwrap(), 0);
        });
    });
}

#[test]
fn backend_of_a_sealed_run_opens_no_other() {
    in_every_way(|life| {
        life.step(|store| attach(store).seal(RunStatus::Ended).unwrap());
        let result = life.step(|store| sealed(store).open_run(manifest("run-2")));
        assert!(matches!(result, Err(EventStoreError::Closed)), "{result:?}");
    });
}

#[test]
fn run_that_was_left_open_is_reported_and_continues() {
    in_every_way(|life| {
        let batch = [(1, 40), (2, 20)].map(|(seq, time)| {
            AppendEntry::without_indices(entry_of(seq, time, Headers::empty(), "a", "Order", b"x"))
        });
        life.step(|store| {
            let mut backend = attach(store);
            backend.append_batch(&batch).unwrap();
            let again = backend.open_run(manifest("run-2"));
            assert!(matches!(again, Err(EventStoreError::CrashedPredecessor)), "{again:?}");
        });
        life.step(|store| {
            let mut backend = RunStore::new(store.clone()).backend();
            let mut other = manifest(RUN);
            other.binary_hash = "of the next binary".into();
            let opened = backend.open_run(other);
            assert!(matches!(opened, Err(EventStoreError::CrashedPredecessor)), "{opened:?}");
            assert_eq!(backend.high_watermark().unwrap(), 2);
            assert_eq!(backend.manifest().unwrap().binary_hash, "b1");
            backend.seal(RunStatus::CrashedRecovered).unwrap();
            assert_eq!(backend.manifest().unwrap().end_ts_init, Some(40.into()));
        });
    });
}

#[test]
fn entry_with_a_wrong_hash_is_found_by_every_read() {
    in_every_way(|life| {
        let mut batch = plain(1..=3);
        batch[1].entry.entry_hash = EntryHash([7; 32]);
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        life.step(|store| {
            let backend = attach(store);
            for result in [backend.scan_range(1, 3, FORWARD), backend.scan_range(2, 2, REVERSE)] {
                assert!(matches!(result, Err(EventStoreError::HashMismatch { seq: 2 })));
            }
            let one = backend.scan_seq(2);
            assert!(matches!(one, Err(EventStoreError::HashMismatch { seq: 2 })), "{one:?}");
            assert_eq!(seqs(&backend.scan_range(3, 3, FORWARD).unwrap()), [3]);
        });
    });
}

#[test]
fn anchor_moves_forward_within_the_durable_entries() {
    in_every_way(|life| {
        assert_eq!(life.step(|store| attach(store).latest_snapshot_anchor().unwrap()), None);
        life.step(|store| attach(store).append_batch(&plain(1..=4)).unwrap());
        let anchor = |mark: u64| SnapshotAnchor::new(mark, format!("blob {mark}"), "hash");
        life.step(|store| attach(store).record_snapshot_anchor(anchor(2)).unwrap());
        let ahead = life.step(|store| attach(store).record_snapshot_anchor(anchor(5)));
        assert!(backend_text(ahead).contains("exceeds durable high_watermark"));
        let back = life.step(|store| attach(store).record_snapshot_anchor(anchor(1)));
        assert!(backend_text(back).contains("older than latest anchor"));
        let latest = life.step(|store| attach(store).latest_snapshot_anchor().unwrap());
        assert_eq!(latest, Some(anchor(2)));
        let same = SnapshotAnchor::new(2, "another blob", "hash");
        life.step(|store| attach(store).record_snapshot_anchor(same.clone()).unwrap());
        life.step(|store| attach(store).seal(RunStatus::Ended).unwrap());
        let latest = life.step(|store| sealed(store).latest_snapshot_anchor().unwrap());
        assert_eq!(latest, Some(same));
    });
}

#[test]
fn large_manifest_is_read_back() {
    in_every_way(|life| {
        if !takes_large_commits(life.way()) {
            return;
        }
        let mut large = manifest("large");
        let names = (0..5000).map(|number| format!("events.order.strategy-{number}"));
        large.registered_components.subscriptions = names.collect();
        let given = large.clone();
        life.step(|store| RunStore::new(store.clone()).backend().open_run(given).unwrap());
        life.step(|store| attach_to(store, "large").seal(RunStatus::Ended).unwrap());
        large.status = RunStatus::Ended;
        let read = life.step(|store| {
            RunStore::new(store.clone())
                .open_sealed("trader-7", "large")
                .unwrap()
                .manifest()
                .unwrap()
        });
        assert_eq!(read, large);
    });
}
