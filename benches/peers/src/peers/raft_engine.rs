//! raft-engine as a pure log: a stream is a group of entries with consecutive indexes.

use std::sync::{Mutex, MutexGuard};

use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::lock;
use crate::input::{EVENT_TYPE, New, STREAMS, Seen};
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "raft-engine",
    title: "raft-engine",
    package: "raft-engine",
    engine: None,
    can: Can { pipeline: false, scan: false, ..Can::ALL },
    durable: "a batch with `sync`; batches of many threads share it",
    buffered: "a batch without `sync`",
    layout: "a group for each stream, a message of type and data for each event; no compression, \
             recycled files off, no purge; defaults otherwise",
    less: "a pure log: no order over streams, streams are numbers without names; an id is stored, \
           and not held unique",
    open,
};

struct Raft {
    engine: Engine,
    sync: bool,
    /// The last index of each stream; held while it is appended to.
    heads: Vec<Mutex<u64>>,
}

struct Message;

impl MessageExt for Message {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        layout::number(&entry.value)
    }
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let dir = setup.dir.join("raft-engine");
    let engine = Engine::open(Config {
        dir: dir.to_str().ok_or("the path is not UTF-8")?.to_owned(),
        batch_compression_threshold: ReadableSize(0),
        enable_log_recycle: false,
        ..Config::default()
    })?;
    let last = |number| engine.last_index(group(number)).unwrap_or(0);
    let heads = (0..STREAMS as u64).map(|number| Mutex::new(last(number))).collect();
    Ok(Box::new(Raft { engine, sync: setup.mode == Mode::Durable, heads }))
}

fn group(number: u64) -> u64 {
    number + 1
}

impl Peer for Raft {
    fn append(&self, events: &[New<'_>]) -> Result {
        // Locks are taken in one order, or two threads would wait for each other.
        let mut numbers: Vec<u64> = events.iter().map(|new| new.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut heads: Vec<MutexGuard<'_, u64>> =
            numbers.iter().map(|&number| lock(&self.heads[number as usize])).collect();
        let mut batch = LogBatch::with_capacity(events.len());
        for new in events {
            let at = numbers.binary_search(&new.number).map_err(|_| "a stream is not locked")?;
            *heads[at] += 1;
            let mut entry = Any::new();
            entry.type_url = EVENT_TYPE.to_owned();
            entry.value.extend_from_slice(&heads[at].to_le_bytes());
            entry.value.extend_from_slice(&new.id);
            entry.value.extend_from_slice(new.data);
            batch.add_entries::<Message>(group(new.number), &[entry])?;
        }
        self.engine.write(&mut batch, self.sync)?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(self.heads.iter().map(|head| *lock(head)).sum())
    }

    fn read_stream(&self, _: &str, number: u64, visit: Visit<'_>) -> Result {
        let group = group(number);
        let ends = (self.engine.first_index(group), self.engine.last_index(group));
        let (Some(first), Some(last)) = ends else { return Ok(()) };
        let mut entries = Vec::new();
        self.engine.fetch_entries_to::<Message>(group, first, last + 1, None, &mut entries)?;
        for entry in &entries {
            let version = layout::number(&entry.value);
            let data = entry.value.get(24..).ok_or("an entry is too short")?;
            visit(Seen { position: 0, version, stream: "", data });
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.engine.sync()?;
        Ok(())
    }
}
