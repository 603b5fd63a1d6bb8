//! The executor.
//!
//! Owns the signal of writes. Must never block the runtime longer than the store's calls for tasks do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::Store;
use evento_core::cursor::{Args, ReadResult, Value};
use evento_core::{
    Event, EventFilter, Executor, RoutingKey, SubscriberStatus, TenantFilter, WriteError,
};
use tokio::sync::watch;
use ulid::Ulid;

use crate::read::Filter;
use crate::subscriber::{self, Subscriber};
use crate::write::{self, Clock, Stamps};
use crate::{Error, event, read, snapshot};

/// Number of streams whose routing keys are remembered.
const MOST_ROUTING_KEYS: usize = 1 << 16;

/// An executor of evento in a store of annals. Clones share the store.
///
/// The events of the aggregate `7` of type `app/User` are the stream `app/User-7`, see
/// [`StreamName`](annals::StreamName); in the tenant `acme`, they are the stream `app/User-@acme-7`. Subscribers are
/// records with JSON as their values, under keys that begin with `evento/subscriber/`.
///
/// A store has one executor and its clones. A second one is safe, but subscriptions of the first do not learn of its writes
/// before their next poll.
#[derive(Debug, Clone)]
pub struct AnnalsExecutor {
    store: Store,
    clock: Arc<Clock>,
    writes: watch::Sender<u64>,
    /// The routing keys of streams that were asked for: each append asks for that of its stream, which never changes.
    routing_keys: Arc<Mutex<HashMap<String, Option<String>>>>,
}

impl AnnalsExecutor {
    /// Opens a store, or creates it, and its executor. For other options, open the store with
    /// [`annals::Options`] and pass it to [`AnnalsExecutor::new`]. This blocks until the store is open.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`] and [`AnnalsExecutor::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::new(Store::open(path)?)
    }

    /// An executor in a store, of which it keeps a handle. This reads the last event.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if the last event is not one of evento, and those of a failed read.
    pub fn new(store: Store) -> Result<Self, Error> {
        let clock = Arc::new(Clock::new(&store)?);
        Ok(Self { store, clock, writes: watch::Sender::new(0), routing_keys: Arc::default() })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Enables or disables a subscription. The worker of one that is disabled stops, and no other can start. A
    /// subscription that never ran is ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Subscriber`], and those of a failed write.
    pub async fn set_subscriber_enabled(&self, key: &str, enabled: bool) -> Result<(), Error> {
        let change =
            |stored: Option<Subscriber>| stored.map(|stored| Subscriber { enabled, ..stored });
        subscriber::update(&self.store, key, change).await.map(drop)
    }

    fn known_routing_keys(&self) -> MutexGuard<'_, HashMap<String, Option<String>>> {
        self.routing_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn append(&self, events: Vec<Event>, stamps: Stamps) -> Result<(), WriteError> {
        if events.is_empty() {
            return Ok(());
        }
        self.clock.write(&self.store, events, stamps).await?;
        self.writes.send_modify(|writes| *writes = writes.wrapping_add(1));
        Ok(())
    }
}

#[async_trait::async_trait]
impl Executor for AnnalsExecutor {
    /// Writes events in one commit. Their stamps are set: no event gets one at or before that of an event that was written
    /// earlier and has a greater version or id.
    async fn write(&self, events: Vec<Event>) -> Result<(), WriteError> {
        self.append(events, Stamps::New).await
    }

    /// Writes events with their stamps. They must come after all events of the store, by stamp, version and id; else
    /// this fails with [`Error::OutOfOrder`]. Events that are stored already are no error.
    async fn replicate(&self, events: Vec<Event>) -> Result<(), WriteError> {
        self.append(events, Stamps::Kept).await
    }

    fn write_watch(&self) -> Option<watch::Receiver<u64>> {
        Some(self.writes.subscribe())
    }

    async fn get_subscriber_cursor(&self, key: String) -> anyhow::Result<Option<Value>> {
        let subscriber = subscriber::load(&self.store, &key).await?;
        Ok(subscriber.and_then(|it| it.cursor).map(Value))
    }

    async fn is_subscriber_running(&self, key: String, worker_id: Ulid) -> anyhow::Result<bool> {
        let subscriber = subscriber::load(&self.store, &key).await?;
        Ok(subscriber.is_some_and(|it| it.is_run_by(worker_id)))
    }

    async fn subscriber_status(
        &self,
        key: String,
        worker_id: Ulid,
    ) -> anyhow::Result<SubscriberStatus> {
        let subscriber = subscriber::load(&self.store, &key).await?;
        Ok(subscriber.map_or_else(SubscriberStatus::default, |it| SubscriberStatus {
            running: it.is_run_by(worker_id),
            cursor: it.cursor.map(Value),
        }))
    }

    async fn latest_version(
        &self,
        tenant: String,
        aggregate_type: String,
        aggregate_id: String,
    ) -> anyhow::Result<u16> {
        let of = [&*tenant, &*aggregate_type, &*aggregate_id];
        Ok(write::latest_version(&self.store, of).await?)
    }

    async fn stream_routing_key(
        &self,
        tenant: String,
        aggregate_type: String,
        aggregate_id: String,
    ) -> anyhow::Result<Option<Option<String>>> {
        let stream = event::stream(&tenant, &aggregate_type, &aggregate_id);
        if let Some(routing_key) = self.known_routing_keys().get(&stream) {
            return Ok(Some(routing_key.clone()));
        }
        let Some(routing_key) = write::routing_key(&self.store, &stream).await? else {
            return Ok(None);
        };
        let mut known = self.known_routing_keys();
        if known.len() >= MOST_ROUTING_KEYS {
            known.clear();
        }
        known.insert(stream, routing_key.clone());
        Ok(Some(routing_key))
    }

    async fn upsert_subscriber(&self, key: String, worker_id: Ulid) -> anyhow::Result<()> {
        let change = |stored: Option<Subscriber>| {
            let stored = stored.unwrap_or_else(|| Subscriber::new(worker_id));
            Some(Subscriber { worker: worker_id.to_string(), ..stored })
        };
        subscriber::update(&self.store, &key, change).await?;
        Ok(())
    }

    async fn acknowledge(
        &self,
        key: String,
        worker_id: Ulid,
        cursor: Value,
        lag: u64,
    ) -> anyhow::Result<bool> {
        let change = |stored: Option<Subscriber>| {
            let stored = stored.filter(|stored| stored.is_run_by(worker_id))?;
            Some(Subscriber { cursor: Some(cursor.0.clone()), lag, ..stored })
        };
        Ok(subscriber::update(&self.store, &key, change).await?)
    }

    async fn read(
        &self,
        aggregators: Option<Arc<[EventFilter]>>,
        routing_key: Option<RoutingKey>,
        tenant: TenantFilter,
        args: Args,
        to_micros: Option<u64>,
    ) -> anyhow::Result<ReadResult<Event>> {
        let filter = Filter { aggregators, routing_key, tenant };
        read::read(&self.store, &filter, &args, to_micros).await
    }

    /// For every tenant, this is the time of the last event of the store, whatever the filter: it is asked for often, and
    /// a lag may be stated too large.
    async fn latest_timestamp(
        &self,
        aggregators: Option<Arc<[EventFilter]>>,
        routing_key: Option<RoutingKey>,
        tenant: TenantFilter,
    ) -> anyhow::Result<u64> {
        if tenant == TenantFilter::All {
            return Ok(self.clock.last_millis() / 1000);
        }
        let last = Args::backward(1, None);
        let page = self.read(aggregators, routing_key, tenant, last, None).await?;
        Ok(page.edges.first().map_or(0, |edge| edge.node.timestamp))
    }

    async fn get_snapshot(
        &self,
        tenant: String,
        aggregate_type: String,
        projection: String,
        aggregate_revision: String,
        id: String,
    ) -> anyhow::Result<Option<(Vec<u8>, Value)>> {
        let key = snapshot::key([&tenant, &aggregate_type, &projection, &id]);
        Ok(snapshot::load(&self.store, key, &aggregate_revision).await?)
    }

    async fn save_snapshot(
        &self,
        tenant: String,
        aggregate_type: String,
        projection: String,
        aggregate_revision: String,
        id: String,
        data: Vec<u8>,
        cursor: Value,
    ) -> anyhow::Result<()> {
        let key = snapshot::key([&tenant, &aggregate_type, &projection, &id]);
        snapshot::save(&self.store, key, aggregate_revision, data, cursor).await
    }

    async fn delete_snapshot(
        &self,
        tenant: String,
        aggregate_type: String,
        projection: String,
        id: String,
    ) -> anyhow::Result<()> {
        let key = snapshot::key([&tenant, &aggregate_type, &projection, &id]);
        snapshot::delete(&self.store, key).await
    }

    /// Fails with [`Error::DeleteStream`], if there is such a stream.
    async fn delete_stream(
        &self,
        tenant: String,
        aggregate_type: String,
        aggregate_id: String,
    ) -> anyhow::Result<()> {
        let stream = event::stream(&tenant, &aggregate_type, &aggregate_id);
        match self.store.stream_head_async(&stream).await.map_err(Error::Store)? {
            Some(_) => Err(Error::DeleteStream { stream }.into()),
            None => Ok(()),
        }
    }
}
