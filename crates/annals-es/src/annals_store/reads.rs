//! Reads and subscriptions of the engine as streams of the seam.
//!
//! Owns nothing but the conversion of items.

use std::pin::Pin;
use std::task::{Context, Poll};

use annals::subscription::{MessageKind, Subscription};
use futures_core::Stream;

use super::convert::store_error;
use crate::store::{Message, Position, RecordedEvent, StoreError};

/// The events of a read of an [`AnnalsStore`](crate::AnnalsStore).
#[derive(Debug)]
pub struct AnnalsEvents(Read);

#[derive(Debug)]
enum Read {
    /// A read of one stream that was not polled yet.
    OfStream(annals::ReadStream),
    /// A read over all streams that was not polled yet.
    OfAll(annals::ReadAll),
    /// Read by the polling thread.
    Events(annals::Events),
    /// Read by a thread of the engine.
    Stream(annals::EventStream),
    Ended,
}

impl From<annals::ReadStream> for AnnalsEvents {
    fn from(read: annals::ReadStream) -> Self {
        Self(Read::OfStream(read))
    }
}

impl From<annals::ReadAll> for AnnalsEvents {
    fn from(read: annals::ReadAll) -> Self {
        Self(Read::OfAll(read))
    }
}

impl From<annals::EventStream> for AnnalsEvents {
    fn from(stream: annals::EventStream) -> Self {
        Self(Read::Stream(stream))
    }
}

impl Stream for AnnalsEvents {
    type Item = Result<RecordedEvent, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.0, Read::OfStream(_) | Read::OfAll(_)) {
            self.0 = Read::Events(match std::mem::replace(&mut self.0, Read::Ended) {
                Read::OfStream(read) => read.into_iter(),
                Read::OfAll(read) => read.into_iter(),
                other => {
                    self.0 = other;
                    return Poll::Ready(None);
                }
            });
        }
        let next = match &mut self.0 {
            Read::Events(events) => Poll::Ready(events.next()),
            Read::Stream(stream) => Pin::new(stream).poll_next(context),
            _ => Poll::Ready(None),
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
