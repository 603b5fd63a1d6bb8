//! LMDB, through heed.

use std::collections::HashMap;
use std::ops::Bound;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn};

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

type Table = Database<'static, Bytes, Bytes>;

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
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        let mut create = |name| opener.create_database(transaction, Some(name));
        let tables = [create("events")?, create("index")?, create("heads")?];
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(tables))
    })?;
    let [events, index, heads] = created.commit().ok_or("the databases were not created")?;
    Ok(Box::new(Lmdb { env, events, index, heads }))
}

impl Lmdb {
    /// Hands on the event at the position that an index entry has.
    fn visit(&self, transaction: &RoTxn<'_>, position: &[u8], visit: Visit<'_>) -> Result {
        let value = self.events.get(transaction, position)?.ok_or("an event is missing")?;
        visit(layout::decode(layout::ordered(position), value)?);
        Ok(())
    }
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
            self.visit(&transaction, entry?.1, visit)?;
        }
        Ok(())
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        let transaction = self.env.read_txn()?;
        Ok(self.heads.get(&transaction, stream.as_bytes())?.map_or(0, layout::number))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let transaction = self.env.read_txn()?;
        let prefix = layout::index_prefix(stream);
        let newest = self.index.rev_prefix_iter(&transaction, &prefix)?.next().transpose()?;
        newest.map_or(Ok(()), |(_, position)| self.visit(&transaction, position, visit))
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let transaction = self.env.read_txn()?;
        let keys = layout::index_range(stream, after);
        let range =
            (Bound::Included(keys.start().as_slice()), Bound::Included(keys.end().as_slice()));
        for entry in self.index.range(&transaction, &range)?.take(limit as usize) {
            self.visit(&transaction, entry?.1, visit)?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
