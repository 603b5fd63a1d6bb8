//! Reads and subscriptions of the engine as streams of the seam.
//!
//! Owns nothing but the conversion of items.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use annals::subscription::{MessageKind, Subscription};
use futures_core::Stream;

use super::convert::store_error;
use crate::store::{EventRef, Message, Position, RecordedEvent, StoreError, next, yield_now};

/// The events of a read of an [`AnnalsStore`](crate::AnnalsStore).
#[derive(Debug)]
pub struct AnnalsEvents {
    read: Read,
    /// The turns of a task; `None`: the thread has nothing else to do.
    turns: Option<Turns>,
}

/// The number of events, and of their bytes, that a task reads in place before it yields. They are those of the
/// engine's subscriptions.
const EVENTS: u32 = 512;
const BYTES: usize = 1 << 20;

/// What is left of a turn.
#[derive(Debug)]
struct Turns {
    events: u32,
    bytes: usize,
}

impl Turns {
    const fn new() -> Self {
        Self { events: EVENTS, bytes: BYTES }
    }

    /// Whether the turn is over.
    fn is_over(&self) -> bool {
        self.events == 0 || self.bytes == 0
    }

    fn take(&mut self, data: &[u8]) {
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(data.len());
    }
}

#[derive(Debug)]
enum Read {
    /// A read of one stream that was not polled yet.
    OfStream(annals::ReadStream),
    /// A read over all streams that was not polled yet.
    OfAll(annals::ReadAll),
    /// Read by the polling thread.
    InPlace(annals::Events),
    /// Read by a thread of the engine.
    Stream(annals::EventStream),
    Ended,
}

impl AnnalsEvents {
    /// A read by the polling thread, without an end.
    pub(super) fn in_place(read: annals::ReadStream) -> Self {
        Self { read: Read::OfStream(read), turns: None }
    }

    /// A read over all streams by the polling thread, without an end.
    pub(super) fn all_in_place(read: annals::ReadAll) -> Self {
        Self { read: Read::OfAll(read), turns: None }
    }

    /// A read by the polling thread, which yields.
    pub(super) fn in_turns(read: annals::ReadStream) -> Self {
        Self { read: Read::OfStream(read), turns: Some(Turns::new()) }
    }

    /// A read by a thread of the engine.
    pub(super) fn elsewhere(stream: annals::EventStream) -> Self {
        Self { read: Read::Stream(stream), turns: None }
    }
}

impl AnnalsEvents {
    /// Passes all events to `each` until it breaks; a read of the polling thread makes no handle for each.
    pub(super) async fn visit<B: Send>(
        mut self,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B> + Send,
    ) -> Result<ControlFlow<B>, StoreError> {
        let mut events = match self.read {
            Read::OfStream(read) => read.start().map_err(store_error)?,
            _ => {
                while let Some(event) = next(&mut self).await {
                    let flow = each(EventRef::from(&event?));
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                return Ok(ControlFlow::Continue(()));
            }
        };
        loop {
            let mut turns = self.turns.as_ref().map(|_| Turns::new());
            let flow = events.visit(|event| {
                if let ControlFlow::Break(value) = each(EventRef::from(event)) {
                    return ControlFlow::Break(Some(value));
                }
                let Some(turns) = &mut turns else { return ControlFlow::Continue(()) };
                turns.take(event.data());
                if turns.is_over() { ControlFlow::Break(None) } else { ControlFlow::Continue(()) }
            });
            match flow.map_err(store_error)? {
                ControlFlow::Break(Some(value)) => return Ok(ControlFlow::Break(value)),
                ControlFlow::Break(None) => yield_now().await,
                ControlFlow::Continue(()) => return Ok(ControlFlow::Continue(())),
            }
        }
    }
}

impl Stream for AnnalsEvents {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = match &mut this.read {
            Read::InPlace(events) => {
                if this.turns.as_ref().is_some_and(Turns::is_over) {
                    this.turns = Some(Turns::new());
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let next = events.next();
                if let (Some(turns), Some(Ok(event))) = (&mut this.turns, &next) {
                    turns.take(event.data());
                }
                Poll::Ready(next)
            }
            Read::Stream(stream) => Pin::new(stream).poll_next(context),
            Read::OfStream(_) | Read::OfAll(_) => {
                let started = match std::mem::replace(&mut this.read, Read::Ended) {
                    Read::OfStream(read) => read.into_iter(),
                    Read::OfAll(read) => read.into_iter(),
                    other => {
                        this.read = other;
                        return Poll::Ready(None);
                    }
                };
                this.read = Read::InPlace(started);
                return self.poll_next(context);
            }
            Read::Ended => Poll::Ready(None),
        };
        next.map(|next| next.map(|event| event.map(RecordedEvent::from).map_err(store_error)))
    }
}

/// A subscription of an [`AnnalsStore`](crate::AnnalsStore).
#[derive(Debug)]
pub struct AnnalsSubscription(Of);

#[derive(Debug)]
enum Of {
    Started(Box<annals::subscription::SubscriptionStream>),
    Failed(Option<annals::Error>),
}

impl From<annals::Result<Subscription>> for AnnalsSubscription {
    fn from(started: annals::Result<Subscription>) -> Self {
        Self(match started {
            Ok(subscription) => Of::Started(Box::new(subscription.into_stream())),
            Err(error) => Of::Failed(Some(error)),
        })
    }
}

impl Stream for AnnalsSubscription {
    type Item = Result<Message, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Of::Started(stream) => Pin::new(&mut **stream)
                .poll_next(context)
                .map(|next| next.map(|it| it.map(message).map_err(store_error))),
            Of::Failed(error) => Poll::Ready(error.take().map(|error| Err(store_error(error)))),
        }
    }
}

fn message(message: annals::subscription::Message) -> Message {
    let scanned_through = Position::new(message.scanned_through.get());
    match message.kind {
        MessageKind::Events(events) => {
            let events = events.into_iter().map(RecordedEvent::from).collect();
            Message { events, scanned_through, caught_up: false }
        }
        MessageKind::CaughtUp => Message { events: Vec::new(), scanned_through, caught_up: true },
        _ => Message { events: Vec::new(), scanned_through, caught_up: false },
    }
}
