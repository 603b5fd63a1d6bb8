//! tephra: an event store with tags and no streams; a stream is a tag here.

use std::sync::Mutex;

use tephra::read::Reads;
use tephra::{
    Event, EventType, Position, Query, QueryItem, SegmentConfig, SegmentSet, Tag, Tags,
    WriteCoordinator, WriteHandle, WriterConfig,
};

use super::lock;
use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Next, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "tephra",
    title: "tephra",
    package: "tephra",
    engine: None,
    can: Can { buffered: false, queries: true, heads: false, ..Can::ALL },
    durable: "always; appends of many callers share a sync",
    buffered: "",
    layout: "a stream is a tag; segments of 256 MiB, as its own example has them; defaults \
             otherwise",
    less: "no versions in streams, which are paged by position; no ids",
    open,
};

const IN_FLIGHT: u64 = 10_000;

struct Tephra {
    event_type: EventType,
    handle: WriteHandle,
    coordinator: Mutex<Option<WriteCoordinator>>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let set = SegmentSet::open(setup.dir.join("tephra"), SegmentConfig::new(256 << 20))?;
    let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default())?;
    let event_type = EventType::new(EVENT_TYPE)?;
    Ok(Box::new(Tephra { event_type, handle, coordinator: Mutex::new(Some(coordinator)) }))
}

impl Tephra {
    fn event(&self, new: &New<'_>) -> Result<Event> {
        let tags = Tags::new([Tag::new(new.stream)?])?;
        Ok(Event::new(&self.event_type, &tags, new.data)?)
    }

    fn read(&self, query: &Query, visit: Visit<'_>) -> Result {
        visit_all(self.handle.read(query, Position::ZERO, None), visit)
    }
}

fn stream_query(stream: &str) -> Result<Query> {
    Ok(Query::item(QueryItem::with_tags(Tags::new([Tag::new(stream)?])?)))
}

fn visit_all(mut reads: Reads, visit: Visit<'_>) -> Result {
    while let Some(item) = reads.next() {
        let item = item?;
        visit(Seen {
            position: item.position.get(),
            version: 0,
            stream: item.event.tags().next().unwrap_or_default(),
            data: item.event.data(),
        });
    }
    Ok(())
}

impl Peer for Tephra {
    fn append(&self, events: &[New<'_>]) -> Result {
        let events = events.iter().map(|new| self.event(new)).collect::<Result<Vec<_>>>()?;
        self.handle.append(events, None)?;
        Ok(())
    }

    fn pipeline(&self, next: Next<'_>) -> Result {
        let (sender, replies) = flume::unbounded();
        let mut waiting = 0;
        while let Some(new) = next() {
            let events = vec![self.event(&new)?];
            self.handle.append_submit(events, None, waiting, sender.clone())?;
            waiting += 1;
            while waiting > IN_FLIGHT {
                replies.recv()?.1?;
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            replies.recv()?.1?;
        }
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(self.handle.head().get())
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        self.read(&Query::all(), visit)
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.read(&stream_query(stream)?, visit)
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        visit_all(self.handle.read_back(&stream_query(stream)?, Position::MAX, Some(1)), visit)
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let after = Position::new(after);
        visit_all(self.handle.read(&stream_query(stream)?, after, Some(limit)), visit)
    }

    fn query(&self, stream: &str, visit: Visit<'_>) -> Result {
        self.read_stream(stream, 0, visit)
    }

    fn close(self: Box<Self>) -> Result {
        if let Some(coordinator) = lock(&self.coordinator).take() {
            drop(coordinator.shutdown());
        }
        Ok(())
    }
}
