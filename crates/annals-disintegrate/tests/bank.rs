//! What disintegrate tests its `PostgreSQL` backend for, and accounts as in its banking example, in four ways.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_tests::in_every_way;
use annals_disintegrate::annals::{self, Store};
use annals_disintegrate::disintegrate::serde::json::Json;
use annals_disintegrate::disintegrate::{
    self, Decision, Event, EventListener, EventStore, NoSnapshot, PersistedEvent, StateMutate,
    StateQuery, StateSnapshotter, StreamItem, StreamQuery, WithSnapshot, query,
};
use annals_disintegrate::{
    AnnalsEventListener, AnnalsEventStore, AnnalsSnapshotter, Error, EventId, ListenerConfig,
    ListenerError, ListenerErrorKind, RetryAction, decision_maker,
};
use async_trait::async_trait;
use futures::StreamExt;
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
#[stream(BalanceEvent, [Deposited, Withdrawn])]
enum BankEvent {
    Opened {
        #[id]
        account: i64,
        #[id]
        owner: String,
    },
    Deposited {
        #[id]
        account: i64,
        amount: i64,
    },
    Withdrawn {
        #[id]
        account: i64,
        amount: i64,
    },
}

use BankEvent::{Deposited, Opened, Withdrawn};

#[derive(Debug, Clone, Default, PartialEq, Eq, StateQuery, Serialize, Deserialize)]
#[state_query(BalanceEvent)]
struct Balance {
    #[id]
    account: i64,
    amount: i64,
}

impl StateMutate for Balance {
    fn mutate(&mut self, event: BalanceEvent) {
        match event {
            BalanceEvent::Deposited { amount, .. } => self.amount += amount,
            BalanceEvent::Withdrawn { amount, .. } => self.amount -= amount,
        }
    }
}

/// Withdraws if there is enough; a negative amount is a deposit.
struct Withdraw(i64, i64);

#[derive(Debug, PartialEq, Eq)]
struct Insufficient;

impl std::fmt::Display for Insufficient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("insufficient balance")
    }
}

impl std::error::Error for Insufficient {}

impl Decision for Withdraw {
    type Event = BankEvent;
    type StateQuery = Balance;
    type Error = Insufficient;

    fn state_query(&self) -> Balance {
        Balance { account: self.0, amount: 0 }
    }

    fn process(&self, balance: &Balance) -> Result<Vec<BankEvent>, Insufficient> {
        match *self {
            Self(account, amount) if amount < 0 => Ok(vec![Deposited { account, amount: -amount }]),
            Self(_, amount) if balance.amount < amount => Err(Insufficient),
            Self(account, amount) => Ok(vec![Withdrawn { account, amount }]),
        }
    }
}

type Bank = AnnalsEventStore<BankEvent, Json<BankEvent>>;

fn bank(store: &Store) -> Bank {
    AnnalsEventStore::new(store.clone(), Json::default())
}

fn opened(account: i64, owner: &str) -> BankEvent {
    Opened { account, owner: owner.into() }
}

/// The ids of the events of a query, and that of its end.
fn ids<QE>(bank: &Bank, query: &StreamQuery<EventId, QE>) -> (Vec<EventId>, EventId)
where
    QE: TryFrom<BankEvent> + Event + Clone + Send + Sync + 'static,
    <QE as TryFrom<BankEvent>>::Error: std::error::Error + Send + Sync,
{
    let items = block_on(bank.stream(query).collect::<Vec<_>>());
    let mut items = items.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let Some(StreamItem::End(end)) = items.pop() else { panic!("no end") };
    (items.iter().map(StreamItem::id).collect(), end)
}

fn append(bank: &Bank, events: Vec<BankEvent>) -> Vec<EventId> {
    let appended = block_on(bank.append_without_validation(events)).unwrap();
    appended.iter().map(PersistedEvent::id).collect()
}

#[test]
fn identifier_filter_also_matches_events_whose_schema_lacks_it() {
    in_every_way(|life| {
        life.step(|store| assert_eq!(ids(&bank(store), &query!(BankEvent)), (vec![], 0)));
        life.step(|store| append(&bank(store), vec![opened(1, "ann"), opened(2, "bob")]));
        life.step(|store| {
            append(
                &bank(store),
                vec![Deposited { account: 1, amount: 5 }, Deposited { account: 2, amount: 5 }],
            )
        });
        life.step(|store| {
            let bank = bank(store);
            assert!(append(&bank, vec![]).is_empty());
            assert_eq!(ids(&bank, &query!(BankEvent)), (vec![1, 2, 3, 4], 4));
            assert_eq!(ids(&bank, &query!(BankEvent; account == 1)), (vec![1, 3], 4));
            // Deposits have no owner.
            assert_eq!(ids(&bank, &query!(BankEvent; owner == "ann")), (vec![1, 3, 4], 4));
            assert_eq!(ids(&bank, &query!(BankEvent; owner == "ann", account == 2)), (vec![4], 4));
            assert_eq!(ids(&bank, &query!(1 => BankEvent; account == 1)), (vec![3], 4));
            let both: StreamQuery<EventId, BankEvent> =
                query!(BankEvent; account == 1).union(&query!(BankEvent; account == 2));
            assert_eq!(ids(&bank, &both).0, [1, 2, 3, 4]);
            let without = query!(BankEvent; account == 1).exclude_events(&["Opened"]);
            assert_eq!(ids(&bank, &without).0, [3]);
            assert_eq!(ids(&bank, &query!(BalanceEvent; account == 2)).0, [4]);
        });
    });
}

#[test]
fn append_fails_if_the_query_matches_a_newer_event() {
    in_every_way(|life| {
        let deposit = || vec![Deposited { account: 1, amount: 1 }];
        let append_at = |store: &Store, version| {
            block_on(bank(store).append(deposit(), query!(BankEvent; account == 1), version))
        };
        let first = life.step(|store| append_at(store, 0).unwrap()[0].id());
        assert_eq!(first, 1);
        let conflict = life.step(|store| append_at(store, 0).unwrap_err());
        assert!(
            matches!(conflict, Error::Concurrency(annals::Error::Conflict { .. })),
            "{conflict}"
        );
        life.step(|store| append(&bank(store), vec![Deposited { account: 2, amount: 1 }]));
        assert_eq!(life.step(|store| append_at(store, 1).unwrap()[0].id()), 3);
        let empty = life.step(|store| block_on(bank(store).append(vec![], query!(BankEvent), 3)));
        assert!(empty.unwrap().is_empty());
        // The origin of the query does not replace the version.
        let late = query!(9 => BankEvent; account == 1);
        assert!(life.step(|store| block_on(bank(store).append(deposit(), late, 1))).is_err());
    });
}

#[test]
fn concurrent_withdrawals_never_overdraw() {
    in_every_way(|life| {
        life.step(|store| append(&bank(store), vec![Deposited { account: 1, amount: 10 }]));
        life.step(|store| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let maker = decision_maker(bank(store), NoSnapshot);
                        (0..5).for_each(|_| drop(block_on(maker.make(Withdraw(1, 1)))));
                    });
                }
            });
        });
        life.step(|store| {
            let maker = decision_maker(bank(store), NoSnapshot);
            while block_on(maker.make(Withdraw(1, 1))).is_ok() {}
            assert_eq!(ids(&bank(store), &query!(BankEvent)).0.len(), 11);
        });
    });
}

#[test]
fn snapshot_continues_the_state_and_a_damaged_one_is_ignored() {
    in_every_way(|life| {
        for round in 0..12 {
            life.step(|store| {
                let snapshots = WithSnapshot::new(AnnalsSnapshotter::new(store.clone(), 2));
                let maker = decision_maker(bank(store), snapshots);
                block_on(maker.make(Withdraw(1, -5))).unwrap();
                assert_eq!(
                    block_on(maker.make(Withdraw(1, round * 5 + 6))).unwrap_err().to_string(),
                    "domain error: insufficient balance"
                );
            });
        }
        let loaded = |store: &Store, account| {
            let default = disintegrate::StatePart::new(0, Balance { account, amount: 0 });
            block_on(AnnalsSnapshotter::new(store.clone(), 2).load_snapshot(default))
        };
        life.step(|store| {
            let state = loaded(store, 1);
            assert!(state.version() > 0);
            assert_eq!(state.amount, 5 * state.version());
            assert_eq!(loaded(store, 2).version(), 0);
            let infos = store.snapshots().list("disintegrate/").unwrap();
            let broken = annals::snapshot::Snapshot::new(infos[0].key.clone(), store.head(), "{");
            store.snapshots().delete(&infos[0].key).unwrap();
            store.snapshots().save(&broken).unwrap();
        });
        life.step(|store| assert_eq!(loaded(store, 1).version(), 0));
    });
}

/// Records the ids of its events, and fails as often as it is told.
struct Recorder {
    query: StreamQuery<EventId, BalanceEvent>,
    seen: Arc<Mutex<Vec<EventId>>>,
    failures: Mutex<usize>,
}

#[async_trait]
impl EventListener<EventId, BalanceEvent> for Recorder {
    type Error = &'static str;

    fn id(&self) -> &'static str {
        "recorder"
    }

    fn query(&self) -> &StreamQuery<EventId, BalanceEvent> {
        &self.query
    }

    async fn handle(
        &self,
        event: PersistedEvent<EventId, BalanceEvent>,
    ) -> Result<(), &'static str> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err("refused");
        }
        self.seen.lock().unwrap().push(event.id());
        Ok(())
    }
}

#[test]
fn listener_handles_each_event_once_with_retries_and_keeps_its_position() {
    in_every_way(|life| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        for round in 0..3_i64 {
            life.step(|store| {
                append(
                    &bank(store),
                    vec![opened(round, "ann"), Deposited { account: round, amount: 1 }],
                )
            });
            life.step(|store| {
                let recorder = Recorder {
                    query: query!(BalanceEvent),
                    seen: Arc::clone(&seen),
                    failures: Mutex::new(2),
                };
                let errors = Arc::new(Mutex::new(Vec::new()));
                let report = Arc::clone(&errors);
                let retry = move |error: ListenerError<&'static str>, attempts| {
                    let ListenerErrorKind::Handler { source, .. } = error.kind else {
                        panic!("{error:?}")
                    };
                    report.lock().unwrap().push((source, attempts));
                    RetryAction::Wait { duration: Duration::from_millis(1) }
                };
                let listener = AnnalsEventListener::builder(bank(store)).register_listener(
                    recorder,
                    ListenerConfig::default().fetch_size(1).with_retry(retry),
                );
                let (seen, wanted) = (Arc::clone(&seen), usize::try_from(round * 2 + 2).unwrap());
                let live = bank(store);
                block_on(listener.start_with_shutdown(async move {
                    live.append_without_validation(vec![Deposited { account: round, amount: 1 }])
                        .await
                        .unwrap();
                    while seen.lock().unwrap().len() < wanted {
                        futures_timer::Delay::new(Duration::from_millis(1)).await;
                    }
                }));
                assert_eq!(*errors.lock().unwrap(), [("refused", 0), ("refused", 1)]);
            });
        }
        assert_eq!(*seen.lock().unwrap(), [2, 3, 5, 6, 8, 9], "{:?}", life.way());
    });
}

#[test]
fn listener_without_retries_ends_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    append(&bank(&store), vec![Deposited { account: 1, amount: 1 }]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for failures in [1, 0] {
        let recorder = Recorder {
            query: query!(BalanceEvent),
            seen: Arc::clone(&seen),
            failures: Mutex::new(failures),
        };
        let listener = AnnalsEventListener::builder(bank(&store))
            .register_listener(recorder, ListenerConfig::default());
        let wait = Arc::clone(&seen);
        block_on(listener.start_with_shutdown(async move {
            while failures == 1 || wait.lock().unwrap().is_empty() {
                futures_timer::Delay::new(Duration::from_millis(1)).await;
            }
        }));
    }
    assert_eq!(*seen.lock().unwrap(), [1]);
}

#[test]
fn event_that_cannot_be_read_or_stored_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let too_long =
        block_on(bank(&store).append_without_validation(vec![opened(1, &"n".repeat(70_000))]));
    assert!(matches!(too_long, Err(Error::Store(annals::Error::LimitExceeded { .. }))));
    assert_eq!(store.head().get(), 0);
    store
        .append(
            "other",
            annals::ExpectedVersion::Any,
            [annals::NewEvent::new("Opened", "{").tag("account:1")],
        )
        .unwrap();
    let all = query!(BankEvent);
    let items = block_on(bank(&store).stream(&all).collect::<Vec<_>>());
    assert!(matches!(&items[..], [Err(Error::Deserialization { position: 1, .. })]));
}

/// The program fails to compile if a method has another signature.
#[test]
fn traits_have_the_signatures_of_the_pinned_version() {
    fn check<T>(_: &T)
    where
        T: EventStore<EventId, BankEvent, Error = Error> + Clone + Send + Sync,
    {
    }
    let dir = tempfile::tempdir().unwrap();
    check(&bank(&Store::open(dir.path().join("ledger")).unwrap()));
    assert!(include_str!("../Cargo.toml").contains("disintegrate = { version = \"=4.0.0\""));
}
