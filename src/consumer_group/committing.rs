//! A worker of a group whose handlers fill a transaction, which is committed with the group's cursor.
//!
//! Workers handle events of different streams at the same time, and commit in the order of positions,
//! because the cursor is one position: an event's *turn* comes when every event before it is handled or
//! parked. A failed event is retried in its place in the worker's queue, so that the first event in flight
//! is always the first task of some worker, and its turn comes. Must never commit before the turn, and
//! never commit what a handler wrote without the cursor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::shared::{GroupShared, Task, is_passing};
use super::worker::{FAR, panic_text};
use super::{Delivery, parking};
use crate::error::{Error, FailedCheck, Result};
use crate::store::transaction::Transaction;
use crate::sync::Instant;
use crate::sync::atomic::Ordering;

pub(super) type CommittingHandler = dyn for<'a> Fn(Delivery<'a>, Transaction<'a>) -> std::result::Result<Transaction<'a>, String>
    + Send
    + Sync;

/// The result of an attempt.
pub(super) enum Attempt {
    /// The event is handled or parked.
    Done,
    /// The event is retried after this time.
    Again(Duration),
    /// The group ends, and the event is delivered again by the next one.
    Ends,
}

pub(super) fn run(shared: &GroupShared, worker: usize, handler: &CommittingHandler) {
    while let Some(task) = next(shared, worker) {
        match handle(shared, worker, handler, task) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return shared.end(false, Some(error)),
        }
    }
}

/// The next event to handle; `None` if the group ends.
fn next(shared: &GroupShared, worker: usize) -> Option<Task> {
    let mut state = shared.state();
    loop {
        if state.stopping {
            return None;
        }
        if let Some(task) = state.queues[worker].pop_front() {
            return Some(task);
        }
        shared.wanted(worker).wait(&mut state);
    }
}

/// Handles or parks an event; `false` if the group ends first.
fn handle(
    shared: &GroupShared,
    worker: usize,
    handler: &CommittingHandler,
    mut task: Task,
) -> Result<bool> {
    loop {
        match attempt(shared, handler, &mut task)? {
            Attempt::Done => return Ok(true),
            Attempt::Again(delay) if pause(shared, worker, delay) => {}
            Attempt::Again(_) | Attempt::Ends => return Ok(false),
        }
    }
}

/// Waits; `false` if the group ends meanwhile.
fn pause(shared: &GroupShared, worker: usize, delay: Duration) -> bool {
    let until = Instant::now() + delay.min(FAR);
    let mut state = shared.state();
    while !state.stopping && Instant::now() < until {
        shared.wanted(worker).wait_until(&mut state, until);
    }
    !state.stopping
}

/// Calls the handler, and commits in the event's turn. An error must end the group.
pub(super) fn attempt(
    shared: &GroupShared,
    handler: &CommittingHandler,
    task: &mut Task,
) -> Result<Attempt> {
    task.attempts = task.attempts.saturating_add(1);
    let error = loop {
        // Before its turn, a handler cannot see what earlier events of other streams write.
        let is_early = !is_turn(shared, task);
        let transaction = match call(shared, handler, task) {
            Ok(transaction) => transaction,
            Err(error) => break error,
        };
        if !wait_for_turn(shared, task) {
            return Ok(Attempt::Ends);
        }
        match commit(shared, task, transaction) {
            Ok(()) => {
                shared.finish(task, false);
                return Ok(Attempt::Done);
            }
            Err(error) if !is_refused(&error, &shared.group.name) => {
                // The handler did not fail.
                task.attempts -= 1;
                return passing_or(shared, error);
            }
            Err(error) if is_early && error.is_conflict() => {
                if shared.state().stopping {
                    return Ok(Attempt::Ends);
                }
            }
            Err(error) => break error.to_string(),
        }
    };
    shared.failures.fetch_add(1, Ordering::Relaxed);
    let group = &shared.group;
    if group.blocks && task.replay.is_none() || task.attempts < group.retry.attempts {
        return Ok(Attempt::Again(group.retry.delay_after(task.attempts)));
    }
    if !wait_for_turn(shared, task) {
        return Ok(Attempt::Ends);
    }
    match shared.park(task, &error) {
        Ok(()) => {
            shared.finish(task, true);
            Ok(Attempt::Done)
        }
        Err(error) => passing_or(shared, error),
    }
}

/// A commit that failed for a temporary reason is repeated; any other error ends the group.
fn passing_or(shared: &GroupShared, error: Error) -> Result<Attempt> {
    let failed: Result<()> = Err(error);
    if is_passing(&failed) {
        return Ok(Attempt::Again(shared.group.retry.longest()));
    }
    failed.map(|()| Attempt::Done)
}

/// Calls the handler with an empty transaction.
fn call<'a>(
    shared: &'a GroupShared,
    handler: &CommittingHandler,
    task: &'a Task,
) -> std::result::Result<Transaction<'a>, String> {
    let delivery =
        Delivery { event: &task.event, attempt: task.attempts, is_replay: task.replay.is_some() };
    let transaction = shared.group.store.transaction();
    catch_unwind(AssertUnwindSafe(|| handler(delivery, transaction)))
        .unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
}

pub(super) fn is_turn(shared: &GroupShared, task: &Task) -> bool {
    task.replay.is_some() || shared.state().flight.is_first(task.event.position().get())
}

/// Waits until every event before this one is handled or parked; `false` if the group ends first. A
/// replayed event does not move the cursor, and has its turn at once.
fn wait_for_turn(shared: &GroupShared, task: &Task) -> bool {
    if task.replay.is_some() {
        return true;
    }
    let mut state = shared.state();
    loop {
        // The event whose turn it is may be committed while the group stops.
        if state.flight.is_first(task.event.position().get()) {
            return true;
        }
        if state.stopping {
            return false;
        }
        shared.moved.wait(&mut state);
    }
}

/// Commits what the handler wrote, with the cursor or, for a replayed event, with the record that it is
/// no longer parked.
fn commit(shared: &GroupShared, task: &Task, transaction: Transaction<'_>) -> Result<()> {
    let group = &shared.group;
    if task.replay.is_some() {
        return shared.commit_with_cursor(task, |_| {
            parking::settled_in(transaction, &group.name, task.event.position(), "EventReplayed")
        });
    }
    shared.commit_with_cursor(task, |_| transaction)
}

/// Whether a commit was refused for what the handler wrote, as opposed to the state of the store or of
/// the group's cursor.
fn is_refused(error: &Error, group: &str) -> bool {
    let is_own_cursor = |check: &FailedCheck| matches!(check, FailedCheck::WrongCursor { name, .. } if name == group);
    match error {
        Error::Conflict { failed, .. } => !failed.iter().any(is_own_cursor),
        Error::IdReused { .. }
        | Error::DuplicateId { .. }
        | Error::RecordedTime { .. }
        | Error::EmptyCommit
        | Error::LimitExceeded { .. }
        | Error::InvalidArgument { .. }
        | Error::SnapshotAhead { .. } => true,
        _ => false,
    }
}
