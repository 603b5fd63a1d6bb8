//! The store: the traits of the toolkit over a stream.
//!
//! Owns what runs on the store's runtime, where every exchange is made. Must never ask a server itself.

use std::fmt;
use std::sync::Arc;

use annals_es::{
    AppendError, AtomicCheckpoints, Commit, Committed, EventStore, Mark, OrderedStore, Position,
    ReadAll, ReadStream, RecordedEvent, SeveralStreams, Snapshot, StoreError, StreamName,
    Subscribe, Timestamp, Version,
};
use async_nats::ToServerAddrs;
use uuid::Uuid;

use crate::reads::on_runtime;
use crate::runtime::Aborts;
use crate::shared::Shared;
use crate::{Durability, Error, JetStreamEvents, JetStreamOptions, JetStreamSubscription};

/// A store in a stream of NATS JetStream; see the [crate](crate) for what it promises. Clones share its connection.
#[derive(Clone)]
pub struct JetStreamStore {
    pub(crate) shared: Arc<Shared>,
}

impl JetStreamStore {
    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Opens the store `annals`, and creates it with three replicas if it does not exist. See [`JetStreamOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`JetStreamOptions::open`].
    pub async fn open(servers: impl ToServerAddrs, durability: Durability) -> Result<Self, Error> {
        JetStreamOptions::new(servers)?.durability(durability).open().await
    }

    pub(crate) fn id(&self) -> Uuid {
        self.shared.id
    }
}

/// The outcome of a commit whose task has ended with its runtime.
pub(crate) fn unknown(error: Error) -> AppendError {
    match error {
        Error::Ended => AppendError::OutcomeUnknown(Box::new(error)),
        error => error.into(),
    }
}

impl EventStore for JetStreamStore {
    type Events = JetStreamEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let (shared, parts) = (Arc::clone(&self.shared), commit.into_parts());
        let work = async move { Ok(shared.append(parts, None).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    fn read_stream(&self, read: ReadStream) -> JetStreamEvents {
        JetStreamEvents::of_stream(Arc::clone(&self.shared), &read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        let (shared, subject) = (Arc::clone(&self.shared), self.shared.subjects.stream(stream));
        Ok(on_runtime(&self.shared, async move { shared.version(&subject).await }).await?)
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let (shared, stream) = (Arc::clone(&self.shared), stream.clone());
        Ok(on_runtime(&self.shared, async move { shared.find(&stream, id).await }).await?)
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        let work = async move { shared.load_snapshot(&key, at_most).await };
        Ok(on_runtime(&self.shared, work).await?)
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        on_runtime(&self.shared, async move { Ok(shared.save_snapshot(snapshot).await) }).await?
    }
}

impl OrderedStore for JetStreamStore {
    type Subscription = JetStreamSubscription;

    async fn head(&self) -> Result<Position, StoreError> {
        let shared = Arc::clone(&self.shared);
        Ok(on_runtime(&self.shared, async move { shared.head().await }).await?)
    }

    fn read_all(&self, read: ReadAll) -> JetStreamEvents {
        JetStreamEvents::of_all(Arc::clone(&self.shared), read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> JetStreamSubscription {
        JetStreamSubscription::new(&self.shared, subscribe)
    }

    async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let waiting =
            self.shared.runtime.handle().spawn(async move { shared.wait_for(position).await });
        // The caller may stop waiting: the task ends with its future.
        let _guard = Aborts(waiting.abort_handle());
        waiting.await.unwrap_or(Err(StoreError::Closed))
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
        self.move_checkpoint(name, to, false).await
    }

    async fn reset_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        self.move_checkpoint(name, to, true).await
    }

    async fn checkpoint_token(&self, position: Position) -> Result<String, StoreError> {
        annals_es::history_token(self, self.id(), position).await
    }

    async fn verify_token(&self, token: &str) -> Result<Position, StoreError> {
        annals_es::verify_history_token(self, self.id(), token).await
    }
}

impl JetStreamStore {
    async fn move_checkpoint(
        &self,
        name: &str,
        to: Position,
        is_reset: bool,
    ) -> Result<(), AppendError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let work = async move { Ok(shared.move_checkpoint(&name, to, is_reset).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }
}

impl SeveralStreams for JetStreamStore {}

impl AtomicCheckpoints for JetStreamStore {}

impl fmt::Debug for JetStreamStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamStore")
            .field("name", &self.shared.name)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
