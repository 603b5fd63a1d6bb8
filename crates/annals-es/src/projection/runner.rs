//! The runner: reads the events once, and delivers them to all of its projections.
//!
//! Owns the subscription, the requests and the timers. Must never change a read model itself.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_channel::mpsc;
use futures_core::Stream;
use futures_timer::Delay;

use super::adapter::Synchronous;
use super::control::{Command, Commands, Sender};
use super::handle::Handle;
use super::member::{AnyMember, Member, Mode};
use super::options::Options;
use super::status::Shared;
use super::target::Target;
use super::{AsyncProjection, Projection, ProjectionId};
use crate::event::{SchemaError, Schemas};
use crate::policy::ErrorPolicy;
use crate::store::{Message, OrderedStore, Position, Query, StoreError, Subscribe, yield_now};

/// How often in a row the store may fail before the runner ends.
const STORE_ATTEMPTS: u32 = 10;

/// Runs projections in one pass over the events of a store.
///
/// The events that any of them needs are read once. A projection that retries or is paused does not delay the
/// others, except by the time its handlers take.
///
/// [`run`](Self::run) is a future for any executor. Synchronous handlers do their work while it is polled: with
/// handlers that block for long, such as those of a database in a file, use [`spawn_thread`](Self::spawn_thread).
pub struct Runner<S> {
    store: S,
    members: Vec<Box<dyn AnyMember<S>>>,
    batch_size: usize,
    sender: Sender,
    commands: Commands,
}

/// Stops a runner; cheap to clone.
#[derive(Clone)]
pub struct RunnerHandle {
    sender: Sender,
}

impl RunnerHandle {
    /// Asks all projections of the runner to stop after the batch in flight. [`Runner::run`] returns then.
    pub fn stop(&self) {
        // A runner that has ended needs no request.
        let _ = self.sender.unbounded_send(Command::StopAll);
    }
}

impl<S: OrderedStore> Runner<S> {
    /// A runner without projections.
    pub fn new(store: S) -> Self {
        let (sender, commands) = mpsc::unbounded();
        Self { store, members: Vec::new(), batch_size: 256, sender, commands }
    }

    /// Sets the greatest number of events of a transaction, at least 1, for projections that are added after. Default:
    /// 256.
    #[must_use]
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch_size = events.max(1);
        self
    }

    /// Adds a projection with its target, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if an earlier version of an event has no path to the present one.
    pub fn add<P, T>(&mut self, projection: P, target: T) -> Result<Handle, SchemaError>
    where
        P: Projection,
        T: Target<S, Model = P::Model>,
    {
        self.add_with(projection, target, Options::new())
    }

    /// Adds a projection with its target and options.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::add`].
    pub fn add_with<P, T>(
        &mut self,
        projection: P,
        target: T,
        options: Options,
    ) -> Result<Handle, SchemaError>
    where
        P: Projection,
        T: Target<S, Model = P::Model>,
    {
        self.add_async_with(Synchronous(projection), target, options)
    }

    /// Adds an asynchronous projection with its target, with the default [`Options`].
    ///
    /// # Errors
    ///
    /// Those of [`Runner::add`].
    pub fn add_async<P, T>(&mut self, projection: P, target: T) -> Result<Handle, SchemaError>
    where
        P: AsyncProjection,
        T: Target<S, Model = P::Model>,
    {
        self.add_async_with(projection, target, Options::new())
    }

    /// Adds an asynchronous projection with its target and options.
    ///
    /// # Errors
    ///
    /// Those of [`Runner::add`].
    pub fn add_async_with<P, T>(
        &mut self,
        projection: P,
        target: T,
        options: Options,
    ) -> Result<Handle, SchemaError>
    where
        P: AsyncProjection,
        T: Target<S, Model = P::Model>,
    {
        let id = ProjectionId::new(projection.name(), projection.version());
        let shared = Arc::new(Shared::new(id));
        let store = self.store.clone();
        let head = Arc::new(move || -> Pin<Box<dyn Future<Output = _> + Send>> {
            let store = store.clone();
            Box::pin(async move { store.head().await })
        });
        let handle =
            Handle::new(self.members.len(), Arc::clone(&shared), self.sender.clone(), head);
        let (schemas, query) = (Schemas::<P::Event>::new()?, projection.query());
        // A name that the events do not have stays as it is: the choice for unknown events applies to it.
        let query = schemas.with_earlier_names(&query).unwrap_or(query);
        self.members.push(Box::new(Member {
            schemas,
            query: Arc::new(query),
            projection,
            target,
            options,
            shared,
            batch_size: self.batch_size as u64,
            mode: Mode::Starting,
            opened: false,
            position: Position::START,
            committed: Position::START,
            failing: None,
        }));
        Ok(handle)
    }

    /// What stops the runner.
    pub fn handle(&self) -> RunnerHandle {
        RunnerHandle { sender: self.sender.clone() }
    }

    /// Runs the projections until all of them were stopped or have failed. Their failures are shown by their handles.
    ///
    /// If the future is dropped, the projections stop where they are: a transaction that was not committed has no
    /// effect.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`] if the store was closed; another error after the store could not be read in ten attempts
    /// with growing delays.
    pub async fn run(self) -> Result<(), Arc<StoreError>> {
        let (store, batch_size) = (self.store, self.batch_size);
        let served = vec![false; self.members.len()];
        let mut run = Run {
            store,
            batch_size,
            members: self.members,
            commands: self.commands,
            subscription: None,
            served,
            store_failures: 0,
            store_wait: None,
        };
        // The sender of the runner itself must not keep the channel open.
        drop(self.sender);
        run.run().await
    }
}

impl<S: fmt::Debug> fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("store", &self.store)
            .field("projections", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RunnerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerHandle").finish_non_exhaustive()
    }
}

/// A runner that runs.
struct Run<S: OrderedStore> {
    store: S,
    batch_size: usize,
    members: Vec<Box<dyn AnyMember<S>>>,
    commands: Commands,
    subscription: Option<S::Subscription>,
    /// Whether the subscription has had all events for a member since the member's position.
    served: Vec<bool>,
    store_failures: u32,
    /// When the store is read again after a failure.
    store_wait: Option<Instant>,
}

/// What the runner waits for.
enum Wake {
    Command(Command),
    /// All handles were dropped.
    NoHandles,
    Message(Option<Result<Message, StoreError>>),
    Timer,
}

impl<S: OrderedStore> Run<S> {
    async fn run(&mut self) -> Result<(), Arc<StoreError>> {
        let mut has_handles = true;
        loop {
            self.begin_members().await;
            if !self.has_member(|mode| mode != Mode::Ended) {
                return Ok(());
            }
            let can_go_on = |mode| matches!(mode, Mode::Running | Mode::Waiting(_));
            if !has_handles && !self.has_member(can_go_on) {
                // Nothing can resume the projections that are paused.
                return self.end_all(None).await;
            }
            if self.has_member(|mode| mode == Mode::Running) {
                self.subscribe();
            } else {
                self.subscription = None;
            }
            match self.wake(has_handles).await {
                Wake::Command(Command::StopAll) => return self.end_all(None).await,
                Wake::Command(Command::Of(index, request)) => {
                    if let Some(member) = self.members.get_mut(index) {
                        member.request(&self.store, request).await;
                    }
                }
                Wake::NoHandles => has_handles = false,
                Wake::Timer => self.store_wait = self.store_wait.filter(|at| *at > Instant::now()),
                Wake::Message(Some(Ok(message))) => {
                    self.store_failures = 0;
                    self.deliver(&message).await;
                    yield_now().await;
                }
                Wake::Message(Some(Err(error))) => {
                    if let Err(error) = self.store_failed(error) {
                        return self.end_all(Some(error)).await;
                    }
                }
                Wake::Message(None) => return self.end_all(Some(StoreError::Closed)).await,
            }
        }
    }

    fn has_member(&self, is_so: impl Fn(Mode) -> bool) -> bool {
        self.members.iter().any(|it| is_so(it.mode()))
    }

    /// Opens the members that were not opened, and ends waits that are over.
    async fn begin_members(&mut self) {
        let now = Instant::now();
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.mode() == Mode::Running {
                continue;
            }
            self.served[index] = false;
            if matches!(member.mode(), Mode::Waiting(until) if until <= now) {
                member.retry();
            }
            if member.mode() == Mode::Starting {
                member.open(&self.store).await;
            }
        }
    }

    /// Begins a subscription, unless there is one that serves all members that run.
    fn subscribe(&mut self) {
        let mut running = self.members.iter().zip(&self.served);
        let is_served = running.all(|(it, served)| *served || it.mode() != Mode::Running);
        if (self.subscription.is_some() && is_served) || self.store_wait.is_some() {
            return;
        }
        let (mut query, mut after) = (Query::none(), Position::MAX);
        for (member, served) in self.members.iter().zip(&mut self.served) {
            if member.mode() == Mode::Running {
                query = query.union(member.query().clone());
                after = after.min(member.position());
                *served = true;
            }
        }
        let subscribe =
            Subscribe::after(after).matching(query).batch_size(self.batch_size).prompt_progress();
        self.subscription = Some(self.store.subscribe(subscribe));
    }

    /// Waits for a request, a message or the earliest timer, in this order.
    async fn wake(&mut self, has_handles: bool) -> Wake {
        let waits = self.members.iter().filter_map(|it| match it.mode() {
            Mode::Waiting(until) => Some(until),
            _ => None,
        });
        let now = Instant::now();
        let mut timer = waits
            .chain(self.store_wait)
            .min()
            .map(|until| Delay::new(until.saturating_duration_since(now)));
        poll_fn(|context| {
            if has_handles {
                match Pin::new(&mut self.commands).poll_next(context) {
                    Poll::Ready(Some(command)) => return Poll::Ready(Wake::Command(command)),
                    Poll::Ready(None) => return Poll::Ready(Wake::NoHandles),
                    Poll::Pending => {}
                }
            }
            if let Some(timer) = &mut timer
                && Pin::new(timer).poll(context).is_ready()
            {
                return Poll::Ready(Wake::Timer);
            }
            match &mut self.subscription {
                Some(subscription) if self.store_wait.is_none() => {
                    Pin::new(subscription).poll_next(context).map(Wake::Message)
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    async fn deliver(&mut self, message: &Message) {
        let alone = self.members.len() == 1;
        for (member, served) in self.members.iter_mut().zip(&self.served) {
            // A member that was resumed after the subscription began has missed events.
            if member.mode() == Mode::Running && *served {
                member.deliver(&self.store, message, alone).await;
            }
        }
    }

    /// Waits before the store is read again, unless it cannot be.
    fn store_failed(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.store_failures += 1;
        let is_final = matches!(error, StoreError::Closed | StoreError::PositionAhead { .. });
        if is_final || self.store_failures >= STORE_ATTEMPTS {
            return Err(error);
        }
        let delay = ErrorPolicy::pause().capped_delay(self.store_failures);
        self.store_wait = Some(Instant::now() + delay.min(Duration::from_secs(30)));
        Ok(())
    }

    async fn end_all(&mut self, error: Option<StoreError>) -> Result<(), Arc<StoreError>> {
        self.subscription = None;
        let error = error.map(Arc::new);
        for member in &mut self.members {
            member.end(&self.store, error.clone()).await;
        }
        error.map_or(Ok(()), Err)
    }
}
