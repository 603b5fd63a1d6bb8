//! LMDB, through heed.

use std::collections::HashMap;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use crate::input::New;
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "lmdb",
    title: "LMDB",
    package: "heed",
    engine: Some(|| {
        let version = heed::lmdb_version();
        format!("LMDB {}.{}.{}", version.major, version.minor, version.patch)
    }),
    can: Can::STORE,
    durable: "a write transaction, synced by LMDB",
    buffered: "`MDB_NOSYNC`",
    layout: "three databases: events by position (`MDB_APPEND`), (stream, version) to position, \
             head by stream; a map of 32 GiB; no `MDB_WRITEMAP`; defaults otherwise",
    less: "no checksums; an id is stored, and not held unique; buffered, a power loss may damage \
           the whole file",
    open,
};

type Table = Database<Bytes, Bytes>;

struct Lmdb {
    env: Env,
    events: Table,
    index: Table,
    heads: Table,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let dir = setup.dir.join("lmdb");
    std::fs::create_dir_all(&dir)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(32 << 30).max_dbs(3);
    // SAFETY: no other process uses the directory, and a run with the flag that is unsafe at a
    // power loss is only a measurement.
    #[expect(unsafe_code, reason = "LMDB maps its file")]
    let env = unsafe {
        if setup.mode == Mode::Buffered {
            options.flags(EnvFlags::NO_SYNC);
        }
        options.open(&dir)?
    };
    let mut transaction = env.write_txn()?;
    let events = env.create_database(&mut transaction, Some("events"))?;
    let index = env.create_database(&mut transaction, Some("index"))?;
    let heads = env.create_database(&mut transaction, Some("heads"))?;
    transaction.commit()?;
    Ok(Box::new(Lmdb { env, events, index, heads }))
}

impl Peer for Lmdb {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut transaction = self.env.write_txn()?;
        let last = self.events.last(&transaction)?;
        let mut position = last.map_or(0, |(key, _)| layout::ordered(key));
        let mut heads: HashMap<&str, u64> = HashMap::new();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for new in events {
            position += 1;
            let version = match heads.get(new.stream) {
                Some(version) => version + 1,
                None => {
                    let head = self.heads.get(&transaction, new.stream.as_bytes())?;
                    head.map_or(0, layout::number) + 1
                }
            };
            heads.insert(new.stream, version);
            layout::encode(&mut value, version, new);
            let at = position.to_be_bytes();
            self.events.put_with_flags(&mut transaction, PutFlags::APPEND, &at, &value)?;
            layout::index_key(&mut key, new.stream, version);
            self.index.put(&mut transaction, &key, &at)?;
        }
        for (stream, version) in heads {
            self.heads.put(&mut transaction, stream.as_bytes(), &version.to_le_bytes())?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        let transaction = self.env.read_txn()?;
        Ok(self.events.last(&transaction)?.map_or(0, |(key, _)| layout::ordered(key)))
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        let transaction = self.env.read_txn()?;
        for entry in self.events.iter(&transaction)? {
            let (key, value) = entry?;
            visit(layout::decode(layout::ordered(key), value)?);
        }
        Ok(())
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let transaction = self.env.read_txn()?;
        let prefix = layout::index_prefix(stream);
        for entry in self.index.prefix_iter(&transaction, &prefix)? {
            let (_, position) = entry?;
            let value = self.events.get(&transaction, position)?.ok_or("an event is missing")?;
            visit(layout::decode(layout::ordered(position), value)?);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
