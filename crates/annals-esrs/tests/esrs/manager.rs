//! The manager of esrs on the store: commands, loads, locks.

use std::sync::Arc;
use std::time::Duration;

use adapter_tests::{Life, Way};
use annals_esrs::AnnalsStore;
use esrs::AggregateState;
use esrs::manager::AggregateManager;
use uuid::Uuid;

use crate::book::{Book, Command, NotInStock, store};

fn manager(life: &Life) -> AggregateManager<AnnalsStore<Book>> {
    AggregateManager::new(store(life))
}

#[tokio::test]
async fn commands_change_the_state_over_steps() {
    for mut life in Life::each() {
        let id = Uuid::from_u128(7);
        assert!(manager(&life).load(id).await.unwrap().is_none());
        let new = manager(&life).lock_and_load(id).await.unwrap();
        assert!(!new.is_some());
        let bought = manager(&life).handle_command(new.unwrap_or_default(), Command::Buy(5)).await;
        assert_eq!(bought.unwrap(), Ok(5));
        life.end_step();
        for (command, stock, number) in [
            (Command::Exchange(2), Ok(5), 3),
            (Command::Sell(4), Ok(1), 4),
            (Command::Sell(2), Err(NotInStock), 4),
        ] {
            let state = manager(&life).load(id).await.unwrap().unwrap();
            assert_eq!(manager(&life).handle_command(state, command).await.unwrap(), stock);
            life.end_step();
            let state = manager(&life).load(id).await.unwrap().unwrap();
            assert_eq!(*state.sequence_number(), number, "{:?}", life.way());
        }
        manager(&life).delete(id).await.unwrap();
        life.end_step();
        assert!(manager(&life).load(id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn lock_is_held_until_the_state_is_dropped_or_persisted() {
    let life = Life::new(Way::Straight);
    let manager = Arc::new(manager(&life));
    let id = Uuid::from_u128(7);
    let locked = manager.lock_and_load(id).await.unwrap().unwrap_or_default();
    let at_once = Duration::from_millis(20);
    assert!(tokio::time::timeout(at_once, manager.lock_and_load(id)).await.is_err());
    let other = manager.lock_and_load(Uuid::nil());
    assert!(
        !tokio::time::timeout(Duration::from_secs(60), other).await.unwrap().unwrap().is_some()
    );
    let waiting = Arc::clone(&manager);
    let waiting = tokio::spawn(async move {
        let state = waiting.lock_and_load(id).await.unwrap().unwrap();
        *state.inner()
    });
    manager.handle_command(locked, Command::Buy(3)).await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_under_a_lock_never_conflict() {
    let life = Life::new(Way::Smallest);
    let manager = Arc::new(manager(&life));
    let id = *AggregateState::<i32>::new().id();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let manager = Arc::clone(&manager);
            tokio::spawn(async move {
                for _ in 0..10 {
                    let state = manager.lock_and_load(id).await.unwrap().unwrap_or_default();
                    manager.handle_command(state, Command::Buy(1)).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*manager.load(id).await.unwrap().unwrap().inner(), 80);
}
