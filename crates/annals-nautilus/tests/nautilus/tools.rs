//! Upstream's writer, reader, verifier and replay on annals, unchanged; each in four ways.

use adapter_tests::in_every_way;
use annals_nautilus::RunStore;
use annals_nautilus::annals::{ExpectedVersion, NewEvent, Store};
use annals_nautilus::nautilus_event_store::capture::builtins::encode_order_event_any;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EntryDraft, EntryHash, EventStore, EventStoreError, EventStoreReader,
    EventStoreWriter, Headers, PayloadType, ReplaySeqRange, RunStatus, ScanDirection, Topic,
    Verifier, VerifyFinding, WriterConfig, load_forensics_replay_inputs, noop_halt,
    plan_forensics_replay_inputs, replay_cache_snapshot_tail,
};
use nautilus_common::cache::Cache;
use nautilus_core::time::get_atomic_clock_static;
use nautilus_model::events::OrderEventAny;
use nautilus_model::identifiers::ClientOrderId;
use nautilus_model::orders::Order;

use crate::support::{
    CLIENT, INSTANCE, RUN, VENUE, attach, entry, orders, patient, plain, sealed, seqs,
};

pub(crate) fn draft(event: &OrderEventAny) -> EntryDraft {
    let encoded = encode_order_event_any(event).unwrap();
    EntryDraft {
        headers: Headers::empty(),
        topic: Topic::topic("events.order").unwrap(),
        payload_type: encoded.payload_type.unwrap(),
        payload: encoded.payload,
        ts_init: event.ts_event(),
        index_keys: encoded.index_keys,
    }
}

pub(crate) fn end() -> EntryDraft {
    EntryDraft::without_indices(
        Headers::empty(),
        Topic::topic("run.lifecycle.RunEnded").unwrap(),
        PayloadType::from("RunEnded"),
        Vec::new().into(),
        1_000_000.into(),
    )
}

fn writer(store: &Store) -> EventStoreWriter {
    let config = WriterConfig { max_batch_entries: 7, ..patient() };
    let backend = Box::new(attach(store));
    EventStoreWriter::spawn(backend, get_atomic_clock_static(), noop_halt(), config).unwrap()
}

#[test]
fn writer_appends_anchors_and_seals() {
    in_every_way(|life| {
        let events = orders(20);
        life.step(|store| {
            let writer = writer(store);
            for event in &events[..30] {
                writer.submit(draft(event)).unwrap();
            }
            // Waits for what was submitted before.
            let anchor = writer.record_snapshot_anchor("blob", "hash").unwrap();
            assert_eq!(anchor.high_watermark, 30);
        });
        let last = life.step(|store| {
            let writer = writer(store);
            assert_eq!(writer.high_watermark(), 30);
            for event in &events[30..] {
                writer.submit(draft(event)).unwrap();
            }
            writer.close(end()).unwrap()
        });
        assert_eq!(last, events.len() as u64 + 1);
        life.step(|store| {
            let report = Verifier::new(Box::new(sealed(store))).verify().unwrap();
            assert!(report.is_clean(), "{report:?}");
            assert_eq!(report.entries_scanned, last);
            let reader = EventStoreReader::new(sealed(store));
            assert_eq!(reader.manifest().unwrap().status, RunStatus::Ended);
            let scanned = reader.scan_range_chunked(1, last, ScanDirection::Forward, 8);
            let scanned: Vec<_> = scanned.map(Result::unwrap).collect();
            assert_eq!(seqs(&scanned), (1..=last).collect::<Vec<_>>());
            for (entry, event) in scanned.iter().zip(&events) {
                assert_eq!(entry.payload, draft(event).payload);
            }
            let back = reader.scan_range(1, last, ScanDirection::Reverse);
            assert_eq!(back.map(|it| it.unwrap().seq).next(), Some(last));
            let (plan, tail) = reader.scan_snapshot_replay_tail().unwrap();
            assert_eq!((plan.from_seq, plan.to_seq), (31, last));
            assert_eq!(tail.count() as u64, last - 30);
        });
    });
}

#[test]
fn reader_looks_orders_up_by_both_ids() {
    in_every_way(|life| {
        life.step(|store| {
            let writer = writer(store);
            for event in orders(5) {
                writer.submit(draft(&event)).unwrap();
            }
            writer.close(end()).unwrap();
        });
        life.step(|store| {
            let reader = EventStoreReader::new(sealed(store));
            // Four events an order; the third is the first one with the venue's id.
            assert_eq!(reader.lookup(CLIENT, "O-003").unwrap(), Some(13));
            assert_eq!(reader.lookup(VENUE, "V-003").unwrap(), Some(15));
            assert_eq!(reader.lookup(VENUE, "O-003").unwrap(), None);
        });
    });
}

#[test]
fn verifier_finds_entries_that_are_damaged_or_foreign() {
    in_every_way(|life| {
        let mut batch = plain(1..=4);
        batch[1].entry.entry_hash = EntryHash([9; 32]);
        life.step(|store| attach(store).append_batch(&batch).unwrap());
        life.step(|store| {
            let report = Verifier::new(Box::new(attach(store))).verify().unwrap();
            assert_eq!(report.findings, [VerifyFinding::HashMismatch { seq: 2 }]);
        });
        // The stream of the run has an event that is no entry.
        let foreign = NewEvent::new("Order", "x");
        life.step(|store| {
            store.append("nautilus-trader-7/run-1", ExpectedVersion::Any, [foreign]).unwrap()
        });
        life.step(|store| {
            let verified = Verifier::new(Box::new(attach(store))).verify();
            let text = format!("{verified:?}");
            assert!(text.contains("entry 5"), "{text}");
        });
    });
}

#[test]
fn replay_restores_the_cache_from_a_sealed_run() {
    in_every_way(|life| {
        life.step(|store| {
            let writer = writer(store);
            for event in orders(6) {
                if !matches!(event, OrderEventAny::Filled(_)) {
                    writer.submit(draft(&event)).unwrap();
                }
            }
            writer.close(end()).unwrap();
        });
        life.step(|store| {
            let reader = EventStoreReader::new(sealed(store));
            let mut cache = Cache::default();
            let report = replay_cache_snapshot_tail(&mut cache, &reader).unwrap();
            assert_eq!(report.applied_entries, 18);
            let order = cache.order(&ClientOrderId::from("O-005"));
            assert_eq!(order.unwrap().venue_order_id().unwrap().to_string(), "V-005");
            let plan = plan_forensics_replay_inputs(&reader, ReplaySeqRange::new(2, 5)).unwrap();
            let inputs = load_forensics_replay_inputs(&reader, &plan).unwrap();
            assert_eq!(seqs(&inputs.entries), [2, 3, 4, 5]);
        });
    });
}

#[test]
fn writer_that_is_dropped_leaves_a_run_that_recovery_seals() {
    in_every_way(|life| {
        life.step(|store| {
            let writer = writer(store);
            for event in orders(3) {
                writer.submit(draft(&event)).unwrap();
            }
            writer.record_snapshot_anchor("blob", "hash").unwrap();
            drop(writer);
        });
        let outcome = life.step(|store| RunStore::new(store.clone()).recover(INSTANCE).unwrap());
        assert_eq!(outcome.parent_run_id.as_deref(), Some(RUN));
        life.step(|store| {
            let report = Verifier::new(Box::new(sealed(store))).verify().unwrap();
            assert!(report.is_clean(), "{report:?}");
            assert_eq!((report.status, report.high_watermark), (RunStatus::CrashedRecovered, 12));
        });
    });
}

#[test]
fn writer_stops_at_a_refused_entry_and_the_run_keeps_the_others() {
    in_every_way(|life| {
        life.step(|store| {
            let writer = writer(store);
            writer.submit(draft(&orders(1)[0])).unwrap();
            writer.record_snapshot_anchor("blob", "hash").unwrap();
            let mut large = draft(&orders(1)[1]);
            large.payload = vec![0; 20 << 20].into();
            writer.submit(large).unwrap();
            let refused = writer.record_snapshot_anchor("blob", "hash");
            assert!(refused.is_err(), "{refused:?}");
        });
        life.step(|store| {
            let mut backend = attach(store);
            assert_eq!(backend.high_watermark().unwrap(), 1);
            let again = backend.append_batch(&[AppendEntry::without_indices(entry(1))]);
            assert!(matches!(
                again,
                Err(EventStoreError::OutOfOrder { high_watermark: 1, seq: 1 })
            ));
        });
    });
}
