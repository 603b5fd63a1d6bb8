//! Entities on the event log and the snapshot store.

use adapter_tests::{Life, Way};
use annals::{ExpectedVersion, NewEvent};
use eventsourced::SpawnError;
use uuid::Uuid;

use crate::counter::{Add, OutOfRange, spawn};

const ID: Uuid = Uuid::from_u128(1);

#[tokio::test]
async fn counters_keep_their_state_over_steps_with_any_snapshots() {
    for snapshot_after in 0..=3 {
        for mut life in Life::each() {
            let other = Uuid::now_v7();
            let mut expected = 0;
            for round in 0..6 {
                let counter = spawn(life.store(), ID, snapshot_after).await.unwrap();
                assert_eq!(counter.handle_command(Add(0)).await.unwrap(), Ok(expected));
                for by in [20, -3, 5] {
                    let replied = counter.handle_command(Add(by)).await.unwrap();
                    expected = expected.checked_add_signed(by).unwrap();
                    assert_eq!(replied, Ok(expected), "{:?}, {round}", life.way());
                }
                assert_eq!(counter.handle_command(Add(-1000)).await.unwrap(), Err(OutOfRange));
                // Events of others lie between those of a counter.
                let other = spawn(life.store(), other, snapshot_after).await.unwrap();
                other.handle_command(Add(1)).await.unwrap().unwrap();
                drop((counter, other));
                tokio::task::yield_now().await; // The tasks of the entities end.
                life.end_step();
            }
            let other = spawn(life.store(), other, 0).await.unwrap();
            assert_eq!(other.handle_command(Add(0)).await.unwrap(), Ok(6));
        }
    }
}

#[tokio::test]
async fn second_entity_of_one_id_cannot_store_after_the_first() {
    let life = Life::new(Way::Straight);
    let [one, two] =
        [spawn(life.store(), ID, 0).await.unwrap(), spawn(life.store(), ID, 0).await.unwrap()];
    one.handle_command(Add(1)).await.unwrap().unwrap();
    assert!(two.handle_command(Add(1)).await.is_err());
    assert_eq!(life.store().head().get(), 1);
    let again = spawn(life.store(), ID, 0).await.unwrap();
    assert_eq!(again.handle_command(Add(1)).await.unwrap(), Ok(2));
}

#[tokio::test]
async fn event_that_is_not_of_the_entity_stops_its_start() {
    let life = Life::new(Way::Straight);
    let stream = format!("counter-{ID}");
    life.store().append(&stream, ExpectedVersion::Any, [NewEvent::new("counter", "one")]).unwrap();
    let failed = spawn(life.store(), ID, 0).await.map(drop);
    let Err(SpawnError::NextEvent(error)) = failed else { panic!("{failed:?}") };
    let Some(annals_eventsourced::Error::FromBytes { key, position, .. }) = error.downcast_ref()
    else {
        panic!("{error:?}")
    };
    assert_eq!((key, position.get()), (&stream, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_entities_at_once_all_count() {
    let life = Life::new(Way::Smallest);
    let tasks: Vec<_> = (2..10)
        .map(|id| {
            let store = life.store().clone();
            tokio::spawn(async move {
                let id = Uuid::from_u128(id);
                let counter = spawn(&store, id, 4).await.unwrap();
                for n in 1..=10 {
                    assert_eq!(counter.handle_command(Add(1)).await.unwrap(), Ok(n));
                }
                spawn(&store, id, 4).await.unwrap().handle_command(Add(0)).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(10));
    }
    assert_eq!(life.store().head().get(), 80);
}
