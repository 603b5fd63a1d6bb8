//! A subscription for tasks: no runtime and no thread, only a waker on the list of waiters.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};

use super::{Message, Portion, Progress, StopHandle, Subscription};
use crate::engine::Engine;
use crate::engine::errands::Errand;
use crate::engine::matching::{index_all_terms, terms_behind};
use crate::error::{Error, Result};
use crate::event::Position;

/// The portion that one poll reads, small because a poll delays other tasks.
const SMALL: Portion =
    Portion { events: 512, positions: TURN, bytes: 1 << 20, refreshes: false, yields: true };

/// The number of positions that are scanned before the stream yields.
const TURN: u64 = 1024;

/// The number of bytes of events that take as long as a position.
const BYTES_A_POSITION: usize = 1 << 10;

/// The number of events whose terms a thread of the store, and not the executor, enters into the index
/// of a segment.
const MANY_TERMS: u64 = 2048;

/// A [`Subscription`] as a `Stream`; see [`Subscription::into_stream`].
#[derive(Debug)]
#[must_use = "a stream does nothing before it is polled"]
pub struct SubscriptionStream {
    subscription: Subscription,
}

impl Subscription {
    /// The subscription as a stream (feature `async`).
    ///
    /// Polling it reads a bounded number of events, at most 512 and about a mebibyte, whatever
    /// [`Subscribe::batch_size`](crate::subscription::Subscribe::batch_size) is. While it catches up it
    /// yields after about 1,024 positions: it returns `Pending` after it has woken itself.
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

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message>>> {
        self.reporter.asked();
        if self.polled.since_pending >= TURN {
            // A stream that is always ready would occupy its executor while it catches up.
            self.polled.since_pending = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut followed = !self.follows_by_errand();
        loop {
            if let Some(error) = ready!(self.poll_errand(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            if self.polled.filtered
                && terms_behind(self.engine.contents(), self.engine.positions().written())
                    > MANY_TERMS
                && !self.is_over()
            {
                let work = |engine: &Arc<Engine>| {
                    index_all_terms(engine.contents(), engine.positions().written())
                };
                self.polled.errand = Some(self.engine.send(work));
                continue;
            }
            let before = self.scanned_through;
            let refreshes = self.engine.shared().follows_without_thread();
            if let Poll::Ready(next) = self.advance(Portion { refreshes, ..SMALL }) {
                self.polled.since_pending += cost(next.as_ref(), self.scanned_through - before);
                return Poll::Ready(next);
            }
            if std::mem::take(&mut self.yielded) {
                self.polled.since_pending = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !std::mem::replace(&mut followed, true) {
                self.polled.errand = Some(self.engine.send(|engine| engine.refresh()));
                continue;
            }
            let waiter = &self.signal.waiter;
            waiter.keep(context.waker());
            self.engine.positions().watch().enlist(waiter);
            if !self.has_news() && self.engine.check_open().is_ok() {
                if self.engine.shared().follows_without_thread() {
                    context.waker().wake_by_ref();
                }
                self.polled.since_pending = 0;
                return Poll::Pending;
            }
        }
    }
}

/// The state of a subscription between polls.
#[derive(Debug)]
pub(super) struct Polled {
    errand: Option<Errand<Result<()>>>,
    /// The amount that was read since the last yield.
    since_pending: u64,
    filtered: bool,
}

impl Polled {
    pub(super) fn new(filtered: bool) -> Self {
        Self { errand: None, since_pending: 0, filtered }
    }
}

impl Subscription {
    /// Whether a thread of the store, and not the executor, follows the writer.
    fn follows_by_errand(&self) -> bool {
        self.engine.is_follower() && !self.engine.shared().follows_without_thread()
    }

    /// Whether the stream has ended.
    fn is_over(&self) -> bool {
        self.ended || self.is_stopped() || self.engine.check_open().is_err()
    }

    /// The error of the awaited work, if it failed.
    fn poll_errand(&mut self, context: &mut Context<'_>) -> Poll<Option<Error>> {
        if self.polled.errand.is_none() {
            return Poll::Ready(None);
        }
        // A stop or a close ends the wait.
        self.signal.waiter.keep(context.waker());
        if self.is_over() {
            self.polled.errand = None;
            return Poll::Ready(None);
        }
        let Some(errand) = &mut self.polled.errand else { return Poll::Ready(None) };
        let done = ready!(Pin::new(errand).poll(context));
        self.polled.errand = None;
        Poll::Ready(done.err())
    }
}

/// The cost of a message in positions: scanned positions, and the bytes of its events.
fn cost(next: Option<&Result<Message>>, scanned: u64) -> u64 {
    let events = match next {
        Some(Ok(message)) => message.events(),
        _ => &[],
    };
    let bytes: usize = events.iter().map(|event| event.data().len()).sum();
    scanned + (bytes / BYTES_A_POSITION) as u64 + 1
}

impl SubscriptionStream {
    /// A handle that stops the stream from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.subscription.stop_handle()
    }

    /// A handle to the progress of the stream and its consumer: see [`Subscription::progress`]. If the
    /// stream is polled ahead of the consumer, as buffering adapters do, use
    /// [`Subscribe::manual_progress`](super::Subscribe::manual_progress).
    pub fn progress(&self) -> Progress {
        self.subscription.progress()
    }

    /// The progress: see [`Subscription::scanned_through`].
    pub fn scanned_through(&self) -> Position {
        self.subscription.scanned_through()
    }
}

impl Stream for SubscriptionStream {
    type Item = Result<Message>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.subscription.poll_message(context)
    }
}

impl FusedStream for SubscriptionStream {
    fn is_terminated(&self) -> bool {
        self.subscription.ended
    }
}
