//! What handlers change: the tables of a database, in an open transaction.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use tokio_postgres::{Client, Error, Statement};

/// Number of statements that are kept prepared.
const STATEMENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// A connection with an open transaction, in which a handler changes its tables. It has the methods of
/// [`Client`], except those that begin a transaction.
///
/// A handler must not end the transaction. To undo a part of its own work, or to go on after a statement that may
/// fail, it uses a savepoint: after the failure of a statement, PostgreSQL refuses all that follow, and the commit.
///
/// ```no_run
/// # use annals_es_postgres::{Tables, tokio_postgres::Error};
/// async fn add(tables: &Tables, amount: i64) -> Result<(), Error> {
///     tables.batch_execute("SAVEPOINT before_add").await?;
///     let add = tables.prepare_cached("INSERT INTO amounts VALUES ($1)").await?;
///     if tables.execute(&add, &[&amount]).await.is_err() {
///         tables.batch_execute("ROLLBACK TO SAVEPOINT before_add").await?;
///     }
///     Ok(())
/// }
/// ```
pub struct Tables {
    client: Client,
    statements: Mutex<LruCache<String, Statement>>,
}

impl Tables {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, statements: Mutex::new(LruCache::new(STATEMENTS)) }
    }

    /// A prepared statement, which is kept for later calls: the 64 that were used last are. Statements that are passed
    /// as text are prepared each time, which is one more exchange with the server.
    ///
    /// # Errors
    ///
    /// Those of [`Client::prepare`].
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(kept) = self.kept().get(sql) {
            return Ok(kept.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.kept().put(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Forgets the prepared statements: tables may have changed so that they no longer fit.
    pub(crate) fn forget_statements(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, LruCache<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Tables {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("is_closed", &self.client.is_closed())
            .finish_non_exhaustive()
    }
}
