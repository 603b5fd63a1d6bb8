//! SQLite, as an application would lay out its events.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::{Connection, params};

use super::lock;
use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "sqlite",
    title: "SQLite",
    package: "rusqlite",
    engine: Some(|| format!("SQLite {}", rusqlite::version())),
    can: Can::STORE,
    durable: "WAL, `synchronous=FULL`",
    buffered: "WAL, `synchronous=OFF`",
    layout: "one table, `position` the rowid, unique index (stream, version); one connection \
             writes, behind a lock; a connection for each reader; cached statements; \
             bundled, which syncs with `fsync`; defaults otherwise",
    less: "no checksums; an id is stored, and not held unique",
    open,
};

/// The table and its index.
pub const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        type TEXT NOT NULL,
        id BLOB NOT NULL,
        data BLOB NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS by_stream ON events (stream, version);
";

/// The version of a stream, from the index alone.
const HEAD: &str = "SELECT version FROM events WHERE stream = ?1 ORDER BY version DESC LIMIT 1";

struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let path = setup.dir.join("events.sqlite");
    let connection = Connection::open(&path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match setup.mode {
        Mode::Durable => "FULL",
        Mode::Buffered => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute_batch(SCHEMA)?;
    Ok(Box::new(Sqlite { path, writer: Mutex::new(connection), readers: Mutex::default() }))
}

impl Sqlite {
    /// Lends a connection that reads.
    fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let pooled = lock(&self.readers).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => Connection::open(&self.path)?,
        };
        let result = read(&connection);
        lock(&self.readers).push(connection);
        result
    }
}

fn visit_rows(rows: &mut rusqlite::Rows<'_>, visit: Visit<'_>) -> Result {
    while let Some(row) = rows.next()? {
        visit(Seen {
            position: row.get_ref(0)?.as_i64()?.cast_unsigned(),
            version: row.get_ref(2)?.as_i64()?.cast_unsigned(),
            stream: row.get_ref(1)?.as_str()?,
            data: row.get_ref(3)?.as_blob()?,
        });
    }
    Ok(())
}

impl Peer for Sqlite {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut writer = lock(&self.writer);
        let transaction =
            writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut head = transaction.prepare_cached(HEAD)?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO events (stream, version, type, id, data) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            let mut known: Option<(&str, i64)> = None;
            for new in events {
                let version = match known {
                    Some((stream, version)) if stream == new.stream => version,
                    _ => {
                        let mut rows = head.query([new.stream])?;
                        rows.next()?.map_or(Ok(0), |row| row.get(0))?
                    }
                };
                insert.execute(params![
                    new.stream,
                    version + 1,
                    EVENT_TYPE,
                    new.id.as_slice(),
                    new.data
                ])?;
                known = Some((new.stream, version + 1));
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        let head: i64 = lock(&self.writer).query_row(
            "SELECT coalesce(max(position), 0) FROM events",
            [],
            |row| row.get(0),
        )?;
        Ok(head.cast_unsigned())
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        self.reading(|connection| {
            let mut all = connection.prepare_cached(
                "SELECT position, stream, version, data, type, id FROM events ORDER BY position",
            )?;
            visit_rows(&mut all.query([])?, visit)
        })
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.reading(|connection| {
            let mut one = connection.prepare_cached(
                "SELECT position, stream, version, data, type, id FROM events \
                 WHERE stream = ?1 ORDER BY version",
            )?;
            visit_rows(&mut one.query([stream])?, visit)
        })
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        self.reading(|connection| {
            let mut head = connection.prepare_cached(HEAD)?;
            let mut rows = head.query([stream])?;
            let version = rows.next()?.map_or(Ok(0), |row| row.get::<_, i64>(0))?;
            Ok(version.cast_unsigned())
        })
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.reading(|connection| {
            let mut newest = connection.prepare_cached(
                "SELECT position, stream, version, data, type, id FROM events \
                 WHERE stream = ?1 ORDER BY version DESC LIMIT 1",
            )?;
            visit_rows(&mut newest.query([stream])?, visit)
        })
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        self.reading(|connection| {
            let mut page = connection.prepare_cached(
                "SELECT position, stream, version, data, type, id FROM events \
                 WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT ?3",
            )?;
            let range = params![stream, after.cast_signed(), limit.cast_signed()];
            visit_rows(&mut page.query(range)?, visit)
        })
    }

    fn close(self: Box<Self>) -> Result {
        // Readers first: the last connection that closes checkpoints the WAL and removes it.
        drop(self.readers);
        let writer = self.writer.into_inner().map_err(|_| "a writer panicked")?;
        writer.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}
