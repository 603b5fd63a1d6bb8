//! How a store is opened.

use std::fmt;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr, ToServerAddrs};

use crate::partition::Partition;
use crate::{Error, JetStreamStore, PartitionedStore};

/// What the servers do before they acknowledge a commit. A client cannot see it with an ordinary account: it has to be
/// stated, or the servers have to be asked with [`JetStreamOptions::system_account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Every server waits for its disk: `sync_interval: always` in its settings. An acknowledged commit survives the loss
    /// of power on all servers at once.
    Synced,
    /// Servers sync from time to time, by default every two minutes, and at least three have a copy. An acknowledged
    /// commit survives the loss of power on a minority of the servers. If a majority loses power at once, commits of the
    /// last minutes may be lost: for servers that do not share power.
    Replicated,
    /// Acknowledged commits may be lost when a server ends: for tests.
    AcceptLoss,
}

/// The settings of a store on JetStream.
///
/// ```no_run
/// use annals_jetstream::{Durability, JetStreamOptions};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let servers = ["nats://one:4222", "nats://two:4222", "nats://three:4222"];
/// let store = JetStreamOptions::new(&servers[..])?
///     .name("ledger")
///     .durability(Durability::Synced)
///     .open()
///     .await?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[must_use = "a store is opened by `open`"]
pub struct JetStreamOptions {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) connection: ConnectOptions,
    pub(crate) system: Option<ConnectOptions>,
    pub(crate) name: String,
    pub(crate) replicas: Option<usize>,
    pub(crate) durability: Option<Durability>,
    pub(crate) time_limit: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) creates: bool,
    pub(crate) fenced: bool,
}

impl JetStreamOptions {
    /// Servers of one cluster, such as `nats://host:4222`. An address may have a user and a password.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`].
    pub fn new(servers: impl ToServerAddrs) -> Result<Self, Error> {
        Ok(Self {
            servers: servers.to_server_addrs().map_err(Error::InvalidAddress)?.collect(),
            connection: ConnectOptions::new().name("annals-jetstream"),
            system: None,
            name: "annals".into(),
            replicas: None,
            durability: None,
            time_limit: Duration::from_secs(30),
            poll_interval: Duration::from_millis(500),
            creates: true,
            fenced: false,
        })
    }

    /// Sets the credentials, the encryption and other settings of the connection.
    pub fn connection(mut self, options: ConnectOptions) -> Self {
        self.connection = options;
        self
    }

    /// Lets the servers be asked whether they wait for the disk, with the credentials of a user of the system account. The
    /// connection is closed afterwards. Without [`durability`](Self::durability), they have to wait for it.
    pub fn system_account(mut self, options: ConnectOptions) -> Self {
        self.system = Some(options);
        self
    }

    /// Sets the name of the store, which is that of its stream, and of its bucket for checkpoints and snapshots. Its
    /// subjects begin with it. Default: `annals`. Letters, digits, `_` and `-`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of replicas of a new store, and requires it of an existing one. Default: 3 for a new one, any
    /// number for an existing one.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// States what the servers do before they acknowledge.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets for how long work is repeated that is safe to repeat, while no server answers or leads the stream. Default:
    /// 30 s. The election of a leader takes some seconds.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets how often a subscription asks for events without news. Default: 500 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets whether a store that does not exist is created. Default: yes.
    pub fn create(mut self, creates: bool) -> Self {
        self.creates = creates;
        self
    }

    /// Sets whether a store that is fenced is opened: to read it, to copy it, or to lift the fence. Nothing can be appended to
    /// it. Default: no. See [`JetStreamStore::raise_fence`].
    pub fn fenced(mut self, opens: bool) -> Self {
        self.fenced = opens;
        self
    }

    /// Opens the store.
    ///
    /// In a task of tokio, its runtime drives the connection; otherwise a thread of the store's own does. The store can
    /// be used from any executor.
    ///
    /// # Errors
    ///
    /// Those of [`Error`]: each says what has to be changed.
    pub async fn open(self) -> Result<JetStreamStore, Error> {
        let connected = Box::pin(crate::open::connected(&self)).await?;
        let opened = crate::open::open(&connected, &self, self.name.clone(), None).await;
        opened.map(JetStreamStore::of)
    }

    /// Opens a store whose streams are spread over a number of partitions, which is chosen when it is created: see
    /// [`PartitionedStore`].
    ///
    /// # Errors
    ///
    /// Those of [`Error`]: each says what has to be changed.
    pub async fn open_partitioned(self, partitions: u32) -> Result<PartitionedStore, Error> {
        let connected = Box::pin(crate::open::connected(&self)).await?;
        let mut stores = Vec::new();
        for partition in Partition::all(partitions) {
            let name = format!("{}-{}", self.name, partition.number());
            let opened = crate::open::open(&connected, &self, name, Some(partition)).await?;
            stores.push(JetStreamStore::of(opened));
        }
        Ok(PartitionedStore::of(stores))
    }
}

impl fmt::Debug for JetStreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamOptions")
            .field("servers", &self.servers.len())
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
