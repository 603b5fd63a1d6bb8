//! A running group: the thread that follows the store, and the handle.

use std::sync::Arc;
use std::time::Duration;

use super::shared::{GroupShared, Handler, Replay, Task};
use super::{ConsumerGroup, committing, parking, worker};
use crate::error::{Error, Result};
use crate::event::Position;
use crate::read::event::Event;
use crate::subscription::{Progress, Subscription};
use crate::sync::atomic::Ordering;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Instant, MutexGuard};

/// A larger batch is not needed to keep the workers busy.
const BATCH: usize = 256;
/// The shortest time between two commits of progress.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A running consumer group.
///
/// Dropping it has the effect of [`RunningGroup::abort`].
#[must_use = "dropping a group aborts it"]
pub struct RunningGroup {
    shared: Arc<GroupShared>,
    threads: Vec<JoinHandle<()>>,
}

/// Counters of a running group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GroupStats {
    /// Events whose handler succeeded.
    pub handled: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Events that were parked.
    pub parked: u64,
    /// Events in flight: being handled, waiting for their worker or for another attempt.
    pub in_flight: usize,
    /// Every event at or before this position is handled, parked or not selected.
    pub progress: Position,
    /// The stored part of the progress.
    pub stored: Position,
}

/// The result of [`RunningGroup::replay_parked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Replayed {
    /// Events that were handled and are no longer parked.
    pub handled: u64,
    /// Events that failed again, and stay parked.
    pub failed: u64,
}

impl RunningGroup {
    pub(super) fn start(group: ConsumerGroup, handler: Handler) -> Result<Self> {
        let workers = group.workers;
        let (shared, subscription) = prepare(group, handler)?;
        let mut running = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        // If a thread cannot be started, the started ones are aborted.
        for index in 0..workers {
            let shared = Arc::clone(&shared);
            running.spawn("annals-worker", move || match &shared.handler {
                Handler::Plain(handler) => worker::run(&shared, index, handler),
                Handler::Committing(handler) => committing::run(&shared, index, handler),
            })?;
        }
        running.spawn("annals-group", move || follow(&shared, subscription))?;
        Ok(running)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(|e| Error::io("start a thread for", "", e))?);
        Ok(())
    }

    /// Every event at or before this position is handled, parked or not selected. The stored
    /// progress may be lower.
    pub fn progress(&self) -> Position {
        Position::new(self.shared.state().flight.progress())
    }

    /// A handle to the progress, to be awaited in other threads and tasks, alone or
    /// [joined](crate::subscription::JoinedProgress) with that of other consumers. It does not keep the group
    /// running. Its `handled` position is [`RunningGroup::progress`]; its lag and rate are those of handing
    /// events out to workers, at most [`ConsumerGroup::window`] events ahead of handling them.
    pub fn progress_handle(&self) -> Progress {
        self.shared.progress().clone()
    }

    /// Waits at most `timeout` until the progress of the group reaches `position`; returns whether
    /// it has. Returns early if the group has stopped.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> bool {
        let position = position.into().get();
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.shared.state();
        loop {
            if state.flight.progress() >= position {
                return true;
            }
            if state.stopping || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            wait(&self.shared.moved, &mut state, deadline);
        }
    }

    /// Whether the group still handles events. If not, it was stopped, or it failed with the error
    /// that [`RunningGroup::stop`] returns.
    pub fn is_running(&self) -> bool {
        !self.shared.state().stopping
    }

    /// Counters of the group.
    pub fn stats(&self) -> GroupStats {
        self.shared.stats()
    }

    /// Delivers parked events again, each through the worker of its stream, and with all attempts;
    /// returns when all are handled or have failed again. If the group stops meanwhile, the rest
    /// stays parked.
    ///
    /// # Errors
    ///
    /// Those of reading parked events.
    pub fn replay_parked(&self) -> Result<Replayed> {
        let shared = &self.shared;
        let _one_at_a_time = shared.replaying.lock();
        let replay = Arc::new(Replay::default());
        let wait_for_less_than = |most: u64| {
            let mut state = shared.state();
            while replay.on_their_way.load(Ordering::Relaxed) >= most && !state.stopping {
                shared.moved.wait(&mut state);
            }
            state
        };
        for parked in parking::list(&shared.group.store, &shared.group.name)? {
            let mut state = wait_for_less_than(shared.group.window as u64);
            if state.stopping {
                break;
            }
            replay.on_their_way.fetch_add(1, Ordering::Relaxed);
            let replay = Some(Arc::clone(&replay));
            shared.hand_out(&mut state, Task { event: parked.event, attempts: 0, replay });
        }
        drop(wait_for_less_than(1));
        parking::tidy(&shared.group.store, &shared.group.name)?;
        Ok(Replayed {
            handled: replay.handled.load(Ordering::Relaxed),
            failed: replay.failed.load(Ordering::Relaxed),
        })
    }

    /// Stops the group: running handlers finish, no others are started, and progress is stored.
    /// Waiting events are delivered when the group is started again.
    ///
    /// # Errors
    ///
    /// The error that had stopped the group before, if there was one; [`Error::Conflict`] if
    /// another group of this name, or other code, has moved its cursor; and those of storing the
    /// progress.
    pub fn stop(mut self) -> Result<Position> {
        self.shared.end(false, None);
        for thread in self.threads.drain(..) {
            // Panics of handlers are caught in the worker, so the result of a thread that panicked
            // itself is ignored.
            let _ = thread.join();
        }
        let stored = self.shared.store_progress(1);
        if let Some(failure) = self.shared.state().failure.take() {
            return Err(failure);
        }
        stored?;
        Ok(self.shared.stored().unwrap_or(Position::START))
    }

    /// Stops at once and waits for no handler, like a crash: nothing is stored, and the work of
    /// running handlers is repeated when the group is started again.
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for RunningGroup {
    fn drop(&mut self) {
        self.shared.end(true, None);
    }
}

impl std::fmt::Debug for RunningGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningGroup")
            .field("name", &self.shared.group.name)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn wait<T>(
    condition: &crate::sync::Condvar,
    guard: &mut MutexGuard<'_, T>,
    until: Option<Instant>,
) {
    match until {
        Some(until) => {
            condition.wait_until(guard, until);
        }
        None => condition.wait(guard),
    }
}

/// The state of a group that begins after its cursor, and what it follows.
pub(super) fn prepare(
    group: ConsumerGroup,
    handler: Handler,
) -> Result<(Arc<GroupShared>, Subscription)> {
    let cursor = group.store.cursors().get(&group.name)?;
    let after = cursor.unwrap_or(group.begin_after);
    // Events that do not match count as progress immediately: other threads wait until the group
    // has passed them.
    let mut subscribe = group.store.subscribe().after(after).progress_every(1);
    subscribe = subscribe.batch_size(BATCH.min(group.window));
    if let Some(query) = &group.query {
        subscribe = subscribe.matching(query.clone());
    }
    let subscription = subscribe.manual_progress().start()?;
    let shared = Arc::new(GroupShared::new(group, handler, &subscription, cursor, after));
    Ok((shared, subscription))
}

/// The thread that follows the store.
fn follow(shared: &GroupShared, subscription: Subscription) {
    let interval = shared.group.progress_interval.max(SHORTEST_INTERVAL);
    let mut dispatcher = Dispatcher { shared, interval, due: Instant::now().checked_add(interval) };
    if let Err(error) = dispatcher.run(subscription) {
        shared.end(false, Some(error));
    }
}

/// Hands the events of the subscription out to the workers, and stores progress.
struct Dispatcher<'a> {
    shared: &'a GroupShared,
    interval: Duration,
    /// The time to store progress next.
    due: Option<Instant>,
}

impl Dispatcher<'_> {
    fn run(&mut self, mut subscription: Subscription) -> Result<()> {
        loop {
            let next = subscription.next_timeout(self.interval)?;
            if next.is_none() && subscription.is_ended() {
                return Ok(());
            }
            if let Some(message) = next {
                let scanned_through = message.scanned_through;
                for event in message.into_events() {
                    if !self.hand_out(event)? {
                        return Ok(());
                    }
                }
                self.shared.scanned(scanned_through);
            }
            self.store_progress()?;
        }
    }

    /// Passes an event to its worker when there is room; `false` if the group ends.
    fn hand_out(&mut self, mut event: Event) -> Result<bool> {
        loop {
            let mut state = self.shared.state();
            if state.stopping {
                return Ok(false);
            }
            match self.shared.offer(&mut state, event) {
                None => return Ok(true),
                Some(refused) => event = refused,
            }
            wait(&self.shared.room, &mut state, self.due);
            drop(state);
            self.store_progress()?;
        }
    }

    fn store_progress(&mut self) -> Result<()> {
        let is_due = self.due.is_some_and(|due| Instant::now() >= due);
        if is_due {
            self.due = Instant::now().checked_add(self.interval);
        }
        self.shared.store_progress(if is_due { 1 } else { self.shared.group.progress_events })
    }
}
