//! Runs an outbox: reads events, sends those of different streams at the same time, and saves the place.
//!
//! Owns the bound of what is read and not sent. Must never save a place after an event that is neither sent nor
//! parked.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::FuturesUnordered;

use super::error::OutboxError;
use super::lanes::Lanes;
use super::send::{Sending, Sent};
use super::{SendError, Sink};
use crate::event::{SchemaError, Schemas};
use crate::parking::{ParkedEvent, Parking, ParkingLot};
use crate::policy::ErrorPolicy;
use crate::run_handle::RunnerHandle;
use crate::store::{
    AppendError, AtomicCheckpoints, Commit, Expected, Position, Query, ReadAll, RecordedEvent,
    StreamName, Version, next,
};

/// The place is saved after this number of events.
const UNSAVED: u64 = 100;

/// Hands the events of a store to a [`Sink`].
///
/// It needs no executor of its own: spawn [`Outbox::run`] in a task, or call it in a thread with
/// [`block_on`](crate::blocking::block_on).
pub struct Outbox<S, K> {
    store: S,
    name: String,
    sink: Arc<K>,
    query: Query,
    at_once: usize,
    most_unsent: usize,
    sending: Sending,
    parking: ParkingLot,
}

type InFlight = Pin<Box<dyn Future<Output = (RecordedEvent, Sent)> + Send>>;

/// A run of an outbox.
struct Run<E> {
    lanes: Lanes,
    reading: Option<E>,
    head: Position,
    in_flight: FuturesUnordered<InFlight>,
    saved: Position,
    sent: u64,
}

/// What a run waits for.
enum Wake {
    Sent(Box<(RecordedEvent, Sent)>),
    Visible,
    Stopping,
}

impl<S: AtomicCheckpoints, K: Sink> Outbox<S, K> {
    /// An outbox that begins after the events that were sent before: those up to the checkpoint `name`. A new one
    /// begins with the first event; [`Outbox::skip_to_head`] skips those that are recorded.
    ///
    /// # Errors
    ///
    /// None with a release of this crate: its own events have fitting schemas.
    pub fn new(store: S, name: impl Into<String>, sink: K) -> Result<Self, SchemaError> {
        let (name, handle) = (name.into(), RunnerHandle::default());
        Ok(Self {
            store,
            parking: ParkingLot::new(&name, Schemas::new()?),
            name,
            sink: Arc::new(sink),
            query: Query::all(),
            at_once: 16,
            most_unsent: 1000,
            sending: Sending { policy: ErrorPolicy::default(), limit: None, handle },
        })
    }

    /// Sets which events are sent. Default: all.
    #[must_use]
    pub fn matching(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Sets how many streams are sent at the same time, at least 1. Default: 16.
    #[must_use]
    pub fn at_once(mut self, streams: usize) -> Self {
        self.at_once = streams.max(1);
        self
    }

    /// Sets the largest number of events in memory that are not sent, at least 1. When it is reached, no more are
    /// read: a stream that cannot be sent then holds up the others. Default: 1,000.
    #[must_use]
    pub fn most_unsent(mut self, events: usize) -> Self {
        self.most_unsent = events.max(1);
        self
    }

    /// Sets how long the sink may take for an event; that attempt has failed then. Default: no limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.sending.limit = Some(limit);
        self
    }

    /// Sets what happens when an event cannot be sent. Default: [`ErrorPolicy::pause`], which ends the run with the
    /// error after some attempts.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.sending.policy = policy;
        self
    }

    /// Stops the run, and shows its progress.
    pub fn handle(&self) -> RunnerHandle {
        self.sending.handle.clone()
    }

    /// The sink.
    pub fn sink(&self) -> &K {
        &self.sink
    }

    /// Skips the events that are recorded now, unless the outbox has sent some before.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn skip_to_head(&self) -> Result<(), OutboxError> {
        let head = self.store.head().await?;
        if head > Position::START && self.store.checkpoint(&self.name).await?.is_none() {
            self.save(head).await?;
        }
        Ok(())
    }

    /// Sends events, and then waits for new ones, until [`RunnerHandle::stop`] is called. The sink is not interrupted
    /// then, but events that wait for another attempt are left for the next run.
    ///
    /// # Errors
    ///
    /// [`OutboxError`].
    pub async fn run(&mut self) -> Result<(), OutboxError> {
        self.work(false).await
    }

    /// Sends all events that are recorded.
    ///
    /// # Errors
    ///
    /// [`OutboxError`].
    pub async fn send_all(&mut self) -> Result<(), OutboxError> {
        self.work(true).await
    }

    async fn work(&self, ends: bool) -> Result<(), OutboxError> {
        let handle = &self.sending.handle;
        let saved = self.store.checkpoint(&self.name).await?.unwrap_or(Position::START);
        handle.reached(saved);
        let mut run = Run {
            lanes: Lanes::new(saved),
            reading: None,
            head: saved,
            in_flight: FuturesUnordered::new(),
            saved,
            sent: 0,
        };
        loop {
            // Read once a turn: what is waited for depends on it.
            let stops = handle.is_stopping();
            if stops {
                if run.in_flight.is_empty() {
                    return self.save_progress(&mut run).await;
                }
            } else {
                self.read_more(&mut run).await?;
                while run.in_flight.len() < self.at_once
                    && let Some(event) = run.lanes.take()
                {
                    let sending = self.sending.clone().send(Arc::clone(&self.sink), event);
                    run.in_flight.push(Box::pin(sending));
                }
                let is_idle = run.in_flight.is_empty() && run.reading.is_none();
                if is_idle {
                    self.save_progress(&mut run).await?;
                    if ends {
                        return Ok(());
                    }
                }
            }
            match self.wake(&mut run, stops).await? {
                Wake::Sent(done) => self.done(&mut run, *done).await?,
                Wake::Visible | Wake::Stopping => {}
            }
        }
    }

    /// Reads events up to the head, while not too many are unsent.
    async fn read_more(&self, run: &mut Run<S::Events>) -> Result<(), OutboxError> {
        loop {
            while run.lanes.unsent() < self.most_unsent
                && let Some(events) = &mut run.reading
            {
                match next(events).await.transpose()? {
                    Some(event) => run.lanes.push(event),
                    None => {
                        run.reading = None;
                        run.lanes.read_to(run.head);
                    }
                }
            }
            if run.reading.is_some() {
                return Ok(());
            }
            run.head = self.store.head().await?;
            if run.head <= run.lanes.read() {
                return Ok(());
            }
            let read =
                ReadAll::matching(self.query.clone()).after(run.lanes.read()).up_to(run.head);
            run.reading = Some(self.store.read_all(read));
        }
    }

    /// Waits for the end of a sending, for new events if there is room for them, or for the end.
    async fn wake(&self, run: &mut Run<S::Events>, stops: bool) -> Result<Wake, OutboxError> {
        let handle = &self.sending.handle;
        let has_room = run.reading.is_none() && !stops;
        let mut visible = pin!(self.store.wait_for(Position::new(run.lanes.read().get() + 1)));
        let mut stopping = pin!(handle.stopping());
        let in_flight = &mut run.in_flight;
        poll_fn(|context| {
            if let Poll::Ready(Some(done)) = Pin::new(&mut *in_flight).poll_next(context) {
                return Poll::Ready(Ok(Wake::Sent(Box::new(done))));
            }
            if !stops && stopping.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(Wake::Stopping));
            }
            if has_room && let Poll::Ready(seen) = visible.as_mut().poll(context) {
                return Poll::Ready(seen.map(|()| Wake::Visible).map_err(OutboxError::from));
            }
            Poll::Pending
        })
        .await
    }

    async fn done(
        &self,
        run: &mut Run<S::Events>,
        (event, sent): (RecordedEvent, Sent),
    ) -> Result<(), OutboxError> {
        match sent {
            Sent::Done => {}
            Sent::Stopped => return Ok(()),
            Sent::Failed { cause, attempts } => {
                if !self.may_park().await? {
                    self.save_progress(run).await?;
                    return Err(self.failed(&event, cause));
                }
                self.park(event.position(), &cause, attempts).await?;
            }
        }
        run.lanes.done(&event);
        run.sent += 1;
        self.sending.handle.reached(run.lanes.sent_through());
        if run.sent.is_multiple_of(UNSAVED) {
            self.save_progress(run).await?;
        }
        Ok(())
    }

    fn failed(&self, event: &RecordedEvent, cause: SendError) -> OutboxError {
        OutboxError::Send {
            outbox: self.name.clone(),
            position: event.position(),
            stream: StreamName::from(event.stream()),
            event_type: event.event_type().to_owned(),
            cause,
        }
    }

    async fn save_progress(&self, run: &mut Run<S::Events>) -> Result<(), OutboxError> {
        let through = run.lanes.sent_through();
        self.sending.handle.reached(through);
        // An outbox that matches nothing does not write for each event of others.
        let is_far = through.get() >= run.saved.get() + 100 * UNSAVED;
        if through > run.saved && (run.sent > 0 || is_far) {
            self.save(through).await?;
            (run.saved, run.sent) = (through, 0);
        }
        Ok(())
    }

    async fn save(&self, through: Position) -> Result<(), OutboxError> {
        match self.store.append(Commit::progress(&self.name, through)).await {
            Ok(_) => Ok(()),
            Err(AppendError::Conflict(_)) => {
                Err(OutboxError::OtherRunner { outbox: self.name.clone() })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn may_park(&self) -> Result<bool, OutboxError> {
        let policy = &self.sending.policy;
        Ok(policy.parks && self.parking.list(&self.store).await?.events.len() < policy.most_parked)
    }

    async fn park(
        &self,
        position: Position,
        cause: &SendError,
        attempts: u32,
    ) -> Result<(), OutboxError> {
        let parked = Parking::Parked { position, error: cause.to_string(), attempts };
        let commit = Commit::to(&self.parking.stream, Expected::Any, [parked.to_new_event()?]);
        self.store.append(commit).await?;
        Ok(())
    }

    /// The events that could not be sent and were passed, by position.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn parked(&self) -> Result<Vec<ParkedEvent>, OutboxError> {
        Ok(self.parking.list(&self.store).await?.events.into_values().collect())
    }

    /// Sends a parked event, in one attempt, and takes it out. If that fails, it stays parked. Later events of its
    /// stream may have been sent before.
    ///
    /// # Errors
    ///
    /// [`OutboxError::Send`], [`OutboxError::NotParked`], and those of the store.
    pub async fn replay(&self, position: Position) -> Result<(), OutboxError> {
        let version = self.parked_at(position).await?;
        let before = Position::new(position.get().saturating_sub(1));
        let read = ReadAll::new().after(before).up_to(position);
        let event = next(&mut self.store.read_all(read)).await.transpose()?;
        let event = event.ok_or(OutboxError::NotParked { position })?;
        let sent = self.sending.attempt(&*self.sink, &event).await;
        sent.map_err(|cause| self.failed(&event, cause))?;
        self.take_out(&Parking::Replayed { position }, version).await
    }

    /// Takes a parked event out without sending it.
    ///
    /// # Errors
    ///
    /// [`OutboxError::NotParked`], and those of the store.
    pub async fn discard(&self, position: Position) -> Result<(), OutboxError> {
        let version = self.parked_at(position).await?;
        self.take_out(&Parking::Discarded { position }, version).await
    }

    async fn parked_at(&self, position: Position) -> Result<Version, OutboxError> {
        let list = self.parking.list(&self.store).await?;
        let is_parked = list.events.contains_key(&position);
        is_parked.then_some(list.version).ok_or(OutboxError::NotParked { position })
    }

    async fn take_out(&self, taken: &Parking, version: Version) -> Result<(), OutboxError> {
        let taken = taken.to_new_event()?;
        let commit = Commit::to(&self.parking.stream, Expected::Exact(version), [taken]);
        self.store.append(commit).await?;
        Ok(())
    }
}

impl<S: fmt::Debug, K> fmt::Debug for Outbox<S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("name", &self.name)
            .field("store", &self.store)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}
