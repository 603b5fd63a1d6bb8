//! The read model: a table of all orders, in SQLite.
//!
//! Owns the SQL. The table and the position up to which it is complete change in one transaction, and are read in
//! one. Must never be written to by anything but the projection.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use annals_es::projection::{Projection, ProjectionId};
use annals_es::{Position, RecordedEvent};
use annals_es_sqlite::rusqlite::{self, Connection, OpenFlags, Row, params};
use serde::Serialize;

use crate::order::{OrderEvent, Status};

const NAME: &str = "orders";
const VERSION: u32 = 1;

/// Writes the table.
pub(crate) struct OrderTable;

impl Projection for OrderTable {
    type Event = OrderEvent;
    type Model = Connection;
    type Error = rusqlite::Error;

    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn prepare(&self, tables: &mut Connection) -> rusqlite::Result<()> {
        tables.execute_batch(
            "CREATE TABLE orders (
                id TEXT PRIMARY KEY,
                customer TEXT NOT NULL,
                status TEXT NOT NULL,
                lines INTEGER NOT NULL,
                total_cents INTEGER NOT NULL,
                version INTEGER NOT NULL,
                placed INTEGER NOT NULL -- the position of the event
            ) WITHOUT ROWID;
            CREATE INDEX orders_by_status ON orders (status, placed);",
        )
    }

    fn handle(
        &self,
        tables: &mut Connection,
        event: OrderEvent,
        recorded: &RecordedEvent,
    ) -> rusqlite::Result<()> {
        let (id, version) = (recorded.stream_id().unwrap_or_default(), recorded.version().get());
        let (status, lines, cents) = match event {
            OrderEvent::Placed { customer } => {
                let mut insert = tables
                    .prepare_cached("INSERT INTO orders VALUES (?1, ?2, 'open', 0, 0, ?3, ?4)")?;
                let placed = recorded.position().get();
                return insert.execute(params![id, customer, version, placed]).map(drop);
            }
            OrderEvent::LineAdded(line) => (Status::Open, 1, line.total()),
            OrderEvent::Confirmed => (Status::Confirmed, 0, 0),
            OrderEvent::Cancelled => (Status::Cancelled, 0, 0),
            OrderEvent::Expired => (Status::Expired, 0, 0),
        };
        let mut update = tables.prepare_cached(
            "UPDATE orders SET status = ?2, lines = lines + ?3, total_cents = total_cents + ?4,
                version = ?5 WHERE id = ?1",
        )?;
        update.execute(params![id, status.as_str(), lines, cents, version]).map(drop)
    }

    fn clear(&self, tables: &mut Connection) -> rusqlite::Result<bool> {
        tables.execute_batch("DROP TABLE IF EXISTS orders").map(|()| true)
    }
}

/// A row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    id: String,
    customer: String,
    status: String,
    lines: u32,
    total_cents: u64,
    version: u64,
}

/// Some rows, and the position up to which they are complete.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) position: Position,
    pub(crate) orders: Vec<Entry>,
}

/// Reads the table.
pub(crate) struct OrderList {
    connection: Mutex<Connection>,
}

impl OrderList {
    /// Opens the database, which the projection has created.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// The newest orders, at most `limit`. It blocks: call it in a thread that may.
    pub(crate) fn newest(&self, status: Option<Status>, limit: u32) -> rusqlite::Result<Page> {
        // A panic leaves nothing that is wrong: a transaction that was not ended is rolled back.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let read = connection.transaction()?;
        let position = annals_es_sqlite::position(&read, &ProjectionId::new(NAME, VERSION))?;
        let mut select = read.prepare_cached(
            "SELECT id, customer, status, lines, total_cents, version FROM orders
             WHERE ?1 IS NULL OR status = ?1 ORDER BY placed DESC LIMIT ?2",
        )?;
        let rows = select.query_map(params![status.map(Status::as_str), limit], entry)?;
        let orders = rows.collect::<rusqlite::Result<_>>()?;
        Ok(Page { position: position.unwrap_or_default(), orders })
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        customer: row.get(1)?,
        status: row.get(2)?,
        lines: row.get(3)?,
        total_cents: row.get(4)?,
        version: row.get(5)?,
    })
}
