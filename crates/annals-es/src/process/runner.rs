//! Runs a process: reads its events in order, and lets its deadlines pass.
//!
//! Owns the place up to which events are handled, and the schedule. A deadline passes after all events that were
//! recorded before it. Must never pass an event that was neither handled nor parked.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

use super::ProcessManager;
use super::commit::{Attempt, Trigger};
use super::deadlines::{Schedule, is_deadline};
use super::error::{ProcessError, ReactionError, RunError};
use super::instance::OwnSchemas;
use super::step::Reactor;
use crate::clock::Clock;
use crate::event::{SchemaError, Schemas, default_query};
use crate::parking::ParkingLot;
use crate::policy::ErrorPolicy;
use crate::run_handle::RunnerHandle;
use crate::store::{
    AtomicCheckpoints, Commit, EventStore, Position, QueryItem, ReadAll, RecordedEvent,
    SeveralStreams, StreamName, Timestamp, next,
};

/// A checkpoint that no commit moves is saved after this number of positions.
const UNSAVED: u64 = 10_000;
/// The longest sleep: the clock of the system may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Runs the processes of one type.
///
/// The runner needs no executor of its own: spawn [`Runner::run`] in a task, or call it in a thread with
/// [`block_on`](crate::blocking::block_on). A second runner of the same process, in this program or in another one
/// that shares the store, does no harm: each event and deadline has effect once.
pub struct Runner<M: ProcessManager<S>, S: EventStore> {
    pub(super) reactor: Reactor<M, S>,
    pub(super) parking: ParkingLot,
    policy: ErrorPolicy,
    clock: Clock,
    schedule: Schedule,
    /// Everything up to here is handled.
    position: Position,
    saved: Position,
    begun: bool,
    handle: RunnerHandle,
}

impl<M: ProcessManager<S>, S: AtomicCheckpoints + SeveralStreams> Runner<M, S> {
    /// A runner that begins after the events that were handled before: those up to the checkpoint
    /// [`ProcessManager::NAME`]. A new process begins with the first event.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if an earlier version of an event has no path to the present one.
    pub fn new(store: S, manager: M) -> Result<Self, SchemaError> {
        let own = OwnSchemas { events: Schemas::new()?, deadlines: Schemas::new()? };
        Ok(Self {
            reactor: Reactor { manager, store, inputs: Schemas::new()?, own },
            parking: ParkingLot::new(M::NAME, Schemas::new()?),
            policy: ErrorPolicy::default(),
            clock: Clock::system(),
            schedule: Schedule::default(),
            position: Position::START,
            saved: Position::START,
            begun: false,
            handle: RunnerHandle::default(),
        })
    }

    /// Sets what happens when the process cannot react. Default: [`ErrorPolicy::pause`], which ends the run with the
    /// error after some attempts.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock by which deadlines pass. Tests set a clock and call [`Runner::catch_up`]; a run that waits sees
    /// that the clock was set.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Stops the runner, and shows its progress.
    pub fn handle(&self) -> RunnerHandle {
        self.handle.clone()
    }

    /// The number of open deadlines that the runner knows of.
    pub fn open_deadlines(&self) -> usize {
        self.schedule.len()
    }

    /// Reacts to events and deadlines until [`RunnerHandle::stop`] is called. The reaction in progress is completed
    /// then. After an error, the run may be called again; it begins with the event that failed.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub async fn run(&mut self) -> Result<(), RunError> {
        while !self.handle.is_stopping() {
            self.catch_up().await?;
            self.save_checkpoint(UNSAVED).await?;
            self.sleep().await?;
        }
        self.save_checkpoint(1).await
    }

    /// Reacts to all events that are recorded, those that follow from reactions included, and to all deadlines that
    /// have passed by the clock.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    pub async fn catch_up(&mut self) -> Result<(), RunError> {
        self.begin().await?;
        loop {
            // Read first: what was recorded before a deadline that has passed is then up to the head.
            let now = self.clock.now();
            let head = self.reactor.store.head().await?;
            let before = self.position;
            self.read_on(head).await?;
            let fired = self.let_pass(now).await?;
            if self.handle.is_stopping() || (!fired && self.position == before) {
                return Ok(());
            }
        }
    }

    /// Reads the checkpoint, and the deadlines that are open there.
    async fn begin(&mut self) -> Result<(), RunError> {
        if self.begun {
            return Ok(());
        }
        let saved = self.reactor.store.checkpoint(M::NAME).await?.unwrap_or(Position::START);
        let mut schedule = Schedule::default();
        let read = ReadAll::matching(deadline_events(M::NAME).into()).up_to(saved);
        let mut events = self.reactor.store.read_all(read);
        while let Some(event) = next(&mut events).await.transpose()? {
            self.reactor.schedule(&mut schedule, &event)?;
        }
        (self.position, self.saved, self.schedule, self.begun) = (saved, saved, schedule, true);
        self.handle.reached(saved);
        Ok(())
    }

    async fn read_on(&mut self, head: Position) -> Result<(), RunError> {
        if head <= self.position {
            return Ok(());
        }
        let query = default_query::<M::Input>().or(deadline_events(M::NAME));
        let read = ReadAll::matching(query).after(self.position).up_to(head);
        let mut events = self.reactor.store.read_all(read);
        while let Some(event) = next(&mut events).await.transpose()? {
            if is_own_deadline(M::NAME, &event) {
                self.reactor.schedule(&mut self.schedule, &event)?;
            } else {
                self.react(Trigger::Event(&event)).await?;
            }
            self.position = event.position();
            self.handle.reached(self.position);
            if self.handle.is_stopping() {
                return Ok(());
            }
        }
        self.position = head;
        self.handle.reached(head);
        Ok(())
    }

    /// Reacts to the deadlines that have passed. Returns whether there was one.
    async fn let_pass(&mut self, now: Timestamp) -> Result<bool, RunError> {
        let mut fired = false;
        while let Some((stream, name)) = self.schedule.due(now) {
            if self.handle.is_stopping() {
                break;
            }
            if let Some(set) = self.reactor.open_deadline(&stream, &name).await? {
                self.react(Trigger::Deadline(&set)).await?;
                fired = true;
            }
            // It is also read as an event, from this runner or another one.
            self.schedule.remove(&stream, &name);
        }
        Ok(fired)
    }

    /// Reacts, with as many attempts as the policy allows, and parks the event if it says so.
    async fn react(&mut self, trigger: Trigger<'_>) -> Result<(), RunError> {
        let mut attempts = 0;
        let cause = loop {
            attempts += 1;
            let cause = match self.attempt(trigger).await {
                Ok(Attempt::Recorded) => {
                    self.saved_with(trigger);
                    return Ok(());
                }
                Ok(Attempt::Nothing) => return Ok(()),
                Err(cause) => cause,
            };
            match self.policy.delay(attempts) {
                Some(delay) if !self.handle.stops_within(delay).await => {}
                _ => break cause,
            }
        };
        if self.policy.parks && cause.is_of_the_event() && !self.handle.is_stopping() {
            let parked = self.parked().await?.len();
            if parked < self.policy.most_parked {
                self.park(trigger, &cause, attempts).await?;
                self.saved_with(trigger);
                return Ok(());
            }
        }
        let recorded = trigger.recorded();
        Err(RunError::Process(ProcessError {
            process: M::NAME,
            position: recorded.position(),
            stream: StreamName::from(recorded.stream()),
            event_type: recorded.event_type().to_owned(),
            cause: Box::new(cause),
        }))
    }

    fn saved_with(&mut self, trigger: Trigger<'_>) {
        if let Trigger::Event(event) = trigger {
            self.saved = self.saved.max(event.position());
        }
    }

    /// Saves the place in the log, if it is this number of positions after the saved one.
    async fn save_checkpoint(&mut self, distance: u64) -> Result<(), RunError> {
        if self.position.get() < self.saved.get() + distance {
            return Ok(());
        }
        match self.reactor.store.append(Commit::progress(M::NAME, self.position)).await {
            // Another runner is ahead.
            Ok(_) | Err(crate::store::AppendError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.saved = self.position;
        Ok(())
    }

    /// Waits for an event, a deadline, another time or the end.
    async fn sleep(&self) -> Result<(), RunError> {
        // It begins before the time is read, so that a clock that is set in between ends the wait.
        let mut clock_set = pin!(self.clock.when_set());
        let now = self.clock.now();
        let deadline = self.schedule.next().map_or(LONGEST_SLEEP, |at| at.since(now));
        let mut timer = Delay::new(deadline.min(LONGEST_SLEEP));
        let mut visible = pin!(self.reactor.store.wait_for(Position::new(self.position.get() + 1)));
        let mut stopping = pin!(self.handle.stopping());
        poll_fn(|context| {
            if stopping.as_mut().poll(context).is_ready()
                || Pin::new(&mut timer).poll(context).is_ready()
                || clock_set.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            visible.as_mut().poll(context).map_err(RunError::from)
        })
        .await
    }
}

/// The events about deadlines of the processes of a type.
fn deadline_events(process: &str) -> QueryItem {
    let types = ["deadline-set", "deadline-cancelled", "deadline-passed"];
    QueryItem::new().category(process).types(types)
}

pub(super) fn is_own_deadline(process: &str, event: &RecordedEvent) -> bool {
    is_deadline(event.event_type()) && deadline_events(process).matches(event)
}

impl<M: ProcessManager<S>, S: EventStore> Reactor<M, S> {
    /// Changes the schedule by an event about a deadline.
    fn schedule(
        &self,
        schedule: &mut Schedule,
        event: &RecordedEvent,
    ) -> Result<(), ReactionError> {
        let stream = StreamName::from(event.stream());
        self.own.deadlines.decode(event, |deadline| schedule.apply(stream.clone(), deadline))?;
        Ok(())
    }
}

impl<M: ProcessManager<S>, S: EventStore + fmt::Debug> fmt::Debug for Runner<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("process", &M::NAME)
            .field("position", &self.position)
            .field("open_deadlines", &self.schedule.len())
            .finish_non_exhaustive()
    }
}
