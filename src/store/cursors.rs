//! Cursors: the positions of named consumers.
//!
//! Owns the calls. A cursor is stored in the log as a change of a commit, and in the store's metadata;
//! it is checked like every other change of a commit.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::event::{Position, Timestamp};
use crate::read::CursorHistory;
use crate::store::transaction::Transaction;

/// The cursors of a store; see [`Store::cursors`](crate::Store::cursors).
///
/// A cursor is a consumer's position under a name of 1 to 255 bytes, and as durable as an event. It
/// moves in a commit of its own with the methods here, or, with [`Transaction::cursor`], in the commit
/// that records the consumer's work, so that both are stored or neither.
#[derive(Debug, Clone)]
pub struct Cursors {
    engine: Arc<Engine>,
}

/// A cursor in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CursorInfo {
    /// The name of the cursor.
    pub name: String,
    /// The position of the cursor.
    pub position: Position,
    /// The number of events after the cursor that reads see.
    pub lag: u64,
    /// When the commit was recorded that moved the cursor to this position. `None` if an opening took the position from
    /// an index file, or from a checkpoint of an earlier version of annals; [`Cursors::history`] reads it from the log.
    pub moved_at: Option<Timestamp>,
}

impl Cursors {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The position of a cursor that reads see; `None` if it was never set, or was deleted.
    pub fn get(&self, name: &str) -> Result<Option<Position>> {
        self.engine.check_open()?;
        self.engine.refresh()?;
        let position = self.engine.contents().with_metadata(|metadata| metadata.cursor(name));
        Ok(position.map(Position::new))
    }

    /// All cursors, by name.
    pub fn list(&self) -> Result<Vec<CursorInfo>> {
        self.engine.check_open()?;
        self.engine.refresh()?;
        let head = self.engine.visible(false);
        let mut all: Vec<_> = self.engine.contents().with_metadata(|metadata| {
            let infos = metadata.cursors().map(|(name, cursor)| CursorInfo {
                name: name.to_string(),
                position: Position::new(cursor.position),
                lag: head.saturating_sub(cursor.position),
                moved_at: (cursor.moved_at > 0).then(|| Timestamp::from_micros(cursor.moved_at)),
            });
            infos.collect()
        });
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The changes of a cursor as they are in the log, newest first: those before it was deleted too, and none
    /// for a name that was never used. They are those that reads see when the first one is taken.
    ///
    /// The iterator blocks while it reads: a segment is read from its beginning, and one without a change of the
    /// cursor is skipped if its index shows that. About a thousand changes are in memory at once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let placed = vec![NewEvent::new("Placed", ""); 3];
    /// store.append("order-1", ExpectedVersion::Any, placed)?;
    /// store.cursors().advance("emailer", 1)?;
    /// store.cursors().advance("emailer", 3)?;
    /// let lags: Result<Vec<_>, _> =
    ///     store.cursors().history("emailer").map(|moved| Ok::<_, annals::Error>(moved?.lag())).collect();
    /// assert_eq!(lags?, [Some(0), Some(2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self, name: &str) -> CursorHistory {
        CursorHistory::new(Arc::clone(&self.engine), name)
    }

    /// Moves a cursor forward, and returns when the change is durable. A cursor that was never set is at
    /// [`Position::START`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Position};
    ///
    /// let done = store.append("order-1", ExpectedVersion::Any, [NewEvent::new("Placed", "")])?;
    /// store.cursors().advance("emailer", done.last_position)?;
    /// assert_eq!(store.cursors().get("emailer")?, Some(Position::new(1)));
    /// assert!(store.cursors().advance("emailer", done.last_position).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) with
    /// [`FailedCheck::CursorNotForward`](crate::FailedCheck::CursorNotForward) or
    /// [`FailedCheck::CursorAhead`](crate::FailedCheck::CursorAhead), and nothing is changed; those of a
    /// failed write.
    pub fn advance(&self, name: &str, to: impl Into<Position>) -> Result<()> {
        self.transaction().cursor(name, to).commit().map(drop)
    }

    /// Moves a cursor forward if it is at the position `from`; `None`: if it was never set. If two
    /// consumers use one name, the second one gets a conflict.
    ///
    /// # Errors
    ///
    /// Those of [`Cursors::advance`], and
    /// [`FailedCheck::WrongCursor`](crate::FailedCheck::WrongCursor).
    pub fn compare_and_set(
        &self,
        name: &str,
        from: Option<Position>,
        to: impl Into<Position>,
    ) -> Result<()> {
        self.transaction().cursor_from(name, from, to).commit().map(drop)
    }

    /// Sets a cursor to any position up to the head, also backwards: events after it are consumed again.
    ///
    /// # Errors
    ///
    /// [`FailedCheck::CursorAhead`](crate::FailedCheck::CursorAhead), and those of a failed write.
    pub fn reset(&self, name: &str, to: impl Into<Position>) -> Result<()> {
        self.transaction().reset_cursor(name, to).commit().map(drop)
    }

    /// Deletes a cursor.
    ///
    /// # Errors
    ///
    /// [`FailedCheck::UnknownCursor`](crate::FailedCheck::UnknownCursor), and those of a failed
    /// write.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.transaction().delete_cursor(name).commit().map(drop)
    }

    fn transaction(&self) -> Transaction<'_> {
        Transaction::new(&self.engine)
    }
}

/// The calls for tasks (feature `async`). As with every commit of a task, a future does nothing before it
/// is polled, and dropping it later does not cancel the change.
#[cfg(feature = "async")]
impl Cursors {
    /// Like [`Cursors::advance`], for a task: it never blocks the executor (feature `async`).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// # futures::executor::block_on(async {
    /// let placed = NewEvent::new("Placed", "");
    /// let done = store.append_async("order-1", ExpectedVersion::Any, [placed]).await?;
    /// store.cursors().advance_async("emailer", done.last_position).await?;
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// assert_eq!(store.cursors().get("emailer")?, Some(store.head()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Cursors::advance`].
    pub fn advance_async(
        &self,
        name: &str,
        to: impl Into<Position>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        done(self.transaction().cursor(name, to))
    }

    /// Like [`Cursors::compare_and_set`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Cursors::compare_and_set`].
    pub fn compare_and_set_async(
        &self,
        name: &str,
        from: Option<Position>,
        to: impl Into<Position>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        done(self.transaction().cursor_from(name, from, to))
    }

    /// Like [`Cursors::reset`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Cursors::reset`].
    pub fn reset_async(
        &self,
        name: &str,
        to: impl Into<Position>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        done(self.transaction().reset_cursor(name, to))
    }

    /// Like [`Cursors::delete`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Cursors::delete`].
    pub fn delete_async(&self, name: &str) -> impl Future<Output = Result<()>> + Send + 'static {
        done(self.transaction().delete_cursor(name))
    }
}

/// Commits in a task.
#[cfg(feature = "async")]
fn done(transaction: Transaction<'_>) -> impl Future<Output = Result<()>> + Send + 'static {
    let commit = transaction.commit_async();
    async move { commit.await.map(drop) }
}
