//! How far a subscription and its consumer are: what the subscription reports and its handles read.
//!
//! Owns the reached positions and the list of waiters for them. Must never count a position as handled
//! that has a selected event which the consumer has not handled, and never wake waiters under its lock.

use std::sync::Arc;

use super::MessageKind;
use super::rate::{Rate, RateWindow};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::sync::wait_list::{OnWatch, Watch};
use crate::sync::{Instant, Mutex, Rank};

/// Shared by a subscription and its handles.
pub(super) struct Reached {
    engine: Arc<Engine>,
    include_unsynced: bool,
    state: Mutex<State>,
    /// Threads and tasks that wait for a handled position.
    watch: Watch,
}

struct State {
    /// Every selected event up to here is handled.
    handled: u64,
    /// The position of the last message with something to handle.
    delivered: u64,
    /// Every selected event up to here is delivered.
    scanned: u64,
    ended: bool,
    /// The lowest position that is waited for, so that waiters for a distant one are not woken for each
    /// message; `u64::MAX` for none.
    awaited: u64,
    rate: RateWindow,
}

impl State {
    /// Positions without a selected event are handled as soon as all delivered events are.
    fn settle(&mut self) {
        if self.handled >= self.delivered {
            self.handled = self.handled.max(self.scanned);
        }
    }

    /// Whether waiters have to be woken, which then enlist again.
    fn is_due(&mut self) -> bool {
        let due = self.handled >= self.awaited || (self.ended && self.awaited < u64::MAX);
        if due {
            self.awaited = u64::MAX;
        }
        due
    }
}

impl Reached {
    fn new(engine: &Arc<Engine>, include_unsynced: bool, after: u64) -> Self {
        let state = State {
            handled: after,
            delivered: after,
            scanned: after,
            ended: false,
            awaited: u64::MAX,
            rate: RateWindow::new(0),
        };
        Self {
            engine: Arc::clone(engine),
            include_unsynced,
            state: Mutex::new(Rank::SubscriptionProgress, state),
            watch: Watch::default(),
        }
    }

    pub(super) fn handled(&self) -> u64 {
        self.state.lock().handled
    }

    pub(super) fn scanned_through(&self) -> u64 {
        self.state.lock().scanned
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(super) fn lag(&self) -> u64 {
        // The position first: the head is never before it.
        let scanned = self.scanned_through();
        self.engine.visible(self.include_unsynced).saturating_sub(scanned)
    }

    pub(super) fn rate(&self) -> Rate {
        let now = now(&self.engine);
        self.state.lock().rate.rate(now)
    }

    /// Changes the state, and wakes the waiters that this concerns.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.settle();
        let due = state.is_due();
        drop(state);
        if due {
            self.watch.announce();
        }
    }

    /// The consumer has handled every event up to `position`.
    pub(super) fn raise_handled(&self, position: u64) {
        self.change(|state| state.handled = state.handled.max(position));
    }

    /// The consumer confirms that it has handled every event up to `position`.
    pub(super) fn confirm(&self, position: Position) -> Result<()> {
        let mut scanned = 0;
        self.change(|state| {
            scanned = state.scanned;
            if position.get() <= scanned {
                state.handled = state.handled.max(position.get());
            }
        });
        if position.get() > scanned {
            let why =
                format!("{position} is after {scanned}, the last position that was delivered");
            return Err(Error::InvalidArgument { what: "position", why });
        }
        Ok(())
    }

    /// Whether `position` is handled. If not, a later change that it waits for is announced.
    pub(super) fn check(&self, position: u64) -> Result<bool> {
        let mut state = self.state.lock();
        if state.handled >= position {
            return Ok(true);
        }
        if state.ended {
            let [handled, awaited] = [state.handled, position].map(Position::new);
            return Err(Error::SubscriptionEnded { handled, awaited });
        }
        state.awaited = state.awaited.min(position);
        Ok(false)
    }

    /// Waits until `position` is handled or the deadline has passed; returns whether it is handled.
    pub(super) fn wait(&self, position: u64, deadline: Option<Instant>) -> Result<bool> {
        if self.check(position)? {
            return Ok(true);
        }
        let waiting = OnWatch::new(&self.watch);
        loop {
            waiting.waiter().prepare();
            self.watch.enlist(waiting.waiter());
            if self.check(position)? {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            waiting.waiter().sleep(deadline);
        }
    }

    /// Waits until `position` is handled.
    #[cfg(feature = "async")]
    pub(super) async fn wait_async(&self, position: u64) -> Result<()> {
        let waiting = OnWatch::new(&self.watch);
        std::future::poll_fn(|context| {
            waiting.waiter().keep(context.waker());
            self.watch.enlist(waiting.waiter());
            match self.check(position) {
                Ok(false) => std::task::Poll::Pending,
                Ok(true) => std::task::Poll::Ready(Ok(())),
                Err(ended) => std::task::Poll::Ready(Err(ended)),
            }
        })
        .await
    }
}

/// A subscription's side: reports what it delivers, and what its consumer has handled. Without a handle
/// it takes no lock and reads no clock. Dropping it ends the subscription for its handles.
pub(super) struct Reporter {
    reached: Arc<Reached>,
    /// The consumer confirms what it has handled by calls.
    manual: bool,
    /// As in [`State`]; with `manual`, without the confirmations.
    handled: u64,
    delivered: u64,
    scanned: u64,
    ended: bool,
}

impl Reporter {
    pub(super) fn new(
        engine: &Arc<Engine>,
        include_unsynced: bool,
        manual: bool,
        after: u64,
    ) -> Self {
        let reached = Arc::new(Reached::new(engine, include_unsynced, after));
        let (handled, delivered, scanned) = (after, after, after);
        Self { reached, manual, handled, delivered, scanned, ended: false }
    }

    /// The state for a new handle.
    pub(super) fn observe(&self) -> Arc<Reached> {
        let is_first = !self.is_observed();
        let reached = Arc::clone(&self.reached);
        let now = now(&reached.engine);
        reached.change(|state| {
            if is_first {
                state.rate = RateWindow::new(now);
            }
            self.write(state);
            state.ended = self.ended;
        });
        reached
    }

    /// Whether there is a handle. If not, no other thread can make one.
    fn is_observed(&self) -> bool {
        Arc::strong_count(&self.reached) > 1
    }

    fn write(&self, state: &mut State) {
        state.handled = state.handled.max(self.handled);
        state.delivered = self.delivered;
        state.scanned = self.scanned;
    }

    /// The consumer asks for the next message: it has handled those before.
    pub(super) fn asked(&mut self) {
        self.asked_within(self.scanned);
    }

    /// The consumer asks for the next event of a message: it has handled the events up to `position`.
    #[inline]
    pub(super) fn asked_within(&mut self, position: u64) {
        if self.manual || position <= self.handled {
            return;
        }
        self.handled = position;
        if self.is_observed() {
            self.reached.raise_handled(position);
        }
    }

    /// A message is delivered.
    pub(super) fn deliver(&mut self, kind: &MessageKind, scanned: u64) {
        let events = match kind {
            MessageKind::Events(events) => events.len() as u64,
            MessageKind::StreamChanged(_) => 0,
            MessageKind::CaughtUp | MessageKind::Progress => return self.pass(scanned),
        };
        self.delivered = scanned;
        self.advance(scanned, events);
    }

    /// Positions up to `scanned` are passed, without an event that the consumer does not have. It has
    /// asked for the next message.
    pub(super) fn pass(&mut self, scanned: u64) {
        if scanned > self.scanned {
            if !self.manual {
                self.handled = scanned;
            }
            self.advance(scanned, 0);
        }
    }

    fn advance(&mut self, scanned: u64, events: u64) {
        let positions = scanned - self.scanned;
        self.scanned = scanned;
        if self.is_observed() {
            let now = now(&self.reached.engine);
            self.reached.change(|state| {
                state.rate.add(now, events, positions);
                self.write(state);
            });
        }
    }

    /// There are no more messages.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) && self.is_observed() {
            self.reached.change(|state| state.ended = true);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.end();
    }
}

fn now(engine: &Engine) -> u64 {
    engine.shared().storage().monotonic_micros()
}

impl std::fmt::Debug for Reached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Reached")
            .field("handled", &state.handled)
            .field("scanned_through", &state.scanned)
            .field("ended", &state.ended)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reached.fmt(f)
    }
}
