//! fjall.

use std::collections::HashMap;
use std::sync::Mutex;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::lock;
use crate::input::New;
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "fjall",
    title: "fjall",
    package: "fjall",
    engine: None,
    can: Can::STORE,
    durable: "a batch with `PersistMode::SyncData`",
    buffered: "a batch with `PersistMode::Buffer`",
    layout: "three keyspaces: events by position, (stream, version) to position, head by stream; \
             a lock around each append, for the order; defaults otherwise",
    less: "an id is stored, and not held unique",
    open,
};

struct Fjall {
    db: Database,
    events: Keyspace,
    index: Keyspace,
    heads: Keyspace,
    persist: PersistMode,
    position: Mutex<u64>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let db = Database::builder(setup.dir.join("fjall")).open()?;
    let events = db.keyspace("events", KeyspaceCreateOptions::default)?;
    let index = db.keyspace("index", KeyspaceCreateOptions::default)?;
    let heads = db.keyspace("heads", KeyspaceCreateOptions::default)?;
    let persist = match setup.mode {
        Mode::Durable => PersistMode::SyncData,
        Mode::Buffered => PersistMode::Buffer,
    };
    let last = events.last_key_value().map(|guard| guard.key()).transpose()?;
    let position = Mutex::new(last.map_or(0, |key| layout::ordered(&key)));
    Ok(Box::new(Fjall { db, events, index, heads, persist, position }))
}

impl Fjall {
    /// Hands on the event at the position that an index entry has.
    fn visit(&self, position: &[u8], visit: Visit<'_>) -> Result {
        let value = self.events.get(position)?.ok_or("an event is missing")?;
        visit(layout::decode(layout::ordered(position), &value)?);
        Ok(())
    }
}

impl Peer for Fjall {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut position = lock(&self.position);
        let mut batch = self.db.batch().durability(Some(self.persist));
        let mut heads: HashMap<&str, u64> = HashMap::new();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut next = *position;
        for new in events {
            next += 1;
            let version = match heads.get(new.stream) {
                Some(version) => version + 1,
                None => self.heads.get(new.stream)?.map_or(0, |head| layout::number(&head)) + 1,
            };
            heads.insert(new.stream, version);
            layout::encode(&mut value, version, new);
            layout::index_key(&mut key, new.stream, version);
            batch.insert(&self.events, next.to_be_bytes(), value.as_slice());
            batch.insert(&self.index, key.as_slice(), next.to_be_bytes());
        }
        for (stream, version) in heads {
            batch.insert(&self.heads, stream, version.to_le_bytes());
        }
        batch.commit()?;
        *position = next;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(*lock(&self.position))
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        for entry in self.events.iter() {
            let (key, value) = entry.into_inner()?;
            visit(layout::decode(layout::ordered(&key), &value)?);
        }
        Ok(())
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        for entry in self.index.prefix(layout::index_prefix(stream)) {
            self.visit(&entry.value()?, visit)?;
        }
        Ok(())
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        Ok(self.heads.get(stream)?.map_or(0, |head| layout::number(&head)))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let newest = self.index.prefix(layout::index_prefix(stream)).next_back();
        newest.map_or(Ok(()), |entry| self.visit(&entry.value()?, visit))
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        for entry in self.index.range(layout::index_range(stream, after)).take(limit as usize) {
            self.visit(&entry.value()?, visit)?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.db.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}
