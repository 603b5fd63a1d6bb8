//! eventsdb-sqlite: an event store of JSON values on SQLite, with one thread that writes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use eventsdb_core::upcast::Current;
use eventsdb_core::{EventLog, EventStore, Filter, Position};
use eventsdb_sqlite::SqliteEventLog;
use futures::executor::block_on;
use serde_json::{Map, Value, json};

use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "eventsdb",
    title: "eventsdb-sqlite",
    package: "eventsdb-sqlite",
    engine: Some(|| format!("SQLite {}", eventsdb_sqlite::rusqlite::version())),
    can: Can { durable: false, ..Can::STORE },
    durable: "",
    buffered: "always: WAL, `synchronous=NORMAL`, which cannot be changed",
    layout: "data as base64 in a JSON value; a commit over several streams is its own transaction; \
             reads of everything in pieces of 1,000; its SQLite is that of the SQLite peer; \
             defaults otherwise",
    less: "no checksums; no ids; it keeps a kind and a time index besides",
    open,
};

/// Events of a read.
const PIECE: usize = 1_000;

struct Log(SqliteEventLog);

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Log(block_on(SqliteEventLog::open(setup.dir.join("eventsdb.sqlite")))?)))
}

fn event(new: &New<'_>) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("kind".to_owned(), EVENT_TYPE.into());
    event.insert("data".to_owned(), json!({ "bytes": BASE64_STANDARD.encode(new.data) }));
    event
}

/// Hands on an event with its bytes.
fn visit_event(
    position: u64,
    stream: &str,
    event: &Current,
    bytes: &mut Vec<u8>,
    visit: Visit<'_>,
) -> Result {
    let text = event
        .get("data")
        .and_then(|data| data.get("bytes"))
        .and_then(Value::as_str)
        .ok_or("an event has no bytes")?;
    bytes.clear();
    BASE64_STANDARD.decode_vec(text, bytes)?;
    visit(Seen { position, version: event.seq(), stream, data: bytes });
    Ok(())
}

fn visit_all(stream: &str, events: &[Current], visit: Visit<'_>) -> Result {
    let mut bytes = Vec::new();
    events.iter().try_for_each(|event| visit_event(0, stream, event, &mut bytes, visit))
}

impl Peer for Log {
    fn append(&self, events: &[New<'_>]) -> Result {
        let Some(first) = events.first() else { return Ok(()) };
        if events.iter().all(|new| new.number == first.number) {
            let mut stream = self.0.stream_handle(first.stream);
            match events {
                [new] => drop(block_on(stream.append(event(new)))?),
                _ => drop(block_on(stream.append_many(events.iter().map(event).collect()))?),
            }
            return Ok(());
        }
        let owned = |new: &New<'_>| (new.stream.to_owned(), event(new));
        let events: Vec<_> = events.iter().map(owned).collect();
        block_on(self.0.with_transaction(move |transaction| {
            for (stream, event) in events {
                transaction.append(&stream, event)?;
            }
            Ok(())
        }))?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(block_on(self.0.head_position())?.get())
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        let (filter, mut from, mut bytes) = (Filter::all(), Position::BEGINNING, Vec::new());
        loop {
            let piece = block_on(self.0.read_all(from, &filter, PIECE))?;
            for recorded in &piece {
                let position = recorded.position.get();
                visit_event(position, &recorded.stream, &recorded.event, &mut bytes, visit)?;
                from = recorded.position;
            }
            if piece.len() < PIECE {
                return Ok(());
            }
        }
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        visit_all(stream, &block_on(self.0.stream_handle(stream).read(0, usize::MAX))?, visit)
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        Ok(block_on(self.0.stream_handle(stream).head())?.unwrap_or(0))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        visit_all(stream, &block_on(self.0.stream_handle(stream).read_last(1))?, visit)
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let handle = self.0.stream_handle(stream);
        visit_all(stream, &block_on(handle.read(after + 1, limit as usize))?, visit)
    }

    fn close(self: Box<Self>) -> Result {
        block_on(self.0.close())?;
        Ok(())
    }
}
