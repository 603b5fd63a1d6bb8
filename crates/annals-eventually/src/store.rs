//! The event store: a source is a stream, a sequence number is a position.
//!
//! Owns the streams of sources and the mark of their removal. Must never give two events of a source one version unless
//! the source was removed between them.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use annals::{Event, ExpectedVersion, NewEvent, Query, Store, StreamName};
use eventually_core::store::{EventStore, EventStream, Expected, Persisted, Select};
use eventually_core::subscription::{self, EventSubscriber};
use eventually_core::versioning::Versioned;
use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The type of the event that marks a removal. It is hidden together with the events before it.
const REMOVED: &str = "eventually:removed";

/// The events of the sources of one kind, in a store of annals. Clones share the store.
///
/// The events of source `7` of the kind `order` are the stream `order-7`, see [`StreamName`]. Their type is the kind,
/// unless [`AnnalsStore::with_event_type`] sets another.
///
/// It also is the [`EventSubscriber`] of its events.
pub struct AnnalsStore<I, E> {
    store: Store,
    kind: String,
    event_type: Option<fn(&E) -> &str>,
    id: PhantomData<fn() -> I>,
}

/// The metadata of an event whose source was removed before: versions in the stream go on, those of the source begin
/// again.
#[derive(Serialize, Deserialize)]
struct Removal {
    /// The version in the stream of the event that marks the last removal.
    removed_through: u64,
}

impl<I, E> AnnalsStore<I, E> {
    /// The events of one kind of source in a store, of which it keeps a handle. Each type of aggregate has a kind of
    /// its own.
    pub fn new(store: Store, kind: impl Into<String>) -> Self {
        Self { store, kind: kind.into(), event_type: None, id: PhantomData }
    }

    /// Sets the type of new events, for queries and the command line.
    pub fn with_event_type(mut self, event_type: fn(&E) -> &str) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Selects the events of all sources.
    fn sources(&self) -> Query {
        Query::category(StreamName::escape(&self.kind))
    }
}

impl<I: Display, E: Serialize> AnnalsStore<I, E> {
    fn stream_of(&self, id: &I) -> String {
        StreamName::new(&self.kind, id).into()
    }

    fn encode(&self, events: &[E]) -> Result<Vec<NewEvent>, Error> {
        let event_type = |event| self.event_type.map_or(self.kind.as_str(), |of| of(event));
        let encoded = events.iter().map(|event| NewEvent::json(event_type(event), event));
        Ok(encoded.collect::<Result<_, _>>()?)
    }
}

/// Where a stream ends.
#[derive(Clone, Copy, Default)]
struct Head {
    /// The number of events in the stream, with the hidden ones.
    version: u64,
    /// The number of them that belong to removed sources.
    removed: u64,
}

impl Head {
    /// The metadata that new events need.
    fn mark(self, events: Vec<NewEvent>) -> annals::Result<Vec<NewEvent>> {
        if self.removed == 0 {
            return Ok(events);
        }
        let removal = Removal { removed_through: self.removed };
        events.into_iter().map(|event| event.metadata_json(&removal)).collect()
    }
}

async fn head(store: &Store, stream: &str) -> annals::Result<Head> {
    let last = store.read_stream(stream).include_hidden().backwards().limit(1);
    let last = last.into_stream().try_next().await?;
    Ok(last.map_or_else(Head::default, |event| Head {
        version: event.version(),
        removed: removed_before(&event),
    }))
}

/// The number of events of its stream, up to this one, that belong to removed sources. Metadata that is not this
/// crate's has none.
fn removed_before(event: &Event) -> u64 {
    if event.event_type() == REMOVED {
        return event.version();
    }
    let removal = serde_json::from_slice::<Removal>(event.metadata());
    removal.map_or(0, |removal| removal.removed_through)
}

fn version(stream: &str, version: u64) -> Result<u32, Error> {
    let out_of_range = |_| Error::VersionRange { stream: stream.to_owned(), version };
    u32::try_from(version).map_err(out_of_range)
}

/// Positions begin with 1, sequence numbers with 0.
fn sequence_number(position: u64) -> Result<u32, Error> {
    let sequence_number = position.saturating_sub(1);
    u32::try_from(sequence_number).map_err(|_| Error::SequenceRange { sequence_number })
}

fn decode<I, E>(event: &Event) -> Result<Persisted<I, E>, Error>
where
    I: FromStr,
    I::Err: StdError + Send + Sync + 'static,
    E: DeserializeOwned,
{
    let stream = event.stream();
    let name = StreamName::parse(stream);
    let id = name
        .id()
        .unwrap_or_default()
        .parse()
        .map_err(|error| Error::SourceId { stream: stream.to_owned(), source: Box::new(error) })?;
    let of_source = event.version().saturating_sub(removed_before(event));
    Ok(Persisted::from(id, event.json()?)
        .version(version(stream, of_source)?)
        .sequence_number(sequence_number(event.position().get())?))
}

/// Appends if the source has the expected version, and returns its new version.
async fn append(
    store: &Store,
    stream: &str,
    expected: Expected,
    events: Vec<NewEvent>,
) -> Result<u32, Error> {
    let count = events.len() as u64;
    sequence_number(store.head().get().saturating_add(count))?;
    loop {
        let head = head(store, stream).await?;
        let of_source = match expected {
            Expected::Any => head.version.saturating_sub(head.removed),
            Expected::Exact(version) => version.into(),
        };
        let next = version(stream, of_source.saturating_add(count))?;
        let at = ExpectedVersion::Exact(head.removed.saturating_add(of_source));
        let marked = head.mark(events.clone())?;
        // A removal since the look-up made the stream longer, so that this is a conflict.
        match store.transaction().append(stream, at, marked).commit_async().await {
            Ok(_) => return Ok(next),
            Err(error) if error.is_conflict() && expected == Expected::Any => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn remove(store: &Store, stream: &str) -> Result<(), Error> {
    loop {
        let head = head(store, stream).await?;
        if head.version == head.removed {
            return Ok(());
        }
        let mark = [NewEvent::new(REMOVED, "")];
        let removal = store
            .transaction()
            .append(stream, ExpectedVersion::Exact(head.version), mark)
            .truncate_before(stream, head.version + 2);
        match removal.commit_async().await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl<I, E> EventStore for AnnalsStore<I, E>
where
    I: Display + FromStr + Eq + Send + 'static,
    I::Err: StdError + Send + Sync + 'static,
    E: Serialize + DeserializeOwned + Send + 'static,
{
    type SourceId = I;
    type Event = E;
    type Error = Error;

    /// Appends the events in one commit, and returns the version of the source when they are durable.
    fn append(
        &mut self,
        source_id: I,
        version: Expected,
        events: Vec<E>,
    ) -> BoxFuture<'_, Result<u32, Error>> {
        let (stream, events) = (self.stream_of(&source_id), self.encode(&events));
        let store = self.store.clone();
        async move { append(&store, &stream, version, events?).await }.boxed()
    }

    /// The events of a source, from a version on.
    fn stream(
        &self,
        source_id: I,
        select: Select,
    ) -> BoxFuture<'_, Result<EventStream<'_, Self>, Error>> {
        let from = match select {
            Select::All => 0,
            Select::From(version) => version,
        };
        // The version in the stream is at least that of the source.
        let read = self.store.read_stream(self.stream_of(&source_id)).from_version(from.into());
        let events = read.into_stream().map(|event| decode(&event?));
        let selected = events
            .try_filter(move |event: &Persisted<I, E>| future::ready(event.version() >= from));
        future::ready(Ok(selected.boxed())).boxed()
    }

    /// The events of all sources, from a sequence number on, in their order.
    fn stream_all(&self, select: Select) -> BoxFuture<'_, Result<EventStream<'_, Self>, Error>> {
        let after = match select {
            Select::All => 0,
            Select::From(sequence_number) => sequence_number,
        };
        let read = self.store.read_all().matching(self.sources()).after(u64::from(after));
        let events = read.into_stream().map(|event| decode(&event?));
        future::ready(Ok(events.boxed())).boxed()
    }

    /// Hides the events of a source. The next event of the source has version 1 again. The log keeps the bytes.
    fn remove(&mut self, source_id: I) -> BoxFuture<'_, Result<(), Error>> {
        let (stream, store) = (self.stream_of(&source_id), self.store.clone());
        async move { remove(&store, &stream).await }.boxed()
    }
}

impl<I, E> EventSubscriber for AnnalsStore<I, E>
where
    I: Display + FromStr + Eq + Send + 'static,
    I::Err: StdError + Send + Sync + 'static,
    E: Serialize + DeserializeOwned + Send + 'static,
{
    type SourceId = I;
    type Event = E;
    type Error = Error;

    /// The events that become visible after the call. The stream waits for new ones until the store is closed; a
    /// subscriber that is slow misses none.
    fn subscribe_all(&self) -> BoxFuture<'_, Result<subscription::EventStream<'_, Self>, Error>> {
        let started = self.store.subscribe().from_now().matching(self.sources()).start();
        let events = started.map_err(Error::Store).map(|subscription| {
            let decoded = |message: annals::subscription::Message| {
                stream::iter(message.into_events()).map(|event| decode(&event))
            };
            subscription.into_stream().map_ok(decoded).map_err(Error::Store).try_flatten().boxed()
        });
        future::ready(events).boxed()
    }
}

impl<I, E> Clone for AnnalsStore<I, E> {
    fn clone(&self) -> Self {
        let (store, kind) = (self.store.clone(), self.kind.clone());
        Self { store, kind, event_type: self.event_type, id: PhantomData }
    }
}

impl<I, E> fmt::Debug for AnnalsStore<I, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnalsStore")
            .field("kind", &self.kind)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_need_more_than_32_bits_are_errors() {
        let last = u64::from(u32::MAX);
        assert!(matches!(version("s", last), Ok(u32::MAX)));
        assert!(matches!(sequence_number(last + 1), Ok(u32::MAX)));
        let refused = version("s", last + 1);
        assert!(matches!(refused, Err(Error::VersionRange { version: 0x1_0000_0000, .. })));
        let refused = sequence_number(last + 2);
        assert!(matches!(refused, Err(Error::SequenceRange { sequence_number: 0x1_0000_0000 })));
    }
}
