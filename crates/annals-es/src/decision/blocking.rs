//! Decisions for programs without an executor.

use super::{Decision, Decisions, Facts};
use crate::aggregate::{Context, ExecuteError, Executed, LoadError};
use crate::blocking::block_on;
use crate::event::Event;
use crate::store::{Boundaries, Position, SeveralStreams};

/// [`Decisions`] whose calls block: for programs without an executor.
#[derive(Debug)]
pub struct BlockingDecisions<E, S> {
    decisions: Decisions<E, S>,
}

impl<E: Event, S: Boundaries + SeveralStreams> BlockingDecisions<E, S> {
    pub(super) fn new(decisions: Decisions<E, S>) -> Self {
        Self { decisions }
    }

    /// The decisions for tasks.
    pub fn tasks(&self) -> &Decisions<E, S> {
        &self.decisions
    }

    /// Like [`Decisions::execute`].
    ///
    /// # Errors
    ///
    /// Those of [`Decisions::execute`].
    pub fn execute<D: Decision<Event = E>>(
        &self,
        decision: &D,
    ) -> Result<Executed<E>, ExecuteError<D::Error>> {
        block_on(self.decisions.execute(decision))
    }

    /// Like [`Decisions::execute_with`].
    ///
    /// # Errors
    ///
    /// Those of [`Decisions::execute_with`].
    pub fn execute_with<D: Decision<Event = E>>(
        &self,
        decision: &D,
        context: &Context,
    ) -> Result<Executed<E>, ExecuteError<D::Error>> {
        block_on(self.decisions.execute_with(decision, context))
    }

    /// Like [`Decisions::facts`].
    ///
    /// # Errors
    ///
    /// Those of [`Decisions::facts`].
    pub fn facts<F: Facts<E>>(&self, facts: F) -> Result<(F, Position), LoadError> {
        block_on(self.decisions.facts(facts))
    }
}

impl<E, S: Clone> Clone for BlockingDecisions<E, S> {
    fn clone(&self) -> Self {
        Self { decisions: self.decisions.clone() }
    }
}
