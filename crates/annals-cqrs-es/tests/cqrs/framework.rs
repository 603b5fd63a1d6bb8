//! The demo application on annals: commands, views and replays.

use std::collections::HashMap;

use annals::Store;
use annals_cqrs_es::{
    AnnalsCqrs, AnnalsEventRepository, AnnalsEventStore, annals_aggregate_cqrs, annals_cqrs,
    annals_snapshot_cqrs,
};
use cqrs_es::persist::QueryReplay;
use cqrs_es::{AggregateError, EventStore};

use crate::bank::{Account, AccountCommand, AccountError, AccountView, Services, account_query};
use crate::repository::channel_size;
use adapter_tests::{Life, Way};

/// The three frameworks that the other backends offer.
const KINDS: [fn(Store, Services) -> AnnalsCqrs<Account>; 3] = [
    |store, services| annals_cqrs(store.clone(), vec![Box::new(account_query(store))], services),
    |store, services| {
        annals_snapshot_cqrs(store.clone(), vec![Box::new(account_query(store))], 2, services)
    },
    |store, services| {
        annals_aggregate_cqrs(store.clone(), vec![Box::new(account_query(store))], services)
    },
];

fn commands(account_id: &str) -> [AccountCommand; 4] {
    [
        AccountCommand::Open { account_id: account_id.to_owned() },
        AccountCommand::Deposit { amount: 1000.0 },
        AccountCommand::WriteCheck { check_number: "1170", amount: 256.0 },
        AccountCommand::Withdraw { amount: 100.0, atm: "ATM34" },
    ]
}

fn expected_view(account_id: &str) -> AccountView {
    AccountView {
        account_id: Some(account_id.to_owned()),
        balance: 644.0,
        written_checks: vec!["1170".to_owned()],
        ledger: [("deposit", 1000.0), ("1170", 256.0), ("atm withdrawal", 100.0)]
            .map(|(entry, amount)| (entry.to_owned(), amount))
            .to_vec(),
    }
}

#[tokio::test]
async fn demo_application_keeps_accounts_and_views() {
    for kind in KINDS {
        for mut life in Life::each() {
            let metadata = HashMap::from([("time".to_owned(), "noon".to_owned())]);
            for command in commands("A-1") {
                let bank = kind(life.store().clone(), Services::default());
                bank.execute_with_metadata("A-1", command, metadata.clone()).await.unwrap();
                drop(bank);
                life.end_step();
            }
            let events = AnnalsEventStore::<Account>::new(life.store().clone());
            let events = events.load_events("A-1").await.unwrap();
            assert_eq!(events.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert!(events.iter().all(|it| it.aggregate_id == "A-1" && it.metadata == metadata));
            let view = account_query(life.store().clone()).load("A-1").await;
            assert_eq!(view, Some(expected_view("A-1")));
        }
    }
}

#[tokio::test]
async fn refused_command_stores_nothing() {
    let life = Life::new(Way::Straight);
    let services = Services { broken_atm: Some("ATM34"), invalid_check: Some("1170") };
    let bank = annals_cqrs::<Account>(life.store().clone(), vec![], services);
    bank.execute("A-1", AccountCommand::Deposit { amount: 200.0 }).await.unwrap();
    let cases = [
        (AccountCommand::Withdraw { amount: 100.0, atm: "ATM34" }, "atm rule violation"),
        (AccountCommand::Withdraw { amount: 201.0, atm: "ATM35" }, "funds not available"),
        (AccountCommand::WriteCheck { check_number: "1170", amount: 1.0 }, "check invalid"),
    ];
    for (command, expected) in cases {
        match bank.execute("A-1", command).await {
            Err(AggregateError::UserError(AccountError(what))) => assert_eq!(what, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(life.store().head().get(), 1);
}

#[tokio::test]
async fn replay_of_all_accounts_rebuilds_views() {
    for mut life in Life::each() {
        for account in ["A-1", "B", ""] {
            let bank = annals_cqrs::<Account>(life.store().clone(), vec![], Services::default());
            for command in commands(account) {
                bank.execute(account, command).await.unwrap();
            }
        }
        life.end_step();
        let repository = AnnalsEventRepository::new(life.store().clone())
            .with_streaming_channel_size(channel_size(&life));
        let replay = QueryReplay::new(repository, account_query(life.store().clone()));
        replay.replay("A-1").await.unwrap();
        assert_eq!(account_query(life.store().clone()).load("B").await, None);
        drop(replay);
        life.end_step();
        for account in ["A-1", "B", ""] {
            let key = format!("cqrs-es/view/account_query-{account}");
            let _ = life.store().records().delete(&key, annals::ExpectedRecord::Any);
        }
        let repository = AnnalsEventRepository::new(life.store().clone())
            .with_streaming_channel_size(channel_size(&life));
        let replay = QueryReplay::new(repository, account_query(life.store().clone()));
        replay.replay_all().await.unwrap();
        for account in ["A-1", "B", ""] {
            let view = account_query(life.store().clone()).load(account).await;
            assert_eq!(view, Some(expected_view(account)), "{account}");
        }
    }
}
