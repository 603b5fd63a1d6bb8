//! The tables in which projections and their parked events are recorded.
//!
//! Owns the SQL. Must never begin or end a transaction.

use annals_es::projection::{Parked, ProjectionId};
use annals_es::{Position, Timestamp, Version};
use tokio_postgres::{GenericClient, Row};

use crate::{Error, Tables};

/// Creates the tables. Of several programs that start at once, one creates them: the key of the
/// lock is any number that other programs do not use.
const CREATE: &str = "
    BEGIN READ WRITE;
    SELECT pg_advisory_xact_lock(7021794410735038273);
    CREATE TABLE IF NOT EXISTS annals_projections (
        name text NOT NULL,
        version bigint NOT NULL,
        position bigint,
        token text NOT NULL,
        active boolean NOT NULL,
        PRIMARY KEY (name, version)
    );
    CREATE UNIQUE INDEX IF NOT EXISTS annals_projections_active
        ON annals_projections (name) WHERE active;
    CREATE TABLE IF NOT EXISTS annals_parked (
        name text NOT NULL,
        version bigint NOT NULL,
        position bigint NOT NULL,
        stream text NOT NULL,
        stream_version bigint NOT NULL,
        event_type text NOT NULL,
        error text NOT NULL,
        attempts bigint NOT NULL,
        recorded_at_micros bigint NOT NULL,
        PRIMARY KEY (name, version, position)
    );
    COMMIT;
";

/// What is recorded of a projection.
pub(crate) struct Recorded {
    /// `None`: its tables are not prepared.
    pub(crate) position: Option<Position>,
    pub(crate) token: String,
    pub(crate) active: bool,
    /// The transaction in which this was read.
    pub(crate) transaction: i64,
}

/// Creates the tables if they do not exist. A role that may not create any can use those that exist.
pub(crate) async fn create(tables: &Tables) -> Result<(), Error> {
    let exist = "SELECT to_regclass('annals_projections') IS NOT NULL
                    AND to_regclass('annals_parked') IS NOT NULL";
    if !tables.query_one(exist, &[]).await?.try_get::<_, bool>(0)? {
        tables.batch_execute(CREATE).await?;
    }
    Ok(())
}

/// Reads what is recorded of a projection, and locks it until the end of the transaction. A transaction of another
/// session that has changed it is waited for.
pub(crate) async fn lock(tables: &Tables, id: &ProjectionId) -> Result<Option<Recorded>, Error> {
    let select = tables
        .prepare_cached(
            "SELECT position, token, active, txid_current() FROM annals_projections
             WHERE name = $1 AND version = $2 FOR UPDATE",
        )
        .await?;
    let row = tables.query_opt(&select, &[&id.name, &i64::from(id.version)]).await?;
    row.map(|row| {
        let position = row.try_get::<_, Option<i64>>(0)?.map(read_position).transpose()?;
        let (token, active) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Recorded { position, token, active, transaction: row.try_get(3)? })
    })
    .transpose()
}

/// Begins a transaction, and [locks](lock) what is recorded.
pub(crate) async fn begin(tables: &Tables, id: &ProjectionId) -> Result<Option<Recorded>, Error> {
    // The server has both before it answers the first.
    let begin = async { tables.batch_execute("BEGIN READ WRITE").await.map_err(Error::from) };
    let ((), recorded) = futures_util::future::try_join(begin, lock(tables, id)).await?;
    Ok(recorded)
}

/// Records a projection without a position, so that there is a row to lock.
pub(crate) async fn announce(tables: &Tables, id: &ProjectionId) -> Result<(), Error> {
    let insert = "INSERT INTO annals_projections (name, version, position, token, active)
                  VALUES ($1, $2, NULL, '', false) ON CONFLICT DO NOTHING";
    tables.execute(insert, &[&id.name, &i64::from(id.version)]).await?;
    Ok(())
}

/// A move of a projection.
pub(crate) struct Move<'a> {
    /// `None`: the position is its first. It becomes the version that is read if no other one is.
    pub(crate) from: Option<Position>,
    pub(crate) to: Position,
    pub(crate) token: &'a str,
    /// The transaction that was begun for it.
    pub(crate) transaction: i64,
}

/// Moves the position of a projection. False if it is not where it is expected to be, or the transaction is another.
pub(crate) async fn advance(
    tables: &Tables,
    id: &ProjectionId,
    by: &Move<'_>,
) -> Result<bool, Error> {
    let update = tables
        .prepare_cached(
            "UPDATE annals_projections SET position = $4, token = $5,
                    active = active OR ($3::bigint IS NULL AND NOT EXISTS
                             (SELECT 1 FROM annals_projections WHERE name = $1 AND active))
             WHERE name = $1 AND version = $2 AND position IS NOT DISTINCT FROM $3::bigint
               AND txid_current() = $6",
        )
        .await?;
    let from = by.from.map(write_position).transpose()?;
    let (version, to) = (i64::from(id.version), write_position(by.to)?);
    let updated = tables
        .execute(&update, &[&id.name, &version, &from, &to, &by.token, &by.transaction])
        .await?;
    Ok(updated == 1)
}

pub(crate) async fn is_current(tables: &Tables, transaction: i64) -> Result<bool, Error> {
    let current = tables.query_one("SELECT txid_current() = $1", &[&transaction]).await?;
    Ok(current.try_get(0)?)
}

pub(crate) async fn activate(tables: &Tables, id: &ProjectionId) -> Result<(), Error> {
    let version = i64::from(id.version);
    // One is active at any time, which an index enforces row by row.
    let others = "UPDATE annals_projections SET active = false
                  WHERE name = $1 AND version <> $2 AND active";
    tables.execute(others, &[&id.name, &version]).await?;
    let this = "UPDATE annals_projections SET active = true WHERE name = $1 AND version = $2";
    tables.execute(this, &[&id.name, &version]).await?;
    Ok(())
}

pub(crate) async fn parked(tables: &Tables, id: &ProjectionId) -> Result<Vec<Parked>, Error> {
    let select = "SELECT position, stream, stream_version, event_type, error, attempts,
                         recorded_at_micros
                  FROM annals_parked WHERE name = $1 AND version = $2 ORDER BY position";
    let rows = tables.query(select, &[&id.name, &i64::from(id.version)]).await?;
    rows.iter().map(read_parked).collect()
}

fn read_parked(row: &Row) -> Result<Parked, Error> {
    let attempts: i64 = row.try_get(5)?;
    let attempts = u32::try_from(attempts)
        .map_err(|_| Error::OutOfRange { what: "number of attempts", value: attempts.into() })?;
    Ok(Parked::recorded(
        read_position(row.try_get(0)?)?,
        row.try_get::<_, String>(1)?,
        Version::new(read("stream version", row.try_get(2)?)?),
        row.try_get::<_, String>(3)?,
        row.try_get::<_, String>(4)?,
        attempts,
        Timestamp::from_micros(read("time", row.try_get(6)?)?),
    ))
}

pub(crate) async fn park(tables: &Tables, id: &ProjectionId, parked: &Parked) -> Result<(), Error> {
    let insert = "INSERT INTO annals_parked (name, version, position, stream, stream_version,
                                             event_type, error, attempts, recorded_at_micros)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                  ON CONFLICT (name, version, position) DO UPDATE
                  SET error = excluded.error, attempts = excluded.attempts";
    tables
        .execute(
            insert,
            &[
                &id.name,
                &i64::from(id.version),
                &write_position(parked.position)?,
                &without_nul(parked.stream.as_str()),
                &write("stream version", parked.version.get())?,
                &without_nul(&parked.event_type),
                &without_nul(&parked.error),
                &i64::from(parked.attempts),
                &write("time", parked.recorded_at.as_micros())?,
            ],
        )
        .await?;
    Ok(())
}

pub(crate) async fn unpark(tables: &Tables, id: &ProjectionId, at: Position) -> Result<(), Error> {
    let delete = "DELETE FROM annals_parked WHERE name = $1 AND version = $2 AND position = $3";
    let (version, at) = (i64::from(id.version), write_position(at)?);
    tables.execute(delete, &[&id.name, &version, &at]).await?;
    Ok(())
}

pub(crate) async fn unpark_all(tables: &Tables, id: &ProjectionId) -> Result<(), Error> {
    let delete = "DELETE FROM annals_parked WHERE name = $1 AND version = $2";
    tables.execute(delete, &[&id.name, &i64::from(id.version)]).await?;
    Ok(())
}

/// The version of a projection that is to be read; `None` if the projection has never run in this database.
///
/// # Errors
///
/// Those of PostgreSQL; among them that the database has no projection at all.
pub async fn active_version(
    client: &(impl GenericClient + Sync),
    name: &str,
) -> Result<Option<u32>, Error> {
    let select = "SELECT version FROM annals_projections WHERE name = $1 AND active";
    let Some(row) = client.query_opt(select, &[&name]).await? else { return Ok(None) };
    let version: i64 = row.try_get(0)?;
    match u32::try_from(version) {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(Error::OutOfRange { what: "version", value: version.into() }),
    }
}

/// The position up to which a read model is complete, as its last transaction has recorded it. `None` if the
/// projection has never run in this database.
///
/// It is the position that other reads see only if they are statements of the same transaction, and that is
/// `REPEATABLE READ` or `SERIALIZABLE`.
///
/// # Errors
///
/// Those of PostgreSQL; among them that the database has no projection at all.
pub async fn position(
    client: &(impl GenericClient + Sync),
    id: &ProjectionId,
) -> Result<Option<Position>, Error> {
    let select = "SELECT position FROM annals_projections WHERE name = $1 AND version = $2";
    let row = client.query_opt(select, &[&id.name, &i64::from(id.version)]).await?;
    let Some(row) = row else { return Ok(None) };
    row.try_get::<_, Option<i64>>(0)?.map(read_position).transpose()
}

/// Forgets a version of a projection that is no longer used. Its own tables are the program's to drop, in the same
/// transaction or another one. If the version runs again, it begins with the first event.
///
/// # Errors
///
/// Those of PostgreSQL.
pub async fn remove(client: &(impl GenericClient + Sync), id: &ProjectionId) -> Result<(), Error> {
    let both = "WITH parked AS (DELETE FROM annals_parked WHERE name = $1 AND version = $2)
                DELETE FROM annals_projections WHERE name = $1 AND version = $2";
    client.execute(both, &[&id.name, &i64::from(id.version)]).await?;
    Ok(())
}

/// PostgreSQL cannot store the character NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn write_position(position: Position) -> Result<i64, Error> {
    write("position", position.get())
}

fn read_position(position: i64) -> Result<Position, Error> {
    read("position", position).map(Position::new)
}

fn write(what: &'static str, number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::OutOfRange { what, value: number.into() })
}

fn read(what: &'static str, number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::OutOfRange { what, value: number.into() })
}
