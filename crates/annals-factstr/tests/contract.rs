//! The pinned version, and input out of range.

#![allow(clippy::unwrap_used)]

mod support;

use adapter_tests::in_every_way;
use annals_factstr::annals::{ExpectedVersion, NewEvent as Native, Options};
use annals_factstr::factstr::{
    AppendResult, DurableStream, EventQuery, EventRecord, EventStore, EventStoreError, EventStream,
    HandleStream, NewEvent, QueryResult,
};
use annals_factstr::{FactStore, copy};
use serde_json::{Value, json};
use support::{Received, append, fact, found, on_stores, payload};

/// The program fails to compile if a method of the trait has another signature, or a type another field.
#[test]
fn trait_has_the_signatures_of_the_pinned_version() {
    type Result<T> = std::result::Result<T, EventStoreError>;
    type AppendIf = fn(&FactStore, Vec<NewEvent>, &EventQuery, Option<u64>) -> Result<AppendResult>;
    type Durable = fn(&FactStore, &DurableStream, &EventQuery, HandleStream) -> Result<EventStream>;
    let _: fn(&FactStore, &EventQuery) -> Result<QueryResult> = EventStore::query;
    let _: fn(&FactStore, Vec<NewEvent>) -> Result<AppendResult> = EventStore::append;
    let _: AppendIf = EventStore::append_if;
    let _: fn(&FactStore, HandleStream) -> Result<EventStream> = EventStore::stream_all;
    let _: fn(&FactStore, &EventQuery, HandleStream) -> Result<EventStream> = EventStore::stream_to;
    let _: fn(&FactStore, &DurableStream, HandleStream) -> Result<EventStream> =
        EventStore::stream_all_durable;
    let _: Durable = EventStore::stream_to_durable;
    let NewEvent { event_type: _, payload: _ } = fact("", json!(null));
    let _ = |it: EventRecord| {
        let EventRecord { sequence_number: _, occurred_at: _, event_type: _, payload: _ } = it;
    };
    let _: Option<Box<dyn EventStore + Send + Sync>> = None::<Box<FactStore>>.map(|it| it as _);
    assert!(include_str!("../Cargo.toml").contains("factstr = \"=0.5.2\""));
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |value, _| json!([value]))
}

#[test]
fn payload_that_could_not_be_read_back_is_refused() {
    on_stores(|store| {
        append(store, [("deep", nested(127))]);
        let refused =
            store.append(vec![fact("a", json!(1)), fact("deep", nested(128))]).unwrap_err();
        assert!(refused.to_string().contains("127 levels"), "{refused}");
        assert_eq!(found(store, &payload(nested(127))), [1]);
        assert!(found(store, &payload(nested(128))).is_empty());
        assert_eq!(
            store
                .append_if(vec![fact("a", json!(1))], &payload(nested(128)), None)
                .unwrap()
                .first_sequence_number,
            2
        );
    });
}

#[test]
fn numbers_and_text_are_read_back_exactly() {
    let values = json!([
        0, -1, u64::MAX, i64::MIN, 0.1, 1e-300, 1.797_693_134_862_315_7e308, 5e-324,
        0.300_000_000_000_000_04, "", "\u{0}\u{1f600}\"\\", { "": { "": [] } }
    ]);
    on_stores(|store| {
        append(store, [("", values.clone())]);
        let read = store.query(&payload(values.clone())).unwrap();
        assert_eq!(read.event_records[0].payload, values);
    });
}

#[test]
fn event_over_a_limit_is_an_error_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().max_event_size(1000);
    let store = FactStore::new(options.open(dir.path().join("ledger")).unwrap());
    for event in [fact(&"t".repeat(256), json!(1)), fact("t", json!("p".repeat(1000)))] {
        let refused = store.append(vec![fact("a", json!(1)), event.clone()]).unwrap_err();
        assert!(
            matches!(&refused, EventStoreError::BackendFailure { message } if message.contains("limit"))
        );
        assert!(store.append_if(vec![event], &payload(json!({ "a": 1 })), None).is_err());
    }
    assert_eq!(store.store().head().get(), 0);
}

#[test]
fn event_that_is_no_fact_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = FactStore::open(dir.path().join("ledger")).unwrap();
    append(&store, [("fact", json!(1))]);
    store
        .store()
        .append("other", ExpectedVersion::Any, [Native::new("Native", "no JSON")])
        .unwrap();
    let unreadable = store.query(&EventQuery::all()).unwrap_err();
    assert!(unreadable.to_string().contains("position 2"), "{unreadable}");
    assert_eq!(found(&store, &EventQuery::for_event_types(["fact"])), [1]);
}

#[test]
fn copy_keeps_numbers_times_and_commits_and_goes_on_where_it_stopped() {
    in_every_way(|life| {
        let dir = tempfile::tempdir().unwrap();
        let source = FactStore::open(dir.path().join("source")).unwrap();
        for part in 0..3 {
            for n in 0..20 {
                append(&source, [("a", json!({ "n": n })), ("b", json!({ "part": part }))]);
                append(&source, [("c", json!({ "n": n }))]);
            }
            let copied = life.step(|store| copy(&source, &FactStore::new(store.clone())).unwrap());
            assert_eq!(copied, 60);
            assert_eq!(
                life.step(|store| copy(&source, &FactStore::new(store.clone())).unwrap()),
                0
            );
        }
        let all = |store: &FactStore| store.query(&EventQuery::all()).unwrap();
        life.step(|store| {
            let target = FactStore::new(store.clone());
            assert_eq!(all(&target), all(&source));
            // An old stream goes on at its position.
            target.store().cursors().reset("factstr/directory", 177).unwrap();
            let received = Received::default();
            let stream = DurableStream::new("directory");
            let _stream = target.stream_all_durable(&stream, received.handle()).unwrap();
            assert_eq!(received.now(), [vec![178, 179], vec![180]]);
        });
    });
}

#[test]
fn copy_with_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [source, target] = ["a", "b"].map(|it| FactStore::open(dir.path().join(it)).unwrap());
    append(&source, [("a", json!(1))]);
    append(&source, [("b", json!(2)), ("c", json!(3))]);
    // The source takes the first fact for copied.
    source.store().cursors().reset("factstr/annals-factstr-copy", 1).unwrap();
    let refused = copy(&source, &target).unwrap_err();
    assert!(refused.to_string().contains("fact 2 does not follow"), "{refused}");
    assert_eq!(target.store().head().get(), 0);
}
