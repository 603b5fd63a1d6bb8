//! The repository for programs without an executor.

use std::fmt;

use super::{Aggregate, Context, ExecuteError, Executed, LoadError, Loaded, Prepared, Repository};
use crate::blocking::{Iter, block_on, iter};
use crate::store::{EventStore, Version};
use crate::timeline::{Change, Point};

/// A [`Repository`] whose calls block: for programs without an executor.
///
/// With [`AnnalsStore::blocking`](crate::AnnalsStore::blocking) a call costs no change of threads.
#[derive(Debug)]
pub struct BlockingRepository<A: Aggregate, S> {
    repository: Repository<A, S>,
}

impl<A: Aggregate, S: EventStore> BlockingRepository<A, S> {
    pub(super) fn new(repository: Repository<A, S>) -> Self {
        Self { repository }
    }

    /// The repository for tasks.
    pub fn tasks(&self) -> &Repository<A, S> {
        &self.repository
    }

    /// Like [`Repository::execute`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::execute`].
    pub fn execute(
        &self,
        id: impl fmt::Display,
        command: &A::Command,
    ) -> Result<Executed<A::Event>, ExecuteError<A::Error>> {
        block_on(self.repository.execute(id, command))
    }

    /// Like [`Repository::execute_with`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::execute_with`].
    pub fn execute_with(
        &self,
        id: impl fmt::Display,
        command: &A::Command,
        context: &Context,
    ) -> Result<Executed<A::Event>, ExecuteError<A::Error>> {
        block_on(self.repository.execute_with(id, command, context))
    }

    /// Like [`Repository::load`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub fn load(&self, id: impl fmt::Display) -> Result<Loaded<A>, LoadError> {
        block_on(self.repository.load(id))
    }

    /// Like [`Repository::load_at`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub fn load_at(
        &self,
        id: impl fmt::Display,
        point: impl Point<S>,
    ) -> Result<Loaded<A>, LoadError> {
        block_on(self.repository.load_at(id, point))
    }

    /// Like [`Repository::between`]. The events are those of [`blocking::iter`](crate::blocking::iter).
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub fn between(
        &self,
        id: impl fmt::Display,
        earlier: impl Point<S>,
        later: impl Point<S>,
    ) -> Result<Change<Loaded<A>, Iter<S::Events>>, LoadError> {
        let change = block_on(self.repository.between(id, earlier, later))?;
        Ok(Change::new(change.before, change.after, iter(change.events)))
    }

    /// Like [`Repository::prepare`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::prepare`].
    pub fn prepare(
        &self,
        id: impl fmt::Display,
        command: &A::Command,
        context: &Context,
    ) -> Result<Prepared<A::Event>, ExecuteError<A::Error>> {
        block_on(self.repository.prepare(id, command, context))
    }

    /// Like [`Repository::view`].
    ///
    /// # Errors
    ///
    /// Those of [`Repository::view`].
    pub fn view<T>(
        &self,
        id: impl fmt::Display,
        read: impl FnOnce(&A, Version) -> T,
    ) -> Result<T, LoadError> {
        block_on(self.repository.view(id, read))
    }
}

impl<A: Aggregate, S: Clone> Clone for BlockingRepository<A, S> {
    fn clone(&self) -> Self {
        Self { repository: self.repository.clone() }
    }
}
