//! Transactions of tasks: their commits never block the executor.
//!
//! A commit that does not have to wait is accepted at once. Waiting for space in the buffer, for files,
//! or for a conflicting commit to become visible is done by a thread of the store. Must never hold the
//! writer's lock across a wait.

use std::sync::Arc;

use super::{Owned, Ticket, Transaction};
use crate::engine::Engine;
use crate::engine::append::{Boundary, Request};
use crate::error::Result;
use crate::event::snapshot::Snapshot;
use crate::event::{Committed, Timestamp};
use crate::options::Durability;

/// A transaction without its store.
struct Detached {
    operations: Vec<Owned>,
    boundaries: Vec<Boundary>,
    requests: Vec<Request>,
    snapshots: Vec<Snapshot>,
    durability: Durability,
    recorded_at: Option<Timestamp>,
}

impl Detached {
    fn attach(self, engine: &Arc<Engine>) -> Transaction<'_> {
        let Self { operations, boundaries, requests, snapshots, durability, recorded_at } = self;
        Transaction { engine, operations, boundaries, requests, snapshots, durability, recorded_at }
    }
}

impl Transaction<'_> {
    /// Like [`Transaction::commit`], for a task: it never blocks the executor (feature `async`).
    ///
    /// The future does nothing before it is polled, and does not keep the store open. Dropping it later
    /// does not cancel the commit.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// # futures::executor::block_on(async {
    /// let opened = NewEvent::new("Opened", "");
    /// let transaction = store.transaction().append("account-1", ExpectedVersion::NoStream, [opened]);
    /// assert_eq!(transaction.commit_async().await?.versions, [1]);
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`].
    pub fn commit_async(self) -> impl Future<Output = Result<Committed>> + Send + 'static {
        let engine = Arc::clone(self.engine);
        let detached = self.detach();
        async move {
            if !engine.options().background {
                return detached.attach(&engine).commit();
            }
            accept(&engine, detached, false).await?.await
        }
    }

    /// Like [`Transaction::submit`], for a task: it never blocks the executor, even when the bytes that
    /// wait to be written are at their limit (feature `async`).
    ///
    /// The future does nothing before it is polled. Commits are ordered as their futures become ready:
    /// where the order matters, await one before polling the next. Dropping the future later does not
    /// cancel the commit.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::submit`].
    pub fn submit_async(self) -> impl Future<Output = Result<Ticket>> + Send + 'static {
        let engine = Arc::clone(self.engine);
        let detached = self.detach();
        async move { accept(&engine, detached, true).await }
    }

    fn detach(self) -> Detached {
        let Self {
            engine: _,
            operations,
            boundaries,
            requests,
            snapshots,
            durability,
            recorded_at,
        } = self;
        Detached { operations, boundaries, requests, snapshots, durability, recorded_at }
    }
}

/// Accepts a commit. A conflict is returned at once, or, if not `conflict_at_once`, once reads show the
/// commit that caused it.
async fn accept(
    engine: &Arc<Engine>,
    detached: Detached,
    conflict_at_once: bool,
) -> Result<Ticket> {
    let transaction = detached.attach(engine);
    let durability = transaction.durability;
    let tried = transaction.with_prepared(|commit| {
        engine.appends().try_submit(commit, durability, conflict_at_once)
    })?;
    if let Some(accepted) = tried {
        return Ok(Ticket { engine: Arc::clone(engine), accepted });
    }
    let detached = transaction.detach();
    let accepted = engine.send(move |engine| {
        let transaction = detached.attach(engine);
        transaction
            .with_prepared(|commit| engine.appends().submit(commit, durability, conflict_at_once))
    });
    Ok(Ticket { engine: Arc::clone(engine), accepted: accepted.await? })
}
