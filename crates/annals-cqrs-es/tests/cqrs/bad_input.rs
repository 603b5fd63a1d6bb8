//! Arguments and stored data that are refused: with a typed error, and with nothing changed.

use std::collections::HashMap;

use annals::{ExpectedVersion, NewEvent};
use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore, Error};
use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use cqrs_es::{AggregateError, EventStore};
use serde_json::json;

use crate::event_store::{Added, Sum};
use adapter_tests::{Life, Way};

const STREAM: &str = "running%2Dsum-s";

fn event(sequence: usize) -> SerializedEvent {
    let [id, kind, event_type, version] = ["s", "running-sum", "Added", "1.0"].map(str::to_owned);
    SerializedEvent::new(id, sequence, kind, event_type, version, json!({"by": 1}), json!({}))
}

#[tokio::test]
async fn gap_in_sequences_is_refused_with_its_place() {
    let life = Life::new(Way::Straight);
    let repository = AnnalsEventRepository::new(life.store().clone());
    for events in [vec![event(2)], vec![event(1), event(3)]] {
        match repository.persist::<Sum>(&events, None).await {
            Err(PersistenceError::UnknownError(error)) => {
                let text = error.to_string();
                assert!(text.contains("follows"), "{text}");
                let Some(Error::SequenceGap { source, .. }) = error.downcast_ref() else {
                    panic!("{error:?}")
                };
                assert!(source.as_ref().is_some_and(annals::Error::is_conflict));
            }
            other => panic!("{other:?}"),
        }
    }
    let zero = repository.persist::<Sum>(&[event(0)], None).await;
    assert!(matches!(zero, Err(PersistenceError::UnknownError(_))), "{zero:?}");
    assert_eq!(life.store().head().get(), 0);
}

#[tokio::test]
async fn event_that_is_not_json_or_of_another_type_is_an_error_that_names_it() {
    for data in ["by one", r#"{"by":"one"}"#] {
        let life = Life::new(Way::Straight);
        let good = NewEvent::new("Added", r#"{"by":1}"#);
        life.store()
            .append(STREAM, ExpectedVersion::Any, [good, NewEvent::new("Added", data)])
            .unwrap();
        let events = AnnalsEventStore::<Sum>::new(life.store().clone());
        let failed =
            [events.load_events("s").await.map(drop), events.load_aggregate("s").await.map(drop)];
        for failed in failed {
            let Err(AggregateError::DeserializationError(error)) = failed else {
                panic!("{failed:?}")
            };
            let Some(annals::Error::ReadJson { version, .. }) = error.downcast_ref() else {
                panic!("{error:?}")
            };
            assert_eq!(*version, 2);
        }
        // A replay reports the event, and goes on to its end.
        let repository = AnnalsEventRepository::new(life.store().clone());
        let mut stream = repository.stream_all_events::<Sum>().await.unwrap();
        assert!(stream.next::<Sum>(&[]).await.unwrap().is_ok());
        let failed = stream.next::<Sum>(&[]).await.unwrap();
        assert!(matches!(failed, Err(PersistenceError::DeserializationError(_))), "{failed:?}");
        assert!(stream.next::<Sum>(&[]).await.is_none());
    }
}

#[tokio::test]
async fn truncated_stream_is_an_error_unless_a_snapshot_covers_it() {
    let life = Life::new(Way::Straight);
    let store = life.store().clone();
    let with_snapshots = || AnnalsEventStore::<Sum>::new(store.clone()).with_snapshots(3, 1);
    for by in [1, 2, 3, 4] {
        let context = with_snapshots().load_aggregate("s").await.unwrap();
        with_snapshots().commit(vec![Added { by }], context, HashMap::new()).await.unwrap();
    }
    store.transaction().truncate_before(STREAM, 4).commit().unwrap();
    let context = with_snapshots().load_aggregate("s").await.unwrap();
    assert_eq!((context.aggregate.total, context.current_sequence), (10, 4));
    match AnnalsEventStore::<Sum>::new(store.clone()).load_aggregate("s").await.map(drop) {
        Err(AggregateError::UnexpectedError(error)) => {
            let gap = error.downcast_ref::<Error>().unwrap();
            assert!(matches!(gap, Error::SequenceGap { last: 0, found: 4, .. }), "{gap}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn closed_store_and_names_over_the_limit_are_typed_errors() {
    let life = Life::new(Way::Straight);
    let events = AnnalsEventStore::<Sum>::new(life.store().clone());
    let context = events.load_aggregate(&"x".repeat(2000)).await.unwrap();
    let refused = events.commit(vec![Added { by: 1 }], context, HashMap::new()).await;
    let Err(AggregateError::UnexpectedError(error)) = refused else { panic!("{refused:?}") };
    let error = error.downcast_ref::<annals::Error>().unwrap();
    assert!(matches!(error, annals::Error::LimitExceeded { .. }), "{error}");
    life.store().clone().close().unwrap();
    let refused = events.load_events("s").await;
    assert!(matches!(refused, Err(AggregateError::DatabaseConnectionError(_))), "{refused:?}");
}
