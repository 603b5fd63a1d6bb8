//! The storage of the framework's own event store.
//!
//! Owns the record of an aggregate's snapshot. Must never read ahead of its consumer without a bound.

use annals::{Event, ExpectedRecord, ExpectedVersion, Query, Store, StreamName};
use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, of_record, of_store, unknown};
use crate::events::{for_each_after, new_event, serialized, stream_of};

/// Number of events that a replay reads ahead of its consumer, unless
/// [`AnnalsEventRepository::with_streaming_channel_size`] sets another.
const STREAMING_CHANNEL_SIZE: usize = 200;

/// A repository of events and snapshots for the framework's
/// [`PersistedEventStore`](cqrs_es::persist::PersistedEventStore) and
/// [`QueryReplay`](cqrs_es::persist::QueryReplay).
///
/// The events are those of [`AnnalsEventStore`](crate::AnnalsEventStore), which is the better choice for commands:
/// with snapshots, `PersistedEventStore` applies the events of a command twice.
///
/// A snapshot is a record of up to 16 MiB, written in the commit of its events. One over this limit fails the commit
/// with [`annals::Error::LimitExceeded`].
#[derive(Debug, Clone)]
pub struct AnnalsEventRepository {
    store: Store,
    channel_size: usize,
}

impl AnnalsEventRepository {
    /// A repository in a store, of which it keeps a handle.
    pub fn new(store: Store) -> Self {
        Self { store, channel_size: STREAMING_CHANNEL_SIZE }
    }

    /// Sets the number of events that a replay reads ahead of its consumer, 200 by default and at least 1.
    pub fn with_streaming_channel_size(mut self, events: usize) -> Self {
        self.channel_size = events.max(1);
        self
    }

    async fn events_after<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let (mut events, stream) = (Vec::new(), stream_of::<A>(aggregate_id));
        for_each_after(&self.store, &stream, last_sequence as u64, |event| {
            events.push(serialized::<A>(event)?);
            Ok(())
        })
        .await?;
        Ok(events)
    }

    /// Feeds a replay from a thread of its own, which waits for the consumer and ends when the stream is dropped.
    fn replay<A, I>(&self, events: I) -> Result<ReplayStream, PersistenceError>
    where
        A: Aggregate,
        I: IntoIterator<Item = annals::Result<Event>> + Send + 'static,
    {
        let (mut feed, stream) = ReplayStream::new(self.channel_size);
        let work = move || {
            for event in events {
                let event = event.map_err(of_store).and_then(|event| serialized::<A>(&event));
                if pollster::block_on(feed.push(event)).is_err() {
                    return; // The consumer has dropped the stream.
                }
            }
        };
        let thread = std::thread::Builder::new().name("annals-replay".to_owned()).spawn(work);
        thread.map_err(|error| PersistenceError::ConnectionError(Box::new(error)))?;
        Ok(stream)
    }
}

/// The value of the record of a snapshot; the record's version is the number of the snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct StoredSnapshot {
    sequence: usize,
    aggregate: Value,
}

fn snapshot_key(stream: &str) -> String {
    format!("cqrs-es/snapshot/{stream}")
}

impl PersistedEventRepository for AnnalsEventRepository {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.events_after::<A>(aggregate_id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.events_after::<A>(aggregate_id, last_sequence).await
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        let stream = stream_of::<A>(aggregate_id);
        let key = snapshot_key(&stream);
        let record = self.store.records().get_async(&key).await.map_err(of_store)?;
        let Some(record) = record else { return Ok(None) };
        let current_snapshot = usize::try_from(record.version)
            .map_err(|_| unknown(Error::SequenceRange { stream, sequence: record.version }))?;
        let stored: StoredSnapshot =
            serde_json::from_slice(&record.value).map_err(of_record(&key))?;
        Ok(Some(SerializedSnapshot {
            aggregate_id: aggregate_id.to_owned(),
            aggregate: stored.aggregate,
            current_sequence: stored.sequence,
            current_snapshot,
        }))
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        if events.is_empty() && snapshot_update.is_none() {
            return Ok(());
        }
        let commit = {
            let mut transaction = self.store.transaction();
            for event in events {
                let stream = stream_of::<A>(&event.aggregate_id);
                let Some(last) = (event.sequence as u64).checked_sub(1) else {
                    return Err(unknown(Error::SequenceRange { stream, sequence: 0 }));
                };
                let new = new_event(&event.event_type, &event.event_version, &event.payload)
                    .and_then(|new| new.metadata_json(&event.metadata))
                    .map_err(of_store)?;
                transaction = transaction.append(stream, ExpectedVersion::Exact(last), [new]);
            }
            if let Some((aggregate_id, aggregate, number)) = snapshot_update {
                let stream = stream_of::<A>(&aggregate_id);
                let expected = match (number as u64).checked_sub(1) {
                    None => return Err(PersistenceError::OptimisticLockError),
                    Some(0) => ExpectedRecord::NoRecord,
                    Some(version) => ExpectedRecord::Exact(version),
                };
                let sequence = match events.last() {
                    Some(event) => event.sequence,
                    None => self.last_sequence(&stream)?,
                };
                let key = snapshot_key(&stream);
                let value = serde_json::to_vec(&StoredSnapshot { sequence, aggregate })
                    .map_err(of_record(&key))?;
                transaction = transaction.put(key, value, expected);
            }
            transaction.commit_async()
        };
        commit.await.map_err(of_store)?;
        Ok(())
    }

    async fn stream_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        self.replay::<A, _>(self.store.read_stream(stream_of::<A>(aggregate_id)))
    }

    /// All events of the aggregate type, in the order in which they were committed.
    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        let of_type = Query::category(StreamName::escape(A::TYPE));
        self.replay::<A, _>(self.store.read_all().matching(of_type))
    }
}

impl AnnalsEventRepository {
    fn last_sequence(&self, stream: &str) -> Result<usize, PersistenceError> {
        let head = self.store.stream_head(stream).map_err(of_store)?;
        let sequence = head.map_or(0, |head| head.version);
        usize::try_from(sequence)
            .map_err(|_| unknown(Error::SequenceRange { stream: stream.to_owned(), sequence }))
    }
}
