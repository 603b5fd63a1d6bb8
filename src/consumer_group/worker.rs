//! One of a group's workers: handles the events of its streams, each stream in order.
//!
//! A stream whose event has failed is *held*: its later events wait, and the worker handles other
//! streams until the next attempt is due.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::shared::{GroupShared, PlainHandler, Task, is_passing};
use super::{Delivery, parking};
use crate::error::Result;
use crate::sync::Instant;
use crate::sync::atomic::Ordering;

/// The longest delay before an attempt; an instant that far ahead can always be represented.
pub(super) const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Streams whose events wait until a failed event is retried.
#[derive(Default)]
pub(super) struct RetryingStreams {
    /// In order; the first one is the event that failed.
    streams: HashMap<String, VecDeque<Task>>,
    /// When to continue with which stream; each stream occurs at most once.
    due: BinaryHeap<Reverse<(Instant, String)>>,
}

/// An event to handle.
pub(super) struct NextTask {
    task: Task,
    /// Its stream is held.
    was_held: bool,
}

/// The result of an attempt.
enum HandlerOutcome {
    Done,
    /// The event is retried at this time.
    Again(Instant),
}

pub(super) fn run(shared: &GroupShared, worker: usize, handler: &PlainHandler) {
    let mut held = RetryingStreams::default();
    while let Some(next) = next(shared, worker, &mut held) {
        if let Err(error) = handle(shared, handler, &mut held, next) {
            return shared.end(false, Some(error));
        }
    }
}

/// The next event to handle; `None` if the group ends.
fn next(shared: &GroupShared, worker: usize, held: &mut RetryingStreams) -> Option<NextTask> {
    let mut state = shared.state();
    loop {
        if state.stopping {
            return None;
        }
        if let Some(next) = held.next(&mut state.queues[worker]) {
            return Some(next);
        }
        match held.due.peek() {
            Some(Reverse((due, _))) => {
                shared.wanted(worker).wait_until(&mut state, *due);
            }
            None => shared.wanted(worker).wait(&mut state),
        }
    }
}

/// Makes one attempt; `false` if the event is retried. An error must end the group.
pub(super) fn handle(
    shared: &GroupShared,
    handler: &PlainHandler,
    held: &mut RetryingStreams,
    NextTask { mut task, was_held }: NextTask,
) -> Result<bool> {
    match attempt(shared, handler, &mut task)? {
        HandlerOutcome::Done if was_held => held.release(task.event.stream()),
        HandlerOutcome::Done => {}
        HandlerOutcome::Again(due) => {
            held.hold(task, due);
            return Ok(false);
        }
    }
    Ok(true)
}

impl RetryingStreams {
    /// The event whose attempt is due, or the first one in the worker's queue whose stream is not held.
    pub(super) fn next(&mut self, queue: &mut VecDeque<Task>) -> Option<NextTask> {
        if let Some(task) = self.take_due() {
            return Some(NextTask { task, was_held: true });
        }
        while let Some(task) = queue.pop_front() {
            match self.streams.get_mut(task.event.stream()) {
                Some(waiting) => waiting.push_back(task),
                None => return Some(NextTask { task, was_held: false }),
            }
        }
        None
    }

    fn take_due(&mut self) -> Option<Task> {
        let Reverse((due, _)) = self.due.peek()?;
        if Instant::now() < *due {
            return None;
        }
        let Reverse((_, stream)) = self.due.pop()?;
        self.streams.get_mut(&stream)?.pop_front()
    }

    /// The first event of a stream is retried.
    fn hold(&mut self, task: Task, due: Instant) {
        let stream = task.event.stream().to_owned();
        self.streams.entry(stream.clone()).or_default().push_front(task);
        self.due.push(Reverse((due, stream)));
    }

    /// The first event of a stream is finished; the next may start.
    fn release(&mut self, stream: &str) {
        if self.streams.get(stream).is_some_and(|waiting| !waiting.is_empty()) {
            self.due.push(Reverse((Instant::now(), stream.to_owned())));
        } else {
            self.streams.remove(stream);
        }
    }
}

fn attempt(
    shared: &GroupShared,
    handler: &PlainHandler,
    task: &mut Task,
) -> Result<HandlerOutcome> {
    task.attempts = task.attempts.saturating_add(1);
    let delivery =
        Delivery { event: &task.event, attempt: task.attempts, is_replay: task.replay.is_some() };
    let outcome = catch_unwind(AssertUnwindSafe(|| handler(delivery)));
    let error = match outcome {
        Ok(Ok(())) => {
            let outcome = succeeded(shared, task)?;
            if matches!(outcome, HandlerOutcome::Again(_)) {
                // The handler did not fail.
                task.attempts -= 1;
            }
            return Ok(outcome);
        }
        Ok(Err(error)) => error,
        Err(panic) => panic_text(panic.as_ref()),
    };
    shared.failures.fetch_add(1, Ordering::Relaxed);
    let group = &shared.group;
    if group.blocks && task.replay.is_none() || task.attempts < group.retry.attempts {
        return Ok(later(group.retry.delay_after(task.attempts)));
    }
    let parked = shared.park(task, &error);
    after_commit(shared, task, parked, true)
}

/// The error text for a handler that panicked.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_default())
}

fn succeeded(shared: &GroupShared, task: &Task) -> Result<HandlerOutcome> {
    if task.replay.is_none() {
        shared.finish(task, false);
        return Ok(HandlerOutcome::Done);
    }
    let group = &shared.group;
    let position = task.event.position();
    let settled = parking::settle(&group.store, &group.name, position, "EventReplayed");
    after_commit(shared, task, settled, false)
}

fn after_commit(
    shared: &GroupShared,
    task: &Task,
    committed: Result<()>,
    parked: bool,
) -> Result<HandlerOutcome> {
    if is_passing(&committed) {
        return Ok(later(shared.group.retry.longest()));
    }
    committed?;
    shared.finish(task, parked);
    Ok(HandlerOutcome::Done)
}

fn later(delay: Duration) -> HandlerOutcome {
    HandlerOutcome::Again(Instant::now() + delay.min(FAR))
}
