//! Commands that are decided and not recorded yet: for commits that contain more than one aggregate.

use std::fmt;

use super::execute::new_events;
use super::{Aggregate, Context, ExecuteError, Repository};
use crate::event::Events;
use crate::store::{Commit, EventStore, Expected, NewEvent, SeveralStreams, StreamName, Version};

/// The decision of an aggregate, before it is recorded; see [`Repository::prepare`].
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "the decision is recorded by a commit"]
pub struct Prepared<E> {
    /// The aggregate's stream.
    pub stream: StreamName,
    /// The version that was decided on, which the commit requires.
    pub version: Version,
    /// The events that were decided; may be none.
    pub events: Events<E>,
    new: Vec<NewEvent>,
}

impl<E> Prepared<E> {
    /// A commit that records the decision.
    pub fn commit<S>(self) -> Commit<S> {
        Commit::to(self.stream, Expected::Exact(self.version), self.new)
    }

    /// Adds the decision to a commit. Of one aggregate, a commit can contain one decision.
    pub fn add_to<S: SeveralStreams>(self, commit: Commit<S>) -> Commit<S> {
        commit.and(self.stream, Expected::Exact(self.version), self.new)
    }
}

impl<A: Aggregate, S: EventStore> Repository<A, S> {
    /// Decides a command on the present state of an aggregate, and records nothing: the decision becomes part of a
    /// commit with those of other aggregates, boundaries or a checkpoint. If the commit loses to another one,
    /// prepare again.
    ///
    /// With a command id the events get the ids that [`Repository::execute_with`] gives them. Whether the command was
    /// executed earlier is not looked up.
    ///
    /// ```
    /// # use annals_es::{Aggregate, Event, Events};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # enum AccountEvent { Changed { by: i64 } }
    /// # struct Account(i64);
    /// # impl Aggregate for Account {
    /// #     type Command = i64;
    /// #     type Event = AccountEvent;
    /// #     type Error = std::fmt::Error;
    /// #     const CATEGORY: &'static str = "account";
    /// #     fn initial() -> Self { Self(0) }
    /// #     fn decide(&self, by: &i64) -> Result<Events<AccountEvent>, std::fmt::Error> {
    /// #         if self.0 + by < 0 { return Err(std::fmt::Error) }
    /// #         Ok(AccountEvent::Changed { by: *by }.into())
    /// #     }
    /// #     fn evolve(&mut self, AccountEvent::Changed { by }: &AccountEvent) { self.0 += by }
    /// # }
    /// use annals_es::blocking::block_on;
    /// use annals_es::{Context, EventStore, MemoryStore, Repository};
    ///
    /// # block_on(async {
    /// let store = MemoryStore::new();
    /// let accounts = Repository::<Account, _>::new(store.clone())?;
    /// accounts.execute("ann", &100).await?;
    ///
    /// // A transfer: both or neither.
    /// let debit = accounts.prepare("ann", &-30, &Context::new()).await?;
    /// let credit = accounts.prepare("bob", &30, &Context::new()).await?;
    /// store.append(credit.add_to(debit.commit())).await?;
    /// assert_eq!(accounts.load("bob").await?.state.0, 30);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ExecuteError::Refused`], [`ExecuteError::VersionMismatch`], and those of loading and encoding.
    pub async fn prepare(
        &self,
        id: impl fmt::Display,
        command: &A::Command,
        context: &Context,
    ) -> Result<Prepared<A::Event>, ExecuteError<A::Error>> {
        let stream = self.stream(id);
        let slot = self.slot(&stream);
        let mut slot = slot.lock().await;
        let hot = self.refreshed(&stream, slot.take()).await?;
        let hot = slot.insert(hot);
        let version = hot.version;
        if let Some(expected) = context.if_match
            && expected != version
        {
            return Err(ExecuteError::VersionMismatch { stream, expected, actual: version });
        }
        let events = hot.state.decide(command).map_err(ExecuteError::Refused)?;
        let new = new_events(&stream, &events, context)?;
        Ok(Prepared { stream, version, events, new })
    }
}
