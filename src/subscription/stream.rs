//! A subscription for tasks: no runtime, no thread, a waker on the list of those who wait.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::{FusedStream, Stream};

use super::{Message, Subscription};
use crate::error::Result;

/// A [`Subscription`] that is nothing but a `Stream`; see [`Subscription::into_stream`].
#[derive(Debug)]
#[must_use = "a stream does nothing before it is polled"]
pub struct SubscriptionStream {
    subscription: Subscription,
}

impl Subscription {
    /// The subscription as a stream alone (feature `async`), so that `next` is the stream's.
    ///
    /// Polling it reads from the disk, one message at a time, which takes the thread for as long as
    /// a read of [`Subscribe::batch_size`](crate::Subscribe::batch_size) events does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    /// use futures::StreamExt;
    ///
    /// # futures::executor::block_on(async {
    /// let mut stream = store.subscribe().from_now().start()?.into_stream();
    /// assert!(stream.next().await.expect("it has not ended")?.is_caught_up());
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
    /// let message = stream.next().await.expect("it has not ended")?;
    /// assert_eq!(message.events()[0].event_type(), "Opened");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> SubscriptionStream {
        SubscriptionStream { subscription: self }
    }
}

impl Stream for Subscription {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(next) = self.advance() {
                return Poll::Ready(next);
            }
            let waiter = &self.signal.waiter;
            waiter.keep(context.waker());
            self.engine.watch.enlist(waiter);
            if !self.has_news() && self.engine.check_open().is_ok() {
                if self.engine.follows_alone() {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
    }
}

impl FusedStream for Subscription {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Stream for SubscriptionStream {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.subscription).poll_next(context)
    }
}

impl FusedStream for SubscriptionStream {
    fn is_terminated(&self) -> bool {
        self.subscription.ended
    }
}
