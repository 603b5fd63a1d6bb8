//! RocksDB, with the feature of that name.

use std::collections::HashMap;
use std::sync::Mutex;

use rocksdb::{ColumnFamily, DB, IteratorMode, Options, WriteBatch, WriteOptions};

use super::lock;
use crate::input::New;
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "rocksdb",
    title: "RocksDB",
    package: "librocksdb-sys",
    engine: None,
    can: Can::STORE,
    durable: "a batch with `sync`, outside of the lock, so that RocksDB groups them",
    buffered: "a batch without `sync`",
    layout: "three column families: events by position, (stream, version) to position, head by \
             stream; heads also in memory from their first use on, for appends only; no \
             compression; defaults otherwise",
    less: "batches of many threads may become visible out of order; an id is stored, and not held \
           unique",
    open,
};

const FAMILIES: [&str; 3] = ["events", "index", "heads"];

struct Rocks {
    db: DB,
    write: WriteOptions,
    state: Mutex<State>,
}

/// The state that the next append needs.
struct State {
    position: u64,
    heads: HashMap<String, u64>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let db = DB::open_cf(&options, setup.dir.join("rocksdb"), FAMILIES)?;
    let mut write = WriteOptions::default();
    write.set_sync(setup.mode == Mode::Durable);
    let mut state = State { position: 0, heads: HashMap::new() };
    if let Some(entry) = db.iterator_cf(family(&db, "events")?, IteratorMode::End).next() {
        state.position = layout::ordered(&entry?.0);
    }
    Ok(Box::new(Rocks { db, write, state: Mutex::new(state) }))
}

fn family<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily> {
    db.cf_handle(name).ok_or_else(|| "a column family is missing".into())
}

impl Rocks {
    /// Hands on the event at the position that an index entry has.
    fn visit(&self, events: &ColumnFamily, position: &[u8], visit: Visit<'_>) -> Result {
        let value = self.db.get_pinned_cf(events, position)?.ok_or("an event is missing")?;
        visit(layout::decode(layout::ordered(position), &value)?);
        Ok(())
    }
}

impl Peer for Rocks {
    fn append(&self, events: &[New<'_>]) -> Result {
        let (table, index) = (family(&self.db, "events")?, family(&self.db, "index")?);
        let heads = family(&self.db, "heads")?;
        let mut batch = WriteBatch::default();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        {
            let mut state = lock(&self.state);
            for new in events {
                state.position += 1;
                let version = match state.heads.get_mut(new.stream) {
                    Some(head) => {
                        *head += 1;
                        *head
                    }
                    None => {
                        let version = self.version(new.stream, 0)? + 1;
                        state.heads.insert(new.stream.to_owned(), version);
                        version
                    }
                };
                layout::encode(&mut value, version, new);
                layout::index_key(&mut key, new.stream, version);
                let position = state.position.to_be_bytes();
                batch.put_cf(table, position, &value);
                batch.put_cf(index, &key, position);
                batch.put_cf(heads, new.stream, version.to_le_bytes());
            }
        }
        self.db.write_opt(batch, &self.write)?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(lock(&self.state).position)
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        let mut entries = self.db.raw_iterator_cf(family(&self.db, "events")?);
        entries.seek_to_first();
        while let Some((key, value)) = entries.item() {
            visit(layout::decode(layout::ordered(key), value)?);
            entries.next();
        }
        entries.status()?;
        Ok(())
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let events = family(&self.db, "events")?;
        let prefix = layout::index_prefix(stream);
        let mut entries = self.db.raw_iterator_cf(family(&self.db, "index")?);
        entries.seek(&prefix);
        while let Some((key, position)) = entries.item() {
            if !key.starts_with(&prefix) {
                break;
            }
            self.visit(events, position, visit)?;
            entries.next();
        }
        entries.status()?;
        Ok(())
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        let head = self.db.get_pinned_cf(family(&self.db, "heads")?, stream)?;
        Ok(head.map_or(0, |head| layout::number(&head)))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let keys = layout::index_range(stream, 0);
        let mut entries = self.db.raw_iterator_cf(family(&self.db, "index")?);
        entries.seek_for_prev(keys.end());
        if let Some((key, position)) = entries.item()
            && key >= keys.start().as_slice()
        {
            self.visit(family(&self.db, "events")?, position, visit)?;
        }
        entries.status()?;
        Ok(())
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let events = family(&self.db, "events")?;
        let keys = layout::index_range(stream, after);
        let mut entries = self.db.raw_iterator_cf(family(&self.db, "index")?);
        entries.seek(keys.start());
        for _ in 0..limit {
            let Some((key, position)) = entries.item() else { break };
            if key > keys.end().as_slice() {
                break;
            }
            self.visit(events, position, visit)?;
            entries.next();
        }
        entries.status()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.db.flush_wal(true)?;
        Ok(())
    }
}
