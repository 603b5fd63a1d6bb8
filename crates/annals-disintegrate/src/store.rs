//! The event store.
//!
//! Owns the layout of events in the store. Must never append without the check that the caller asked for.

use std::error::Error as StdError;
use std::marker::PhantomData;

use annals::{Committed, ExpectedVersion, NewEvent, Store, Transaction};
use async_trait::async_trait;
use disintegrate::serde::Serde;
use disintegrate::{Event, EventStore, PersistedEvent, StreamItem, StreamQuery};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{Error, EventId, STREAM, query};

/// An event store on annals, for the events `E` and the serialization `S` of their payload.
#[derive(Debug)]
pub struct AnnalsEventStore<E, S> {
    pub(crate) store: Store,
    serde: S,
    event_type: PhantomData<fn() -> E>,
}

impl<E, S: Clone> Clone for AnnalsEventStore<E, S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), serde: self.serde.clone(), event_type: PhantomData }
    }
}

impl<E, S> AnnalsEventStore<E, S>
where
    E: Event + Clone + Send + Sync,
    S: Serde<E> + Send + Sync,
{
    /// The event store in an open annals store.
    pub fn new(store: Store, serde: S) -> Self {
        Self { store, serde, event_type: PhantomData }
    }

    /// The annals store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn encode(&self, event: &E) -> NewEvent {
        let tags = event
            .domain_ids()
            .iter()
            .map(|(key, value)| query::tag(*key, value))
            .collect::<Vec<_>>();
        NewEvent::new(event.name(), self.serde.serialize(event.clone())).tags(tags)
    }

    pub(crate) fn decode<QE>(
        &self,
        event: &annals::Event,
    ) -> Result<PersistedEvent<EventId, QE>, Error>
    where
        QE: TryFrom<E> + Event,
        <QE as TryFrom<E>>::Error: StdError + Send + Sync + 'static,
    {
        let position = id(event.position());
        let decoded = self.serde.deserialize(event.data().to_vec());
        let decoded = decoded.map_err(|source| Error::Deserialization { position, source })?;
        let converted = QE::try_from(decoded)
            .map_err(|source| Error::QueryEventMapping { position, source: Box::new(source) })?;
        Ok(PersistedEvent::new(position, converted))
    }

    async fn commit(
        &self,
        transaction: Transaction<'_>,
        events: Vec<E>,
    ) -> Result<Vec<PersistedEvent<EventId, E>>, Error> {
        let encoded: Vec<NewEvent> = events.iter().map(|it| self.encode(it)).collect();
        // Without events the commit only checks.
        let mut transaction = transaction;
        if !encoded.is_empty() {
            transaction = transaction.append(STREAM, ExpectedVersion::Any, encoded);
        }
        let commit = transaction.commit_async();
        let Committed { first_position, .. } = commit.await.map_err(|error| match error {
            error @ annals::Error::Conflict { .. } => Error::Concurrency(error),
            error => Error::Store(error),
        })?;
        let ids = id(first_position)..;
        Ok(ids.zip(events).map(|(id, event)| PersistedEvent::new(id, event)).collect())
    }
}

/// Positions of the engine are counted from 1 and fit.
pub(crate) fn id(position: annals::Position) -> EventId {
    EventId::try_from(position.get()).unwrap_or(EventId::MAX)
}

#[async_trait]
impl<E, S> EventStore<EventId, E> for AnnalsEventStore<E, S>
where
    E: Event + Clone + Send + Sync,
    S: Serde<E> + Send + Sync,
{
    type Error = Error;

    fn stream<'a, QE>(
        &'a self,
        query: &'a StreamQuery<EventId, QE>,
    ) -> BoxStream<'a, Result<StreamItem<EventId, QE>, Error>>
    where
        QE: TryFrom<E> + Event + 'static + Clone + Send + Sync,
        <QE as TryFrom<E>>::Error: StdError + 'static + Send + Sync,
    {
        let read = self.store.read_all().matching(query::convert(query, None)).into_stream();
        let next = move |read: Option<annals::EventStream>| async move {
            let mut read = read?;
            let item = match read.next().await {
                Some(Ok(event)) => self.decode(&event).map(StreamItem::Event),
                Some(Err(error)) => Err(Error::Store(error)),
                // The head that the read was pinned to.
                None => {
                    return Some((Ok(StreamItem::End(id(read.head().unwrap_or_default()))), None));
                }
            };
            // The end does not follow an error.
            let rest = item.is_ok().then_some(read);
            Some((item, rest))
        };
        stream::unfold(Some(read), next).boxed()
    }

    async fn append<QE>(
        &self,
        events: Vec<E>,
        query: StreamQuery<EventId, QE>,
        last_event_id: EventId,
    ) -> Result<Vec<PersistedEvent<EventId, E>>, Error>
    where
        E: Clone + 'async_trait,
        QE: Event + 'static + Clone + Send + Sync,
    {
        let boundary = query::convert(&query, Some(last_event_id));
        self.commit(self.store.transaction().fail_if(boundary), events).await
    }

    async fn append_without_validation(
        &self,
        events: Vec<E>,
    ) -> Result<Vec<PersistedEvent<EventId, E>>, Error>
    where
        E: Clone + 'async_trait,
    {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.commit(self.store.transaction(), events).await
    }
}
