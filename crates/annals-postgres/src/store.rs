//! The store: the traits of the toolkit over tables.
//!
//! Owns what runs on the store's runtime, where every exchange is made. Must never ask the server itself.

use std::fmt;
use std::sync::Arc;

use annals_es::{
    AppendError, AtomicCheckpoints, Boundaries, Cause, Commit, Committed, EventStore, Mark,
    OrderedStore, Position, ReadAll, ReadStream, RecordedEvent, SeveralStreams, Snapshot,
    StoreError, StreamName, Subscribe, Timestamp, Version,
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::pool::BoxFuture;
use crate::reads::on_runtime;
use crate::shared::{Also, Shared, unknown};
use crate::subscription::PostgresSubscription;
use crate::{Error, Positions, PostgresEvents, PostgresOptions, check};

/// A store in the tables of a PostgreSQL database; see the [crate](crate) for what it promises. Clones share its
/// connections.
#[derive(Clone)]
pub struct PostgresStore {
    pub(crate) shared: Arc<Shared>,
}

impl PostgresStore {
    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Opens the store in the schema `annals`, and creates it if it does not exist. See [`PostgresOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`PostgresOptions::open`].
    pub async fn open(config: tokio_postgres::Config) -> Result<Self, Error> {
        PostgresOptions::new(config).open().await
    }

    /// What positions are made of.
    pub fn positions(&self) -> Positions {
        self.shared.batches.positions
    }

    /// Records a commit, and changes other tables of the database in the same transaction: both take effect, or neither.
    /// `also` is called with the transaction open, once the commit is known to succeed. It must not end the
    /// transaction. A commit that is [already recorded](Committed::already_recorded) calls nothing: what belonged to it
    /// took effect with it.
    ///
    /// In a dense store every other commit waits for `also`.
    ///
    /// ```no_run
    /// use annals_es::{AppendError, Commit, Expected, NewEvent};
    /// use annals_postgres::PostgresStore;
    ///
    /// async fn open(store: &PostgresStore) -> Result<(), AppendError> {
    ///     let opened = NewEvent::new("Opened", "{}");
    ///     let commit = Commit::to("account-1", Expected::NoStream, [opened]);
    ///     let insert = "INSERT INTO accounts (id, version) VALUES ('account-1', 1)";
    ///     let also = store.append_with(commit, move |tables, _| {
    ///         Box::pin(async move {
    ///             tables.execute(insert, &[]).await?;
    ///             Ok(())
    ///         })
    ///     });
    ///     also.await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`EventStore::append`]. An error of `also` is returned as [`StoreError::Backend`], and nothing is recorded.
    pub async fn append_with(
        &self,
        commit: Commit<Self>,
        also: impl for<'a> FnOnce(&'a Client, &'a Committed) -> BoxFuture<'a, Result<(), Cause>>
        + Send
        + 'static,
    ) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        check::commit(&parts, self.shared.batches.positions)?;
        let (shared, also): (_, Also) = (Arc::clone(&self.shared), Box::new(also));
        let work = async move { Ok(shared.append_alone(parts, also).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }
}

impl EventStore for PostgresStore {
    type Events = PostgresEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        let bytes = check::commit(&parts, self.shared.batches.positions)?;
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let outcome = Arc::clone(&shared.queue).append(parts, bytes).await;
            if let Err(AppendError::Conflict(conflict)) = &outcome {
                shared.show(conflict).await?;
            }
            Ok(outcome)
        };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    fn read_stream(&self, read: ReadStream) -> PostgresEvents {
        PostgresEvents::of_stream(Arc::clone(&self.shared), read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        let work = async move { shared.version(stream.as_str()).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let found = on_runtime(&self.shared, async move { shared.event(id).await }).await?;
        Ok(found.filter(|event| event.stream() == stream.as_str()))
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let work = async move { shared.load(&key, at_most).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        check::name("snapshot", &snapshot.key)
            .map_err(|error| check::invalid("snapshot", error.to_string()))?;
        let shared = Arc::clone(&self.shared);
        on_runtime(&self.shared, async move { Ok(shared.save(snapshot).await) }).await?
    }
}

impl OrderedStore for PostgresStore {
    type Subscription = PostgresSubscription;

    async fn head(&self) -> Result<Position, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.heads().await }).await?.0)
    }

    fn read_all(&self, read: ReadAll) -> PostgresEvents {
        PostgresEvents::of_all(Arc::clone(&self.shared), read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> PostgresSubscription {
        PostgresSubscription::new(&self.shared, subscribe)
    }

    async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let waiting =
            self.shared.runtime.handle().spawn(async move { shared.wait_for(position).await });
        // The caller may stop waiting: the task ends with its future.
        let _guard = crate::subscription::Aborts(waiting.abort_handle());
        Ok(waiting.await.unwrap_or(Err(Error::Ended))?)
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.position_at(time).await }).await?)
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let work = async move { shared.checkpoint(&name).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn save_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        self.append(Commit::progress(name, to)).await.map(drop)
    }

    async fn reset_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let work = async move { Ok(shared.reset(&name, to).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    async fn checkpoint_token(&self, position: Position) -> Result<String, StoreError> {
        annals_es::history_token(self, self.id(), position).await
    }

    async fn verify_token(&self, token: &str) -> Result<Position, StoreError> {
        annals_es::verify_history_token(self, self.id(), token).await
    }
}

impl PostgresStore {
    pub(crate) fn id(&self) -> Uuid {
        self.shared.batches.id
    }
}

impl SeveralStreams for PostgresStore {}
impl Boundaries for PostgresStore {}
impl AtomicCheckpoints for PostgresStore {}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("id", &self.id())
            .field("positions", &self.positions())
            .finish_non_exhaustive()
    }
}
