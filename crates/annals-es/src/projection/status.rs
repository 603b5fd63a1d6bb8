//! What a projection does at present, for its handles.
//!
//! Owns the shared state and the wake-up of those that wait for a change of it. Must never wait with the lock
//! held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::{Parked, ProjectionError, ProjectionId, WaitError};
use crate::store::{Position, Timestamp};

/// The time over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// What a projection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The runner has not begun with it.
    Starting,
    /// It reads events that were recorded before.
    CatchingUp,
    /// It has caught up, and follows new events.
    Live,
    /// It waits for the next attempt after a failure.
    Retrying,
    /// It waits for [`Handle::resume`](super::Handle::resume).
    Paused,
    /// It was stopped.
    Stopped,
    /// It cannot go on; [`Status::error`] has the cause.
    Failed,
}

/// The progress of a projection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// What it does.
    pub state: State,
    /// The position up to which the read model is complete.
    pub position: Position,
    /// The number of events that were handled since the runner began.
    pub events: u64,
    /// Events per second, over about the last second in which events were handled.
    pub rate: f64,
    /// The position of the event that a handler is at, if it is at one.
    pub handling: Option<Position>,
    /// When the last event that was handled was recorded.
    pub last_recorded_at: Option<Timestamp>,
    /// The number of parked events.
    pub parked: usize,
    /// The last failure, until the projection gets past it.
    pub error: Option<Arc<ProjectionError>>,
    /// Whether this version is the one that is read.
    pub active: bool,
}

/// The state that a member of a runner shares with its handles.
pub(super) struct Shared {
    pub(super) id: ProjectionId,
    inner: Mutex<Inner>,
    /// Notified of every change but progress.
    changed: Event,
    /// Notified when an awaited position is reached, and of every other change.
    reached: Event,
    /// The position of the event that is handled; 0: none.
    handling: AtomicU64,
}

pub(super) struct Inner {
    pub(super) state: State,
    pub(super) position: Position,
    pub(super) error: Option<Arc<ProjectionError>>,
    pub(super) parked: BTreeMap<Position, Parked>,
    pub(super) active: bool,
    pub(super) last_recorded_at: Option<Timestamp>,
    /// The first position that somebody waits for. Progress before it wakes nobody.
    awaited: Position,
    events: u64,
    rate: Rate,
}

struct Rate {
    since: Instant,
    events: u64,
    last: f64,
}

impl Rate {
    fn add(&mut self, events: u64) {
        self.events += events;
        let elapsed = self.since.elapsed();
        if elapsed >= WINDOW {
            self.last = per_second(self.events, elapsed);
            (self.since, self.events) = (Instant::now(), 0);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(events: u64, elapsed: Duration) -> f64 {
    events as f64 / elapsed.as_secs_f64().max(1e-6)
}

impl Shared {
    pub(super) fn new(id: ProjectionId) -> Self {
        let rate = Rate { since: Instant::now(), events: 0, last: 0.0 };
        let inner = Inner {
            state: State::Starting,
            position: Position::START,
            error: None,
            parked: BTreeMap::new(),
            active: false,
            last_recorded_at: None,
            awaited: Position::MAX,
            events: 0,
            rate,
        };
        let (changed, reached) = (Event::new(), Event::new());
        Self { id, inner: Mutex::new(inner), changed, reached, handling: AtomicU64::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change consists of assignments, so that a panic leaves nothing that is wrong.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the state.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        read(&self.inner())
    }

    /// Changes the state, and wakes what waits for a change.
    pub(super) fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner());
        self.changed.notify(usize::MAX);
        self.reached.notify(usize::MAX);
    }

    /// Records that events were handled and committed.
    pub(super) fn advance(&self, to: Position, events: u64, at: Option<Timestamp>) {
        let is_awaited = {
            let inner = &mut *self.inner();
            inner.position = to;
            if events > 0 {
                inner.events += events;
                inner.rate.add(events);
                inner.last_recorded_at = at.or(inner.last_recorded_at);
            }
            let is_awaited = to >= inner.awaited;
            if is_awaited {
                inner.awaited = Position::MAX;
            }
            is_awaited
        };
        if is_awaited {
            self.reached.notify(usize::MAX);
        }
    }

    /// Records which event a handler is at.
    pub(super) fn handle(&self, position: Position) {
        self.handling.store(position.get(), Ordering::Relaxed);
    }

    /// Waits until `done` gives a result, which it must once this position is reached.
    pub(super) async fn until_reached<T>(
        &self,
        position: Position,
        done: impl Fn(&Inner) -> Option<T>,
    ) -> T {
        loop {
            let reached = self.reached.listen();
            {
                let inner = &mut *self.inner();
                if let Some(result) = done(inner) {
                    return result;
                }
                inner.awaited = inner.awaited.min(position);
            }
            reached.await;
        }
    }

    /// Waits until `done` gives a result. Progress alone must not change it.
    pub(super) async fn until<T>(&self, done: impl Fn(&Inner) -> Option<T>) -> T {
        loop {
            // The listener is registered before the state is read: a change in between wakes it.
            let changed = self.changed.listen();
            if let Some(result) = self.read(&done) {
                return result;
            }
            changed.await;
        }
    }

    /// Why a wait cannot succeed at present, if that is so.
    pub(super) fn hindrance(&self, inner: &Inner) -> Option<WaitError> {
        let (projection, at) = (self.id.clone(), inner.position);
        match inner.state {
            State::Stopped => Some(WaitError::Stopped { projection, at }),
            State::Paused => Some(WaitError::Paused { projection, at, error: inner.error.clone() }),
            State::Failed => Some(match &inner.error {
                Some(error) => WaitError::Failed(Arc::clone(error)),
                None => WaitError::Stopped { projection, at },
            }),
            _ => None,
        }
    }

    pub(super) fn status(&self) -> Status {
        let handling = self.handling.load(Ordering::Relaxed);
        self.read(|inner| {
            let rate = &inner.rate;
            let elapsed = rate.since.elapsed();
            // A first window that is not over has the only figure there is.
            let is_first = rate.last == 0.0 && rate.events > 0;
            Status {
                state: inner.state,
                position: inner.position,
                events: inner.events,
                rate: if is_first { per_second(rate.events, elapsed) } else { rate.last },
                handling: (handling > 0).then(|| Position::new(handling)),
                last_recorded_at: inner.last_recorded_at,
                parked: inner.parked.len(),
                error: inner.error.clone(),
                active: inner.active,
            }
        })
    }
}
