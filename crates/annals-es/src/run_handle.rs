//! What a runner shares with the rest of the program.
//!
//! Owns the wake-up of those that wait for it. Must never hold a lock.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use event_listener::Event;
use futures_timer::Delay;

use crate::store::Position;

/// Stops a run, and shows its progress; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RunnerHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    position: AtomicU64,
    changed: Event,
}

impl RunnerHandle {
    /// Lets the run end after what is in progress.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.changed.notify(usize::MAX);
    }

    /// The position up to which all events were handled.
    pub fn position(&self) -> Position {
        Position::new(self.shared.position.load(Ordering::Acquire))
    }

    /// Waits until all events up to a position were handled; `false`: the runner was told to stop before. There is
    /// no timeout, also after an error that ended the run: drop the future when one expires.
    pub async fn wait_for(&self, position: Position) -> bool {
        self.wait_until(|| self.position() >= position).await;
        self.position() >= position
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    pub(crate) async fn stopping(&self) {
        self.wait_until(|| false).await;
    }

    /// Waits; `true`: the run is to end before the time has passed.
    pub(crate) async fn stops_within(&self, delay: Duration) -> bool {
        let mut timer = Delay::new(delay);
        let mut stopping = pin!(self.stopping());
        poll_fn(|context| {
            if stopping.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            Pin::new(&mut timer).poll(context).map(|()| false)
        })
        .await
    }

    pub(crate) fn reached(&self, position: Position) {
        self.shared.position.store(position.get(), Ordering::Release);
        self.shared.changed.notify(usize::MAX);
    }

    /// Waits until the condition holds or the runner is told to stop.
    async fn wait_until(&self, condition: impl Fn() -> bool) {
        loop {
            let changed = self.shared.changed.listen();
            if condition() || self.is_stopping() {
                return;
            }
            changed.await;
        }
    }
}
