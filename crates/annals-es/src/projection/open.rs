//! The begin and the end of a projection in a runner.
//!
//! Owns the comparison of a read model with the history of the store, and the change of the active version.

use std::sync::Arc;

use super::AsyncProjection;
use super::apply::isolated;
use super::control::Request;
use super::error::FailureCause;
use super::member::{AnyMember, BoxFuture, Failing, Failure, Member, Mode};
use super::target::{Opened, Progress, Target};
use super::{State, TargetError};
use crate::store::{Message, OrderedStore, Position, Query, StoreError};

impl<P, T, S> AnyMember<S> for Member<P, T>
where
    P: AsyncProjection,
    T: Target<S, Model = P::Model>,
    S: OrderedStore,
{
    fn query(&self) -> &Query {
        &self.query
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn position(&self) -> Position {
        self.position
    }

    fn open<'a>(&'a mut self, store: &'a S) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(failure) = self.opening(store).await {
                self.opened = false;
                let _ = self.target.rollback(store).await;
                let failing = self.record_open(failure);
                self.wait_or_pause(failing);
            }
        })
    }

    fn deliver<'a>(
        &'a mut self,
        store: &'a S,
        message: &'a Message,
        alone: bool,
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.handle_message(store, message, alone))
    }

    fn request<'a>(&'a mut self, store: &'a S, request: Request) -> BoxFuture<'a, ()> {
        Box::pin(self.carry_out(store, request))
    }

    fn retry(&mut self) {
        self.mode = if self.opened { Mode::Running } else { Mode::Starting };
    }

    fn end<'a>(&'a mut self, store: &'a S, error: Option<Arc<StoreError>>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.mode == Mode::Ended {
                return;
            }
            self.mode = Mode::Ended;
            let closed = self.closing(store).await;
            match (error, closed) {
                (Some(error), _) => {
                    let error = self.error_of(FailureCause::Store(error).into(), 1);
                    self.show(State::Failed, Some(error));
                }
                (None, Err(failure)) => {
                    // The read model is at an earlier position, and goes on from there at the next start.
                    let error = self.error_of(failure, 1);
                    self.show(State::Stopped, Some(error));
                }
                (None, Ok(())) => self.shared.change(|inner| inner.state = State::Stopped),
            }
        })
    }
}

impl<P: AsyncProjection, T> Member<P, T> {
    async fn opening<S>(&mut self, store: &S) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let opened = match self.target.open(store, &self.shared.id).await {
            Err(TargetError::OtherHistory(_)) if self.options.rebuild_if_restored => {
                self.rebuild(store).await?;
                self.target.open(store, &self.shared.id).await?
            }
            opened => opened?,
        };
        if opened.position.is_none() {
            let model = self.target.begin().await?;
            isolated(self.projection.prepare(model), None).await?;
            self.target.commit(store, Progress::to(Position::START)).await?;
        }
        self.opened_at(opened);
        Ok(())
    }

    fn opened_at(&mut self, opened: Opened) {
        let position = opened.position.unwrap_or_default();
        (self.position, self.committed) = (position, position);
        self.opened = true;
        self.mode = Mode::Running;
        self.shared.change(|inner| {
            inner.position = position;
            inner.active = opened.active;
            inner.parked = opened.parked.into_iter().map(|it| (it.position, it)).collect();
            inner.state = State::CatchingUp;
        });
    }

    /// Empties the read model and begins it anew, in one transaction.
    async fn rebuild<S>(&mut self, store: &S) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let model = self.target.reset().await?;
        let cleared = isolated(self.projection.clear(&mut *model), None).await?;
        if !cleared && !T::RESETS_MODEL {
            return Err(TargetError::NotCleared.into());
        }
        isolated(self.projection.prepare(model), None).await?;
        self.target.commit(store, Progress::to(Position::START)).await?;
        Ok(())
    }

    /// Takes over from another version, if this one was to do so.
    pub(super) async fn caught_up<S>(&mut self, store: &S) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        if !self.shared.read(|inner| inner.active) {
            self.activate(store).await?;
        }
        if let Some(former) = self.options.replaces.take() {
            former.ask_to_stop();
        }
        self.shared.change(|inner| inner.state = State::Live);
        Ok(())
    }

    /// Makes this version the one that is read.
    async fn activate<S>(&mut self, store: &S) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        let model = self.target.begin().await?;
        isolated(self.projection.activate(model), None).await?;
        let progress = Progress { activate: true, ..Progress::to(self.position) };
        self.target.commit(store, progress).await?;
        self.committed = self.position;
        self.shared.change(|inner| inner.active = true);
        Ok(())
    }

    async fn closing<S>(&mut self, store: &S) -> Result<(), Failure>
    where
        S: OrderedStore,
        T: Target<S, Model = P::Model>,
    {
        if !self.opened {
            return Ok(());
        }
        if self.position > self.committed {
            self.target.begin().await?;
            self.target.commit(store, Progress::to(self.position)).await?;
        }
        Ok(self.target.close(store).await?)
    }

    fn record_open(&self, failure: Failure) -> Failing {
        let before = self.failing.as_ref().filter(|it| it.event.is_none());
        let attempts = before.map_or(0, |before| before.error.attempts).saturating_add(1);
        Failing { event: None, error: self.error_of(failure, attempts) }
    }
}
