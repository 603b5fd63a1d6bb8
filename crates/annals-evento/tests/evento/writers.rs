//! Several writers: one wins, and the order of cursors stays the order of positions.

use adapter_tests::{Life, Way};
use annals_evento::AnnalsExecutor;
use evento::cursor::{Args, Reader};
use evento::{Event, Executor, WriteError};

use crate::support::{all, event, executor, places, read, stamped};

/// Evento's own order is the order in which the store has the events.
fn assert_in_order(events: &[Event]) {
    let sorted = Reader::new(events.to_vec()).forward(u16::MAX, None).execute().unwrap();
    let sorted: Vec<Event> = sorted.edges.into_iter().map(|edge| edge.node).collect();
    assert_eq!(places(&sorted), places(events));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_of_one_version_one_wins() {
    let life = Life::new(Way::Smallest);
    let executor = executor(&life);
    for version in 1..=20 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let executor = executor.clone();
                tokio::spawn(async move { executor.write(vec![event("a", version, None)]).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert!(matches!(error, WriteError::InvalidOriginalVersion)),
            }
        }
        assert_eq!(won, 1);
    }
    assert_in_order(&all(&executor).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cursors_of_many_writers_and_executors_are_in_the_order_of_positions() {
    for way in [Way::Straight, Way::Smallest] {
        let life = Life::new(way);
        // Two executors on one store do not share a clock.
        let executors: [AnnalsExecutor; 2] = [executor(&life), executor(&life)];
        let tasks: Vec<_> = (0..8_usize)
            .map(|writer| {
                let executor = executors[writer % 2].clone();
                tokio::spawn(async move {
                    for version in 1..=50 {
                        let id = format!("{writer}");
                        executor.write(vec![event(&id, version, None)]).await.unwrap();
                        if version % 10 == 0 {
                            // The write goes on although its future is dropped.
                            let dropped = executor.write(vec![event(
                                &format!("d{writer}-{version}"),
                                1,
                                None,
                            )]);
                            let at_once = std::time::Duration::ZERO;
                            drop(tokio::time::timeout(at_once, dropped).await);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let events = all(&executors[0]).await;
        assert!(events.len() >= 400);
        assert_in_order(&events);
    }
}

#[tokio::test]
async fn stamps_rise_when_the_clock_is_behind_the_last_event() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let ahead = 4_000_000_000_000;
        executor.replicate(vec![stamped(event("a", 1, None), ahead)]).await.unwrap();
        for version in 2..=4 {
            executor = crate::support::end_step(&mut life, executor);
            executor.write(vec![event("a", version, None)]).await.unwrap();
            executor.write(vec![event(&format!("b{version}"), 1, None)]).await.unwrap();
        }
        let events = all(&executor).await;
        assert_eq!(events.len(), 7);
        assert_in_order(&events);
        let last = events.last().unwrap().timestamp_micros() / 1000;
        assert!((ahead..ahead + 7).contains(&last), "{last}");
    }
}

#[tokio::test]
async fn write_wakes_those_who_watch() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let mut watch = executor.write_watch().unwrap();
    let other = executor.clone();
    assert!(!watch.has_changed().unwrap());
    other.write(vec![event("a", 2, None)]).await.unwrap_err();
    assert!(!watch.has_changed().unwrap());
    other.write(vec![event("a", 1, None)]).await.unwrap();
    crate::support::in_time(watch.changed()).await.unwrap();
    assert_eq!(read(&executor, None, None, Args::forward(1, None)).await.edges.len(), 1);
}
