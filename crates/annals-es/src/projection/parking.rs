//! Requests to a projection, among them those about parked events.
//!
//! Owns the moves of events into and out of the list of parked ones, each with the transaction that records it.

use std::sync::Arc;

use super::apply::apply;
use super::control::Request;
use super::member::{AnyMember, Failing, Failure, Member, Mode};
use super::target::{Progress, Target};
use super::{AsyncProjection, ReplayError, State, TargetError, WaitError};
use crate::store::{OrderedStore, Position, ReadAll, next};

impl<P: AsyncProjection, T> Member<P, T> {
    pub(super) async fn carry_out<S>(&mut self, store: &S, request: Request)
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        if self.mode == Mode::Ended {
            // The handle takes a dropped reply for the end of the projection.
            return;
        }
        // A handle that was dropped meanwhile needs no answer.
        match request {
            Request::Stop => self.end(store, None).await,
            Request::Pause(reply) => {
                self.mode = Mode::Paused;
                self.show(State::Paused, None);
                let _ = reply.send(());
            }
            Request::Resume(reply) => {
                self.resume();
                let _ = reply.send(());
            }
            Request::Park(reply) => {
                let _ = reply.send(self.park_and_resume(store).await);
            }
            Request::Replay(position, reply) => {
                let _ = reply.send(self.replay(store, position).await);
            }
            Request::Discard(position, reply) => {
                let _ = reply.send(self.discard(store, position).await);
            }
        }
    }

    fn resume(&mut self) {
        if !matches!(self.mode, Mode::Paused | Mode::Waiting(_)) {
            return;
        }
        self.failing = None;
        if self.opened {
            self.mode = Mode::Running;
            self.show(State::CatchingUp, None);
        } else {
            self.mode = Mode::Starting;
            self.show(State::Starting, None);
        }
    }

    /// Records that an event is left out.
    pub(super) async fn park<S>(&mut self, store: &S, failing: &Failing) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let Some(event) = &failing.event else { return Ok(()) };
        let parked = Self::parked_of(event, &failing.error);
        self.target.begin().await?;
        let progress = Progress { park: Some(&parked), ..Progress::to(parked.position) };
        if let Err(error) = self.target.commit(store, progress).await {
            self.take_back(store, self.position).await?;
            return Err(error.into());
        }
        (self.position, self.committed) = (parked.position, parked.position);
        self.failing = None;
        self.shared.change(|inner| {
            inner.position = parked.position;
            inner.error = None;
            inner.parked.insert(parked.position, parked);
        });
        Ok(())
    }

    async fn park_and_resume<S>(&mut self, store: &S) -> Result<(), WaitError>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let at_event = self.failing.as_ref().is_some_and(|it| it.event.is_some());
        if self.mode != Mode::Paused || !at_event {
            return Ok(());
        }
        if let Some(failing) = self.failing.take()
            && let Err(failure) = self.park(store, &failing).await
        {
            self.failing = Some(failing);
            return Err(WaitError::Failed(self.error_of(failure, 1)));
        }
        self.resume();
        Ok(())
    }

    async fn replay<S>(&mut self, store: &S, position: Position) -> Result<(), ReplayError>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        self.check_parked(position)?;
        if let Err(failure) = self.replaying(store, position).await {
            return Err(self.not_replayed(store, failure).await);
        }
        self.no_longer_parked(position);
        Ok(())
    }

    async fn replaying<S>(&mut self, store: &S, position: Position) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let before = Position::new(position.get().saturating_sub(1));
        let mut events = store.read_all(ReadAll::new().after(before).up_to(position));
        let Some(event) = next(&mut events).await.transpose().map_err(Arc::new)? else {
            return Err(TargetError::failed("the event can no longer be read; discard it").into());
        };
        let model = self.target.begin().await?;
        apply(&self.projection, &self.schemas, model, &event, self.options.timeout)
            .await
            .map_err(|cause| Failure::at(&event, cause))?;
        let progress = Progress { unpark: Some(position), ..Progress::to(self.position) };
        self.target.commit(store, progress).await?;
        self.committed = self.position;
        Ok(())
    }

    async fn discard<S>(&mut self, store: &S, position: Position) -> Result<(), ReplayError>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        self.check_parked(position)?;
        let progress = Progress { unpark: Some(position), ..Progress::to(self.position) };
        let begun = self.target.begin().await.map(drop);
        let done = match begun {
            Ok(()) => self.target.commit(store, progress).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            return Err(self.not_replayed(store, error.into()).await);
        }
        self.committed = self.position;
        self.no_longer_parked(position);
        Ok(())
    }

    fn check_parked(&self, position: Position) -> Result<(), ReplayError> {
        if self.opened && self.shared.read(|inner| inner.parked.contains_key(&position)) {
            return Ok(());
        }
        Err(ReplayError::NotParked(position))
    }

    fn no_longer_parked(&self, position: Position) {
        self.shared.change(|inner| {
            inner.parked.remove(&position);
        });
    }

    /// Restores the read model after a failed replay.
    async fn not_replayed<S>(&mut self, store: &S, failure: Failure) -> ReplayError
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let error = self.error_of(failure, 1);
        if let Err(second) = self.take_back(store, self.position).await {
            let error = self.error_of(second, 1);
            self.wait_or_pause(Failing { event: None, error });
        }
        ReplayError::Failed(error)
    }
}
