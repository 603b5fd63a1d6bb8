//! The event log: entities are streams, sequence numbers are positions.
//!
//! Owns the name of an entity's stream. Must never end a stream of events without an error.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use annals::subscription::SubscriptionStream;
use annals::{
    Bytes, ContentType, Event, ExpectedVersion, NewEvent, Position, Query, Store, StreamName,
};
use eventsourced::event_log::EventLog;
use futures_core::Stream;

use crate::Error;

/// An event log in a store of annals. Clones share the store.
///
/// The events of entity `7` of type `order-item` are the stream `order%2Ditem-7`, see [`StreamName`]. Their type is that
/// of the entity, because the trait passes no other.
///
/// A sequence number is a position in the store: it grows over all entities, so that
/// [`events_by_type`](EventLog::events_by_type) resumes after the last one that was handled.
#[derive(Debug)]
pub struct AnnalsEventLog<I> {
    store: Store,
    content_type: ContentType,
    id: PhantomData<fn() -> I>,
}

impl<I> AnnalsEventLog<I> {
    /// An event log in a store, of which it keeps a handle.
    pub fn new(store: Store) -> Self {
        Self { store, content_type: ContentType::Binary, id: PhantomData }
    }

    /// Flags the bytes of new events as JSON, which they must be. The command line then prints them as such.
    pub fn json(mut self) -> Self {
        self.content_type = ContentType::Json;
        self
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn content_type(&self) -> ContentType {
        self.content_type
    }
}

impl<I> Clone for AnnalsEventLog<I> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), ..*self }
    }
}

impl<I> EventLog for AnnalsEventLog<I>
where
    I: Debug + Display + Send + Sync + 'static,
{
    type Id = I;
    type Error = Error;

    async fn persist<E, ToBytes, ToBytesError>(
        &mut self,
        type_name: &'static str,
        id: &I,
        last_seq_no: Option<NonZeroU64>,
        event: &E,
        to_bytes: &ToBytes,
    ) -> Result<NonZeroU64, Error>
    where
        E: Sync,
        ToBytes: Fn(&E) -> Result<Bytes, ToBytesError> + Sync,
        ToBytesError: StdError + Send + Sync + 'static,
    {
        let bytes = to_bytes(event).map_err(Error::to_bytes)?;
        let event = NewEvent::new(type_name, bytes).content_type(self.content_type);
        let stream = StreamName::new(type_name, id);
        let last = last_seq_no.map_or(Position::START, |last| Position::new(last.get()));
        let commit = self
            .store
            .transaction()
            .expect_newest(Query::stream(&stream), last)
            .append(stream, ExpectedVersion::Any, [event])
            .commit_async();
        Ok(seq_no(commit.await?.last_position))
    }

    async fn last_seq_no(
        &self,
        type_name: &'static str,
        id: &I,
    ) -> Result<Option<NonZeroU64>, Error> {
        let head = self.store.stream_head(StreamName::new(type_name, id).as_str())?;
        Ok(head.map(|head| seq_no(head.last_position)))
    }

    /// The events of an entity from a sequence number on, and those that follow. The stream does not end before the
    /// store is closed, or after an error. It begins with an error if the sequence number is more than one ahead of the
    /// store.
    async fn events_by_id<E, FromBytes, FromBytesError>(
        &self,
        type_name: &'static str,
        id: &I,
        seq_no: NonZeroU64,
        from_bytes: FromBytes,
    ) -> Result<impl Stream<Item = Result<(NonZeroU64, E), Error>> + Send, Error>
    where
        E: Send,
        FromBytes: Fn(Bytes) -> Result<E, FromBytesError> + Copy + Send + Sync + 'static,
        FromBytesError: StdError + Send + Sync + 'static,
    {
        self.follow(Query::stream(StreamName::new(type_name, id)), seq_no, from_bytes)
    }

    /// The events of all entities of a type from a sequence number on, and those that follow, in the order in which they
    /// were stored.
    async fn events_by_type<E, FromBytes, FromBytesError>(
        &self,
        type_name: &'static str,
        seq_no: NonZeroU64,
        from_bytes: FromBytes,
    ) -> Result<impl Stream<Item = Result<(NonZeroU64, E), Error>> + Send, Error>
    where
        E: Send,
        FromBytes: Fn(Bytes) -> Result<E, FromBytesError> + Copy + Send + Sync + 'static,
        FromBytesError: StdError + Send + Sync + 'static,
    {
        self.follow(Query::category(StreamName::escape(type_name)), seq_no, from_bytes)
    }
}

impl<I> AnnalsEventLog<I> {
    fn follow<F>(&self, query: Query, from: NonZeroU64, from_bytes: F) -> Result<Events<F>, Error> {
        let subscription = self.store.subscribe().after(from.get() - 1).matching(query).start()?;
        let messages = subscription.into_stream();
        Ok(Events { messages, ready: Vec::new().into_iter(), has_failed: false, from_bytes })
    }
}

/// Positions of events are never zero.
fn seq_no(position: Position) -> NonZeroU64 {
    NonZeroU64::new(position.get()).unwrap_or(NonZeroU64::MIN)
}

/// The events of a subscription, converted.
struct Events<F> {
    messages: SubscriptionStream,
    ready: vec::IntoIter<Event>,
    has_failed: bool,
    from_bytes: F,
}

// The function is called and never pinned.
impl<F> Unpin for Events<F> {}

impl<F, E, X> Stream for Events<F>
where
    F: Fn(Bytes) -> Result<E, X> + Copy,
    X: StdError + Send + Sync + 'static,
{
    type Item = Result<(NonZeroU64, E), Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.has_failed {
            let result = if let Some(event) = this.ready.next() {
                (this.from_bytes)(event.data_bytes())
                    .map(|converted| (seq_no(event.position()), converted))
                    .map_err(|error| Error::from_bytes(event.stream(), event.position(), error))
            } else {
                match Pin::new(&mut this.messages).poll_next(context) {
                    Poll::Ready(Some(Ok(message))) => {
                        this.ready = message.into_events().into_iter();
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => Err(error.into()),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            };
            this.has_failed = result.is_err();
            return Poll::Ready(Some(result));
        }
        Poll::Ready(None)
    }
}
