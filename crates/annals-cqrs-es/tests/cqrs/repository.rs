//! The repository: what the framework's PostgreSQL backend is tested for.

use std::time::Duration;

use annals_cqrs_es::AnnalsEventRepository;
use cqrs_es::doc::{Customer, CustomerEvent};
use cqrs_es::persist::{
    PersistedEventRepository, PersistedEventStore, PersistenceError, SerializedEvent,
};
use cqrs_es::{Aggregate, EventStore};
use serde_json::{Value, json};

use adapter_tests::{Life, Way};

/// The number of events that a replay reads ahead.
pub(crate) fn channel_size(life: &Life) -> usize {
    if life.way() == Way::Smallest { 1 } else { 200 }
}

fn repository(life: &Life) -> AnnalsEventRepository {
    AnnalsEventRepository::new(life.store().clone()).with_streaming_channel_size(channel_size(life))
}

fn event(id: &str, sequence: usize, version: &str) -> SerializedEvent {
    SerializedEvent {
        aggregate_id: id.to_owned(),
        sequence,
        aggregate_type: Customer::TYPE.to_owned(),
        event_type: "NameAdded".to_owned(),
        event_version: version.to_owned(),
        payload: json!({"NameAdded": {"name": format!("name {sequence}"), "rate": 0.1}}),
        metadata: json!({"by": "ann"}),
    }
}

async fn count(life: &Life, id: Option<&str>) -> usize {
    let repository = repository(life);
    let mut stream = match id {
        Some(id) => repository.stream_events::<Customer>(id).await.unwrap(),
        None => repository.stream_all_events::<Customer>().await.unwrap(),
    };
    let mut count = 0;
    while let Some(event) = stream.next::<Customer>(&[]).await {
        event.unwrap();
        count += 1;
    }
    count
}

#[tokio::test]
async fn events_are_stored_read_and_replayed_as_they_were() {
    for mut life in Life::each() {
        let versions = ["1.0", "1.0.1", "", "2", "two", "70000.1", "0.0", "01.0"];
        let stored: Vec<_> =
            versions.iter().zip(1..).map(|(version, at)| event("c-1", at, version)).collect();
        let found = repository(&life).get_events::<Customer>("c-1").await.unwrap();
        assert!(found.is_empty());
        life.end_step();
        repository(&life).persist::<Customer>(&stored[..2], None).await.unwrap();
        life.end_step();
        repository(&life).persist::<Customer>(&stored[2..], None).await.unwrap();
        repository(&life).persist::<Customer>(&[], None).await.unwrap();
        life.end_step();
        let found = repository(&life).get_events::<Customer>("c-1").await.unwrap();
        assert_eq!(found, stored);
        let found = repository(&life).get_last_events::<Customer>("c-1", 6).await.unwrap();
        assert_eq!(found, stored[6..]);
        repository(&life).persist::<Customer>(&[event("d", 1, "1.0")], None).await.unwrap();
        assert_eq!(count(&life, Some("c-1")).await, 8);
        assert_eq!(count(&life, None).await, 9);
    }
}

#[tokio::test]
async fn repeated_sequence_is_a_conflict_and_stores_nothing() {
    for mut life in Life::each() {
        let events = [event("c", 1, "1.0"), event("c", 2, "1.0")];
        repository(&life).persist::<Customer>(&events, None).await.unwrap();
        life.end_step();
        for events in [vec![event("c", 3, "1.0"), event("c", 2, "1.0")], vec![event("c", 2, "1.0")]]
        {
            let lost = repository(&life).persist::<Customer>(&events, None).await;
            assert!(matches!(lost, Err(PersistenceError::OptimisticLockError)), "{lost:?}");
        }
        life.end_step();
        assert_eq!(repository(&life).get_events::<Customer>("c").await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn snapshot_changes_only_after_the_one_before() {
    async fn save(life: &Life, value: Value, number: usize) -> Result<(), PersistenceError> {
        let update = Some(("c".to_owned(), value, number));
        repository(life).persist::<Customer>(&[], update).await
    }
    for mut life in Life::each() {
        assert_eq!(repository(&life).get_snapshot::<Customer>("c").await.unwrap(), None);
        for (number, state) in [(1, "first"), (2, "second")] {
            save(&life, json!(state), number).await.unwrap();
            life.end_step();
            let lost = save(&life, json!("lost"), number).await;
            assert!(matches!(lost, Err(PersistenceError::OptimisticLockError)), "{lost:?}");
            let found = repository(&life).get_snapshot::<Customer>("c").await.unwrap().unwrap();
            assert_eq!((found.aggregate_id.as_str(), found.aggregate), ("c", json!(state)));
            assert_eq!((found.current_sequence, found.current_snapshot), (0, number));
        }
        for number in [0, 1, 4] {
            let lost = save(&life, json!("lost"), number).await;
            assert!(matches!(lost, Err(PersistenceError::OptimisticLockError)), "{lost:?}");
        }
        // With events: both or neither.
        let events = [event("c", 1, "1.0")];
        let update = |number| Some(("c".to_owned(), json!("with events"), number));
        repository(&life).persist::<Customer>(&events, update(2)).await.unwrap_err();
        life.end_step();
        assert!(repository(&life).get_events::<Customer>("c").await.unwrap().is_empty());
        repository(&life).persist::<Customer>(&events, update(3)).await.unwrap();
        life.end_step();
        let found = repository(&life).get_snapshot::<Customer>("c").await.unwrap().unwrap();
        assert_eq!((found.current_sequence, found.current_snapshot), (1, 3));
    }
}

#[tokio::test]
async fn generic_store_commits_and_loads() {
    type Generic = PersistedEventStore<AnnalsEventRepository, Customer>;
    for kind in [Generic::new_event_store, Generic::new_aggregate_store] {
        for mut life in Life::each() {
            let name = CustomerEvent::NameAdded { name: "ann".to_owned() };
            let email = CustomerEvent::EmailUpdated { new_email: "a@b".to_owned() };
            let mut expected = 0;
            for events in [vec![name, email.clone()], vec![email]] {
                let store = kind(repository(&life));
                assert_eq!(store.load_events("c").await.unwrap().len(), expected);
                let context = store.load_aggregate("c").await.unwrap();
                assert_eq!(context.current_sequence, expected);
                expected += events.len();
                store.commit(events, context, std::collections::HashMap::new()).await.unwrap();
                drop(store);
                life.end_step();
                let store = kind(repository(&life));
                assert_eq!(store.load_events("c").await.unwrap().len(), expected);
            }
        }
    }
}

#[tokio::test]
async fn dropped_replay_gives_up_its_handle() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    let repository = AnnalsEventRepository::new(store.clone()).with_streaming_channel_size(0);
    let events: Vec<_> = (1..=50).map(|at| event("c", at, "1.0")).collect();
    repository.persist::<Customer>(&events, None).await.unwrap();
    let mut stream = repository.stream_events::<Customer>("c").await.unwrap();
    assert!(stream.next::<Customer>(&[]).await.unwrap().is_ok());
    let open = || annals::Options::new().lock_timeout(Duration::from_secs(20)).open(dir.path());
    drop((stream, repository, store));
    open().unwrap();
}
