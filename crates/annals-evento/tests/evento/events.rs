//! What is written is read, and what does not follow is refused.

use adapter_tests::Life;
use evento::cursor::Args;
use evento::{Event, Executor, RoutingKey, TenantFilter, WriteError};

use crate::support::{all, by_id, end_step, event, executor, nodes, places, read, stamped};

#[tokio::test]
async fn events_are_read_as_they_were_written() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let written =
            [event("a", 1, Some("eu")), event("a", 2, Some("eu")), event("@b-%", 1, None)];
        executor.write(written[..2].to_vec()).await.unwrap();
        executor = end_step(&mut life, executor);
        executor.write(written[2..].to_vec()).await.unwrap();
        executor = end_step(&mut life, executor);
        let found = all(&executor).await;
        assert!(found.iter().all(|event| event.timestamp > 1_600_000_000));
        let unstamped: Vec<Event> = found.into_iter().map(|event| stamped(event, 0)).collect();
        assert_eq!(unstamped, written, "{:?}", life.way());
        let one = nodes(read(&executor, by_id("@b-%"), None, Args::forward(9, None)).await);
        assert_eq!(places(&one), [("@b-%", 1)]);
        assert_eq!(one[0].metadata.requested_by().unwrap(), "ann");
    }
}

#[tokio::test]
async fn version_that_does_not_follow_is_refused_and_writes_nothing() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        executor.write(vec![event("a", 1, None), event("a", 2, None)]).await.unwrap();
        executor = end_step(&mut life, executor);
        for bad in [
            vec![event("a", 2, None)],
            vec![event("a", 1, None)],
            vec![event("a", 4, None)],
            vec![event("b", 2, None)],
            vec![event("b", 0, None)],
            vec![event("b", 1, None), event("b", 3, None)],
            vec![event("b", 2, None), event("b", 1, None)],
            vec![event("b", 1, None), event("b", 1, None)],
            // Each event is checked, also those of a second aggregate.
            vec![event("b", 1, None), event("a", 2, None)],
        ] {
            let refused = executor.write(bad.clone()).await;
            assert!(matches!(refused, Err(WriteError::InvalidOriginalVersion)), "{refused:?}");
            let refused = executor.replicate(bad).await;
            assert!(refused.is_err());
        }
        executor.write(Vec::new()).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(places(&all(&executor).await), [("a", 1), ("a", 2)]);
    }
}

#[tokio::test]
async fn commit_of_several_aggregates_is_read_in_the_order_of_cursors() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let (mut a, mut b) = (event("a", 1, None), event("b", 1, None));
        if a.id < b.id {
            std::mem::swap(&mut a.id, &mut b.id);
        }
        executor.write(vec![a, event("a", 2, None), b, event("b", 2, None)]).await.unwrap();
        executor = end_step(&mut life, executor);
        let found = all(&executor).await;
        assert_eq!(places(&found)[..2], [("b", 1), ("a", 1)]);
        assert_eq!(found.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 1, 2, 2]);
        assert_eq!(life.store().head().get(), 4);
        // One commit has one stamp.
        assert!(found.iter().all(|it| it.timestamp_micros() == found[0].timestamp_micros()));
    }
}

#[tokio::test]
async fn latest_version_and_routing_key_are_those_of_the_stream() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let stream = || (String::new(), "test/Account".to_owned(), "a".to_owned());
        let of = |executor: annals_evento::AnnalsExecutor| async move {
            let (tenant, of_type, id) = stream();
            let version = executor.latest_version(tenant, of_type, id).await.unwrap();
            let (tenant, of_type, id) = stream();
            (version, executor.stream_routing_key(tenant, of_type, id).await.unwrap())
        };
        assert_eq!(of(executor.clone()).await, (0, None));
        executor.write(vec![event("a", 1, Some("eu"))]).await.unwrap();
        executor = end_step(&mut life, executor);
        executor.write(vec![event("a", 2, None), event("b", 1, None)]).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(of(executor.clone()).await, (2, Some(Some("eu".to_owned()))));
        let key = executor.stream_routing_key(String::new(), "test/Account".into(), "b".into());
        assert_eq!(key.await.unwrap(), Some(None));
    }
}

#[tokio::test]
async fn strange_ids_and_keys_stay_apart() {
    let life = Life::new(adapter_tests::Way::Straight);
    let executor = executor(&life);
    let ids = ["a", "a\0b", "a\0", "-a", "%2Da", "@", "@-a", "", "a-b"];
    for id in ids {
        executor.write(vec![event(id, 1, Some(id))]).await.unwrap();
    }
    let mut of_another_type = event("Account-a", 1, None);
    of_another_type.aggregate_type = "test/".to_owned();
    executor.write(vec![of_another_type]).await.unwrap();
    // Tags are cut before a character, at 255 bytes or one less.
    let longs = [("long", "k".repeat(300)), ("wide", "é".repeat(200))];
    for (id, long) in &longs {
        executor.write(vec![event(id, 1, Some(&format!("{long}1")))]).await.unwrap();
        executor.write(vec![event(id, 2, Some(&format!("{long}1")))]).await.unwrap();
        executor.write(vec![event(id, 3, Some(&format!("{long}2")))]).await.unwrap();
    }
    for id in ids {
        let found = nodes(read(&executor, by_id(id), None, Args::forward(9, None)).await);
        assert_eq!(places(&found), [(id, 1)]);
        let key = Some(RoutingKey::Value(Some(id.to_owned())));
        let found = nodes(read(&executor, None, key, Args::forward(9, None)).await);
        assert_eq!(places(&found), [(id, 1)]);
    }
    for (id, long) in &longs {
        let key = Some(RoutingKey::Value(Some(format!("{long}2"))));
        let found = nodes(read(&executor, None, key, Args::forward(1, None)).await);
        assert_eq!(places(&found), [(*id, 3)]);
    }
    let keyless =
        read(&executor, None, Some(RoutingKey::Value(None)), Args::forward(9, None)).await;
    assert_eq!(places(&nodes(keyless)), [("Account-a", 1)]);
}

#[tokio::test]
async fn latest_timestamp_is_that_of_the_last_event() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let latest = |executor: annals_evento::AnnalsExecutor, tenant| async move {
            executor.latest_timestamp(by_id("a"), None, tenant).await.unwrap()
        };
        let default = || TenantFilter::Only(String::new());
        assert_eq!(latest(executor.clone(), TenantFilter::All).await, 0);
        executor.replicate(vec![stamped(event("a", 1, None), 5000)]).await.unwrap();
        executor.replicate(vec![stamped(event("b", 1, None), 9000)]).await.unwrap();
        executor = end_step(&mut life, executor);
        assert_eq!(latest(executor.clone(), TenantFilter::All).await, 9);
        assert_eq!(latest(executor.clone(), default()).await, 5);
    }
}
