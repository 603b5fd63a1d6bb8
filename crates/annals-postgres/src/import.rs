//! Commits of another store, recorded as they are.
//!
//! Owns their translation. Must never change an event.

use annals_es::{AppendError, Commit, Committed, Position, RecordedEvent, StoreError, Timestamp};

use crate::reads::on_runtime;
use crate::rows::unsigned;
use crate::shared::unknown;
use crate::{Positions, PostgresStore, check};

impl PostgresStore {
    /// Records commits of another store with their versions, ids and times, each given by its events: all of them in one
    /// transaction, or none. Positions are those of this store; a dense store goes on counting.
    ///
    /// ```no_run
    /// use annals_es::{AppendError, OrderedStore, ReadAll, next};
    /// use annals_postgres::PostgresStore;
    ///
    /// async fn copy_first_commit<S: OrderedStore>(from: &S, to: &PostgresStore) -> Result<(), AppendError> {
    ///     let mut events = from.read_all(ReadAll::new());
    ///     let mut commit = Vec::new();
    ///     while let Some(event) = next(&mut events).await.transpose()? {
    ///         let is_last = event.is_last_in_commit();
    ///         commit.push(event);
    ///         if is_last {
    ///             break;
    ///         }
    ///     }
    ///     to.import(vec![commit]).await.map(drop)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`EventStore::append`](annals_es::EventStore::append), such as a conflict where a version does not follow
    /// the last one of its stream; [`Error::RecordedTime`](crate::Error::RecordedTime) for a commit whose time is before that
    /// of the last one.
    pub async fn import(
        &self,
        commits: Vec<Vec<RecordedEvent>>,
    ) -> Result<Vec<Committed>, AppendError> {
        let (mut parts, mut times, mut events) = (Vec::new(), Vec::new(), 0);
        for commit in &commits {
            let Some(first) = commit.first() else { return Err(AppendError::Empty) };
            times.push(first.recorded_at());
            let of = Commit::<Self>::of_recorded(commit).into_parts();
            check::commit(&of, self.shared.batches.positions)?;
            events += commit.len() as u64;
            parts.push(of);
        }
        if self.shared.batches.positions == Positions::Fast && events > check::MAX_FAST {
            let what = "number of events of an import";
            let hint = "import fewer commits at once";
            return Err(check::too_large(what, events, check::MAX_FAST, hint));
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let work = async move { Ok(shared.queue.import(&parts, &times).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    /// The checkpoints: their names and positions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn checkpoints(&self) -> Result<Vec<(String, Position)>, StoreError> {
        let shared = std::sync::Arc::clone(&self.shared);
        let work = async move {
            let schema = &shared.batches.sql.schema;
            let select = format!("SELECT name, position FROM {schema}.checkpoints ORDER BY name");
            let rows = shared.all_rows(&select).await?;
            let pair = |row: &tokio_postgres::Row| {
                Ok((row.try_get(0)?, Position::new(unsigned(row.try_get(1)?)?)))
            };
            rows.iter().map(pair).collect()
        };
        Ok(on_runtime(&self.shared, work).await?)
    }
}

/// Refuses a time before that of the last commit.
pub(crate) fn check_time(given: Timestamp, earliest: Timestamp) -> Result<(), crate::Error> {
    if given < earliest {
        return Err(crate::Error::RecordedTime { given, earliest });
    }
    Ok(())
}
