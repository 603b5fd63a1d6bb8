//! The handle of a projection.
//!
//! Owns the waiting for a projection, and the requests to it. Must never touch a read model.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_channel::oneshot;

use super::control::{Command, Request, Sender};
use super::status::Shared;
use super::{Parked, ProjectionId, ReplayError, State, Status, WaitError};
use crate::store::{Position, StoreError};

type Head =
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<Position, StoreError>> + Send>> + Send + Sync;

/// Shows and controls a projection; cheap to clone.
///
/// The runner ends when it is dropped or stopped, and not with the last handle.
#[derive(Clone)]
pub struct Handle {
    index: usize,
    shared: Arc<Shared>,
    commands: Sender,
    head: Arc<Head>,
}

impl Handle {
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        commands: Sender,
        head: Arc<Head>,
    ) -> Self {
        Self { index, shared, commands, head }
    }

    /// The projection.
    pub fn id(&self) -> &ProjectionId {
        &self.shared.id
    }

    /// What the projection does, and how far it is.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The number of positions between the read model and the head of the store.
    ///
    /// # Errors
    ///
    /// Those of [`OrderedStore::head`](crate::OrderedStore::head).
    pub async fn lag(&self) -> Result<u64, StoreError> {
        let head = (self.head)().await?;
        Ok(head.get().saturating_sub(self.status().position.get()))
    }

    /// Waits until the read model is complete up to a position, for example that of the caller's own
    /// [commit](crate::Committed). While the projection retries after a failure, the wait goes on. There is no
    /// timeout: drop the future when one expires.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if the projection is before the position and is paused, stopped or failed.
    pub async fn wait_for(&self, position: impl Into<Position>) -> Result<(), WaitError> {
        let position = position.into();
        let shared = &self.shared;
        let done = |inner: &super::status::Inner| {
            if inner.position >= position { Some(Ok(())) } else { shared.hindrance(inner).map(Err) }
        };
        shared.until_reached(position, done).await
    }

    /// Waits until the projection has caught up.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if it is paused, stopped or failed.
    pub async fn wait_until_live(&self) -> Result<(), WaitError> {
        self.until(|inner| inner.state == State::Live).await
    }

    /// Waits until this version of the projection is the one that is read.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if it is not, and is paused, stopped or failed.
    pub async fn wait_until_active(&self) -> Result<(), WaitError> {
        self.until(|inner| inner.active).await
    }

    async fn until(&self, done: impl Fn(&super::status::Inner) -> bool) -> Result<(), WaitError> {
        let shared = &self.shared;
        shared
            .until(
                |inner| {
                    if done(inner) { Some(Ok(())) } else { shared.hindrance(inner).map(Err) }
                },
            )
            .await
    }

    /// Pauses the projection after the batch in flight, and waits until it is paused, or has ended.
    pub async fn pause(&self) {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Pause(reply));
        // A projection that has ended does not answer.
        let _ = answer.await;
    }

    /// Continues the projection if it is paused, or waits for a retry: the attempts begin anew. A wait that begins
    /// afterwards does not see the pause.
    pub async fn resume(&self) {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Resume(reply));
        let _ = answer.await;
    }

    /// Stops the projection after the batch in flight, and waits until it has stopped. The other projections of the
    /// runner go on.
    pub async fn stop(&self) {
        self.ask_to_stop();
        self.shared.until(|inner| has_ended(inner.state).then_some(())).await;
    }

    /// Parks the event at which the projection is paused after a failure, and continues with the next one.
    ///
    /// # Errors
    ///
    /// [`WaitError`] if the event could not be parked, or the projection has ended. If the projection is not paused at
    /// an event, nothing is done.
    pub async fn park_and_resume(&self) -> Result<(), WaitError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Park(reply));
        answer.await.unwrap_or_else(|oneshot::Canceled| {
            let stopped = || WaitError::Stopped {
                projection: self.shared.id.clone(),
                at: self.shared.status().position,
            };
            Err(self.shared.read(|inner| self.shared.hindrance(inner)).unwrap_or_else(stopped))
        })
    }

    /// The parked events, in the order of positions.
    pub fn parked(&self) -> Vec<Parked> {
        self.shared.read(|inner| inner.parked.values().cloned().collect())
    }

    /// Handles a parked event now, after later events: the handler has to allow for that. On success it is no longer
    /// parked.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]; the event is still parked then.
    pub async fn replay_parked(&self, position: Position) -> Result<(), ReplayError> {
        self.ask(|reply| Request::Replay(position, reply)).await
    }

    /// Removes an event from the parked ones without handling it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]; the event is still parked then.
    pub async fn discard_parked(&self, position: Position) -> Result<(), ReplayError> {
        self.ask(|reply| Request::Discard(position, reply)).await
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), ReplayError>>) -> Request,
    ) -> Result<(), ReplayError> {
        let (reply, answer) = oneshot::channel();
        self.request(request(reply));
        answer
            .await
            .unwrap_or_else(|oneshot::Canceled| Err(ReplayError::Stopped(self.shared.id.clone())))
    }

    /// Stops the projection after the batch in flight, without waiting for it.
    pub(super) fn ask_to_stop(&self) {
        self.request(Request::Stop);
    }

    /// Sends a request. A runner that has ended has set the final state, which every wait sees.
    fn request(&self, request: Request) {
        let _ = self.commands.unbounded_send(Command::Of(self.index, request));
    }
}

pub(super) fn has_ended(state: State) -> bool {
    matches!(state, State::Stopped | State::Failed)
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (projection, status) = (&self.shared.id, self.status());
        f.debug_struct("Handle")
            .field("projection", projection)
            .field("status", &status)
            .finish_non_exhaustive()
    }
}
