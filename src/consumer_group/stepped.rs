//! A group without threads, for simulations: its caller decides which part of it takes the next step.
//!
//! The steps are those of the threads: the same code selects events and workers, makes attempts, and moves the
//! cursor. What is missing is a transactional handler that runs before its event's turn. Must never wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::shared::{GroupShared, Handler};
use super::worker::{self, RetryingStreams};
use super::{ConsumerGroup, Delivery, GroupStats, committing, running};
use crate::error::Result;
use crate::event::Position;
use crate::read::event::Event;
use crate::store::transaction::Transaction;
use crate::subscription::Subscription;

/// A group that is driven step by step. Dropping it is like the end of its process.
pub(crate) struct SteppedGroup {
    shared: Arc<GroupShared>,
    subscription: Subscription,
    /// Events of the last message that are not handed out.
    events: VecDeque<Event>,
    /// The end of that message, until it is reached.
    scanned_through: Option<Position>,
    held: Vec<RetryingStreams>,
}

/// The result of a step of the thread that follows the store.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The event was passed to its worker.
    HandedOut(Event),
    /// There is no room for the next event.
    Full,
    /// A message ended; nothing more is selected up to here.
    Scanned(Position),
    /// There are no more messages.
    Idle,
}

/// The result of a step of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worked {
    /// An event was handled or parked.
    Done,
    /// An event is retried.
    Again,
    /// Its next event is not the first one in flight, and its handler writes with the cursor.
    NotItsTurn,
    /// It has no event.
    Idle,
}

impl SteppedGroup {
    /// A group with a handler as for [`ConsumerGroup::start`].
    pub(crate) fn start(
        group: ConsumerGroup,
        handler: impl Fn(Delivery<'_>) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::prepared(group, Handler::Plain(Box::new(handler)))
    }

    /// A group with a handler as for [`ConsumerGroup::start_transactional`].
    pub(crate) fn start_transactional<F>(group: ConsumerGroup, handler: F) -> Result<Self>
    where
        F: for<'a> Fn(
                Delivery<'a>,
                Transaction<'a>,
            ) -> std::result::Result<Transaction<'a>, String>
            + Send
            + Sync
            + 'static,
    {
        Self::prepared(group, Handler::Committing(Box::new(handler)))
    }

    fn prepared(group: ConsumerGroup, handler: Handler) -> Result<Self> {
        group.check()?;
        group.store.check_writable()?;
        let held = (0..group.workers).map(|_| RetryingStreams::default()).collect();
        let (shared, subscription) = running::prepare(group, handler)?;
        Ok(Self { shared, subscription, events: VecDeque::new(), scanned_through: None, held })
    }

    /// Receives a message, hands out one of its events, or reaches its end.
    pub(crate) fn follow(&mut self) -> Result<Followed> {
        if self.events.is_empty() {
            if let Some(through) = self.scanned_through.take() {
                self.shared.scanned(through);
                return Ok(Followed::Scanned(through));
            }
            let Some(message) = self.subscription.try_next()? else { return Ok(Followed::Idle) };
            self.scanned_through = Some(message.scanned_through);
            self.events = message.into_events().into_iter().collect();
            return self.follow();
        }
        while let Some(event) = self.events.pop_front() {
            let mut state = self.shared.state();
            let in_flight = state.flight.len();
            if let Some(refused) = self.shared.offer(&mut state, event.clone()) {
                self.events.push_front(refused);
                return Ok(Followed::Full);
            }
            // Notes of parked events are passed over.
            if state.flight.len() > in_flight {
                return Ok(Followed::HandedOut(event));
            }
        }
        self.follow()
    }

    /// Makes one attempt for the next event of a worker. After an error, the group has ended.
    pub(crate) fn work(&mut self, worker: usize) -> Result<Worked> {
        let worker = worker % self.held.len();
        let shared = &self.shared;
        match &shared.handler {
            Handler::Plain(handler) => {
                let held = &mut self.held[worker];
                let next = held.next(&mut shared.state().queues[worker]);
                let Some(next) = next else { return Ok(Worked::Idle) };
                let done = worker::handle(shared, handler, held, next)?;
                Ok(if done { Worked::Done } else { Worked::Again })
            }
            Handler::Committing(handler) => {
                let next = shared.state().queues[worker].pop_front();
                let Some(mut task) = next else { return Ok(Worked::Idle) };
                let outcome = if committing::is_turn(shared, &task) {
                    match committing::attempt(shared, handler, &mut task)? {
                        committing::Attempt::Done => return Ok(Worked::Done),
                        committing::Attempt::Again(_) | committing::Attempt::Ends => Worked::Again,
                    }
                } else {
                    Worked::NotItsTurn
                };
                shared.state().queues[worker].push_front(task);
                Ok(outcome)
            }
        }
    }

    /// Stores the progress if it has moved, as is done at intervals.
    pub(crate) fn store_progress(&self) -> Result<()> {
        self.shared.store_progress(1)
    }

    /// Its counters.
    pub(crate) fn stats(&self) -> GroupStats {
        self.shared.stats()
    }
}

impl fmt::Debug for SteppedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteppedGroup").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
