//! Subscriptions: an iterator that waits, and a stream.
//!
//! Owns the events of one message. Must never end with an error left out: a cancelled subscription
//! returns one before it ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use annals::Store;
use annals::subscription::{Message, Subscription, SubscriptionStream};
use async_trait::async_trait;
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use umadb_dcb::{
    DcbError, DcbQuery, DcbResult, DcbSequencedEvent, DcbSubscriptionAsync, DcbSubscriptionSync,
    ShutdownStatus, StreamCancelHandle,
};

use crate::error::from_engine;
use crate::event;
use crate::read::status;

type Batch = VecDeque<DcbSequencedEvent>;

fn begin(store: &Store, query: Option<DcbQuery>, after: Option<u64>) -> DcbResult<Subscription> {
    let subscription = store.subscribe().matching(event::query(query)).after(after.unwrap_or(0));
    subscription.start().map_err(from_engine)
}

fn decode(message: annals::Result<Message>) -> DcbResult<Batch> {
    message.map_err(from_engine)?.into_events().into_iter().map(event::decode).collect()
}

/// A subscription whose calls wait in the calling thread.
pub(crate) struct Blocking {
    subscription: Subscription,
    ready: Batch,
    cancelled: bool,
    /// The iterator returned the error of a cancelled subscription.
    reported: bool,
}

impl Blocking {
    pub(crate) fn start(
        store: &Store,
        query: Option<DcbQuery>,
        after: Option<u64>,
    ) -> DcbResult<Self> {
        let subscription = begin(store, query, after)?;
        Ok(Self { subscription, ready: Batch::new(), cancelled: false, reported: false })
    }

    /// Waits until at least one event is ready; returns false at the end.
    fn fill(&mut self, timeout: Duration) -> DcbResult<bool> {
        let deadline = Instant::now().checked_add(timeout);
        while self.ready.is_empty() {
            if self.cancelled {
                return Err(DcbError::CancelledByUser());
            }
            let left =
                deadline.map_or(Duration::MAX, |it| it.saturating_duration_since(Instant::now()));
            match self.subscription.next_timeout(left).transpose() {
                Some(message) => self.ready = decode(message)?,
                None if self.subscription.is_ended() => return Ok(false),
                None => return Err(DcbError::Timeout()),
            }
        }
        Ok(true)
    }

    fn next_within(&mut self, timeout: Duration) -> Option<DcbResult<DcbSequencedEvent>> {
        match self.fill(timeout) {
            Ok(true) => self.ready.pop_front().map(Ok),
            Ok(false) => None,
            Err(DcbError::CancelledByUser()) if std::mem::replace(&mut self.reported, true) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Blocking {
    type Item = DcbResult<DcbSequencedEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_within(Duration::MAX)
    }
}

impl DcbSubscriptionSync for Blocking {
    fn next_batch(&mut self) -> DcbResult<Vec<DcbSequencedEvent>> {
        self.next_batch_timeout(Duration::MAX)
    }

    fn next_batch_timeout(&mut self, timeout: Duration) -> DcbResult<Vec<DcbSequencedEvent>> {
        self.fill(timeout)?;
        Ok(self.ready.drain(..).collect())
    }

    fn cancel(&mut self) {
        self.cancelled = true;
        self.ready.clear();
        self.subscription.stop_handle().stop();
    }

    fn next_timeout(&mut self, timeout: Duration) -> Option<DcbResult<DcbSequencedEvent>> {
        self.next_within(timeout)
    }
}

/// A subscription that is polled by a task.
pub(crate) struct Polled {
    subscription: SubscriptionStream,
    ready: Batch,
    cancelled: Arc<AtomicBool>,
    /// The error of a cancelled subscription was returned.
    reported: bool,
}

impl Polled {
    pub(crate) fn start(
        store: &Store,
        query: Option<DcbQuery>,
        after: Option<u64>,
    ) -> DcbResult<Self> {
        let subscription = begin(store, query, after)?.into_stream();
        Ok(Self { subscription, ready: Batch::new(), cancelled: Arc::default(), reported: false })
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The next event, and the rest of its message.
    async fn batch(&mut self) -> DcbResult<Vec<DcbSequencedEvent>> {
        let Some(first) = self.next().await.transpose()? else { return Ok(Vec::new()) };
        Ok(std::iter::once(first).chain(self.ready.drain(..)).collect())
    }
}

impl Stream for Polled {
    type Item = DcbResult<DcbSequencedEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.is_cancelled() {
                self.ready.clear();
                let first = !std::mem::replace(&mut self.reported, true);
                return Poll::Ready(first.then_some(Err(DcbError::CancelledByUser())));
            }
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match ready!(self.subscription.poll_next_unpin(context)).map(decode) {
                Some(Ok(batch)) => self.ready = batch,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.is_cancelled() => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

#[async_trait]
impl DcbSubscriptionAsync for Polled {
    async fn next_batch(&mut self) -> DcbResult<Vec<DcbSequencedEvent>> {
        self.batch().await
    }

    async fn next_batch_timeout(&mut self, timeout: Duration) -> DcbResult<Vec<DcbSequencedEvent>> {
        if Instant::now().checked_add(timeout).is_none() {
            return self.batch().await;
        }
        let timer = futures_timer::Delay::new(timeout);
        match select(Box::pin(self.batch()), timer).await {
            Either::Left((batch, _)) => batch,
            Either::Right(_) => Err(DcbError::Timeout()),
        }
    }

    fn cancel(&mut self) {
        if let Some(handle) = self.cancel_handle() {
            handle.cancel();
        }
    }

    fn cancel_handle(&self) -> Option<StreamCancelHandle> {
        let (cancelled, stop) = (Arc::clone(&self.cancelled), self.subscription.stop_handle());
        Some(StreamCancelHandle::new(move || {
            cancelled.store(true, Ordering::Release);
            stop.stop();
        }))
    }

    fn check_shutdown_status(&self) -> ShutdownStatus {
        status(self.is_cancelled())
    }
}
