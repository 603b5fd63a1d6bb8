//! A projection that records what it handles in a table without constraints, and fails where a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use annals_es::blocking::{block_on, block_on_timeout};
use annals_es::projection::{
    AsyncProjection, ErrorPolicy, Handle, Options, ProjectionId, Runner, RunnerThread,
};
use annals_es::{
    AnnalsStore, Cause, Commit, Event, Expected, OrderedStore, Position, Query, RecordedEvent,
    encode,
};
use annals_es_postgres::tokio_postgres::{Client, Config, NoTls};
use annals_es_postgres::{Postgres, Tables};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) type Tests = &'static [(&'static str, fn())];

/// Far more than any wait takes: a test that reaches it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Drives the connections of the tests themselves.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

pub(crate) fn server() -> Option<Config> {
    let server = std::env::var("ANNALS_ES_POSTGRES").ok()?;
    Some(server.parse().expect("ANNALS_ES_POSTGRES has the parameters of a connection"))
}

pub(crate) fn connect(config: &Config) -> Client {
    RUNTIME.block_on(async {
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    })
}

/// A schema of its own on the server.
pub(crate) struct Database {
    pub(crate) schema: String,
    pub(crate) client: Client,
}

impl Database {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("annals_test_{}_{number}", std::process::id());
        let mut database = Self { client: connect(&server().expect("a server")), schema };
        database.execute(&format!("CREATE SCHEMA {}", database.schema));
        database.client = connect(&database.config());
        database
    }

    /// Connections that use the schema, and have its name.
    pub(crate) fn config(&self) -> Config {
        let mut config = server().expect("a server");
        config.options(format!("-c search_path={}", self.schema));
        config.application_name(&self.schema);
        config
    }

    pub(crate) fn execute(&self, sql: &str) {
        RUNTIME.block_on(self.client.batch_execute(sql)).expect("it is executed");
    }

    /// The numbers of a row.
    pub(crate) fn numbers<const N: usize>(&self, sql: &str) -> [i64; N] {
        let row = RUNTIME.block_on(self.client.query_one(sql, &[])).expect("a row");
        std::array::from_fn(|column| row.get(column))
    }

    pub(crate) fn position(&self) -> Option<Position> {
        let id = ProjectionId::new("log", 1);
        RUNTIME.block_on(annals_es_postgres::position(&self.client, &id)).expect("a look-up")
    }

    pub(crate) fn active_version(&self) -> Option<u32> {
        RUNTIME
            .block_on(annals_es_postgres::active_version(&self.client, "log"))
            .expect("a look-up")
    }

    /// The rows of a version of the table, in the order they were inserted; none if it does not exist.
    pub(crate) fn read(&self, version: u32) -> Vec<(u64, u64)> {
        let select = format!("SELECT position, amount FROM log_v{version} ORDER BY number");
        let Ok(rows) = RUNTIME.block_on(self.client.query(&select, &[])) else { return Vec::new() };
        let number = |it: i64| u64::try_from(it).expect("a number that was written");
        rows.iter().map(|row| (number(row.get(0)), number(row.get(1)))).collect()
    }

    /// Ends the connections of the target, as an administrator does.
    pub(crate) fn terminate(&self) -> i64 {
        let [ended] = self.numbers(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = current_setting('application_name')
               AND pid <> pg_backend_pid()",
        );
        ended
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The connections of a test that has failed may hold locks.
        self.terminate();
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Added")]
pub(crate) struct Added {
    amount: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Error,
    Panic,
    /// The handler ends the transaction that is not its own.
    End(&'static str),
    /// The handler executes a statement that fails, and returns no error.
    IgnoreFailure,
    /// The handler returns the error of a statement.
    ReturnFailure,
    /// The server ends the connection.
    Disconnect,
    /// The statement does not end.
    Hang,
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) version: u32,
    pub(crate) clears: bool,
    pub(crate) event_types: Vec<&'static str>,
    pub(crate) faults: Arc<Mutex<HashMap<u64, VecDeque<Fault>>>>,
    /// The number of events that were handled, by this and its clones.
    pub(crate) handled: Arc<AtomicU32>,
}

impl Log {
    pub(crate) fn new(version: u32) -> Self {
        let (faults, handled) = (Arc::default(), Arc::default());
        Self { version, clears: true, event_types: vec!["Added"], faults, handled }
    }

    pub(crate) fn fail(self, position: u64, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().collect();
        self.faults.lock().expect("no panic holds it").insert(position, faults);
        self
    }

    fn table(&self) -> String {
        format!("log_v{}", self.version)
    }
}

async fn fail(tables: &Tables, fault: Fault) -> Result<(), Cause> {
    match fault {
        Fault::Error => Err("the handler\0refuses".into()),
        Fault::Panic => panic!("the handler panics"),
        Fault::End(statement) => Ok(tables.batch_execute(statement).await?),
        Fault::IgnoreFailure => {
            tables.batch_execute("SELECT 1 / 0").await.expect_err("a division by zero");
            Ok(())
        }
        Fault::ReturnFailure => Ok(tables.batch_execute("SELECT 1 / 0").await?),
        Fault::Disconnect => {
            Ok(tables.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await?)
        }
        Fault::Hang => Ok(tables.batch_execute("SELECT pg_sleep(600)").await?),
    }
}

impl AsyncProjection for Log {
    type Event = Added;
    type Model = Tables;
    type Error = Cause;

    fn name(&self) -> &str {
        "log"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn query(&self) -> Query {
        Query::types(self.event_types.iter().copied())
    }

    async fn prepare(&self, tables: &mut Tables) -> Result<(), Cause> {
        let table = self.table();
        let columns = "number bigserial, position bigint, amount bigint";
        tables.batch_execute(&format!("CREATE TABLE {table} ({columns})")).await?;
        if self.version == 1 {
            tables.batch_execute("CREATE VIEW log AS SELECT * FROM log_v1").await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        tables: &mut Tables,
        event: Added,
        recorded: &RecordedEvent,
    ) -> Result<(), Cause> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        let at = recorded.position().get();
        let insert = format!("INSERT INTO {} (position, amount) VALUES ($1, $2)", self.table());
        let insert = tables.prepare_cached(&insert).await?;
        let amount = event.amount * if self.version == 1 { 1 } else { 10 };
        tables.execute(&insert, &[&i64::try_from(at)?, &i64::try_from(amount)?]).await?;
        let fault = {
            let mut faults = self.faults.lock().expect("no panic holds it");
            faults.get_mut(&at).and_then(VecDeque::pop_front)
        };
        match fault {
            Some(fault) => fail(tables, fault).await,
            None => Ok(()),
        }
    }

    async fn activate(&self, tables: &mut Tables) -> Result<(), Cause> {
        let table = self.table();
        let replace = format!("DROP VIEW log; CREATE VIEW log AS SELECT * FROM {table};");
        Ok(tables.batch_execute(&replace).await?)
    }

    async fn clear(&self, tables: &mut Tables) -> Result<bool, Cause> {
        if self.clears {
            let drop = "DROP VIEW IF EXISTS log; DROP TABLE IF EXISTS log_v1;";
            tables.batch_execute(drop).await?;
        }
        Ok(self.clears)
    }
}

pub(crate) fn start<S: OrderedStore>(
    store: &S,
    log: &Log,
    target: Postgres,
    options: Options,
) -> (Handle, RunnerThread) {
    let mut runner = Runner::new(store.clone()).batch_size(7);
    let handle = runner.add_async_with(log.clone(), target, options).expect("it fits");
    (handle, runner.spawn_thread().expect("a thread"))
}

/// Runs a projection until it has caught up.
pub(crate) fn catch_up<S: OrderedStore>(store: &S, log: &Log, database: &Database) {
    let target = Postgres::new(database.config());
    let (handle, thread) = start(store, log, target, Options::new());
    wait(handle.wait_until_live()).expect("it catches up");
    thread.stop().expect("it stops");
}

pub(crate) fn quick(policy: ErrorPolicy, retries: u32) -> Options {
    let (first, longest) = (Duration::from_micros(10), Duration::from_millis(1));
    Options::new().on_error(policy.retries(retries).backoff(first, longest))
}

pub(crate) fn open(path: &Path) -> AnnalsStore {
    let options = annals::Options::new().segment_size(1 << 20);
    AnnalsStore::new(options.open(path).expect("the store opens"))
}

pub(crate) fn annals_store() -> (AnnalsStore, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (open(&dir.path().join("store")), dir)
}

/// Appends each amount in a commit of its own.
pub(crate) fn append_each<S: OrderedStore>(store: &S, amounts: impl IntoIterator<Item = u64>) {
    for amount in amounts {
        let event = encode(&Added { amount }).expect("an event");
        let commit = Commit::to("log-1", Expected::Any, [event]);
        block_on(store.append(commit)).expect("it is appended");
    }
}

pub(crate) fn each_once(last: u64) -> Vec<(u64, u64)> {
    (1..=last).map(|it| (it, it)).collect()
}

pub(crate) fn wait<F: IntoFuture>(future: F) -> F::Output {
    block_on_timeout(future, HANGS).expect("the wait ends")
}

/// Waits for what nothing tells of.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < HANGS, "the wait ends");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn on_runtime<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}
