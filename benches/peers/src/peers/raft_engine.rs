//! raft-engine as a pure log: a stream is a group of entries with consecutive indexes.

use std::sync::{Mutex, MutexGuard};

use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::lock;
use crate::input::{EVENT_TYPE, New, Seen};
use crate::layout;
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "raft-engine",
    title: "raft-engine",
    package: "raft-engine",
    engine: None,
    // A million groups take it 2.8 GB of memory.
    can: Can { pipeline: false, scan: false, large: false, ..Can::ALL },
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
    /// The last indexes of streams, spread over locks that are held while they are appended to.
    heads: Vec<Mutex<Heads>>,
}

/// The last indexes of the streams of one lock.
#[derive(Default)]
struct Heads(Vec<u64>);

/// Number of locks.
const LOCKS: u64 = 1 << 10;

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
    let heads = (0..LOCKS).map(|_| Mutex::default()).collect();
    Ok(Box::new(Raft { engine, sync: setup.mode == Mode::Durable, heads }))
}

fn group(number: u64) -> u64 {
    number + 1
}

impl Heads {
    /// The last index of a stream; 0 if it is not known.
    fn of(&mut self, number: u64) -> &mut u64 {
        let at = (number / LOCKS) as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        &mut self.0[at]
    }
}

impl Raft {
    /// Hands on the events of a group from one index to another, both inclusive.
    fn visit(&self, group: u64, first: u64, last: u64, visit: Visit<'_>) -> Result {
        if last < first {
            return Ok(());
        }
        let mut entries = Vec::new();
        self.engine.fetch_entries_to::<Message>(group, first, last + 1, None, &mut entries)?;
        for entry in &entries {
            let version = layout::number(&entry.value);
            let data = entry.value.get(24..).ok_or("an entry is too short")?;
            visit(Seen { position: 0, version, stream: "", data });
        }
        Ok(())
    }
}

impl Peer for Raft {
    fn append(&self, events: &[New<'_>]) -> Result {
        // Locks are taken in one order, or two threads would wait for each other.
        let mut locks: Vec<u64> = events.iter().map(|new| new.number % LOCKS).collect();
        locks.sort_unstable();
        locks.dedup();
        let mut heads: Vec<MutexGuard<'_, Heads>> =
            locks.iter().map(|&number| lock(&self.heads[number as usize])).collect();
        let mut batch = LogBatch::with_capacity(events.len());
        for new in events {
            let at = locks.binary_search(&(new.number % LOCKS));
            let at = at.map_err(|_| "a stream is not locked")?;
            let head = heads[at].of(new.number);
            if *head == 0 {
                *head = self.engine.last_index(group(new.number)).unwrap_or(0);
            }
            *head += 1;
            let mut entry = Any::new();
            entry.type_url = EVENT_TYPE.to_owned();
            entry.value.extend_from_slice(&head.to_le_bytes());
            entry.value.extend_from_slice(&new.id);
            entry.value.extend_from_slice(new.data);
            batch.add_entries::<Message>(group(new.number), &[entry])?;
        }
        self.engine.write(&mut batch, self.sync)?;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        let groups = self.engine.raft_groups();
        Ok(groups.into_iter().filter_map(|group| self.engine.last_index(group)).sum())
    }

    fn read_stream(&self, _: &str, number: u64, visit: Visit<'_>) -> Result {
        let group = group(number);
        let ends = (self.engine.first_index(group), self.engine.last_index(group));
        let (Some(first), Some(last)) = ends else { return Ok(()) };
        self.visit(group, first, last, visit)
    }

    fn version(&self, _: &str, number: u64) -> Result<u64> {
        Ok(self.engine.last_index(group(number)).unwrap_or(0))
    }

    fn newest(&self, _: &str, number: u64, visit: Visit<'_>) -> Result {
        let group = group(number);
        let Some(last) = self.engine.last_index(group) else { return Ok(()) };
        self.visit(group, last, last, visit)
    }

    fn page(&self, _: &str, number: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let group = group(number);
        let Some(last) = self.engine.last_index(group) else { return Ok(()) };
        self.visit(group, after + 1, last.min(after + limit), visit)
    }

    fn close(self: Box<Self>) -> Result {
        self.engine.sync()?;
        Ok(())
    }
}
