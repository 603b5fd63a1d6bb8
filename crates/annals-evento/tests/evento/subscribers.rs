//! The state of subscribers: who runs, and how far it came.

use adapter_tests::{Life, Way};
use evento::Executor;
use evento::cursor::Value;
use ulid::Ulid;

use crate::support::{end_step, executor};

#[tokio::test]
async fn subscriber_has_one_worker_and_keeps_its_cursor() {
    for mut life in Life::each() {
        let mut executor = executor(&life);
        let (one, two) = (Ulid::generate(), Ulid::generate());
        let key = || "eu.emails".to_owned();
        let at = |at: &str| Value(at.to_owned());
        assert!(!executor.is_subscriber_running(key(), one).await.unwrap());
        assert!(!executor.acknowledge(key(), one, at("0"), 0).await.unwrap());
        assert_eq!(executor.get_subscriber_cursor(key()).await.unwrap(), None);

        executor.upsert_subscriber(key(), one).await.unwrap();
        executor = end_step(&mut life, executor);
        assert!(executor.is_subscriber_running(key(), one).await.unwrap());
        assert!(!executor.is_subscriber_running(key(), two).await.unwrap());
        assert!(executor.acknowledge(key(), one, at("7"), 3).await.unwrap());
        executor = end_step(&mut life, executor);
        assert_eq!(executor.get_subscriber_cursor(key()).await.unwrap(), Some(at("7")));

        executor.upsert_subscriber(key(), two).await.unwrap();
        executor = end_step(&mut life, executor);
        assert!(!executor.acknowledge(key(), one, at("1"), 0).await.unwrap(), "it is superseded");
        let status = executor.subscriber_status(key(), two).await.unwrap();
        assert_eq!((status.running, status.cursor), (true, Some(at("7"))));
        assert!(!executor.subscriber_status(key(), one).await.unwrap().running);

        executor.set_subscriber_enabled(&key(), false).await.unwrap();
        executor = end_step(&mut life, executor);
        assert!(!executor.is_subscriber_running(key(), two).await.unwrap());
        assert!(!executor.acknowledge(key(), two, at("8"), 0).await.unwrap());
        executor.upsert_subscriber(key(), one).await.unwrap();
        assert!(!executor.is_subscriber_running(key(), one).await.unwrap(), "still not enabled");
        executor.set_subscriber_enabled(&key(), true).await.unwrap();
        executor.set_subscriber_enabled("unknown", false).await.unwrap();
        executor = end_step(&mut life, executor);
        assert!(executor.acknowledge(key(), one, at("9"), 0).await.unwrap());
        assert!(executor.acknowledge(key(), one, at("9"), 0).await.unwrap());
        executor = end_step(&mut life, executor);
        assert_eq!(executor.get_subscriber_cursor(key()).await.unwrap(), Some(at("9")));
        assert_eq!(executor.get_subscriber_cursor("unknown".into()).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_workers_that_start_at_once_one_owns_the_subscriber() {
    let life = Life::new(Way::Straight);
    let executor = executor(&life);
    let workers: Vec<Ulid> = (0..8).map(|_| Ulid::generate()).collect();
    let tasks: Vec<_> = workers
        .iter()
        .map(|worker| {
            let (executor, worker) = (executor.clone(), *worker);
            tokio::spawn(async move {
                executor.upsert_subscriber("s".into(), worker).await.unwrap();
                let mut changes = 1;
                for n in 0..20 {
                    let at = Value(format!("{worker} {n}"));
                    let done = executor.acknowledge("s".into(), worker, at, 0).await.unwrap();
                    changes += u64::from(done);
                }
                changes
            })
        })
        .collect();
    let mut changes = 0;
    for task in tasks {
        changes += task.await.unwrap();
    }
    // No change that was reported is lost.
    let record = life.store().records().get("evento/subscriber/s").unwrap().unwrap();
    assert_eq!(record.version, changes);
    let mut owners = Vec::new();
    for worker in workers {
        if executor.is_subscriber_running("s".into(), worker).await.unwrap() {
            owners.push(worker);
        }
    }
    let [owner] = owners[..] else { panic!("{owners:?}") };
    let last = executor.get_subscriber_cursor("s".into()).await.unwrap();
    assert_eq!(last, Some(Value(format!("{owner} 19"))));
}
