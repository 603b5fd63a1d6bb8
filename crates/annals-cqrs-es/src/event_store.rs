//! The event store of an aggregate type, directly on annals.
//!
//! Owns when a snapshot is taken. Must never take one of a state to which a command may have applied events.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use annals::snapshot::{Mark, Snapshot};
use annals::{ExpectedVersion, Store};
use cqrs_es::persist::{EventStoreAggregateContext, EventUpcaster, PersistenceError};
use cqrs_es::{Aggregate, AggregateError, DomainEvent, EventEnvelope, EventStore};

use crate::error::of_store;
use crate::events::{envelope, for_each_after, new_event, stream_of};

/// The events of the aggregates of one type, and snapshots of them.
///
/// Loading an aggregate reads its newest snapshot and the events after it. A commit appends to exactly the events that
/// were loaded, or fails with [`AggregateError::AggregateConflict`].
pub struct AnnalsEventStore<A> {
    store: Store,
    snapshots: Option<Snapshots>,
    upcasters: Vec<Box<dyn EventUpcaster>>,
    aggregate: PhantomData<fn() -> A>,
}

#[derive(Debug, Clone, Copy)]
struct Snapshots {
    every: usize,
    schema_version: u32,
}

impl<A: Aggregate> AnnalsEventStore<A> {
    /// An event store without snapshots, in a store of which it keeps a handle.
    pub fn new(store: Store) -> Self {
        Self { store, snapshots: None, upcasters: Vec::new(), aggregate: PhantomData }
    }

    /// Saves a snapshot when an aggregate is loaded with at least `every` events after its newest one.
    ///
    /// `schema_version` is the version of the aggregate's type: increase it when what the type computes from its events
    /// changes. A snapshot of another version, or one that is not of the type, is ignored: the aggregate is computed
    /// from its events.
    pub fn with_snapshots(mut self, every: usize, schema_version: u32) -> Self {
        self.snapshots = Some(Snapshots { every: every.max(1), schema_version });
        self
    }

    /// Sets the upcasters, which change events of earlier versions when they are read.
    pub fn with_upcasters(mut self, upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        self.upcasters = upcasters;
        self
    }

    /// The state of the newest usable snapshot and its sequence.
    async fn snapshot(&self, stream: &str) -> Result<Option<(A, u64)>, PersistenceError> {
        let Some(Snapshots { schema_version, .. }) = self.snapshots else { return Ok(None) };
        let newest = Mark::Version(u64::MAX);
        let saved = self.store.snapshots().load_at_most_async(stream, newest).await;
        let saved = saved.map_err(of_store)?.filter(|it| it.schema_version() == schema_version);
        let Some(saved) = saved else { return Ok(None) };
        let Mark::Version(version) = saved.mark() else { return Ok(None) };
        Ok(serde_json::from_slice(saved.state()).ok().map(|aggregate| (aggregate, version)))
    }

    async fn load(
        &self,
        aggregate_id: &str,
    ) -> Result<EventStoreAggregateContext<A>, PersistenceError> {
        let stream = stream_of::<A>(aggregate_id);
        let (mut aggregate, from) = self.snapshot(&stream).await?.unwrap_or_default();
        let mut last = from;
        for_each_after(&self.store, &stream, from, |event| {
            aggregate.apply(envelope::<A>(event, &self.upcasters)?.payload);
            last = event.version();
            Ok(())
        })
        .await?;
        if let Some(Snapshots { every, schema_version }) = self.snapshots
            && last - from >= every as u64
        {
            let state = serde_json::to_vec(&aggregate)?;
            let snapshot = Snapshot::new(stream, last, state).with_schema_version(schema_version);
            // A snapshot saves time and nothing else: without it, the next load reads more events.
            let _ = self.store.snapshots().save_async(snapshot).await;
        }
        Ok(EventStoreAggregateContext {
            aggregate_id: aggregate_id.to_owned(),
            aggregate,
            current_sequence: usize::try_from(last).unwrap_or(usize::MAX),
            current_snapshot: None,
        })
    }

    async fn append(
        &self,
        events: &[EventEnvelope<A>],
        context: &EventStoreAggregateContext<A>,
        metadata: &HashMap<String, String>,
    ) -> Result<(), PersistenceError> {
        let mut new = Vec::with_capacity(events.len());
        for EventEnvelope { payload, .. } in events {
            let event = new_event(&payload.event_type(), &payload.event_version(), payload)
                .and_then(|event| event.metadata_json(metadata));
            new.push(event.map_err(of_store)?);
        }
        let stream = stream_of::<A>(&context.aggregate_id);
        let expected = ExpectedVersion::Exact(context.current_sequence as u64);
        self.store.append_async(stream, expected, new).await.map_err(of_store)?;
        Ok(())
    }
}

impl<A: Aggregate> EventStore<A> for AnnalsEventStore<A> {
    type AC = EventStoreAggregateContext<A>;

    async fn load_events(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let (mut events, stream) = (Vec::new(), stream_of::<A>(aggregate_id));
        for_each_after(&self.store, &stream, 0, |event| {
            events.push(envelope(event, &self.upcasters)?);
            Ok(())
        })
        .await?;
        Ok(events)
    }

    async fn load_aggregate(
        &self,
        aggregate_id: &str,
    ) -> Result<Self::AC, AggregateError<A::Error>> {
        Ok(self.load(aggregate_id).await?)
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let numbered = events.into_iter().zip(context.current_sequence + 1..);
        let envelopes: Vec<_> = numbered
            .map(|(payload, sequence)| EventEnvelope {
                aggregate_id: context.aggregate_id.clone(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect();
        if !envelopes.is_empty() {
            self.append(&envelopes, &context, &metadata).await?;
        }
        Ok(envelopes)
    }
}

impl<A> fmt::Debug for AnnalsEventStore<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnalsEventStore")
            .field("store", &self.store)
            .field("snapshots", &self.snapshots)
            .field("upcasters", &self.upcasters.len())
            .finish_non_exhaustive()
    }
}
