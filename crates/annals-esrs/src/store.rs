//! The event store: an aggregate is a stream, a sequence number is a version.
//!
//! Owns the streams of aggregates and the handlers. Must never call a handler before its event is durable.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annals::{EventStream, ExpectedVersion, NewEvent, Query, Store, StreamName};
use chrono::{DateTime, Utc};
use esrs::bus::EventBus;
use esrs::handler::EventHandler;
use esrs::store::{EventStore, EventStoreLockGuard, StoreEvent};
use esrs::types::SequenceNumber;
use esrs::{Aggregate, AggregateState};
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::Error;
use crate::lock::Locks;

/// The events of the aggregates of one type, in a store of annals. Clones share the store, the locks and the handlers.
///
/// The events of the aggregate with the id `0b2c…` of type `order` are the stream `order-0b2c…`, see [`StreamName`].
/// Their type is that of the aggregate, unless [`AnnalsStore::with_event_type`] sets another.
///
/// A lock of an aggregate is one among the clones of this value: make one for each type of aggregate, and clone it.
pub struct AnnalsStore<A: Aggregate> {
    store: Store,
    event_type: fn(&A::Event) -> &str,
    locks: Arc<Locks>,
    listeners: Arc<RwLock<Listeners<A>>>,
}

/// Those that learn of each new event.
struct Listeners<A> {
    handlers: Vec<Arc<dyn EventHandler<A> + Send>>,
    buses: Vec<Arc<dyn EventBus<A> + Send>>,
}

impl<A: Aggregate> AnnalsStore<A> {
    /// The events of an aggregate's type in a store, of which it keeps a handle.
    pub fn new(store: Store) -> Self {
        let listeners = Listeners { handlers: Vec::new(), buses: Vec::new() };
        Self {
            store,
            event_type: |_| A::NAME,
            locks: Arc::default(),
            listeners: Arc::new(RwLock::new(listeners)),
        }
    }

    /// Sets the type of new events, for queries and the command line.
    pub fn with_event_type(mut self, event_type: fn(&A::Event) -> &str) -> Self {
        self.event_type = event_type;
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Adds a handler, which is called for each event after it is durable, in the task that persists it.
    pub async fn add_event_handler(&self, handler: impl EventHandler<A> + Send + 'static) {
        self.listeners.write().await.handlers.push(Arc::new(handler));
    }

    /// Adds a bus, on which events are published after the handlers were called.
    pub async fn add_event_bus(&self, bus: impl EventBus<A> + Send + 'static) {
        self.listeners.write().await.buses.push(Arc::new(bus));
    }

    fn stream(id: Uuid) -> String {
        StreamName::new(A::NAME, id).into()
    }

    /// Handlers may add others.
    async fn handlers(&self) -> Vec<Arc<dyn EventHandler<A> + Send>> {
        self.listeners.read().await.handlers.clone()
    }
}

impl<A: Aggregate> AnnalsStore<A>
where
    A::Event: DeserializeOwned,
{
    /// All events of the aggregates of the type, in the order in which they were persisted: to rebuild a read side.
    /// Polling it never blocks the executor.
    pub fn stream_events(&self) -> StoreEvents<A> {
        let of_type = Query::category(StreamName::escape(A::NAME));
        StoreEvents {
            events: self.store.read_all().matching(of_type).into_stream(),
            of: decode::<A>,
        }
    }
}

/// Events as a stream, see [`AnnalsStore::stream_events`].
#[derive(Debug)]
#[must_use = "a stream does nothing before it is polled"]
pub struct StoreEvents<A: Aggregate> {
    events: EventStream,
    of: fn(&annals::Event) -> Result<StoreEvent<A::Event>, Error>,
}

impl<A: Aggregate> Stream for StoreEvents<A> {
    type Item = Result<StoreEvent<A::Event>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.events).poll_next(context);
        next.map(|event| Some(event?.map_err(Error::Store).and_then(|event| (self.of)(&event))))
    }
}

fn sequence_number(stream: &str, version: u64) -> Result<SequenceNumber, Error> {
    SequenceNumber::try_from(version)
        .map_err(|_| Error::SequenceRange { stream: stream.to_owned(), version })
}

fn decode<A: Aggregate>(event: &annals::Event) -> Result<StoreEvent<A::Event>, Error>
where
    A::Event: DeserializeOwned,
{
    let stream = event.stream();
    let name = StreamName::parse(stream);
    let aggregate_id = name
        .id()
        .unwrap_or_default()
        .parse()
        .map_err(|source| Error::AggregateId { stream: stream.to_owned(), source })?;
    Ok(StoreEvent {
        id: event.id(),
        aggregate_id,
        payload: event.json()?,
        occurred_on: time(event.recorded_at()),
        sequence_number: sequence_number(stream, event.version())?,
        version: None,
    })
}

fn time(recorded_at: annals::Timestamp) -> DateTime<Utc> {
    let micros = i64::try_from(recorded_at.as_micros()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[async_trait::async_trait]
impl<A> EventStore for AnnalsStore<A>
where
    A: Aggregate,
    A::State: Send,
    A::Event: Serialize + DeserializeOwned + Send + Sync,
{
    type Aggregate = A;
    type Error = Error;

    async fn lock(&self, aggregate_id: Uuid) -> Result<EventStoreLockGuard, Error> {
        Ok(self.locks.lock(aggregate_id).await)
    }

    async fn by_aggregate_id(
        &self,
        aggregate_id: Uuid,
    ) -> Result<Vec<StoreEvent<A::Event>>, Error> {
        let mut events = self.store.read_stream(Self::stream(aggregate_id)).into_stream();
        let mut found = Vec::new();
        while let Some(event) = events.next().await {
            found.push(decode::<A>(&event?)?);
        }
        Ok(found)
    }

    /// Appends events after those of the state, in one commit, and calls the handlers. If it fails, the state keeps its
    /// sequence number.
    async fn persist(
        &self,
        aggregate_state: &mut AggregateState<A::State>,
        events: Vec<A::Event>,
    ) -> Result<Vec<StoreEvent<A::Event>>, Error> {
        let aggregate_id = *aggregate_state.id();
        let stream = Self::stream(aggregate_id);
        let last = u64::try_from(*aggregate_state.sequence_number()).unwrap_or_default();
        sequence_number(&stream, last.saturating_add(events.len() as u64))?;
        let mut stored = Vec::with_capacity(events.len());
        if !events.is_empty() {
            let mut ids = Vec::with_capacity(events.len());
            let mut new = Vec::with_capacity(events.len());
            for event in &events {
                let id = self.store.new_id();
                ids.push(id);
                new.push(NewEvent::json((self.event_type)(event), event)?.id(id));
            }
            let expected = ExpectedVersion::Exact(last);
            let done = self.store.append_async(stream, expected, new).await?;
            for (id, payload) in ids.into_iter().zip(events) {
                stored.push(StoreEvent {
                    id,
                    aggregate_id,
                    payload,
                    occurred_on: time(done.recorded_at),
                    sequence_number: aggregate_state.next_sequence_number(),
                    version: None,
                });
            }
        }
        // A handler may lock the aggregate.
        drop(aggregate_state.take_lock());
        let handlers = self.handlers().await;
        for event in &stored {
            for handler in &handlers {
                handler.handle(event).await;
            }
        }
        self.publish(&stored).await;
        Ok(stored)
    }

    async fn publish(&self, store_events: &[StoreEvent<A::Event>]) {
        let buses = self.listeners.read().await.buses.clone();
        for bus in buses {
            for event in store_events {
                bus.publish(event).await;
            }
        }
    }

    /// Archives the stream of an aggregate: its events are not read any more, and the id is not used again. The log
    /// keeps the bytes.
    async fn delete(&self, aggregate_id: Uuid) -> Result<(), Error> {
        let stream = Self::stream(aggregate_id);
        if self.store.stream_head_async(&stream).await?.is_some() {
            let archived = self.store.transaction().archive(stream).commit_async();
            archived.await?;
        }
        for handler in self.handlers().await {
            handler.delete(aggregate_id).await;
        }
        Ok(())
    }
}

impl<A: Aggregate> Clone for AnnalsStore<A> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            event_type: self.event_type,
            locks: Arc::clone(&self.locks),
            listeners: Arc::clone(&self.listeners),
        }
    }
}

impl<A: Aggregate> fmt::Debug for AnnalsStore<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, store) = (A::NAME, &self.store);
        f.debug_struct("AnnalsStore")
            .field("aggregate", &name)
            .field("store", store)
            .finish_non_exhaustive()
    }
}
