//! Commands that a process sends to aggregates.
//!
//! Owns the decision of a command on the state that earlier commands of the same reaction leave. Must never append.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use super::ProcessManager;
use super::error::ReactionError;
use super::plan::Working;
use super::reaction::Reaction;
use crate::aggregate::{Aggregate, Context, Repository, new_events};
use crate::store::{EventStore, StreamName, Timestamp};

type Loading = Pin<Box<dyn Future<Output = Result<Working, ReactionError>> + Send>>;

type Refused<A, M, S> = Box<dyn FnOnce(&<A as Aggregate>::Error, &mut Reaction<M, S>) + Send>;

pub(super) enum OnRefusal<A: Aggregate, M: ProcessManager<S>, S: EventStore> {
    Fail,
    Then(Refused<A, M, S>),
}

pub(super) struct Command<A: Aggregate, M: ProcessManager<S>, S: EventStore> {
    pub(super) to: Repository<A, S>,
    pub(super) id: String,
    pub(super) asked: A::Command,
    pub(super) on_refusal: OnRefusal<A, M, S>,
}

/// A command to an aggregate of any type.
pub(super) trait AnyCommand<M: ProcessManager<S>, S: EventStore>: Send {
    fn stream(&self) -> StreamName;

    /// The aggregate's id and the command, if it is for an aggregate of this category.
    fn sent(&self, category: &str) -> Option<(&str, &(dyn Any + Send))>;

    /// Reads the aggregate, unless an earlier command of the reaction has.
    fn load(&self) -> Loading;

    /// Decides, and adds the events to `working`. Returns what follows if the aggregate refuses.
    fn decide(
        self: Box<Self>,
        working: &mut Working,
        context: &Context,
        at: Timestamp,
    ) -> Result<Reaction<M, S>, ReactionError>;
}

impl<A, M, S> AnyCommand<M, S> for Command<A, M, S>
where
    A: Aggregate,
    A::Command: Send + 'static,
    M: ProcessManager<S>,
    S: EventStore,
{
    fn stream(&self) -> StreamName {
        self.to.stream(&self.id)
    }

    fn sent(&self, category: &str) -> Option<(&str, &(dyn Any + Send))> {
        (category == A::CATEGORY).then_some((&self.id, &self.asked))
    }

    fn load(&self) -> Loading {
        let (to, id) = (self.to.clone(), self.id.clone());
        Box::pin(async move {
            let loaded = to.load(&id).await?;
            Ok(Working::new(to.stream(&id), loaded.version, loaded.state))
        })
    }

    fn decide(
        self: Box<Self>,
        working: &mut Working,
        context: &Context,
        at: Timestamp,
    ) -> Result<Reaction<M, S>, ReactionError> {
        let mut follows = Reaction::new(at);
        let Self { asked, on_refusal, .. } = *self;
        let state = working.state::<A>()?;
        match (state.decide(&asked), on_refusal) {
            (Ok(events), _) => {
                events.iter().for_each(|event| state.evolve(event));
                let new = new_events(&working.stream, &events, context)?;
                working.events.extend(new);
            }
            (Err(error), OnRefusal::Fail) => {
                let (stream, source) = (working.stream.clone(), error.into());
                return Err(ReactionError::Refused { stream, source });
            }
            (Err(error), OnRefusal::Then(then)) => then(&error, &mut follows),
        }
        Ok(follows)
    }
}
