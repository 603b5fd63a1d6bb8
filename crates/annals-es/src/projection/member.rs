//! A projection in a runner: the delivery of events to it, and what follows from a failure.
//!
//! Owns the rule that the read model is at the position that the handles show, also after a failure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::apply;
use super::control::{Request, SharedError};
use super::error::{FailedEvent, FailureCause};
use super::status::Shared;
use super::target::{Progress, Target};
use super::{AsyncProjection, Options, Parked, ProjectionError, State};
use crate::event::Schemas;
use crate::store::{
    Message, OrderedStore, Position, Query, ReadAll, RecordedEvent, StoreError, next,
};

pub(super) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the runner does with a member next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its target is to be opened.
    Starting,
    /// It takes events.
    Running,
    /// It takes events from this time on.
    Waiting(Instant),
    Paused,
    Ended,
}

/// A projection, without the types of its parts.
pub(super) trait AnyMember<S>: Send {
    fn query(&self) -> &Query;
    fn mode(&self) -> Mode;
    fn position(&self) -> Position;
    /// Opens the target, and prepares or clears the read model.
    fn open<'a>(&'a mut self, store: &'a S) -> BoxFuture<'a, ()>;
    /// Handles a message. `alone`: all of its events are wanted.
    fn deliver<'a>(
        &'a mut self,
        store: &'a S,
        message: &'a Message,
        alone: bool,
    ) -> BoxFuture<'a, ()>;
    fn request<'a>(&'a mut self, store: &'a S, request: Request) -> BoxFuture<'a, ()>;
    /// Ends the wait for the next attempt.
    fn retry(&mut self);
    /// Ends the projection; with an error, as failed.
    fn end<'a>(&'a mut self, store: &'a S, error: Option<Arc<StoreError>>) -> BoxFuture<'a, ()>;
}

pub(super) struct Member<P: AsyncProjection, T> {
    pub(super) projection: P,
    pub(super) schemas: Schemas<P::Event>,
    pub(super) target: T,
    pub(super) options: Options,
    pub(super) query: Arc<Query>,
    pub(super) shared: Arc<Shared>,
    pub(super) batch_size: u64,
    pub(super) mode: Mode,
    /// Whether the target is open.
    pub(super) opened: bool,
    /// The position up to which the read model is complete.
    pub(super) position: Position,
    /// The position that the target has.
    pub(super) committed: Position,
    pub(super) failing: Option<Failing>,
}

/// The events of a message that a projection has not handled.
struct Wanted<'m> {
    events: &'m [RecordedEvent],
    after: Position,
    /// The events that are wanted; `None`: all.
    query: Option<Arc<Query>>,
}

impl<'m> Wanted<'m> {
    fn has_next(&mut self) -> bool {
        while let [first, rest @ ..] = self.events {
            let query = self.query.as_ref();
            if first.position() > self.after && query.is_none_or(|query| query.matches(first)) {
                return true;
            }
            self.events = rest;
        }
        false
    }

    fn next(&mut self) -> Option<&'m RecordedEvent> {
        if !self.has_next() {
            return None;
        }
        let (first, rest) = self.events.split_first()?;
        self.events = rest;
        Some(first)
    }
}

/// A failure that the projection has not got past.
pub(super) struct Failing {
    pub(super) event: Option<RecordedEvent>,
    pub(super) error: SharedError,
}

/// What went wrong, with the event if it concerns one.
pub(super) struct Failure {
    pub(super) event: Option<RecordedEvent>,
    pub(super) cause: FailureCause,
}

impl<C: Into<FailureCause>> From<C> for Failure {
    fn from(cause: C) -> Self {
        Self { event: None, cause: cause.into() }
    }
}

impl Failure {
    pub(super) fn at(event: &RecordedEvent, cause: FailureCause) -> Self {
        Self { event: Some(event.clone()), cause }
    }
}

impl<P: AsyncProjection, T> Member<P, T> {
    pub(super) async fn handle_message<S>(&mut self, store: &S, message: &Message, alone: bool)
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let query = (!alone).then(|| Arc::clone(&self.query));
        let mut wanted = Wanted { events: &message.events, after: self.position, query };
        while wanted.has_next() {
            let done = self.transaction(store, &mut wanted, message.scanned_through).await;
            if let Err(failure) = done {
                self.failed(store, failure).await;
                if self.mode != Mode::Running {
                    return;
                }
            }
        }
        if let Err(failure) = self.scanned(store, message).await {
            self.failed(store, failure).await;
        }
    }

    /// Handles the next events in one transaction, at most a batch of them.
    async fn transaction<S>(
        &mut self,
        store: &S,
        wanted: &mut Wanted<'_>,
        through: Position,
    ) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let mut progress = Progress::to(through);
        let mut last = None;
        let model = self.target.begin().await?;
        while progress.events < self.batch_size {
            let Some(event) = wanted.next() else { break };
            self.shared.handle(event.position());
            let timeout = self.options.timeout;
            apply(&self.projection, &self.schemas, model, event, timeout)
                .await
                .map_err(|cause| Failure::at(event, cause))?;
            progress.count(event);
            last = Some(event);
        }
        self.shared.handle(Position::START);
        if let Some(last) = last.filter(|_| wanted.has_next()) {
            progress.position = last.position();
        }
        self.target.commit(store, progress).await?;
        (self.position, self.committed) = (progress.position, progress.position);
        let at = last.map(RecordedEvent::recorded_at);
        self.shared.advance(self.position, progress.events, at);
        self.passed();
        Ok(())
    }

    /// Records that there are no further events up to a position.
    async fn scanned<S>(&mut self, store: &S, message: &Message) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let through = message.scanned_through;
        if through > self.position {
            if through.get() - self.committed.get() >= T::PROGRESS_EVERY {
                self.target.begin().await?;
                self.target.commit(store, Progress::to(through)).await?;
                self.committed = through;
            }
            self.position = through;
            self.shared.advance(through, 0, None);
            self.passed();
        }
        if message.caught_up {
            self.caught_up(store).await?;
        }
        Ok(())
    }

    /// Forgets a failure that the projection has got past.
    fn passed(&mut self) {
        let is_passed = |failing: &Failing| match &failing.event {
            Some(event) => event.position() <= self.position,
            None => true,
        };
        if self.failing.as_ref().is_some_and(is_passed) {
            self.failing = None;
            self.show(State::CatchingUp, None);
        }
    }

    /// Takes a failed transaction back, and applies the policy. The mode says how it goes on.
    pub(super) async fn failed<S>(&mut self, store: &S, failure: Failure)
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        self.shared.handle(Position::START);
        let failing = self.record(failure);
        if is_final(&failing.error) {
            // The read model is not this runner's any more.
            let _ = self.target.rollback(store).await;
            return self.wait_or_pause(failing);
        }
        let goal = match &failing.event {
            Some(event) => Position::new(event.position().get() - 1),
            None => self.position,
        };
        if let Err(second) = self.take_back(store, goal).await {
            let failing = self.record(second);
            return self.wait_or_pause(failing);
        }
        let attempts = failing.error.attempts;
        let may_park = failing.event.is_some()
            && self.options.on_error.parks
            && self.options.on_error.delay(attempts).is_none()
            && self.shared.read(|inner| inner.parked.len()) < self.options.on_error.most_parked;
        if !may_park {
            return self.wait_or_pause(failing);
        }
        if let Err(second) = self.park(store, &failing).await {
            // The event is parked at the next attempt: its own attempts are used up.
            self.failing = Some(failing);
            let second = self.error(&second, attempts);
            self.wait(self.options.on_error.capped_delay(attempts), second);
        }
    }

    /// Rolls the read model back, and forward again to a position if the target had to go further back.
    pub(super) async fn take_back<S>(&mut self, store: &S, goal: Position) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let stands = match self.target.rollback(store).await {
            Ok(stands) => stands,
            Err(error) => {
                self.opened = false;
                return Err(error.into());
            }
        };
        let before = self.position;
        (self.position, self.committed) = (stands, stands);
        if stands < goal {
            match self.reapply(store, stands, goal, before).await {
                Ok(events) => {
                    (self.position, self.committed) = (goal, goal);
                    self.shared.advance(goal, events, None);
                }
                Err(failure) => {
                    self.opened = self.target.rollback(store).await.is_ok() && self.opened;
                    self.shared.advance(stands, 0, None);
                    return Err(failure);
                }
            }
        } else {
            self.shared.advance(stands, 0, None);
        }
        Ok(())
    }

    /// Handles the events between two positions again, in one transaction. Returns the number of those after
    /// `before`.
    async fn reapply<S>(
        &mut self,
        store: &S,
        after: Position,
        to: Position,
        before: Position,
    ) -> Result<u64, Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let (mut progress, mut first_time) = (Progress::to(to), 0);
        let model = self.target.begin().await?;
        let read = ReadAll::matching((*self.query).clone()).after(after).up_to(to);
        let mut events = store.read_all(read);
        while let Some(event) = next(&mut events).await {
            let event = event.map_err(Arc::new)?;
            if self.shared.read(|inner| inner.parked.contains_key(&event.position())) {
                continue;
            }
            let timeout = self.options.timeout;
            apply(&self.projection, &self.schemas, model, &event, timeout)
                .await
                .map_err(|cause| Failure::at(&event, cause))?;
            progress.count(&event);
            first_time += u64::from(event.position() > before);
        }
        self.target.commit(store, progress).await?;
        Ok(first_time)
    }

    /// The failure with the number of its attempts.
    fn record(&self, failure: Failure) -> Failing {
        let position = |event: &Option<RecordedEvent>| event.as_ref().map(RecordedEvent::position);
        let same =
            self.failing.as_ref().filter(|it| position(&it.event) == position(&failure.event));
        let attempts = same.map_or(0, |same| same.error.attempts).saturating_add(1);
        let event = failure.event.clone();
        let error = self.error_of(failure, attempts);
        Failing { event, error }
    }

    fn error(&self, failure: &Failure, attempts: u32) -> SharedError {
        let cause = super::TargetError::failed(failure.cause.to_string());
        self.error_of(Failure::from(cause), attempts)
    }

    pub(super) fn error_of(&self, failure: Failure, attempts: u32) -> SharedError {
        let event = failure.event.as_ref().map(|event| FailedEvent {
            stream: event.stream().into(),
            version: event.version(),
            position: event.position(),
            event_type: event.event_type().to_owned(),
        });
        let (projection, cause) = (self.shared.id.clone(), failure.cause);
        Arc::new(ProjectionError { projection, event, attempts, cause })
    }

    /// Waits for the next attempt; pauses if there is none, and ends if none can succeed.
    pub(super) fn wait_or_pause(&mut self, failing: Failing) {
        let error = Arc::clone(&failing.error);
        self.failing = Some(failing);
        if is_final(&error) {
            self.mode = Mode::Ended;
            return self.show(State::Failed, Some(error));
        }
        let policy = &self.options.on_error;
        let is_outage = matches!(error.cause, FailureCause::Target(_));
        let delay = if is_outage && self.options.retry_outages {
            Some(policy.capped_delay(error.attempts))
        } else {
            policy.delay(error.attempts)
        };
        match delay {
            Some(delay) => self.wait(delay, error),
            None => {
                self.mode = Mode::Paused;
                self.show(State::Paused, Some(error));
            }
        }
    }

    fn wait(&mut self, delay: Duration, error: SharedError) {
        let now = Instant::now();
        // A delay that the clock cannot represent is as good as a day.
        let until = now.checked_add(delay).unwrap_or(now + Duration::from_secs(86_400));
        self.mode = Mode::Waiting(until);
        self.show(State::Retrying, Some(error));
    }

    pub(super) fn show(&self, state: State, error: Option<SharedError>) {
        self.shared.change(|inner| {
            inner.state = state;
            inner.error = error;
        });
    }

    pub(super) fn parked_of(event: &RecordedEvent, error: &ProjectionError) -> Parked {
        Parked::new(event, error.cause.to_string(), error.attempts)
    }
}

fn is_final(error: &ProjectionError) -> bool {
    matches!(&error.cause, FailureCause::Target(target) if target.is_final())
}

impl<P: AsyncProjection, T> Drop for Member<P, T> {
    fn drop(&mut self) {
        // The runner was dropped: whatever waits for the projection has to end.
        if self.mode != Mode::Ended {
            self.shared.change(|inner| inner.state = State::Stopped);
        }
    }
}
