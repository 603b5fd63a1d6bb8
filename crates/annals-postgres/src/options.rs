//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

use crate::pool::Connect;
use crate::shared::Shared;
use crate::{Error, PostgresStore};

/// What positions are made of. It is chosen when a store is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Positions {
    /// A counter: positions are 1, 2, 3 and so on, in the order of commits. A commit waits until the one before it is
    /// durable, whichever program it comes from.
    #[default]
    Dense,
    /// The ids of transactions: positions grow in the order of commits, with gaps. Commits to different streams become
    /// durable together. Events are visible to reads over all streams, to queries and to subscriptions once every
    /// transaction of the whole cluster with a lower id has ended.
    Fast,
}

impl Positions {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Fast => "fast",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Dense, Self::Fast].into_iter().find(|it| it.name() == name)
    }
}

/// The settings of a store in PostgreSQL.
///
/// ```no_run
/// use annals_postgres::{PostgresOptions, Positions};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let server = "host=localhost user=app dbname=app".parse()?;
/// let store = PostgresOptions::new(server)
///     .schema("ledger")
///     .positions(Positions::Fast)
///     .connections(16)
///     .open()
///     .await?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a store is opened by `open`"]
pub struct PostgresOptions {
    pub(crate) config: Config,
    pub(crate) connector: Arc<dyn Connect>,
    pub(crate) schema: String,
    pub(crate) positions: Option<Positions>,
    pub(crate) connections: usize,
    pub(crate) time_limit: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) creates: bool,
    pub(crate) accepts_loss: bool,
}

impl PostgresOptions {
    /// A server that is reached without encryption.
    pub fn new(config: Config) -> Self {
        Self::with_tls(config, NoTls)
    }

    /// A server that is reached with encryption, for example by the crate `postgres-native-tls`.
    pub fn with_tls<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + Sync + 'static,
        T::TlsConnect: Send + Sync,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self {
            config,
            connector: Arc::new(tls),
            schema: "annals".into(),
            positions: None,
            connections: 8,
            time_limit: Duration::from_secs(30),
            poll_interval: Duration::from_millis(500),
            creates: true,
            accepts_loss: false,
        }
    }

    /// Sets the schema with the tables. Default: `annals`. It may have other tables as well.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets the positions of a new store, and requires them of an existing one. Default: dense for a new one, any for an
    /// existing one.
    pub fn positions(mut self, positions: Positions) -> Self {
        self.positions = Some(positions);
        self
    }

    /// Sets the greatest number of connections, beside one that listens for notifications. Default: 8, at least 2.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(2);
        self
    }

    /// Sets how long the server may take for one exchange, and for how long work is repeated that is safe to repeat.
    /// Default: 30 s.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets how often a subscription looks for events without a notification. Default: 500 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets whether a schema without a store gets one. Default: yes.
    pub fn create(mut self, creates: bool) -> Self {
        self.creates = creates;
        self
    }

    /// Accepts a server that may lose acknowledged commits on power loss, because `fsync` or `full_page_writes` is off:
    /// for tests.
    pub fn accept_loss(mut self) -> Self {
        self.accepts_loss = true;
        self
    }

    /// Opens the store.
    ///
    /// In a task of tokio, its runtime drives the connections; otherwise a thread of the store's own does. The store can
    /// be used from any executor.
    ///
    /// # Errors
    ///
    /// Those of [`Error`]: each says what has to be changed.
    pub async fn open(self) -> Result<PostgresStore, Error> {
        Shared::open(self).await.map(PostgresStore::of)
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("config", &self.config)
            .field("schema", &self.schema)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}
