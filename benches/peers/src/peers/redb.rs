//! redb.

use std::collections::HashMap;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::input::New;
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "redb",
    title: "redb",
    package: "redb",
    engine: None,
    can: Can::STORE,
    durable: "`Durability::Immediate`",
    buffered: "`Durability::None`",
    layout: "three tables: events by position, (stream, version) to position, head by stream; \
             defaults otherwise",
    less: "buffered, even the end of the process loses commits; checksums are not verified by \
           reads; an id is stored, and not held unique",
    open,
};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const INDEX: TableDefinition<'_, (&str, u64), u64> = TableDefinition::new("index");
const HEADS: TableDefinition<'_, &str, u64> = TableDefinition::new("heads");

struct Redb {
    db: Database,
    durability: Durability,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let path = setup.dir.join("events.redb");
    let exists = path.exists();
    let db = Database::create(path)?;
    if !exists {
        let transaction = db.begin_write()?;
        transaction.open_table(EVENTS)?;
        transaction.open_table(INDEX)?;
        transaction.open_table(HEADS)?;
        transaction.commit()?;
    }
    let durability = match setup.mode {
        Mode::Durable => Durability::Immediate,
        Mode::Buffered => Durability::None,
    };
    Ok(Box::new(Redb { db, durability }))
}

/// Hands on the event at a position.
fn visit_at(events: &ReadOnlyTable<u64, &[u8]>, position: u64, visit: Visit<'_>) -> Result {
    let value = events.get(position)?.ok_or("an event is missing")?;
    visit(layout::decode(position, value.value())?);
    Ok(())
}

impl Peer for Redb {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut table = transaction.open_table(EVENTS)?;
            let mut index = transaction.open_table(INDEX)?;
            let mut stored = transaction.open_table(HEADS)?;
            let mut position = table.last()?.map_or(0, |(key, _)| key.value());
            let mut heads: HashMap<&str, u64> = HashMap::new();
            let mut value = Vec::new();
            for new in events {
                position += 1;
                let version = match heads.get(new.stream) {
                    Some(version) => version + 1,
                    None => stored.get(new.stream)?.map_or(0, |head| head.value()) + 1,
                };
                heads.insert(new.stream, version);
                layout::encode(&mut value, version, new);
                table.insert(position, value.as_slice())?;
                index.insert((new.stream, version), position)?;
            }
            for (stream, version) in heads {
                stored.insert(stream, version)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        let transaction = self.db.begin_read()?;
        let events = transaction.open_table(EVENTS)?;
        Ok(events.last()?.map_or(0, |(key, _)| key.value()))
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        let transaction = self.db.begin_read()?;
        for entry in transaction.open_table(EVENTS)?.iter()? {
            let (position, value) = entry?;
            visit(layout::decode(position.value(), value.value())?);
        }
        Ok(())
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let transaction = self.db.begin_read()?;
        let (events, index) = (transaction.open_table(EVENTS)?, transaction.open_table(INDEX)?);
        for entry in index.range((stream, 0)..=(stream, u64::MAX))? {
            visit_at(&events, entry?.1.value(), visit)?;
        }
        Ok(())
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        let heads = self.db.begin_read()?.open_table(HEADS)?;
        Ok(heads.get(stream)?.map_or(0, |head| head.value()))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let transaction = self.db.begin_read()?;
        let (events, index) = (transaction.open_table(EVENTS)?, transaction.open_table(INDEX)?);
        let newest = index.range((stream, 0)..=(stream, u64::MAX))?.next_back().transpose()?;
        newest.map_or(Ok(()), |(_, position)| visit_at(&events, position.value(), visit))
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let transaction = self.db.begin_read()?;
        let (events, index) = (transaction.open_table(EVENTS)?, transaction.open_table(INDEX)?);
        let range = index.range((stream, after + 1)..=(stream, u64::MAX))?;
        for entry in range.take(limit as usize) {
            visit_at(&events, entry?.1.value(), visit)?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        // Makes buffered commits durable.
        self.db.begin_write()?.commit()?;
        Ok(())
    }
}
