//! Manifests, entries and backends for the tests.

use std::time::Duration;

use adapter_tests::Way;
use annals_nautilus::annals::{Bytes, Store};
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EventStore, EventStoreEntry, EventStoreError, Headers, IndexKey, IndexKind,
    PayloadType, RegisteredComponents, RunManifest, RunStatus, Topic, WriterConfig,
    compute_entry_hash,
};
use annals_nautilus::{AnnalsBackend, RunStore};
use indexmap::IndexMap;
use nautilus_core::UnixNanos;
use nautilus_model::events::OrderEventAny;
use nautilus_model::events::order::spec::{
    OrderAcceptedSpec, OrderFilledSpec, OrderInitializedSpec, OrderSubmittedSpec,
};
use nautilus_model::identifiers::{ClientOrderId, VenueOrderId};

pub(crate) const INSTANCE: &str = "trader-7";
pub(crate) const RUN: &str = "run-1";

pub(crate) const CLIENT: IndexKind = IndexKind::ClientOrderId;
pub(crate) const VENUE: IndexKind = IndexKind::VenueOrderId;

/// Segments of the smallest size take commits of up to a quarter of it.
pub(crate) fn takes_large_commits(way: Way) -> bool {
    way != Way::Smallest
}

pub(crate) fn manifest(run_id: &str) -> RunManifest {
    RunManifest {
        run_id: run_id.to_owned(),
        parent_run_id: Some("run-0".to_owned()),
        instance_id: INSTANCE.to_owned(),
        binary_hash: "b1".to_owned(),
        schema_version: 3,
        crate_versions: "c1".to_owned(),
        feature_flags: vec!["retention=full".to_owned()],
        adapter_versions: IndexMap::from([("venue".to_owned(), "1.2".to_owned())]),
        config_hash: "d1".to_owned(),
        registered_components: RegisteredComponents::default(),
        seed: Some(42),
        start_ts_init: 5.into(),
        end_ts_init: None,
        high_watermark: 0,
        status: RunStatus::Running,
    }
}

/// An entry with the hash that the writer gives it.
pub(crate) fn entry_of(
    seq: u64,
    time: u64,
    headers: Headers,
    topic: &str,
    payload_type: &str,
    payload: &[u8],
) -> EventStoreEntry {
    let (ts_init, ts_publish) = (UnixNanos::from(time), UnixNanos::from(time + 1));
    let payload = Bytes::copy_from_slice(payload);
    let hash =
        compute_entry_hash(seq, ts_init, ts_publish, topic, payload_type, &payload, &headers);
    EventStoreEntry::new(
        hash,
        seq,
        headers,
        Topic::topic(topic).unwrap(),
        PayloadType::from(payload_type),
        payload,
        ts_init,
        ts_publish,
    )
}

pub(crate) fn entry(seq: u64) -> EventStoreEntry {
    let payload = format!("payload of {seq}");
    entry_of(seq, 100 + seq, Headers::empty(), "exec.orders", "Order", payload.as_bytes())
}

pub(crate) fn key(kind: IndexKind, key: &str) -> IndexKey {
    IndexKey::new(kind, key.to_owned())
}

/// An entry with the client order ids.
pub(crate) fn keyed(seq: u64, ids: &[&str]) -> AppendEntry {
    AppendEntry::new(entry(seq), ids.iter().map(|id| key(CLIENT, id)).collect())
}

pub(crate) fn plain(seqs: impl IntoIterator<Item = u64>) -> Vec<AppendEntry> {
    seqs.into_iter().map(|seq| AppendEntry::without_indices(entry(seq))).collect()
}

/// The run of this name, new or continued.
pub(crate) fn attach_to(store: &Store, run_id: &str) -> AnnalsBackend {
    let mut backend = RunStore::new(store.clone()).backend();
    match backend.open_run(manifest(run_id)) {
        Ok(()) | Err(EventStoreError::CrashedPredecessor) => backend,
        Err(error) => panic!("{error}"),
    }
}

/// The run [`RUN`], new or continued.
pub(crate) fn attach(store: &Store) -> AnnalsBackend {
    attach_to(store, RUN)
}

/// The sealed run [`RUN`].
pub(crate) fn sealed(store: &Store) -> AnnalsBackend {
    RunStore::new(store.clone()).open_sealed(INSTANCE, RUN).unwrap()
}

pub(crate) fn seqs(entries: &[EventStoreEntry]) -> Vec<u64> {
    entries.iter().map(|it| it.seq).collect()
}

pub(crate) fn backend_text<T: std::fmt::Debug>(result: Result<T, EventStoreError>) -> String {
    match result {
        Err(EventStoreError::Backend(text)) => text,
        other => panic!("expected a backend error, got {other:?}"),
    }
}

/// The events of orders: initialized, submitted, accepted, filled.
pub(crate) fn orders(count: u64) -> Vec<OrderEventAny> {
    (0..count).flat_map(events_of_order).collect()
}

fn events_of_order(number: u64) -> [OrderEventAny; 4] {
    let id = ClientOrderId::from(format!("O-{number:03}").as_str());
    let venue_id = VenueOrderId::from(format!("V-{number:03}").as_str());
    let time = |step: u64| UnixNanos::from(100 + number * 4 + step);
    let initialized = OrderInitializedSpec::builder()
        .client_order_id(id)
        .ts_event(time(0))
        .ts_init(time(0))
        .build();
    let submitted = OrderSubmittedSpec::builder()
        .client_order_id(id)
        .ts_event(time(1))
        .ts_init(time(1))
        .build();
    let accepted = OrderAcceptedSpec::builder().client_order_id(id).venue_order_id(venue_id);
    let filled = OrderFilledSpec::builder().client_order_id(id).venue_order_id(venue_id);
    [
        OrderEventAny::Initialized(initialized),
        OrderEventAny::Submitted(submitted),
        OrderEventAny::Accepted(accepted.ts_event(time(2)).ts_init(time(2)).build()),
        OrderEventAny::Filled(filled.ts_event(time(3)).ts_init(time(3)).build()),
    ]
}

/// No halt because of other work on the machine.
pub(crate) fn patient() -> WriterConfig {
    WriterConfig { halt_threshold: Duration::from_secs(60), ..WriterConfig::default() }
}
