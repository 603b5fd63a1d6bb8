//! OkayWAL as a pure log: entries are appended, and read by nothing but its recovery.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use okaywal::{
    Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use crate::input::New;
use crate::layout;
use crate::peer::{About, Can, Peer, Result, Setup};

pub const ABOUT: About = About {
    name: "okaywal",
    title: "OkayWAL",
    package: "okaywal",
    engine: None,
    can: Can {
        buffered: false,
        pipeline: false,
        scan: false,
        streams: false,
        heads: false,
        ..Can::ALL
    },
    durable: "always; entries of many threads share a sync",
    buffered: "",
    layout: "an entry for each append, a chunk for each event; one file, filled with zeros \
             beforehand, off the clock, and never checkpointed; opening reads and verifies all",
    less: "a pure log: no positions, no streams, no versions, no reads but recovery",
    open,
};

struct Log {
    log: WriteAheadLog,
    events: Arc<AtomicU64>,
}

/// Counts the recovered entries.
#[derive(Debug)]
struct Counter(Arc<AtomicU64>);

impl LogManager for Counter {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            let bytes = chunk.read_all()?;
            let expected = self.0.load(Ordering::Relaxed);
            let whole = chunk.check_crc()? && layout::decode(expected, &bytes).is_ok();
            if !whole {
                return Err(io::Error::other("an entry is damaged"));
            }
            self.0.store(expected + 1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: EntryId,
        _: &mut SegmentReader,
        _: &WriteAheadLog,
    ) -> io::Result<()> {
        Err(io::Error::other("nothing here may be checkpointed away"))
    }
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let events = Arc::new(AtomicU64::new(0));
    let bytes = (setup.events * 400).clamp(1 << 20, 3 << 30);
    let configuration = Configuration::default_for(setup.dir.join("okaywal"))
        .preallocate_bytes(u32::try_from(bytes)?)
        .checkpoint_after_bytes(u64::MAX);
    let log = configuration.open(Counter(Arc::clone(&events)))?;
    Ok(Box::new(Log { log, events }))
}

impl Peer for Log {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut value = Vec::new();
        let mut entry = self.log.begin_entry()?;
        for new in events {
            layout::encode(&mut value, 0, new);
            entry.write_chunk(&value)?;
        }
        entry.commit()?;
        self.events.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(self.events.load(Ordering::Relaxed))
    }

    fn close(self: Box<Self>) -> Result {
        self.log.shutdown()?;
        Ok(())
    }
}
