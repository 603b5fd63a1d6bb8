//! Responses, subscriptions, limits and errors.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use adapter_tests::in_every_way;
use annals_umadb::annals::{self, ExpectedVersion, NewEvent, Options};
use annals_umadb::umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreAsync, DcbEventStoreSync, DcbQuery,
    DcbReadResponseSync, DcbResult, ShutdownStatus, TrackingInfo,
};
use annals_umadb::{UmaStore, engine_error};
use futures::StreamExt;
use futures::executor::block_on;
use support::{event, item, query};
use tempfile::TempDir;

fn store_of(count: u64) -> (TempDir, UmaStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = UmaStore::open(dir.path().join("ledger")).unwrap();
    for n in 1..=count {
        append(&store, &n.to_string());
    }
    (dir, store)
}

fn append(store: &UmaStore, data: &str) -> u64 {
    DcbEventStoreSync::append(store, vec![event("e", data, &["t"])], None, None).unwrap()
}

fn positions(events: &[annals_umadb::umadb_dcb::DcbSequencedEvent]) -> Vec<u64> {
    events.iter().map(|it| it.position).collect()
}

/// The program fails to compile if a method of the traits has another signature.
#[test]
fn traits_have_the_signatures_of_the_pinned_version() {
    type Append = fn(
        &UmaStore,
        Vec<DcbEvent>,
        Option<DcbAppendCondition>,
        Option<TrackingInfo>,
    ) -> DcbResult<u64>;
    type Read = fn(
        &UmaStore,
        Option<DcbQuery>,
        Option<u64>,
        bool,
        Option<u32>,
    ) -> DcbResult<Box<dyn DcbReadResponseSync + Send + 'static>>;
    let _: Append = <UmaStore as DcbEventStoreSync>::append;
    let _: Read = <UmaStore as DcbEventStoreSync>::read;
    let _: fn(&UmaStore) -> DcbResult<Option<u64>> = <UmaStore as DcbEventStoreSync>::head;
    let _: fn(&UmaStore, &str) -> DcbResult<Option<u64>> = DcbEventStoreSync::get_tracking_info;
    let _: Option<Box<dyn DcbEventStoreAsync>> = None;
    // All fields, so that a new one is not lost silently.
    let DcbEvent { event_type: _, data: _, tags: _, uuid: _, metadata: _ } = DcbEvent::default();
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains("umadb-dcb = \"=0.7.8\""));
}

#[test]
fn head_before_the_events_loses_none() {
    let (_dir, store) = store_of(600);
    for (limit, head) in [(None, 600), (Some(300), 300)] {
        let mut response = DcbEventStoreSync::read(&store, None, None, false, limit).unwrap();
        assert_eq!(response.next().unwrap().unwrap().position, 1);
        assert_eq!(response.head().unwrap(), Some(head));
        assert_eq!(positions(&response.next_batch().unwrap()), (2..=257).collect::<Vec<_>>());
        let rest: Vec<_> = response.map(|it| it.unwrap().position).collect();
        assert_eq!(rest, (258..=head).collect::<Vec<_>>());

        block_on(async {
            let read = DcbEventStoreAsync::read(&store, None, None, false, limit);
            let mut response = read.await.unwrap();
            assert_eq!(response.head().await.unwrap(), Some(head));
            let mut found = positions(&response.next_batch().await.unwrap());
            while let Some(event) = response.next().await {
                found.push(event.unwrap().position);
            }
            assert_eq!(found, (1..=head).collect::<Vec<_>>());
            assert!(response.next_batch().await.unwrap().is_empty());
            assert_eq!(response.check_shutdown_status(), ShutdownStatus::NotStopped);
        });
    }
}

#[test]
fn batch_ends_with_the_first_event_after_its_timeout() {
    let (_dir, store) = store_of(10);
    block_on(async {
        let mut response = DcbEventStoreAsync::read(&store, None, None, false, None).await.unwrap();
        let batch = response.next_batch_timeout(Duration::ZERO).await.unwrap();
        assert_eq!(positions(&batch), [1]);
    });
}

#[test]
fn cancelled_read_ends() {
    let (_dir, store) = store_of(5);
    let mut response = DcbEventStoreSync::read(&store, None, None, false, None).unwrap();
    let handle = response.cancel_handle().unwrap();
    assert_eq!(response.next().unwrap().unwrap().position, 1);
    std::thread::spawn(move || handle.cancel()).join().unwrap();
    assert!(response.next().is_none());
    assert!(response.next_batch().unwrap().is_empty());

    block_on(async {
        let mut response = DcbEventStoreAsync::read(&store, None, None, false, None).await.unwrap();
        response.cancel();
        assert!(response.next().await.is_none());
        assert_eq!(response.check_shutdown_status(), ShutdownStatus::CancelledByUser);
    });
}

#[test]
fn subscription_delivers_stored_and_new_events() {
    in_every_way(|life| {
        life.step(|store| append(&UmaStore::new(store.clone()), "1"));
        life.step(|store| append(&UmaStore::new(store.clone()), "2"));
        life.step(|store| {
            let store = UmaStore::new(store.clone());
            let tagged = || Some(query([item(&[], &["t"])]));
            let mut subscription = store.subscribe(tagged(), Some(1)).unwrap();
            assert_eq!(subscription.next().unwrap().unwrap().position, 2);
            let waited = subscription.next_timeout(Duration::from_millis(1)).unwrap();
            assert!(matches!(waited, Err(DcbError::Timeout())));
            let waiting = std::thread::spawn(move || (subscription.next_batch(), subscription));
            append(&store, "3");
            let (batch, mut subscription) = waiting.join().unwrap();
            assert_eq!(positions(&batch.unwrap()), [3]);
            subscription.cancel();
            assert!(matches!(subscription.next_batch(), Err(DcbError::CancelledByUser())));
            assert!(matches!(subscription.next(), Some(Err(DcbError::CancelledByUser()))));
            assert!(subscription.next().is_none());
        });
        life.step(|store| {
            let store = UmaStore::new(store.clone());
            let mut subscription = store.subscribe_async(None, None).unwrap();
            block_on(async {
                assert_eq!(subscription.next().await.unwrap().unwrap().position, 1);
                assert_eq!(positions(&subscription.next_batch().await.unwrap()), [2, 3]);
                let waited = subscription.next_batch_timeout(Duration::from_millis(1)).await;
                assert!(matches!(waited, Err(DcbError::Timeout())));
                append(&store, "4");
                assert_eq!(
                    positions(&subscription.next_batch_timeout(Duration::MAX).await.unwrap()),
                    [4]
                );
                let handle = subscription.cancel_handle().unwrap();
                std::thread::spawn(move || handle.cancel());
                let cancelled = subscription.next().await;
                assert!(matches!(cancelled, Some(Err(DcbError::CancelledByUser()))));
                assert!(subscription.next().await.is_none());
                assert_eq!(subscription.check_shutdown_status(), ShutdownStatus::CancelledByUser);
            });
        });
    });
}

#[test]
fn subscription_ahead_of_the_head_is_an_error() {
    let (_dir, store) = store_of(1);
    let Err(ahead) = store.subscribe(None, Some(2)) else { panic!("it is ahead") };
    assert!(matches!(engine_error(&ahead), Some(annals::Error::PositionAhead { .. })));
}

#[test]
fn event_over_a_limit_is_an_error_with_its_cause_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().max_event_size(1000);
    let store = UmaStore::new(options.open(dir.path().join("ledger")).unwrap());
    let too_large = [
        event(&"t".repeat(256), "", &[]),
        event("t", &"d".repeat(1001), &[]),
        event("t", "", &[&"x".repeat(70_000)]),
        event("t", "", &[]).metadata_entry("key", "m".repeat(1000)),
    ];
    for event in too_large {
        let refused =
            DcbEventStoreSync::append(&store, vec![DcbEvent::default(), event], None, None);
        let refused = refused.unwrap_err();
        assert!(matches!(engine_error(&refused), Some(annals::Error::LimitExceeded { .. })));
        assert!(matches!(&refused, DcbError::Io(error) if error.kind() == ErrorKind::InvalidInput));
    }
    assert_eq!(DcbEventStoreSync::head(&store).unwrap(), None);
}

#[test]
fn foreign_event_is_read_if_its_metadata_is_empty() {
    let (_dir, store) = store_of(0);
    let native = |metadata: &str| NewEvent::new("Native", "n").tag("t").metadata(metadata);
    store.store().append("account-1", ExpectedVersion::Any, [native("")]).unwrap();
    store.store().append("account-1", ExpectedVersion::Any, [native(r#"{"by":"ann"}"#)]).unwrap();
    let mut response = DcbEventStoreSync::read(&store, None, None, false, None).unwrap();
    assert_eq!(response.next().unwrap().unwrap().event.event_type, "Native");
    let unknown = response.next().unwrap().unwrap_err();
    assert!(
        matches!(&unknown, DcbError::DeserializationError(text) if text.contains("position 2"))
    );
}

#[test]
fn closed_store_is_an_error() {
    let (_dir, store) = store_of(1);
    store.store().clone().close().unwrap();
    let refused =
        DcbEventStoreSync::append(&store, vec![DcbEvent::default()], None, None).unwrap_err();
    assert!(matches!(engine_error(&refused), Some(annals::Error::Closed)));
}
