//! SierraDB with one partition in one bucket, which is how it has one order over all streams.

use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::FuturesUnordered;
use sierradb::bucket::segment::CommittedEvents;
use sierradb::database::{Database, DatabaseBuilder, ExpectedVersion, NewEvent, Transaction};
use sierradb::id::{uuid_to_partition_hash, uuid_v7_with_partition_hash};
use sierradb::{IterDirection, StreamId};
use uuid::Uuid;

use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Next, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "sierradb",
    title: "SierraDB",
    package: "sierradb",
    engine: None,
    can: Can { buffered: false, ..Can::ALL },
    durable: "always; synced at each append of one thread (`min_sync_bytes` 1), otherwise each \
              4 KiB, 50 events or 5 ms, its defaults",
    buffered: "",
    layout: "one partition in one bucket; no compression; segments of 256 MiB; reads in pieces \
             of 1,000; defaults otherwise",
    less: "one order over all streams needs one partition; an id is not held unique; its writer \
           raises its own thread's priority where it may",
    open,
};

const PARTITION: u16 = 0;
const KEY: Uuid = Uuid::from_u128(1);
const IN_FLIGHT: usize = 10_000;
const PIECE: usize = 1_000;

struct Sierra(Database);

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let mut builder = DatabaseBuilder::new();
    builder.total_buckets(1).bucket_ids_from_range(0..1).writer_threads(1).compression(false);
    // A single append would wait five milliseconds for others; the defaults are for many threads.
    if setup.threads == 1 {
        builder.min_sync_bytes(1);
    }
    Ok(Box::new(Sierra(builder.open(setup.dir.join("sierradb"))?)))
}

fn transaction(events: &[New<'_>]) -> Result<Transaction> {
    let hash = uuid_to_partition_hash(KEY);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let event = |new: &New<'_>| -> Result<NewEvent> {
        Ok(NewEvent {
            event_id: uuid_v7_with_partition_hash(hash),
            stream_id: StreamId::new(new.stream)?,
            stream_version: ExpectedVersion::Any,
            event_name: EVENT_TYPE.to_owned(),
            timestamp: now.as_nanos() as u64,
            metadata: Vec::new(),
            payload: new.data.to_vec(),
        })
    };
    let events = events.iter().map(event).collect::<Result<_>>()?;
    Ok(Transaction::new(KEY, PARTITION, events)?)
}

/// At most `limit` events; a piece is made of whole commits. SierraDB counts from 0.
fn visit_all(commits: Vec<CommittedEvents>, limit: usize, visit: Visit<'_>) {
    for event in commits.into_iter().flatten().take(limit) {
        visit(Seen {
            position: event.partition_sequence + 1,
            version: event.stream_version + 1,
            stream: &event.stream_id,
            data: &event.payload,
        });
    }
}

impl Sierra {
    /// One piece of a stream.
    fn piece(
        &self,
        stream: &str,
        from: u64,
        direction: IterDirection,
        limit: usize,
        visit: Visit<'_>,
    ) -> Result {
        let stream = StreamId::new(stream)?;
        block_on(async {
            let mut events = self.0.read_stream(PARTITION, stream, from, direction).await?;
            if let Some(piece) = events.next_batch(limit).await? {
                visit_all(piece, limit, visit);
            }
            Ok(())
        })
    }
}

impl Peer for Sierra {
    fn append(&self, events: &[New<'_>]) -> Result {
        block_on(self.0.append_events(transaction(events)?))?;
        Ok(())
    }

    fn pipeline(&self, next: Next<'_>) -> Result {
        block_on(async {
            let mut waiting = FuturesUnordered::new();
            while let Some(new) = next() {
                waiting.push(self.0.append_events(transaction(&[new])?));
                // Hands the request over; the reply comes later.
                let reply = futures::poll!(waiting.next());
                if let std::task::Poll::Ready(Some(reply)) = reply {
                    reply?;
                }
                if waiting.len() > IN_FLIGHT
                    && let Some(reply) = waiting.next().await
                {
                    reply?;
                }
            }
            while let Some(reply) = waiting.next().await {
                reply?;
            }
            Ok(())
        })
    }

    fn head(&self) -> Result<u64> {
        let latest = block_on(self.0.get_partition_sequence(PARTITION))?;
        Ok(latest.map_or(0, |latest| latest.sequence + 1))
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        block_on(async {
            let mut events = self.0.read_partition(PARTITION, 0, IterDirection::Forward).await?;
            while let Some(piece) = events.next_batch(PIECE).await? {
                if piece.is_empty() {
                    break;
                }
                visit_all(piece, usize::MAX, visit);
            }
            Ok(())
        })
    }

    fn read_stream(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        let stream = StreamId::new(stream)?;
        block_on(async {
            let forward = IterDirection::Forward;
            let mut events = self.0.read_stream(PARTITION, stream, 0, forward).await?;
            while let Some(piece) = events.next_batch(PIECE).await? {
                if piece.is_empty() {
                    break;
                }
                visit_all(piece, usize::MAX, visit);
            }
            Ok(())
        })
    }

    fn version(&self, stream: &str, _: u64) -> Result<u64> {
        let stream = StreamId::new(stream)?;
        let latest = block_on(self.0.get_stream_version(PARTITION, &stream))?;
        Ok(latest.map_or(0, |latest| latest.version + 1))
    }

    fn newest(&self, stream: &str, _: u64, visit: Visit<'_>) -> Result {
        self.piece(stream, u64::MAX, IterDirection::Reverse, 1, visit)
    }

    fn page(&self, stream: &str, _: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        // Its versions begin at 0.
        self.piece(stream, after, IterDirection::Forward, limit as usize, visit)
    }

    fn close(self: Box<Self>) -> Result {
        block_on(self.0.shutdown());
        Ok(())
    }
}
