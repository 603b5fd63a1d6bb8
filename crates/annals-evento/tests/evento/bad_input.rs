//! Bad input is refused with its cause, and nothing is lost.

use adapter_tests::{Life, Way};
use annals::{ExpectedRecord, ExpectedVersion, NewEvent};
use annals_evento::{AnnalsExecutor, Error};
use evento::cursor::{Args, Value};
use evento::{Event, Executor, TenantFilter, WriteError};
use ulid::Ulid;

use crate::support::{all, by_id, event, executor};

fn unknown(refused: Result<(), WriteError>) -> Error {
    let Err(WriteError::Unknown(error)) = refused else { panic!("{refused:?}") };
    error.downcast().unwrap()
}

#[tokio::test]
async fn event_that_is_not_of_evento_is_an_error() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let foreign = NewEvent::new("Opened", "{}");
    life.store().append("test/Account-a", ExpectedVersion::Any, [foreign]).unwrap();
    let failed =
        executor.read(by_id("a"), None, TenantFilter::All, Args::forward(1, None), None).await;
    let error = failed.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::Foreign { stream, .. } if stream == "test/Account-a"));
    assert!(matches!(
        unknown(executor.write(vec![event("b", 1, None)]).await),
        Error::Foreign { .. }
    ));
    let opened = AnnalsExecutor::new(life.store().clone());
    assert!(matches!(opened, Err(Error::Foreign { position, .. }) if position.get() == 1));
}

#[tokio::test]
async fn id_that_is_used_is_refused_with_the_error_of_the_store() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let first = event("a", 1, None);
    executor.write(vec![first.clone()]).await.unwrap();
    let again = executor.write(vec![first.clone()]).await;
    assert!(matches!(again, Err(WriteError::InvalidOriginalVersion)), "{again:?}");
    let same_id = Event { id: first.id, ..event("b", 1, None) };
    let refused = unknown(executor.write(vec![same_id.clone()]).await);
    assert!(matches!(refused, Error::Store(annals::Error::IdReused { .. })), "{refused:?}");
    let twice = vec![same_id.clone(), Event { version: 2, ..same_id }];
    unknown(executor.write(twice).await);
    assert_eq!(all(&executor).await.len(), 1);
}

#[tokio::test]
async fn event_over_a_limit_is_refused() {
    let life = Life::new(Way::Smallest);
    let executor = executor(&life);
    let large = Event { data: vec![0; 17 << 20], ..event("a", 1, None) };
    let long_type = Event { aggregate_type: "t".repeat(2000), ..event("a", 1, None) };
    for bad in [large, long_type] {
        let refused = unknown(executor.write(vec![bad]).await);
        assert!(matches!(refused, Error::Store(annals::Error::LimitExceeded { .. })));
    }
    executor.write(vec![event("a", 1, None)]).await.unwrap();
}

#[tokio::test]
async fn stamp_that_is_no_time_is_refused() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    for (timestamp, timestamp_subsec) in [(1, 1000), (u64::MAX, 0)] {
        let bad = Event { timestamp, timestamp_subsec, ..event("a", 1, None) };
        assert!(matches!(unknown(executor.replicate(vec![bad]).await), Error::Stamp { .. }));
    }
}

#[tokio::test]
async fn cursor_that_is_none_is_an_error() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    for bad in ["", "!", "AAAA"] {
        let args = Args::forward(1, Some(Value(bad.to_owned())));
        assert!(executor.read(None, None, TenantFilter::All, args, None).await.is_err());
    }
}

#[tokio::test]
async fn record_that_is_no_subscriber_is_an_error_and_stays() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let records = life.store().records();
    records.put("evento/subscriber/s", "?", ExpectedRecord::Any).unwrap();
    let failed = executor.upsert_subscriber("s".into(), Ulid::generate()).await;
    let error = failed.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(error, Error::Subscriber { .. }));
    assert_eq!(records.get("evento/subscriber/s").unwrap().unwrap().value, "?");
}

#[tokio::test]
async fn stream_is_not_deleted() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    executor.write(vec![event("a", 1, None)]).await.unwrap();
    let delete = |id: &str| executor.delete_stream(String::new(), "test/Account".into(), id.into());
    let refused = delete("a").await.unwrap_err().downcast::<Error>().unwrap();
    assert!(matches!(refused, Error::DeleteStream { stream } if stream == "test/Account-a"));
    delete("b").await.unwrap();
    assert_eq!(all(&executor).await.len(), 1);
}

#[tokio::test]
async fn closed_store_is_an_error_and_not_an_end() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    executor.write(vec![event("a", 1, None)]).await.unwrap();
    life.store().clone().close_async().await.unwrap();
    let refused = unknown(executor.write(vec![event("a", 2, None)]).await);
    assert!(matches!(refused, Error::Store(annals::Error::Closed)), "{refused:?}");
    for filters in [None, by_id("a")] {
        let args = Args::forward(1, None);
        assert!(executor.read(filters, None, TenantFilter::All, args, None).await.is_err());
    }
}
