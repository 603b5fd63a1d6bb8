//! Subscriptions: pages of what is recorded, then of what becomes visible.
//!
//! Owns the place of a subscription. At most one message is prepared while another is handled.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use annals_es::{Message, Position, RecordedEvent, StoreError, Subscribe};
use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::Error;
use crate::reads::{AskAll, PAGE};
use crate::rows::number;
use crate::shared::Shared;

/// The greatest number of events after which a message ends.
const MAX_BATCH: usize = 4096;
/// Bytes of data and metadata after which a message ends.
const BYTES: usize = 4 << 20;
/// How often progress without selected events is reported that nobody waits for.
const PROGRESS: Duration = Duration::from_secs(1);

/// Ends a task when it is dropped.
pub(crate) struct Aborts(pub(crate) AbortHandle);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A subscription of a [`PostgresStore`](crate::PostgresStore).
pub struct PostgresSubscription {
    shared: Arc<Shared>,
    step: Option<JoinHandle<Step>>,
    /// What prepares the first message, when it is polled for.
    first: Option<Place>,
}

struct Step {
    message: Result<Message, StoreError>,
    /// `None`: the subscription has ended.
    next: Option<Place>,
}

/// Where a subscription is.
struct Place {
    subscribe: Subscribe,
    news: watch::Receiver<u64>,
    /// Selected events that were fetched and not delivered.
    fetched: VecDeque<RecordedEvent>,
    /// Each selected event up to here was fetched.
    fetched_through: Position,
    /// Nothing was visible after what was fetched.
    is_whole: bool,
    /// What was reported last.
    scanned_through: Position,
    reported_at: Instant,
    is_started: bool,
    /// Whether visible events were left undelivered since it was last reported that there are none.
    is_behind: bool,
    briefly: Duration,
}

impl PostgresSubscription {
    pub(crate) fn new(shared: &Arc<Shared>, subscribe: Subscribe) -> Self {
        let place = Place {
            news: shared.signal.news(),
            fetched: VecDeque::new(),
            fetched_through: subscribe.after,
            is_whole: false,
            scanned_through: subscribe.after,
            reported_at: Instant::now(),
            is_started: false,
            is_behind: true,
            briefly: Duration::from_millis(1),
            subscribe,
        };
        Self { shared: Arc::clone(shared), step: None, first: Some(place) }
    }

    fn start(&mut self, place: Place) {
        let shared = Arc::clone(&self.shared);
        self.step = Some(self.shared.runtime.handle().spawn(place.step(shared)));
    }
}

impl Place {
    /// Prepares the next message.
    async fn step(mut self, shared: Arc<Shared>) -> Step {
        match self.next(&shared).await {
            Ok(message) => Step { message: Ok(message), next: Some(self) },
            Err(error @ StoreError::PositionAhead { .. }) => {
                Step { message: Err(error), next: None }
            }
            Err(error) => Step { message: Err(error), next: Some(self) },
        }
    }

    async fn next(&mut self, shared: &Shared) -> Result<Message, StoreError> {
        if !self.is_started {
            let (_, head) = shared.heads().await?;
            let position = self.subscribe.after;
            if position > head {
                return Err(StoreError::PositionAhead { position, head });
            }
            self.is_started = true;
        }
        loop {
            if let Some(length) = self.complete() {
                return Ok(self.deliver(length));
            }
            self.news.borrow_and_update();
            let (visible, recorded) = self.fetch(shared).await?;
            if !self.is_whole || !self.fetched.is_empty() {
                continue;
            }
            self.fetched_through = self.fetched_through.max(visible);
            let is_new = self.fetched_through > self.scanned_through;
            if std::mem::take(&mut self.is_behind) {
                return Ok(self.report(true));
            }
            let is_due = self.subscribe.prompt_progress || self.reported_at.elapsed() >= PROGRESS;
            if is_new && is_due {
                return Ok(self.report(false));
            }
            let is_near = recorded > visible;
            shared.wait_for_news(&mut self.news, is_near, &mut self.briefly).await?;
        }
    }

    fn report(&mut self, caught_up: bool) -> Message {
        self.scanned_through = self.fetched_through;
        self.reported_at = Instant::now();
        Message::new(Vec::new(), self.scanned_through, caught_up)
    }

    /// Fetches one more page, and returns the last visible and the last recorded position of just before.
    async fn fetch(&mut self, shared: &Shared) -> Result<(Position, Position), Error> {
        let after = number(self.fetched_through.get());
        let query = &self.subscribe.query;
        let ask = AskAll { query, after, up_to: i64::MAX, events: PAGE, backwards: false };
        let (page, heads) = ask.page_and_heads(shared).await?;
        if let Some(last) = page.events.back() {
            self.fetched_through = last.position();
        }
        self.is_whole = page.is_last;
        self.fetched.extend(page.events);
        Ok(heads)
    }

    /// The number of fetched events that make a message of whole commits.
    fn complete(&self) -> Option<usize> {
        let batch_size = self.subscribe.batch_size.clamp(1, MAX_BATCH);
        let mut bytes = 0;
        for (index, event) in self.fetched.iter().enumerate() {
            bytes += event.data().len() + event.metadata().len();
            let is_full = index + 1 >= batch_size || bytes >= BYTES;
            let goes_on = self.fetched.get(index + 1).map(|next| next.commit() == event.commit());
            if is_full && (goes_on == Some(false) || event.is_last_in_commit()) {
                return Some(index + 1);
            }
        }
        (self.is_whole && !self.fetched.is_empty()).then_some(self.fetched.len())
    }

    fn deliver(&mut self, length: usize) -> Message {
        let events: Vec<RecordedEvent> = self.fetched.drain(..length).collect();
        self.is_behind |= !self.is_whole || !self.fetched.is_empty();
        self.scanned_through = match events.last() {
            Some(last) => last.position(),
            None => self.scanned_through,
        };
        self.reported_at = Instant::now();
        self.briefly = Duration::from_millis(1);
        Message::new(events, self.scanned_through, false)
    }
}

impl Stream for PostgresSubscription {
    type Item = Result<Message, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            this.start(first);
        }
        let Some(step) = &mut this.step else { return Poll::Ready(None) };
        let done = ready!(Pin::new(step).poll(context));
        this.step = None;
        match done {
            Ok(Step { message, next }) => {
                if let Some(next) = next {
                    this.start(next);
                }
                Poll::Ready(Some(message))
            }
            Err(_) => Poll::Ready(Some(Err(StoreError::Closed))),
        }
    }
}

impl Drop for PostgresSubscription {
    fn drop(&mut self) {
        if let Some(step) = &self.step {
            step.abort();
        }
    }
}

impl fmt::Debug for PostgresSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSubscription")
            .field("has_ended", &(self.step.is_none() && self.first.is_none()))
            .finish_non_exhaustive()
    }
}
