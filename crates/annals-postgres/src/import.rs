//! Commits of another store, recorded as they are.
//!
//! Owns their translation. Must never change an event.

use annals_es::{
    AppendError, Commit, Committed, Expected, NewEvent, Position, RecordedEvent, StoreError,
    Timestamp, Version,
};

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
            let of = as_commit(commit).into_parts();
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

fn as_commit(events: &[RecordedEvent]) -> Commit<PostgresStore> {
    let mut runs = events.chunk_by(|one, next| one.stream() == next.stream());
    let expected = |run: &[RecordedEvent]| {
        let first = run.first().map_or(0, |event| event.version().get());
        Expected::Exact(Version::new(first.saturating_sub(1)))
    };
    let stream = |run: &[RecordedEvent]| run.first().map_or("", |it| it.stream()).to_owned();
    let first = runs.next().unwrap_or_default();
    let mut commit = Commit::to(stream(first), expected(first), first.iter().map(new_event));
    for run in runs {
        commit = commit.and(stream(run), expected(run), run.iter().map(new_event));
    }
    commit
}

fn new_event(event: &RecordedEvent) -> NewEvent {
    let mut new = NewEvent::new(event.event_type().to_owned(), event.data_bytes())
        .id(event.id())
        .schema_version(event.schema_version())
        .content_type(event.content_type())
        .metadata(event.metadata().to_vec());
    new.tags = event.tags().map(str::to_owned).collect();
    new
}

/// Refuses a time before that of the last commit.
pub(crate) fn check_time(given: Timestamp, earliest: Timestamp) -> Result<(), crate::Error> {
    if given < earliest {
        return Err(crate::Error::RecordedTime { given, earliest });
    }
    Ok(())
}
