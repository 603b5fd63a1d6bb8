//! Subscriptions: pages of what is recorded, then of what becomes known.
//!
//! Owns the place of a subscription. It has no consumer on the servers: it reads pages from any replica, up to a position
//! that is known to be recorded, so that a restart, another leader or a reconnect leaves nothing to repair. Each page
//! follows the one before it without a gap, because what a replica has is a beginning of what is recorded. Queries are
//! applied here: that nothing was left out up to a position is shown by the events up to it. At most one message is
//! prepared while another is handled.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use annals_es::{Message, Position, RecordedEvent, StoreError, Subscribe};
use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;
use crate::message::sequence_of;
use crate::shared::Shared;

/// The greatest number of events after which a message ends.
const MAX_BATCH: usize = 4096;
/// Bytes of data and metadata after which a message ends.
const BYTES: usize = 4 << 20;
/// How often progress without selected events is reported that nobody waits for.
const PROGRESS: Duration = Duration::from_secs(1);
/// How often the leader is asked again whether a position is ahead of the head: a former leader may have answered.
const QUESTIONS: u32 = 3;

/// A subscription of a [`JetStreamStore`](crate::JetStreamStore).
pub struct JetStreamSubscription {
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

/// The selected events of a commit, and where it ends.
struct Selected {
    events: Vec<RecordedEvent>,
    end: Position,
}

/// Where a subscription is.
struct Place {
    subscribe: Subscribe,
    news: watch::Receiver<Position>,
    /// Whole commits that were fetched and not delivered.
    fetched: VecDeque<Selected>,
    /// The selected events of a commit whose end was not fetched yet.
    partial: Vec<RecordedEvent>,
    /// The sequence of the next message to fetch.
    next: u64,
    /// The end of the last whole commit that was fetched.
    fetched_through: Position,
    /// What was reported last.
    scanned_through: Position,
    reported_at: Instant,
    is_started: bool,
    /// Whether known events were left undelivered since it was last reported that there are none.
    is_behind: bool,
}

impl JetStreamSubscription {
    pub(crate) fn new(shared: &Arc<Shared>, subscribe: Subscribe) -> Self {
        let place = Place {
            news: shared.signal.news(),
            fetched: VecDeque::new(),
            partial: Vec::new(),
            next: sequence_of(subscribe.after).max(1),
            fetched_through: subscribe.after,
            scanned_through: subscribe.after,
            reported_at: Instant::now(),
            is_started: false,
            is_behind: true,
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
        match self.prepare(&shared).await {
            Ok(message) => Step { message: Ok(message), next: Some(self) },
            Err(error @ StoreError::PositionAhead { .. }) => {
                Step { message: Err(error), next: None }
            }
            Err(error) => Step { message: Err(error), next: Some(self) },
        }
    }

    async fn prepare(&mut self, shared: &Shared) -> Result<Message, StoreError> {
        if !self.is_started {
            self.begin(shared).await?;
        }
        loop {
            let known = *self.news.borrow_and_update();
            if let Some(message) = self.deliver(known) {
                return Ok(message);
            }
            if self.next <= sequence_of(known) && self.fetched_through < known {
                self.fetch(shared, sequence_of(known)).await?;
                continue;
            }
            let is_new = self.fetched_through > self.scanned_through;
            if std::mem::take(&mut self.is_behind) {
                return Ok(self.report(true));
            }
            let is_due = self.subscribe.prompt_progress || self.reported_at.elapsed() >= PROGRESS;
            if is_new && is_due {
                return Ok(self.report(false));
            }
            if tokio::time::timeout(shared.poll_interval, self.news.changed()).await.is_err() {
                shared.head().await?;
            }
        }
    }

    async fn begin(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let position = self.subscribe.after;
        for question in 1.. {
            let head = shared.head().await?;
            if position <= head {
                break;
            }
            if question == QUESTIONS {
                return Err(StoreError::PositionAhead { position, head });
            }
            tokio::time::sleep(shared.poll_interval / 4).await;
        }
        self.is_started = true;
        Ok(())
    }

    fn report(&mut self, caught_up: bool) -> Message {
        self.scanned_through = self.fetched_through;
        self.reported_at = Instant::now();
        Message::new(Vec::new(), self.scanned_through, caught_up)
    }

    /// Fetches one more page.
    async fn fetch(&mut self, shared: &Shared, known: u64) -> Result<(), Error> {
        for message in shared.messages(&shared.subjects.events(), self.next, known).await? {
            let events = message.events()?;
            self.next = message.sequence + 1;
            for event in events {
                let (position, is_last) = (event.position(), event.is_last_in_commit());
                if position > self.subscribe.after && self.subscribe.query.matches(&event) {
                    self.partial.push(event);
                }
                if is_last {
                    let events = std::mem::take(&mut self.partial);
                    if !events.is_empty() {
                        self.fetched.push_back(Selected { events, end: position });
                    }
                    self.fetched_through = self.fetched_through.max(position);
                }
            }
        }
        Ok(())
    }

    /// A message of fetched events: a full one, or what there is if nothing more is known.
    fn deliver(&mut self, known: Position) -> Option<Message> {
        let batch_size = self.subscribe.batch_size.clamp(1, MAX_BATCH);
        let (mut number, mut commits, mut bytes) = (0, 0, 0);
        for selected in &self.fetched {
            number += selected.events.len();
            commits += 1;
            let sizes = selected.events.iter().map(|it| it.data().len() + it.metadata().len());
            bytes += sizes.sum::<usize>();
            if number >= batch_size || bytes >= BYTES {
                break;
            }
        }
        let is_full = number >= batch_size || bytes >= BYTES;
        if commits == 0 || !is_full && self.fetched_through < known {
            return None;
        }
        let mut events = Vec::with_capacity(number);
        let mut end = self.scanned_through;
        for selected in self.fetched.drain(..commits) {
            events.extend(selected.events);
            end = selected.end;
        }
        self.is_behind |= !self.fetched.is_empty() || self.fetched_through < known;
        self.scanned_through = self.scanned_through.max(end);
        self.reported_at = Instant::now();
        Some(Message::new(events, self.scanned_through, false))
    }
}

impl Stream for JetStreamSubscription {
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

impl Drop for JetStreamSubscription {
    fn drop(&mut self) {
        if let Some(step) = &self.step {
            step.abort();
        }
    }
}

impl fmt::Debug for JetStreamSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamSubscription")
            .field("has_ended", &(self.step.is_none() && self.first.is_none()))
            .finish_non_exhaustive()
    }
}
