//! A store over several streams of the server.
//!
//! Owns the choice of the partition. Must never contact a server itself.

use annals_es::{
    AppendError, Commit, Committed, EventStore, Mark, ReadStream, RecordedEvent, Snapshot,
    StoreError, StreamName, Version,
};
use uuid::Uuid;

use crate::partition::Partition;
use crate::{Error, JetStreamEvents, JetStreamStore, check};

/// A store whose streams are spread over several streams of the servers, each with a leader of its own: for more commits
/// a second than one leader can order. Opened by
/// [`JetStreamOptions::open_partitioned`](crate::JetStreamOptions::open_partitioned).
///
/// All streams of a category are in one partition. What is promised of a stream is promised as without partitions. Order
/// is that of each partition: there is none over all, so this store is no [`OrderedStore`](annals_es::OrderedStore), but
/// each of its [partitions](Self::partitions) is one, with reads, subscriptions, positions and checkpoints of its own. A
/// projection over a category follows [its partition](Self::of_category). Event ids are unique in a partition.
///
/// The number of partitions is fixed when the store is created.
///
/// ```no_run
/// use annals_es::{OrderedStore, Position, Query, Subscribe};
/// use annals_jetstream::{Durability, JetStreamOptions};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let options = JetStreamOptions::new("nats://one:4222")?.durability(Durability::Synced);
/// let store = options.open_partitioned(8).await?;
/// let accounts = Subscribe::after(Position::START).matching(Query::category("account"));
/// let subscription = store.of_category("account").subscribe(accounts);
/// # drop(subscription);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PartitionedStore {
    partitions: Vec<JetStreamStore>,
}

impl PartitionedStore {
    pub(crate) fn of(partitions: Vec<JetStreamStore>) -> Self {
        Self { partitions }
    }

    /// The partitions, in the order of their numbers.
    pub fn partitions(&self) -> &[JetStreamStore] {
        &self.partitions
    }

    /// The partition that has the streams of a category.
    pub fn of_category(&self, category: &str) -> &JetStreamStore {
        self.of_name(&StreamName::escape(category))
    }

    /// The partition that has a stream.
    pub fn of_stream(&self, stream: &StreamName) -> &JetStreamStore {
        self.of_name(stream.as_str())
    }

    /// The partition of a name: of a stream, or of a snapshot.
    fn of_name(&self, name: &str) -> &JetStreamStore {
        // There is at least one.
        &self.partitions[Partition::index_of(name, self.partitions.len())]
    }
}

impl EventStore for PartitionedStore {
    type Events = JetStreamEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        // Each partition has positions of its own, and a checkpoint is one of them.
        if !parts.checkpoints.is_empty() {
            return Err(check::not_offered("checkpoints that move with a commit").into());
        }
        let mut snapshots = parts.snapshots.iter().map(|snapshot| snapshot.key.as_str());
        let mut streams = parts.streams.iter().map(|part| part.stream.as_str());
        let first = streams.next().unwrap_or_default();
        let index = |name| Partition::index_of(name, self.partitions.len());
        if let Some(elsewhere) = streams.chain(&mut snapshots).find(|it| index(it) != index(first))
        {
            return Err(Error::ElsewhereStored { stream: elsewhere.into() }.into());
        }
        let partition = self.of_name(first);
        partition.append(Commit::from_parts(parts)).await
    }

    fn read_stream(&self, read: ReadStream) -> JetStreamEvents {
        self.of_stream(&read.stream).read_stream(read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        self.of_stream(stream).stream_version(stream).await
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        self.of_stream(stream).find_event(stream, id).await
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.of_name(key).load_snapshot(key, at_most).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.of_name(&snapshot.key).save_snapshot(snapshot).await
    }
}
