//! The conformance tests that factstr has for live and durable streams, retold, and those of its `SQLite` store for
//! streams that outlive the process.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use adapter_tests::in_every_way;
use annals_factstr::annals::{Options, Store};
use annals_factstr::factstr::{
    DurableStream, EventFilter, EventQuery, EventStore, EventStoreError, EventStream, HandleStream,
};
use annals_factstr::{FactStore, FailureCause, MAX_STREAM_NAME, STREAM_PREFIX};
use serde_json::{Value, json};
use support::{Received, append, fact, failing, filters, found, on_stores, panicking, payload};

fn account(id: &str) -> Value {
    json!({ "accountId": id })
}

fn durable(store: &FactStore, received: &Received) -> EventStream {
    store.stream_all_durable(&DurableStream::new("directory"), received.handle()).unwrap()
}

fn message(result: Result<EventStream, EventStoreError>) -> String {
    match result {
        Err(EventStoreError::BackendFailure { message }) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the stream began"),
    }
}

#[test]
fn live_stream_delivers_each_later_commit_as_one_batch_in_order() {
    on_stores(|store| {
        append(store, [("opened", account("a1"))]);
        let (first, second) = (Received::default(), Received::default());
        let _first = store.stream_all(first.handle()).unwrap();
        let _second = store.stream_all(second.handle()).unwrap();
        append(store, [("opened", account("a2")), ("credited", account("a2"))]);
        append(store, [("closed", account("a2"))]);
        store.append_if(vec![fact("x", json!(1))], &payload(account("a1")), Some(1)).unwrap();
        for received in [first, second] {
            assert_eq!(received.wait_for(3), [vec![2, 3], vec![4], vec![5]]);
        }
    });
}

#[test]
fn live_stream_receives_nothing_of_a_failed_append() {
    on_stores(|store| {
        append(store, [("opened", account("a1"))]);
        let (all, filtered) = (Received::default(), Received::default());
        let _all = store.stream_all(all.handle()).unwrap();
        let _filtered = store.stream_to(&payload(account("a1")), filtered.handle()).unwrap();
        let new = || vec![fact("credited", account("a1"))];
        assert!(store.append_if(new(), &payload(account("a1")), None).is_err());
        assert!(store.append_if(new(), &EventQuery::all(), None).is_err());
        assert!(store.append(vec![]).is_err());
        // The next commit is the first that is delivered.
        append(store, [("closed", account("a1"))]);
        assert_eq!(all.wait_for(1), [vec![2]]);
        assert_eq!(filtered.wait_for(1), [vec![2]]);
    });
}

#[test]
fn filtered_stream_delivers_the_matching_part_of_each_commit() {
    on_stores(|store| {
        let (types, payloads) = (Received::default(), Received::default());
        let opened = EventQuery::for_event_types(["opened"]);
        let _types = store.stream_to(&opened, types.handle()).unwrap();
        let _payloads = store.stream_to(&payload(account("a2")), payloads.handle()).unwrap();
        append(
            store,
            [("opened", account("a1")), ("credited", account("a2")), ("opened", account("a2"))],
        );
        append(store, [("credited", account("a1"))]);
        append(
            store,
            [("opened", account("a2")), ("renamed", account("a1")), ("closed", account("a2"))],
        );
        assert_eq!(types.wait_for(2), [vec![1, 3], vec![5]]);
        assert_eq!(payloads.wait_for(2), [vec![2, 3], vec![5, 7]]);
    });
}

#[test]
fn unsubscribed_stream_ends_and_others_go_on() {
    on_stores(|store| {
        let [ended, dropped, active] = [(); 3].map(|()| Received::default());
        let stream = store.stream_all(ended.handle()).unwrap();
        drop(store.stream_all(dropped.handle()).unwrap());
        let active_stream = store.stream_all(active.handle()).unwrap();
        assert_ne!(stream.id(), active_stream.id());
        append(store, [("opened", account("a1"))]);
        assert_eq!(ended.wait_for(1), [vec![1]]);
        stream.unsubscribe();
        append(store, [("closed", account("a1"))]);
        assert_eq!(active.wait_for(2), [vec![1], vec![2]]);
        assert_eq!(ended.now(), [vec![1]]);
        assert!(dropped.now().is_empty());
    });
}

#[test]
fn handler_that_blocks_does_not_delay_appends_and_sees_no_commit_after_unsubscribing() {
    on_stores(|store| {
        let (started, has_started) = channel();
        let (release, released) = channel::<()>();
        let (released, received) = (Arc::new(Mutex::new(released)), Received::default());
        let record = received.handle();
        let stream = store.stream_all(HandleStream::new(move |batch| {
            let (released, started) = (Arc::clone(&released), started.clone());
            let recorded = record.call(batch);
            async move {
                started.send(()).unwrap();
                released.lock().unwrap().recv().unwrap();
                recorded.await
            }
        }));
        let stream = stream.unwrap();
        append(store, [("opened", account("a1"))]);
        has_started.recv().unwrap();
        append(store, [("credited", account("a1"))]);
        stream.unsubscribe();
        append(store, [("closed", account("a1"))]);
        release.send(()).unwrap();
        assert_eq!(received.wait_for(1)[0], [1]);
        drop(release);
        assert_eq!(received.now(), [vec![1]]);
    });
}

#[test]
fn failing_handler_is_reported_and_changes_no_append() {
    in_every_way(|life| {
        life.step(|store| {
            let (report, reports) = channel();
            let store = FactStore::new(store.clone()).on_stream_failure(move |failed| {
                let kind = match &failed.cause {
                    FailureCause::Handler(error) => error.message().to_owned(),
                    FailureCause::Panicked(text) => format!("panic: {text}"),
                    other => format!("{other:?}"),
                };
                report.send((failed.durable_stream.clone(), kind)).unwrap();
            });
            let received = Received::default();
            let _failing = store.stream_all(failing()).unwrap();
            let _panicking = store.stream_all(panicking()).unwrap();
            let _received = store.stream_all(received.handle()).unwrap();
            assert_eq!(append(&store, [("opened", account("a1"))]), 1);
            assert_eq!(append(&store, [("closed", account("a1"))]), 2);
            assert_eq!(received.wait_for(2), [vec![1], vec![2]]);
            let mut reported: Vec<_> = reports.iter().take(4).map(|it| it.1).collect();
            reported.sort();
            assert_eq!(reported, ["panic: broken", "panic: broken", "refused", "refused"]);
            assert_eq!(found(&store, &EventQuery::all()), [1, 2]);
        });
    });
}

#[test]
fn durable_stream_replays_each_commit_once_and_goes_on_live() {
    on_stores(|store| {
        append(store, [("opened", account("a1")), ("renamed", account("a1"))]);
        append(store, [("credited", account("a1"))]);
        let first = Received::default();
        let stream = durable(store, &first);
        // The replay is complete when the call returns.
        assert_eq!(first.now(), [vec![1, 2], vec![3]]);
        append(store, [("credited", account("a1"))]);
        assert_eq!(first.wait_for(3)[2], [4]);
        stream.unsubscribe();
        append(store, [("closed", account("a1"))]);
        let resumed = Received::default();
        let _stream = durable(store, &resumed);
        assert_eq!(resumed.now(), [vec![5]]);
        append(store, [("opened", account("a2"))]);
        assert_eq!(resumed.wait_for(2), [vec![5], vec![6]]);
        assert_eq!(first.now().len(), 3);
    });
}

#[test]
fn durable_stream_filters_like_queries() {
    on_stores(|store| {
        append(store, [("opened", account("a1")), ("credited", account("a1"))]);
        append(store, [("credited", account("b9"))]);
        append(
            store,
            [("renamed", account("a1")), ("renamed", account("b9")), ("opened", account("b9"))],
        );
        let typed = |it: &str| EventFilter::for_event_types([it]);
        let cases = [
            (
                "types",
                filters([EventFilter::for_event_types(["opened", "renamed"])]),
                vec![vec![1], vec![4, 5, 6]],
            ),
            ("payloads", payload(account("a1")), vec![vec![1, 2], vec![4]]),
            (
                "both",
                filters([
                    typed("opened").with_payload_predicates([account("a1")]),
                    typed("renamed"),
                ]),
                vec![vec![1], vec![4, 5]],
            ),
            ("nothing", filters([EventFilter::for_event_types([] as [&str; 0])]), vec![]),
        ];
        for (name, query, batches) in cases {
            let (stream, received) = (DurableStream::new(name), Received::default());
            let active = store.stream_to_durable(&stream, &query, received.handle()).unwrap();
            assert_eq!(received.now(), batches, "{name}");
            drop(active);
            // The position is after everything, also where nothing matched.
            store.store().sync().unwrap();
            let position = store.store().cursors().get(&format!("{STREAM_PREFIX}{name}")).unwrap();
            assert_eq!(position, Some(store.store().head()), "{name}");
        }
    });
}

#[test]
fn failed_replay_is_an_error_and_begins_again_at_the_same_commit() {
    on_stores(|store| {
        append(store, [("opened", account("a1"))]);
        append(store, [("closed", account("a1"))]);
        let stream = DurableStream::new("directory");
        let refused = message(store.stream_all_durable(&stream, failing()));
        assert!(refused.contains("refused"), "{refused}");
        let broken = message(store.stream_all_durable(&stream, panicking()));
        assert!(broken.contains("broken"), "{broken}");
        assert_eq!(found(store, &EventQuery::all()), [1, 2]);
        // One commit succeeds before the failure.
        let calls = Mutex::new(0);
        let second_fails = HandleStream::new(move |_| {
            *calls.lock().unwrap() += 1;
            let fails = *calls.lock().unwrap() == 2;
            let error = annals_factstr::factstr::StreamHandlerError::new("second");
            async move { if fails { Err(error) } else { Ok(()) } }
        });
        assert!(message(store.stream_all_durable(&stream, second_fails)).contains("second"));
        let received = Received::default();
        let _stream = durable(store, &received);
        assert_eq!(received.now(), [vec![2]]);
    });
}

#[test]
fn failed_live_delivery_ends_a_durable_stream_and_loses_nothing() {
    in_every_way(|life| {
        life.step(|store| {
            let (report, reports) = channel();
            let store = FactStore::new(store.clone())
                .on_stream_failure(move |it| report.send(it.durable_stream.clone()).unwrap());
            let stream = DurableStream::new("directory");
            let _failed = store.stream_all_durable(&stream, failing()).unwrap();
            assert_eq!(append(&store, [("opened", account("a1"))]), 1);
            assert_eq!(reports.recv().unwrap(), Some("directory".into()));
            assert_eq!(append(&store, [("closed", account("a1"))]), 2);
            let received = Received::default();
            // The thread of the failed stream may take a moment to end.
            let _stream = loop {
                match store.stream_all_durable(&stream, received.handle()) {
                    Ok(stream) => break stream,
                    Err(error) => assert!(error.to_string().contains("already active"), "{error}"),
                }
            };
            assert_eq!(received.now(), [vec![1], vec![2]]);
        });
    });
}

#[test]
fn durable_stream_is_active_once_and_has_one_query() {
    on_stores(|store| {
        let (stream, received) = (DurableStream::new("directory"), Received::default());
        let active = durable(store, &received);
        let again = message(store.stream_all_durable(&stream, received.handle()));
        assert!(again.contains("already active"), "{again}");
        active.unsubscribe();
        let opened = EventQuery::for_event_types(["opened"]);
        let other = message(store.stream_to_durable(&stream, &opened, received.handle()));
        assert!(other.contains("different query"), "{other}");
        // The cursor of the query is no part of a durable stream.
        let all = EventQuery::all().with_min_sequence_number(7);
        assert!(store.stream_to_durable(&stream, &all, received.handle()).is_ok());
        let longest = DurableStream::new("n".repeat(MAX_STREAM_NAME));
        append(store, [("opened", account("a1"))]);
        assert!(store.stream_all_durable(&longest, received.handle()).is_ok());
        let too_long = DurableStream::new("n".repeat(MAX_STREAM_NAME + 1));
        assert!(message(store.stream_all_durable(&too_long, received.handle())).contains("limit"));
        assert!(store.stream_all_durable(&DurableStream::new(""), received.handle()).is_ok());
    });
}

#[test]
fn durable_stream_outlives_the_store() {
    in_every_way(|life| {
        let received = Received::default();
        for step in 0..20_u64 {
            let stored =
                life.step(|store| append(&FactStore::new(store.clone()), [("a", json!(step))]));
            life.step(|store| {
                let store = FactStore::new(store.clone());
                let _stream = durable(&store, &received);
                // Two commits while it is active, and one that is left to the replay of the next step.
                append(&store, [("b", json!(step)), ("c", json!(step))]);
                received.wait_for(usize::try_from(step * 2 + 2).unwrap());
            });
            assert_eq!(stored, step * 3 + 1);
        }
        let expected = (0..20).flat_map(|it| [vec![it * 3 + 1], vec![it * 3 + 2, it * 3 + 3]]);
        assert_eq!(received.now(), expected.collect::<Vec<_>>(), "{:?}", life.way());
    });
}

#[test]
fn dropped_store_ends_its_streams_and_releases_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let options = Options::new().segment_size(1 << 20);
    let store = FactStore::new(options.clone().open(&path).unwrap());
    let streams = [(); 3].map(|()| store.stream_all(Received::default().handle()).unwrap());
    append(&store, [("opened", account("a1"))]);
    drop(store);
    let reopened = FactStore::from(Store::open(&path).unwrap());
    assert_eq!(found(&reopened, &EventQuery::all()), [1]);
    streams.iter().for_each(EventStream::unsubscribe);
}

#[test]
fn handlers_run_as_the_program_states() {
    let dir = tempfile::tempdir().unwrap();
    let (ran, runs) = channel();
    let store =
        FactStore::open(dir.path().join("ledger")).unwrap().run_handlers_with(move |future| {
            ran.send(std::thread::current().name().map(String::from)).unwrap();
            futures_executor::block_on(future)
        });
    let received = Received::default();
    let _stream = store.stream_all(received.handle()).unwrap();
    // A handler may append to its store.
    append(&store, [("opened", account("a1"))]);
    assert_eq!(received.wait_for(1), [vec![1]]);
    assert_eq!(runs.recv().unwrap().as_deref(), Some("annals-factstr"));
}
