//! Events and cursors of another executor.

use adapter_tests::{Life, Way};
use annals_evento::{AnnalsExecutor, Error, copy, copy_cursor};
use evento::cursor::{Args, Cursor};
use evento::{Event, Executor, WriteError};
use ulid::Ulid;

use crate::support::{all, end_step, event, executor, read, stamped};

#[tokio::test]
async fn replicated_events_keep_their_stamps_and_come_in_order() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let first = stamped(event("a", 1, Some("eu")), 42_007);
        executor.replicate(vec![first.clone()]).await.unwrap();
        executor = end_step(&mut life, executor);
        // A stamp may be used again, if version and id are greater.
        let second = [stamped(event("a", 2, None), 42_007), stamped(event("b", 1, None), 42_008)];
        executor.replicate(second.to_vec()).await.unwrap();
        executor = end_step(&mut life, executor);
        let late = executor.replicate(vec![stamped(event("c", 1, None), 42_007)]).await;
        let Err(WriteError::Unknown(error)) = late else { panic!("{late:?}") };
        assert!(matches!(error.downcast_ref(), Some(Error::OutOfOrder { .. })));
        // What is stored is stored.
        executor.replicate(vec![first.clone()]).await.unwrap();
        executor.replicate(second.to_vec()).await.unwrap();
        let other = Event { data: vec![9], ..first.clone() };
        assert!(executor.replicate(vec![other]).await.is_err());
        executor = end_step(&mut life, executor);
        assert_eq!(all(&executor).await, [vec![first], second.to_vec()].concat());
    }
}

#[tokio::test]
async fn copy_is_the_source_with_its_cursors_and_goes_on_where_it_ended() {
    let source_life = Life::new(Way::Straight);
    let source = executor(&source_life);
    for version in 1..=40 {
        for id in ["a", "b"] {
            let large = Event { data: vec![7; 9000], ..event(id, version, Some("eu")) };
            source.write(vec![large]).await.unwrap();
        }
    }
    let worker = Ulid::generate();
    source.upsert_subscriber("emails".into(), worker).await.unwrap();
    let cursor = all(&source).await[30].serialize_cursor().unwrap();
    source.acknowledge("emails".into(), worker, cursor.clone(), 0).await.unwrap();

    for mut life in Life::each() {
        let mut target = executor(&life);
        assert_eq!(copy(&source, &target).await.unwrap(), all(&source).await.len() as u64);
        target = end_step(&mut life, target);
        source.write(vec![event(&format!("{:?}", life.way()), 1, None)]).await.unwrap();
        assert_eq!(copy(&source, &target).await.unwrap(), 1);
        assert_eq!(copy(&source, &target).await.unwrap(), 0);
        assert!(copy_cursor(&source, &target, "emails").await.unwrap());
        assert!(!copy_cursor(&source, &target, "unknown").await.unwrap());
        target = end_step(&mut life, target);
        assert_eq!(all(&target).await, all(&source).await);
        let reached = target.get_subscriber_cursor("emails".into()).await.unwrap();
        assert_eq!(reached.as_ref(), Some(&cursor));
        let next = |executor: AnnalsExecutor| {
            let args = Args::forward(1, reached.clone());
            async move { read(&executor, None, None, args).await }
        };
        assert_eq!(next(target.clone()).await, next(source.clone()).await);
        target.write(vec![event("a", 41, None)]).await.unwrap();
    }
}
