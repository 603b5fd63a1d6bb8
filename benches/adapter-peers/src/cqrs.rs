//! cqrs-es: annals-cqrs-es and sqlite-es.
//!
//! Owns how each is configured. Must never measure.

use std::ops::Range;

use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore, SerializedEvent};
use cqrs_es::{Aggregate, AggregateContext, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlite_es::SqliteEventRepository;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::runtime::Handle;

use crate::input::Deposited;
use crate::measure::Side;
use crate::{Setup, Survives};

/// The tables that sqlite-es documents.
const TABLES: &str = "
    CREATE TABLE events (
        aggregate_type TEXT NOT NULL,
        aggregate_id TEXT NOT NULL,
        sequence INTEGER CHECK (sequence >= 0) NOT NULL,
        event_type TEXT NOT NULL,
        event_version TEXT NOT NULL,
        payload TEXT NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    ) STRICT;
    CREATE TABLE snapshots (
        aggregate_type TEXT NOT NULL,
        aggregate_id TEXT NOT NULL,
        last_sequence INTEGER CHECK (last_sequence >= 0) NOT NULL,
        current_snapshot INTEGER CHECK (current_snapshot >= 0) NOT NULL,
        payload TEXT NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, last_sequence)
    ) STRICT;
";

/// An account that counts its deposits.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    deposits: u64,
}

impl DomainEvent for Deposited {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Deposited;
    type Event = Deposited;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        command: Deposited,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        sink.write(command, self).await;
        Ok(())
    }

    fn apply(&mut self, _: Deposited) {
        self.deposits += 1;
    }
}

/// Appends with a repository, loads with the event store that a program would use with it.
struct Cqrs<R, S> {
    repository: R,
    events: S,
    runtime: Handle,
}

impl<R: PersistedEventRepository, S: EventStore<Account>> Side for Cqrs<R, S> {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let event = |number| SerializedEvent {
            aggregate_id: account.to_owned(),
            sequence: number as usize,
            aggregate_type: Account::TYPE.to_owned(),
            event_type: "Deposited".to_owned(),
            event_version: "1".to_owned(),
            payload: serde_json::to_value(Deposited::new(account, number)).expect("it is JSON"),
            metadata: json!({}),
        };
        let events: Vec<_> = numbers.map(event).collect();
        let stored = self.repository.persist::<Account>(&events, None);
        self.runtime.block_on(stored).expect("the sequence is the next one");
    }

    fn load(&self, account: &str) -> u64 {
        let loaded = self.runtime.block_on(self.events.load_aggregate(account));
        loaded.expect("it can be loaded").aggregate().deposits
    }
}

pub fn annals(setup: &Setup<'_>) -> Box<dyn Side> {
    let store = setup.survives.options().open(setup.dir.join("store")).expect("a new store");
    Box::new(Cqrs {
        repository: AnnalsEventRepository::new(store.clone()),
        events: AnnalsEventStore::<Account>::new(store),
        runtime: setup.runtime.clone(),
    })
}

/// sqlite-es, whose pool has at most one connection for each client.
pub fn sqlite(setup: &Setup<'_>) -> Box<dyn Side> {
    let options = SqliteConnectOptions::new()
        .filename(setup.dir.join("events.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match setup.survives {
            Survives::PowerFailure => SqliteSynchronous::Full,
            Survives::EndOfProcess => SqliteSynchronous::Off,
        });
    let pool = setup.runtime.block_on(async {
        let pool = SqlitePoolOptions::new().max_connections(setup.clients);
        let pool = pool.connect_with(options).await.expect("a connection");
        sqlx::raw_sql(TABLES).execute(&pool).await.expect("the tables");
        pool
    });
    let repository = SqliteEventRepository::new(pool.clone());
    Box::new(Cqrs {
        repository,
        events: PersistedEventStore::<_, Account>::new_event_store(SqliteEventRepository::new(
            pool,
        )),
        runtime: setup.runtime.clone(),
    })
}
