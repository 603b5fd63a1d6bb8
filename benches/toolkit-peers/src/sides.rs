//! The two frameworks behind one interface.
//!
//! Owns how each is configured. Must never measure.

use std::path::Path;
use std::time::Duration;

use annals::Durability;
use annals_es::{AnnalsStore, Repository};
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{CqrsFramework, EventStore};
use sqlite_es::SqliteEventRepository;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::bank::{Account, Command};
use crate::rusqlite_repository::RusqliteRepository;

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

/// What survives when a command has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The command survives a power failure.
    PowerFailure,
    /// The command survives the end of the process; the operating system has it.
    EndOfProcess,
}

/// What executes commands.
pub trait Bank: Send + Sync + 'static {
    /// Executes a command, which must be accepted.
    fn execute(&self, account: &str, command: Command) -> impl Future<Output = ()> + Send;

    /// The balance of an account, read from the store.
    fn balance(&self, account: &str) -> impl Future<Output = u64> + Send;
}

/// annals-es with its defaults: a cache of 1,000 aggregates and no snapshots.
pub struct AnnalsBank(Repository<Account, AnnalsStore>);

impl AnnalsBank {
    pub fn open(dir: &Path, survives: Survives) -> Self {
        let durability = match survives {
            Survives::PowerFailure => Durability::Sync,
            // It syncs once an hour, the other side never.
            Survives::EndOfProcess => Durability::Buffered { interval: Duration::from_secs(3600) },
        };
        let options = annals::Options::new().durability(durability);
        let store = options.open(dir.join("store")).expect("a new store");
        Self(Repository::new(AnnalsStore::new(store)).expect("one version of each event"))
    }
}

impl Bank for AnnalsBank {
    async fn execute(&self, account: &str, command: Command) {
        self.0.execute(account, &command).await.expect("it is accepted");
    }

    async fn balance(&self, account: &str) -> u64 {
        // Without the cache.
        let store = self.0.store().clone();
        let accounts = Repository::<Account, _>::new(store).expect("one version of each event");
        accounts.load(account).await.expect("it can be loaded").state.balance
    }
}

/// How cqrs-es finds the state of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// From all of its events.
    Events,
    /// From a row that each commit replaces.
    Saved,
}

/// cqrs-es above a repository.
pub struct CqrsBank<R: PersistedEventRepository> {
    framework: CqrsFramework<Account, PersistedEventStore<R, Account>>,
    /// The framework does not show a state; a second store of the same repository does.
    reader: PersistedEventStore<R, Account>,
}

impl<R: PersistedEventRepository> CqrsBank<R> {
    fn new(repositories: [R; 2], state: State) -> Self {
        let [framework, reader] = repositories.map(|repository| match state {
            State::Events => PersistedEventStore::new_event_store(repository),
            State::Saved => PersistedEventStore::new_aggregate_store(repository),
        });
        Self { framework: CqrsFramework::new(framework, Vec::new(), ()), reader }
    }
}

impl<R: PersistedEventRepository + 'static> Bank for CqrsBank<R> {
    async fn execute(&self, account: &str, command: Command) {
        self.framework.execute(account, command).await.expect("it is accepted");
    }

    async fn balance(&self, account: &str) -> u64 {
        let context = self.reader.load_aggregate(account).await.expect("it can be loaded");
        context.aggregate.balance
    }
}

fn create(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("bank.db");
    let connection = rusqlite::Connection::open(&path).expect("a new database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("a setting");
    connection.execute_batch(TABLES).expect("the tables");
    path
}

/// cqrs-es with sqlite-es, whose pool has at most one connection per client.
pub async fn sqlite_es(
    dir: &Path,
    survives: Survives,
    state: State,
    clients: u32,
) -> CqrsBank<SqliteEventRepository> {
    let synchronous = match survives {
        Survives::PowerFailure => SqliteSynchronous::Full,
        Survives::EndOfProcess => SqliteSynchronous::Off,
    };
    let options = SqliteConnectOptions::new()
        .filename(create(dir))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous);
    let pool = SqlitePoolOptions::new().max_connections(clients).connect_with(options);
    let pool = pool.await.expect("a connection");
    let repository = || SqliteEventRepository::new(pool.clone());
    CqrsBank::new([repository(), repository()], state)
}

/// cqrs-es with rusqlite.
pub fn rusqlite(dir: &Path, survives: Survives, state: State) -> CqrsBank<RusqliteRepository> {
    let synchronous = match survives {
        Survives::PowerFailure => "FULL",
        Survives::EndOfProcess => "OFF",
    };
    let path = create(dir);
    let repository = || RusqliteRepository::open(&path, synchronous).expect("a connection");
    CqrsBank::new([repository(), repository()], state)
}
