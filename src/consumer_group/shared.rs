//! The shared state of the threads of a running group.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::committing::CommittingHandler;
use super::flight::Flight;
use super::{ConsumerGroup, Delivery, GroupStats, parking};
use crate::error::{Error, Result};
use crate::event::{ExpectedVersion, Position};
use crate::read::event::Event;
use crate::store::transaction::Transaction;
use crate::subscription::{Progress, StopHandle, Subscription};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, Rank};

pub(super) type PlainHandler =
    dyn Fn(Delivery<'_>) -> std::result::Result<(), String> + Send + Sync;

/// What is called for each event.
pub(super) enum Handler {
    Plain(Box<PlainHandler>),
    /// Its writes are committed with the cursor.
    Committing(Box<CommittingHandler>),
}

pub(super) struct GroupShared {
    pub(super) group: ConsumerGroup,
    pub(super) handler: Handler,
    stop: StopHandle,
    /// What other threads read of the progress.
    progress: Progress,
    state: Mutex<SharedState>,
    /// One for each worker: signalled when it has work, or must end.
    wanted: Vec<Condvar>,
    /// Signalled when there is room for more events in flight.
    pub(super) room: Condvar,
    /// Signalled when progress has moved, a replay has advanced, or the group has ended.
    pub(super) moved: Condvar,
    /// The position of the group's cursor. Held while the cursor is moved.
    cursor: Mutex<Option<Position>>,
    /// Held during a replay, so that there is one at a time.
    pub(super) replaying: Mutex<()>,
    pub(super) handled: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) parked: AtomicU64,
}

pub(super) struct SharedState {
    pub(super) flight: Flight,
    pub(super) queues: Vec<VecDeque<Task>>,
    /// No handler may be started.
    pub(super) stopping: bool,
    /// Results of running handlers are ignored.
    aborted: bool,
    pub(super) failure: Option<Error>,
}

/// An event for a worker.
pub(super) struct Task {
    pub(super) event: Event,
    pub(super) attempts: u32,
    pub(super) replay: Option<Arc<Replay>>,
}

/// A replay of parked events that a thread waits for; changed under the state's lock.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) on_their_way: AtomicU64,
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl GroupShared {
    pub(super) fn new(
        group: ConsumerGroup,
        handler: Handler,
        subscription: &Subscription,
        cursor: Option<Position>,
        after: Position,
    ) -> Self {
        let state = SharedState {
            flight: Flight::new(after.get()),
            queues: (0..group.workers).map(|_| VecDeque::new()).collect(),
            stopping: false,
            aborted: false,
            failure: None,
        };
        Self {
            wanted: (0..group.workers).map(|_| Condvar::new()).collect(),
            group,
            handler,
            stop: subscription.stop_handle(),
            progress: subscription.progress(),
            state: Mutex::new(Rank::GroupState, state),
            room: Condvar::new(),
            moved: Condvar::new(),
            cursor: Mutex::new(Rank::GroupCursor, cursor),
            replaying: Mutex::new(Rank::Replay, ()),
            handled: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            parked: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock()
    }

    pub(super) fn wanted(&self, worker: usize) -> &Condvar {
        &self.wanted[worker]
    }

    /// Passes an event of the subscription to its worker; returns it if the window is full.
    pub(super) fn offer(&self, state: &mut SharedState, event: Event) -> Option<Event> {
        if parking::is_note(&event) {
            state.flight.scanned(event.position().get());
            return None;
        }
        if state.flight.len() >= self.group.window {
            return Some(event);
        }
        self.hand_out(state, Task { event, attempts: 0, replay: None });
        None
    }

    /// Records that every event at or before this position was handed out.
    pub(super) fn scanned(&self, through: Position) {
        let mut state = self.state();
        state.flight.scanned(through.get());
        self.announce(state);
    }

    /// Passes an event to the worker of its stream.
    pub(super) fn hand_out(&self, state: &mut SharedState, task: Task) {
        let mut hasher = DefaultHasher::new();
        task.event.stream().hash(&mut hasher);
        let workers = self.wanted.len() as u64;
        let worker = usize::try_from(hasher.finish() % workers).unwrap_or(0);
        if task.replay.is_none() {
            state.flight.begin(task.event.position().get());
        }
        state.queues[worker].push_back(task);
        self.wanted[worker].notify_one();
    }

    /// Ends all threads, each after its current event.
    pub(super) fn end(&self, abort: bool, failure: Option<Error>) {
        // A commit that moves the cursor ends first: none follows an abort, after which the next
        // group of this name may have begun.
        let _cursor = abort.then(|| self.cursor.lock());
        let mut state = self.state();
        state.stopping = true;
        state.aborted |= abort;
        if state.failure.is_none() {
            state.failure = failure;
        }
        drop(state);
        self.stop.stop();
        for wanted in &self.wanted {
            wanted.notify_all();
        }
        self.room.notify_all();
        self.moved.notify_all();
    }

    /// Records that an event is handled, or parked if `parked` is true.
    pub(super) fn finish(&self, task: &Task, parked: bool) {
        let count = if parked { &self.parked } else { &self.handled };
        count.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.aborted {
            return;
        }
        match &task.replay {
            None => {
                let was_full = state.flight.len() >= self.group.window;
                state.flight.end(task.event.position().get());
                if was_full {
                    self.room.notify_one();
                }
            }
            Some(replay) => {
                let count = if parked { &replay.failed } else { &replay.handled };
                count.fetch_add(1, Ordering::Relaxed);
                replay.on_their_way.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.announce(state);
    }

    /// Announces a change of the progress, or of a replay.
    fn announce(&self, state: MutexGuard<'_, SharedState>) {
        let progress = state.flight.progress();
        drop(state);
        self.moved.notify_all();
        // It is never after what the subscription has delivered, so this is no error.
        let _ = self.progress.advance(progress);
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Parks an event, and moves the cursor in the same commit if progress allows it.
    pub(super) fn park(&self, task: &Task, error: &str) -> Result<()> {
        let note = parking::note(&task.event, task.attempts, error);
        let stream = parking::stream(&self.group.name);
        self.commit_with_cursor(task, |empty| empty.append(stream, ExpectedVersion::Any, [note]))
    }

    /// Commits what ends an event, and moves the cursor in the same commit if progress allows it.
    pub(super) fn commit_with_cursor<'a>(
        &'a self,
        task: &Task,
        fill: impl FnOnce(Transaction<'a>) -> Transaction<'a>,
    ) -> Result<()> {
        let group = &self.group;
        let mut cursor = self.cursor.lock();
        let target = {
            let state = self.state();
            if state.aborted {
                return Err(Error::Closed);
            }
            match task.replay {
                None => state.flight.progress_without(task.event.position().get()),
                Some(_) => state.flight.progress(),
            }
        };
        let mut transaction = fill(group.store.transaction());
        let moves = target > self.base(*cursor);
        if moves {
            transaction = transaction.cursor_from(&group.name, *cursor, target);
        }
        transaction.commit()?;
        if moves {
            *cursor = Some(Position::new(target));
        }
        Ok(())
    }

    /// Stores the progress if it is `least` positions more than the stored one.
    pub(super) fn store_progress(&self, least: u64) -> Result<()> {
        let mut cursor = self.cursor.lock();
        let target = {
            let state = self.state();
            if state.aborted {
                return Ok(());
            }
            state.flight.progress()
        };
        if target.saturating_sub(self.base(*cursor)) < least.max(1) {
            return Ok(());
        }
        let group = &self.group;
        let moved = group.store.cursors().compare_and_set(&group.name, *cursor, target);
        if is_passing(&moved) {
            return Ok(());
        }
        moved?;
        *cursor = Some(Position::new(target));
        Ok(())
    }

    /// The base of the progress: where the group began, until it has a cursor.
    fn base(&self, cursor: Option<Position>) -> u64 {
        cursor.unwrap_or(self.group.begin_after).get()
    }

    /// The counters of the group.
    pub(super) fn stats(&self) -> GroupStats {
        let stored = self.stored().unwrap_or(Position::START);
        let state = self.state();
        GroupStats {
            handled: self.handled.load(Ordering::Relaxed),
            failed_attempts: self.failures.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            in_flight: state.flight.len(),
            progress: Position::new(state.flight.progress()),
            stored,
        }
    }

    pub(super) fn stored(&self) -> Option<Position> {
        *self.cursor.lock()
    }
}

/// Whether a commit failed for a temporary reason, and changed nothing.
pub(super) fn is_passing<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::DiskFull { .. }))
}
