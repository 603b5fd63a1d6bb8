//! The event store: sums, snapshots, upcasters and conflicts.

use std::collections::HashMap;

use annals::snapshot::Mark;
use annals::{ExpectedVersion, NewEvent, Store};
use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventStore, SemanticVersionEventUpcaster};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bank::AccountError;
use adapter_tests::{Life, Way};

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Added {
    pub(crate) by: u64,
}

impl DomainEvent for Added {
    fn event_type(&self) -> String {
        "Added".to_owned()
    }
    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Sum {
    pub(crate) total: u64,
}

impl Aggregate for Sum {
    const TYPE: &'static str = "running-sum";
    type Command = Vec<u64>;
    type Event = Added;
    type Error = AccountError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Vec<u64>,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AccountError> {
        for by in command {
            sink.write(Added { by }, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Added) {
        self.total += event.by;
    }
}

/// The event store without snapshots, and with snapshots after 1, 2 and 3 events.
fn of(store: Store, every: usize) -> AnnalsEventStore<Sum> {
    let events = AnnalsEventStore::new(store);
    if every == 0 { events } else { events.with_snapshots(every, 1) }
}

async fn total(events: &impl EventStore<Sum>) -> u64 {
    use cqrs_es::AggregateContext;
    let mut context = events.load_aggregate("s").await.unwrap();
    context.aggregate().total
}

#[tokio::test]
async fn every_event_counts_once_with_any_snapshots() {
    for every in 0..=3 {
        for mut life in Life::each() {
            let mut expected = 0;
            for count in [3, 1, 2, 5, 1] {
                let framework = CqrsFramework::new(of(life.store().clone(), every), vec![], ());
                framework.execute("s", vec![1; count]).await.unwrap();
                drop(framework);
                life.end_step();
                expected += count as u64;
                for loads in 0..2 {
                    let total = total(&of(life.store().clone(), every)).await;
                    assert_eq!(total, expected, "snapshots every {every}, load {loads}");
                    life.end_step();
                }
            }
            let saved = life.store().snapshots().load("running%2Dsum-s").unwrap();
            assert_eq!(saved.map(|it| it.mark()).is_some(), every > 0);
        }
    }
}

#[tokio::test]
async fn generic_store_of_framework_counts_events_twice_with_snapshots() {
    type Generic = PersistedEventStore<AnnalsEventRepository, Sum>;
    for (kind, expected) in [("events", 3), ("aggregate", 6), ("snapshots", 5)] {
        let life = Life::new(Way::Straight);
        let repository = || AnnalsEventRepository::new(life.store().clone());
        let events = || match kind {
            "events" => Generic::new_event_store(repository()),
            "aggregate" => Generic::new_aggregate_store(repository()),
            _ => Generic::new_snapshot_store(repository(), 2),
        };
        CqrsFramework::new(events(), vec![], ()).execute("s", vec![1, 1, 1]).await.unwrap();
        assert_eq!(total(&events()).await, expected);
        assert_eq!(total(&of(life.store().clone(), 1)).await, 3, "the events are right");
    }
}

#[tokio::test]
async fn snapshot_of_another_schema_or_type_is_ignored() {
    let life = Life::new(Way::Straight);
    CqrsFramework::new(of(life.store().clone(), 1), vec![], ())
        .execute("s", vec![2, 3])
        .await
        .unwrap();
    assert_eq!(total(&of(life.store().clone(), 1)).await, 5);
    let saved = life.store().snapshots().load("running%2Dsum-s").unwrap().unwrap();
    assert_eq!((saved.mark(), saved.state()), (Mark::Version(2), &br#"{"total":5}"#[..]));

    let wrong = annals::snapshot::Snapshot::new("running%2Dsum-s", 2, r#"{"total":9}"#);
    life.store().snapshots().save(&wrong.with_schema_version(2)).unwrap();
    assert_eq!(total(&of(life.store().clone(), 1)).await, 5);
    let wrong = annals::snapshot::Snapshot::new("running%2Dsum-s", 2, r#"{"count":9}"#);
    life.store().snapshots().save(&wrong.with_schema_version(3)).unwrap();
    let newest = AnnalsEventStore::<Sum>::new(life.store().clone()).with_snapshots(1, 3);
    assert_eq!(total(&newest).await, 5);
}

#[tokio::test]
async fn second_commit_on_one_context_is_a_conflict() {
    for mut life in Life::each() {
        let events = of(life.store().clone(), 2);
        let [first, second] = [events.load_aggregate("s").await, events.load_aggregate("s").await];
        events.commit(vec![Added { by: 1 }], first.unwrap(), HashMap::new()).await.unwrap();
        drop(events);
        life.end_step();
        let events = of(life.store().clone(), 2);
        let lost = events.commit(vec![Added { by: 1 }], second.unwrap(), HashMap::new()).await;
        assert!(matches!(lost, Err(AggregateError::AggregateConflict)), "{lost:?}");
        assert_eq!(events.load_events("s").await.unwrap().len(), 1);
        let context = events.load_aggregate("s").await.unwrap();
        assert!(events.commit(vec![], context, HashMap::new()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn concurrent_commands_that_retry_all_count() {
    let life = Life::new(Way::Smallest);
    let store = life.store().clone();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let framework = CqrsFramework::new(of(store.clone(), 3), vec![], ());
            tokio::spawn(async move {
                for _ in 0..5 {
                    while let Err(error) = framework.execute("s", vec![1]).await {
                        assert!(matches!(error, AggregateError::AggregateConflict), "{error}");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(total(&of(store, 3)).await, 20);
}

#[tokio::test]
async fn upcaster_changes_events_of_earlier_versions() {
    for mut life in Life::each() {
        for (version, data) in [("1.0", json!({})), ("1.0.1", json!({"by": 3}))] {
            let event = NewEvent::json("Added", &data).unwrap().schema_version(1);
            let event = if version == "1.0" { event } else { event.tag("event_version:1.0.1") };
            life.store().append("running%2Dsum-s", ExpectedVersion::Any, [event]).unwrap();
        }
        life.end_step();
        let upcaster = || {
            let add = Box::new(|mut event: Value| {
                event["by"] = 39.into();
                event
            });
            Box::new(SemanticVersionEventUpcaster::new("Added", "1.0.1", add))
        };
        let events = of(life.store().clone(), 1).with_upcasters(vec![upcaster()]);
        assert_eq!(total(&events).await, 42);
        let generic = PersistedEventStore::<_, Sum>::new_event_store(AnnalsEventRepository::new(
            life.store().clone(),
        ));
        assert_eq!(total(&generic.with_upcasters(vec![upcaster()])).await, 42);
    }
}
