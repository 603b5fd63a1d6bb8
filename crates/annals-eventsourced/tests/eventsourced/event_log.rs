//! The event log: sequence numbers, conflicts, and streams that follow.

use std::num::NonZeroU64;
use std::pin::pin;
use std::time::Duration;

use adapter_tests::{Life, Way};
use annals_eventsourced::{AnnalsEventLog, Error};
use eventsourced::binarize::serde_json::{from_bytes, to_bytes};
use eventsourced::event_log::EventLog;
use futures::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use crate::counter::in_time;

fn log(life: &Life) -> AnnalsEventLog<u64> {
    AnnalsEventLog::new(life.store().clone())
}

fn at(seq_no: u64) -> NonZeroU64 {
    NonZeroU64::new(seq_no).unwrap()
}

/// Stores an event after the last one of its entity.
async fn add(life: &Life, type_name: &'static str, id: u64, event: u32) -> u64 {
    let mut log = log(life);
    let last = log.last_seq_no(type_name, &id).await.unwrap();
    log.persist(type_name, &id, last, &event, &to_bytes).await.unwrap().get()
}

#[tokio::test]
async fn event_is_stored_only_after_the_last_one() {
    for mut life in Life::each() {
        assert_eq!(log(&life).last_seq_no("counter", &7).await.unwrap(), None);
        let first = log(&life).persist("counter", &7, None, &1, &to_bytes).await.unwrap();
        assert_eq!(first, at(1));
        life.end_step();
        log(&life).persist("counter", &7, Some(first), &2, &to_bytes).await.unwrap();
        life.end_step();
        for last in [None, Some(first), Some(at(3)), Some(NonZeroU64::MAX)] {
            let lost = log(&life).persist("counter", &7, last, &9, &to_bytes).await;
            let Err(Error::Store(error)) = lost else { panic!("{lost:?}") };
            assert!(error.is_conflict(), "{error}");
        }
        let third = log(&life).persist("counter", &7, Some(at(2)), &3, &to_bytes).await.unwrap();
        life.end_step();
        assert_eq!(log(&life).last_seq_no("counter", &7).await.unwrap(), Some(third));

        let log = log(&life);
        let events = log.events_by_id::<u32, _, _>("counter", &7, at(2), from_bytes).await;
        let sum = events.unwrap().take(2).try_fold(0, |sum, (_, n)| async move { Ok(sum + n) });
        assert_eq!(in_time(sum).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn streams_deliver_by_id_and_by_type_and_follow() {
    for mut life in Life::each() {
        for (number, (type_name, id)) in
            [("type-0", 0), ("type-0", 0), ("type-0", 1), ("type", 0), ("type-0", 0)]
                .iter()
                .enumerate()
        {
            let event = u32::try_from(number).unwrap();
            assert_eq!(add(&life, type_name, *id, event).await, number as u64 + 1);
            life.end_step();
        }
        let first = |count, from| {
            let log = log(&life);
            async move {
                let events =
                    log.events_by_id::<u32, _, _>("type-0", &0, at(from), from_bytes).await;
                events.unwrap().take(count).try_collect::<Vec<_>>().await.unwrap()
            }
        };
        assert_eq!(in_time(first(3, 1)).await, [(at(1), 0), (at(2), 1), (at(5), 4)]);
        assert_eq!(in_time(first(1, 3)).await, [(at(5), 4)]);

        let of_type = log(&life);
        let events =
            of_type.events_by_type::<u32, _, _>("type-0", at(2), from_bytes).await.unwrap();
        let mut events = pin!(events);
        for expected in [(at(2), 1), (at(3), 2), (at(5), 4)] {
            assert_eq!(in_time(events.next()).await.unwrap().unwrap(), expected);
        }
        assert!(timeout(Duration::from_millis(20), events.next()).await.is_err(), "it waits");
        add(&life, "type", 0, 6).await;
        add(&life, "type-0", 8, 7).await;
        assert_eq!(in_time(events.next()).await.unwrap().unwrap(), (at(7), 7));
        life.store().clone().close_async().await.unwrap();
        assert!(matches!(
            in_time(events.next()).await,
            Some(Err(Error::Store(annals::Error::Closed)))
        ));
        assert!(in_time(events.next()).await.is_none());
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_its_cause() {
    let life = Life::new(Way::Straight);
    let mut log = log(&life);
    let stored = log.persist("counter", &7, None, &1, &|_: &i32| {
        Err::<annals::Bytes, _>(std::io::Error::other("no bytes"))
    });
    assert!(matches!(stored.await, Err(Error::ToBytes(_))));
    assert_eq!(life.store().head().get(), 0);

    add(&life, "counter", 7, 1).await;
    let events = log.events_by_id::<String, _, _>("counter", &7, at(1), from_bytes).await.unwrap();
    let mut events = pin!(events);
    let failed = in_time(events.next()).await.unwrap();
    assert!(matches!(failed, Err(Error::FromBytes { position, .. }) if position.get() == 1));
    assert!(in_time(events.next()).await.is_none());

    let ahead = log.events_by_id::<u32, _, _>("counter", &7, at(9), from_bytes).await;
    let Err(Error::Store(error)) = ahead.map(drop) else { panic!("it is ahead") };
    assert!(matches!(error, annals::Error::PositionAhead { .. }), "{error}");
}
