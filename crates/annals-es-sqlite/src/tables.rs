//! The tables in which projections and their parked events are recorded.
//!
//! Owns the SQL. Must never begin or end a transaction, except in [`remove`].

use annals_es::projection::{Parked, ProjectionId};
use annals_es::{Position, Timestamp, Version};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

const CREATE: &str = "
    CREATE TABLE IF NOT EXISTS annals_projections (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        position INTEGER NOT NULL,
        token TEXT NOT NULL,
        active INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS annals_parked (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        position INTEGER NOT NULL,
        stream TEXT NOT NULL,
        stream_version INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        error TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        PRIMARY KEY (name, version, position)
    ) WITHOUT ROWID;
";

/// What is recorded of a projection.
pub(crate) struct Recorded {
    pub(crate) position: Position,
    pub(crate) token: String,
    pub(crate) active: bool,
}

pub(crate) fn create(connection: &Connection) -> Result<()> {
    connection.execute_batch(CREATE)
}

pub(crate) fn load(connection: &Connection, id: &ProjectionId) -> Result<Option<Recorded>> {
    let mut select = connection.prepare_cached(
        "SELECT position, token, active FROM annals_projections WHERE name = ?1 AND version = ?2",
    )?;
    select
        .query_row(params![id.name, id.version], |row| {
            let position = Position::new(row.get(0)?);
            Ok(Recorded { position, token: row.get(1)?, active: row.get(2)? })
        })
        .optional()
}

/// Records the first position of a projection, which is active if no other version is. False if another one has
/// recorded it.
pub(crate) fn insert(
    connection: &Connection,
    id: &ProjectionId,
    to: Position,
    token: &str,
) -> Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO annals_projections (name, version, position, token, active)
         SELECT ?1, ?2, ?3, ?4,
                NOT EXISTS (SELECT 1 FROM annals_projections WHERE name = ?1 AND active)
         WHERE true ON CONFLICT DO NOTHING",
    )?;
    Ok(insert.execute(params![id.name, id.version, to.get(), token])? == 1)
}

/// Moves the position of a projection. False if it is not where it is expected to be.
pub(crate) fn advance(
    connection: &Connection,
    id: &ProjectionId,
    from: Position,
    to: Position,
    token: &str,
) -> Result<bool> {
    let mut update = connection.prepare_cached(
        "UPDATE annals_projections SET position = ?4, token = ?5
         WHERE name = ?1 AND version = ?2 AND position = ?3",
    )?;
    Ok(update.execute(params![id.name, id.version, from.get(), to.get(), token])? == 1)
}

pub(crate) fn activate(connection: &Connection, id: &ProjectionId) -> Result<()> {
    connection.execute(
        "UPDATE annals_projections SET active = (version = ?2) WHERE name = ?1",
        params![id.name, id.version],
    )?;
    Ok(())
}

pub(crate) fn parked(connection: &Connection, id: &ProjectionId) -> Result<Vec<Parked>> {
    let mut select = connection.prepare(
        "SELECT position, stream, stream_version, event_type, error, attempts, recorded_at
         FROM annals_parked WHERE name = ?1 AND version = ?2 ORDER BY position",
    )?;
    select.query_map(params![id.name, id.version], read_parked)?.collect()
}

fn read_parked(row: &Row<'_>) -> Result<Parked> {
    Ok(Parked::recorded(
        Position::new(row.get(0)?),
        row.get::<_, String>(1)?,
        Version::new(row.get(2)?),
        row.get::<_, String>(3)?,
        row.get::<_, String>(4)?,
        row.get(5)?,
        Timestamp::from_micros(row.get(6)?),
    ))
}

pub(crate) fn park(connection: &Connection, id: &ProjectionId, parked: &Parked) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO annals_parked (name, version, position, stream, stream_version,
                                               event_type, error, attempts, recorded_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            id.name,
            id.version,
            parked.position.get(),
            parked.stream.as_str(),
            parked.version.get(),
            parked.event_type,
            parked.error,
            parked.attempts,
            parked.recorded_at.as_micros(),
        ],
    )?;
    Ok(())
}

pub(crate) fn unpark(connection: &Connection, id: &ProjectionId, at: Position) -> Result<()> {
    connection.execute(
        "DELETE FROM annals_parked WHERE name = ?1 AND version = ?2 AND position = ?3",
        params![id.name, id.version, at.get()],
    )?;
    Ok(())
}

/// Takes a projection back to the start.
pub(crate) fn reset(connection: &Connection, id: &ProjectionId) -> Result<()> {
    connection.execute(
        "UPDATE annals_projections SET position = 0, token = '' WHERE name = ?1 AND version = ?2",
        params![id.name, id.version],
    )?;
    connection.execute(
        "DELETE FROM annals_parked WHERE name = ?1 AND version = ?2",
        params![id.name, id.version],
    )?;
    Ok(())
}

pub(crate) fn has_active(connection: &Connection, name: &str) -> Result<bool> {
    Ok(active_version(connection, name)?.is_some())
}

/// The version of a projection that is to be read; `None` if the projection has never run in this database.
///
/// # Errors
///
/// Those of SQLite; among them that the database has no projection at all.
pub fn active_version(connection: &Connection, name: &str) -> Result<Option<u32>> {
    let mut select = connection
        .prepare_cached("SELECT version FROM annals_projections WHERE name = ?1 AND active")?;
    select.query_row([name], |row| row.get(0)).optional()
}

/// The position up to which a read model is complete, as its last transaction has recorded it: in a transaction with
/// other reads, the position that these see. `None` if the projection has never run in this database.
///
/// # Errors
///
/// Those of SQLite; among them that the database has no projection at all.
pub fn position(connection: &Connection, id: &ProjectionId) -> Result<Option<Position>> {
    Ok(load(connection, id)?.map(|recorded| recorded.position))
}

/// Forgets a version of a projection that is no longer used. Its own tables are the program's to drop, in the same
/// transaction or another one. If the version runs again, it begins with the first event.
///
/// # Errors
///
/// Those of SQLite.
pub fn remove(connection: &Connection, id: &ProjectionId) -> Result<()> {
    let both = connection.unchecked_transaction()?;
    for table in ["annals_projections", "annals_parked"] {
        let delete = format!("DELETE FROM {table} WHERE name = ?1 AND version = ?2");
        both.execute(&delete, params![id.name, id.version])?;
    }
    both.commit()
}
