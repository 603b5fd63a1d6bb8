//! UmaDB's core, as its server runs it: one thread writes, callers send it requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{
    DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem, DcbResult, DcbSequencedEvent,
};
use uuid::Uuid;

use super::lock;
use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Next, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "umadb",
    title: "UmaDB",
    package: "umadb-core",
    engine: None,
    can: Can { buffered: false, queries: true, heads: false, ..Can::ALL },
    durable: "always, two syncs a commit; appends of many callers share a commit",
    buffered: "",
    layout: "a stream is a tag; its server's writer thread with batches of 1,000 events; reads of \
             everything in pieces of 1,000; defaults otherwise",
    less: "no versions in streams, which are paged by position; an id is stored, and not held unique",
    open,
};

const IN_FLIGHT: usize = 10_000;
/// Events of a commit of several callers, and of a read.
const PIECE: u32 = 1_000;

type Reply = oneshot::Receiver<DcbResult<u64>>;

struct Uma {
    db: UmaDb,
    requests: mpsc::Sender<WriterThreadRequest>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let options = StorageOptions::default().db_path(setup.dir);
    let mvcc = Arc::new(Mvcc::new(false, options)?);
    let (requests, receiver) = mpsc::channel(IN_FLIGHT * 2);
    let (head, _) = watch::channel(None);
    let shared = Arc::clone(&mvcc);
    let writer = std::thread::spawn(move || {
        writer_thread_blocking(shared, receiver, head, PIECE as usize);
    });
    let db = UmaDb::from_arc(mvcc);
    Ok(Box::new(Uma { db, requests, writer: Mutex::new(Some(writer)) }))
}

impl Uma {
    fn submit(&self, events: &[New<'_>]) -> Result<Reply> {
        let event = |new: &New<'_>| {
            let event = DcbEvent::new().event_type(EVENT_TYPE).data(new.data);
            event.tags([new.stream]).uuid(Uuid::from_bytes(new.id))
        };
        let (response_tx, reply) = oneshot::channel();
        let request = WriterThreadRequest::Append {
            events: events.iter().map(event).collect(),
            condition: None,
            tracking_info: None,
            response_tx,
            cancel: None,
        };
        self.requests.blocking_send(request).map_err(|_| "the writer has ended")?;
        Ok(reply)
    }

    fn read(&self, query: Option<DcbQuery>, limit: Option<u32>, visit: Visit<'_>) -> Result {
        let mut start = None;
        loop {
            let mut read = 0;
            for item in self.db.read(query.clone(), start, false, limit)? {
                let item = item?;
                visit(seen(&item));
                start = Some(item.position + 1);
                read += 1;
            }
            if limit.is_none_or(|limit| read < limit) {
                return Ok(());
            }
        }
    }
}

fn stream_query(stream: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([stream]))
}

fn seen(item: &DcbSequencedEvent) -> Seen<'_> {
    Seen {
        position: item.position,
        version: 0,
        stream: item.event.tags.first().map_or("", String::as_str),
        data: &item.event.data,
    }
}

impl Peer for Uma {
    fn append(&self, events: &[New<'_>]) -> Result {
        self.submit(events)?.blocking_recv()??;
        Ok(())
    }

    fn pipeline(&self, next: Next<'_>) -> Result {
        let mut replies = VecDeque::new();
        while let Some(new) = next() {
            replies.push_back(self.submit(&[new])?);
            if replies.len() > IN_FLIGHT
                && let Some(reply) = replies.pop_front()
            {
                reply.blocking_recv()??;
            }
        }
        for reply in replies {
            reply.blocking_recv()??;
        }
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(self.db.head()?.unwrap_or(0))
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        // Without a limit it collects everything before it yields the first event.
        self.read(None, Some(PIECE), visit)
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.read(Some(stream_query(stream)), None, visit)
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        for item in self.db.read(Some(stream_query(stream)), None, true, Some(1))? {
            visit(seen(&item?));
        }
        Ok(())
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let limit = u32::try_from(limit)?;
        for item in self.db.read(Some(stream_query(stream)), Some(after + 1), false, Some(limit))? {
            visit(seen(&item?));
        }
        Ok(())
    }

    fn query(&self, stream: &str, visit: Visit<'_>) -> Result {
        self.read_stream(stream, 0, visit)
    }

    fn close(self: Box<Self>) -> Result {
        let ended = self.requests.blocking_send(WriterThreadRequest::Shutdown);
        ended.map_err(|_| "the writer has ended")?;
        if let Some(writer) = lock(&self.writer).take() {
            writer.join().map_err(|_| "the writer panicked")?;
        }
        Ok(())
    }
}
