//! A projection that records what it handles in a table without constraints, and fails where a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout};
use annals_es::projection::{AsyncProjection, Projection};
use annals_es::{
    AnnalsStore, Cause, Commit, Event, Expected, OrderedStore, Query, RecordedEvent, encode,
};
use annals_es_sqlite::rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Far more than any wait takes: a test that reaches it hangs.
const HANGS: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Added")]
pub(crate) struct Added {
    amount: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Error,
    Panic,
    /// The handler ends the transaction that is not its own.
    End(&'static str),
    /// The handler ignores an error because of which SQLite has ended the transaction.
    IgnoreRollback,
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) version: u32,
    pub(crate) clears: bool,
    pub(crate) event_types: Vec<&'static str>,
    pub(crate) faults: Arc<Mutex<HashMap<u64, VecDeque<Fault>>>>,
}

impl Log {
    pub(crate) fn new(version: u32) -> Self {
        Self { version, clears: true, event_types: vec!["Added"], faults: Arc::default() }
    }

    pub(crate) fn fail(self, position: u64, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().collect();
        self.faults.lock().expect("no panic holds it").insert(position, faults);
        self
    }

    fn table(&self) -> String {
        format!("log_v{}", self.version)
    }

    fn insert(&self, tables: &Connection, event: &Added, at: u64) -> Result<(), Cause> {
        let factor = if self.version == 1 { 1 } else { 10 };
        let insert = format!("INSERT INTO {} VALUES (?1, ?2)", self.table());
        tables.prepare_cached(&insert)?.execute(params![at, event.amount * factor])?;
        let mut faults = self.faults.lock().expect("no panic holds it");
        let fault = faults.get_mut(&at).and_then(VecDeque::pop_front);
        drop(faults);
        match fault {
            None => Ok(()),
            Some(Fault::Error) => Err("the handler refuses".into()),
            Some(Fault::Panic) => panic!("the handler panics"),
            Some(Fault::IgnoreRollback) => {
                let repeat = "INSERT OR ROLLBACK INTO annals_projections
                              SELECT * FROM annals_projections";
                tables.execute_batch(repeat).expect_err("it is recorded already");
                Ok(())
            }
            Some(Fault::End(statement)) => Ok(tables.execute_batch(statement)?),
        }
    }
}

impl Projection for Log {
    type Event = Added;
    type Model = Connection;
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

    fn prepare(&self, tables: &mut Connection) -> Result<(), Cause> {
        let table = self.table();
        let create = format!("CREATE TABLE {table} (position INTEGER, amount INTEGER);");
        tables.execute_batch(&create)?;
        if self.version == 1 {
            tables.execute_batch("CREATE VIEW log AS SELECT * FROM log_v1")?;
        }
        Ok(())
    }

    fn handle(
        &self,
        tables: &mut Connection,
        event: Added,
        recorded: &RecordedEvent,
    ) -> Result<(), Cause> {
        self.insert(tables, &event, recorded.position().get())
    }

    fn activate(&self, tables: &mut Connection) -> Result<(), Cause> {
        let table = self.table();
        let replace = format!("DROP VIEW log; CREATE VIEW log AS SELECT * FROM {table};");
        Ok(tables.execute_batch(&replace)?)
    }

    fn clear(&self, tables: &mut Connection) -> Result<bool, Cause> {
        if self.clears {
            tables.execute_batch("DROP VIEW IF EXISTS log; DROP TABLE IF EXISTS log_v1;")?;
        }
        Ok(self.clears)
    }
}

/// The same with handlers that wait before and after they change the table.
pub(crate) struct Waiting(pub(crate) Log);

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl AsyncProjection for Waiting {
    type Event = Added;
    type Model = Connection;
    type Error = Cause;

    fn name(&self) -> &str {
        "log"
    }

    async fn prepare(&self, tables: &mut Connection) -> Result<(), Cause> {
        yield_now().await;
        self.0.prepare(tables)?;
        yield_now().await;
        Ok(())
    }

    async fn handle(
        &self,
        tables: &mut Connection,
        event: Added,
        recorded: &RecordedEvent,
    ) -> Result<(), Cause> {
        yield_now().await;
        self.0.handle(tables, event, recorded)?;
        yield_now().await;
        Ok(())
    }
}

pub(crate) fn open(path: &Path) -> AnnalsStore {
    let options = annals::Options::new().segment_size(1 << 20);
    AnnalsStore::new(options.open(path).expect("the store opens"))
}

pub(crate) fn annals_store() -> (AnnalsStore, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (open(&dir.path().join("store")), dir)
}

/// Copies the files of a store that is closed.
#[allow(clippy::disallowed_methods, reason = "a copy as an operator makes it")]
pub(crate) fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the files") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_store(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

pub(crate) fn database() -> (PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    (dir.path().join("read.db"), dir)
}

pub(crate) fn append<S: OrderedStore>(store: &S, amounts: impl IntoIterator<Item = u64>) {
    let events = amounts.into_iter().map(|amount| encode(&Added { amount }).expect("an event"));
    let commit = Commit::to("log-1", Expected::Any, events);
    block_on(store.append(commit)).expect("it is appended");
}

/// Appends each amount in a commit of its own.
pub(crate) fn append_each<S: OrderedStore>(store: &S, amounts: impl IntoIterator<Item = u64>) {
    amounts.into_iter().for_each(|amount| append(store, [amount]));
}

/// The rows of a version of the table, in the order they were inserted; none if it does not exist.
pub(crate) fn read(path: &Path, version: u32) -> Vec<(u64, u64)> {
    let connection = Connection::open(path).expect("a database");
    let select = format!("SELECT position, amount FROM log_v{version} ORDER BY rowid");
    let Ok(mut select) = connection.prepare(&select) else { return Vec::new() };
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("the rows");
    rows.map(|row| row.expect("a row")).collect()
}

pub(crate) fn each_once(last: u64) -> Vec<(u64, u64)> {
    (1..=last).map(|it| (it, it)).collect()
}

pub(crate) fn wait<F: IntoFuture>(future: F) -> F::Output {
    block_on_timeout(future, HANGS).expect("the wait ends")
}
