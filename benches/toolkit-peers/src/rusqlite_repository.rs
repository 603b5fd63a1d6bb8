//! A repository of cqrs-es on rusqlite, without the threads that sqlx has between a task and the database.
//!
//! Owns one connection. It has what the benchmark calls; streams of events for replays are not part of that.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde_json::Value;

/// The events and snapshots of a database with the tables of sqlite-es.
pub struct RusqliteRepository(Mutex<Connection>);

impl RusqliteRepository {
    /// Opens a database that has the tables.
    pub fn open(path: &Path, synchronous: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn with<T>(
        &self,
        call: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, PersistenceError> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut connection).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => PersistenceError::OptimisticLockError,
            _ => PersistenceError::ConnectionError(error.into()),
        })
    }
}

fn event(row: &rusqlite::Row<'_>) -> rusqlite::Result<SerializedEvent> {
    let sequence: i64 = row.get(2)?;
    Ok(SerializedEvent {
        aggregate_type: row.get(0)?,
        aggregate_id: row.get(1)?,
        sequence: usize::try_from(sequence).unwrap_or_default(),
        event_type: row.get(3)?,
        event_version: row.get(4)?,
        payload: json(row.get(5)?),
        metadata: json(row.get(6)?),
    })
}

/// What the repository has written itself.
fn json(text: String) -> Value {
    serde_json::from_str(&text).expect("it is JSON")
}

impl PersistedEventRepository for RusqliteRepository {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.get_last_events::<A>(aggregate_id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                        metadata
                 FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND sequence > ?3
                 ORDER BY sequence",
            )?;
            let events = select.query_map(params![A::TYPE, aggregate_id, last_sequence], event)?;
            events.collect()
        })
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        self.with(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT last_sequence, current_snapshot, payload FROM snapshots
                 WHERE aggregate_type = ?1 AND aggregate_id = ?2",
            )?;
            let snapshot = |row: &rusqlite::Row<'_>| {
                Ok(SerializedSnapshot {
                    aggregate_id: aggregate_id.to_owned(),
                    current_sequence: row.get(0)?,
                    current_snapshot: row.get(1)?,
                    aggregate: json(row.get(2)?),
                })
            };
            select.query_row((A::TYPE, aggregate_id), snapshot).optional()
        })
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let is_current = self.with(|connection| {
            let all = connection.transaction()?;
            let mut sequence = 0;
            for event in events {
                sequence = event.sequence;
                let mut insert =
                    all.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
                insert.execute(params![
                    A::TYPE,
                    event.aggregate_id,
                    event.sequence,
                    event.event_type,
                    event.event_version,
                    event.payload.to_string(),
                    event.metadata.to_string(),
                ])?;
            }
            let mut is_current = true;
            if let Some((id, state, number)) = snapshot_update {
                let sql = if number == 1 {
                    "INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4, ?5)"
                } else {
                    "UPDATE snapshots SET last_sequence = ?3, current_snapshot = ?4, payload = ?5
                     WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND current_snapshot = ?4 - 1"
                };
                let mut save = all.prepare_cached(sql)?;
                let saved =
                    save.execute(params![A::TYPE, id, sequence, number, state.to_string()])?;
                is_current = saved == 1;
            }
            if is_current {
                all.commit()?
            } else {
                all.rollback()?
            }
            Ok(is_current)
        })?;
        if is_current { Ok(()) } else { Err(PersistenceError::OptimisticLockError) }
    }

    async fn stream_events<A: Aggregate>(&self, _: &str) -> Result<ReplayStream, PersistenceError> {
        Err(PersistenceError::UnknownError("the benchmark replays nothing".into()))
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        Err(PersistenceError::UnknownError("the benchmark replays nothing".into()))
    }
}
