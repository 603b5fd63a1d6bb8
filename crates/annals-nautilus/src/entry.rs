//! Entries in both directions.
//!
//! Owns the layout of an entry in the store. Must never return an entry whose bytes it does not understand.
//!
//! The payload is the data of an event, without a copy in either direction, and its tag is the event's type. The
//! rest is metadata, little-endian:
//!
//! ```text
//! offset  bytes  field
//!      0      1  layout, 1
//!      1      1  flags: 1 correlation id, 2 causation id, 4 latest time, 8 long payload type
//!      2     32  entry hash
//!     34      8  ts_init, nanoseconds
//!     42      8  ts_publish, nanoseconds
//!     50     16  correlation id, if flagged
//!            16  causation id, if flagged
//!             8  the largest ts_init of the run up to this entry, if flagged: if it is not this entry's
//!           4+n  the payload type with its length, if flagged: types of more than 255 bytes
//!             n  topic
//! ```
//!
//! The sequence number is the version of the event in its stream, so the entry's hash proves that no entry was moved.

use std::fmt::Display;

use annals::{Event, NewEvent};
use nautilus_core::{UUID4, UnixNanos};
use nautilus_event_store::{
    EntryHash, EventStoreEntry, EventStoreError, Headers, PayloadType, Topic,
};

use crate::Result;
use crate::error::{backend, corrupted};

const LAYOUT: u8 = 1;
const CORRELATION: u8 = 1;
const CAUSATION: u8 = 2;
const LATEST: u8 = 4;
const LONG_TYPE: u8 = 8;
const ALL_FLAGS: u8 = CORRELATION | CAUSATION | LATEST | LONG_TYPE;

/// The longest event type of annals, in bytes.
const MAX_TYPE: usize = 255;

/// An event without tags. `latest` is the largest `ts_init` of the run, this entry's included.
pub(crate) fn encode(entry: &EventStoreEntry, latest: UnixNanos) -> Result<NewEvent> {
    let (topic, payload_type) = (entry.topic.as_ref(), entry.payload_type.as_str());
    let mut metadata = Vec::with_capacity(90 + topic.len());
    let is_long = payload_type.len() > MAX_TYPE;
    let flags = flag(CORRELATION, entry.headers.correlation_id.is_some())
        | flag(CAUSATION, entry.headers.causation_id.is_some())
        | flag(LATEST, latest != entry.ts_init)
        | flag(LONG_TYPE, is_long);
    metadata.extend([LAYOUT, flags]);
    metadata.extend(entry.entry_hash.as_bytes());
    metadata.extend(entry.ts_init.as_u64().to_le_bytes());
    metadata.extend(entry.ts_publish.as_u64().to_le_bytes());
    for id in [entry.headers.correlation_id, entry.headers.causation_id].into_iter().flatten() {
        metadata.extend(id.as_bytes());
    }
    if latest != entry.ts_init {
        metadata.extend(latest.as_u64().to_le_bytes());
    }
    if is_long {
        let length = u32::try_from(payload_type.len()).map_err(|_| {
            let (seq, length) = (entry.seq, payload_type.len());
            backend(format!("the payload type of entry {seq} has {length} bytes"))
        })?;
        metadata.extend(length.to_le_bytes());
        metadata.extend(payload_type.as_bytes());
    }
    metadata.extend(topic.as_bytes());
    let event_type = if is_long { "" } else { payload_type };
    Ok(NewEvent::new(event_type, entry.payload.clone()).metadata(metadata))
}

/// The entry of an event of a run, with its hash compared.
pub(crate) fn decode(event: &Event) -> Result<EventStoreEntry> {
    let seq = event.version();
    let entry = parse(event).map_err(|why| undecodable(seq, &why))?;
    if entry.recompute_hash() != entry.entry_hash {
        return Err(EventStoreError::HashMismatch { seq });
    }
    Ok(entry)
}

/// The largest `ts_init` of the run up to this event.
pub(crate) fn latest(event: &Event) -> Result<UnixNanos> {
    let parsed = Metadata::parse(event.metadata());
    parsed
        .map(|it| it.latest.unwrap_or(it.ts_init))
        .map_err(|why| undecodable(event.version(), &why))
}

fn undecodable(seq: u64, why: &dyn Display) -> EventStoreError {
    corrupted(format!("entry {seq} cannot be decoded"), why)
}

fn parse(event: &Event) -> std::result::Result<EventStoreEntry, String> {
    let it = Metadata::parse(event.metadata())?;
    let payload_type = PayloadType::from(it.long_type.unwrap_or(event.event_type()));
    let topic = Topic::topic(it.topic).map_err(|error| error.to_string())?;
    let payload = event.data_bytes();
    let headers = it.headers;
    let hash = EntryHash(it.hash);
    let (ts_init, ts_publish) = (it.ts_init, it.ts_publish);
    let seq = event.version();
    Ok(EventStoreEntry {
        entry_hash: hash,
        seq,
        headers,
        topic,
        payload_type,
        payload,
        ts_init,
        ts_publish,
    })
}

fn flag(flag: u8, is_set: bool) -> u8 {
    if is_set { flag } else { 0 }
}

/// The metadata of an event.
struct Metadata<'a> {
    hash: [u8; 32],
    ts_init: UnixNanos,
    ts_publish: UnixNanos,
    headers: Headers,
    latest: Option<UnixNanos>,
    long_type: Option<&'a str>,
    topic: &'a str,
}

impl<'a> Metadata<'a> {
    fn parse(metadata: &'a [u8]) -> std::result::Result<Self, String> {
        let mut rest = Rest(metadata);
        let [layout, flags] = rest.array()?;
        if layout != LAYOUT || flags & !ALL_FLAGS != 0 {
            return Err(format!("layout {layout} with flags {flags} is not known"));
        }
        let has = |flag: u8| flags & flag != 0;
        let hash = rest.array()?;
        let ts_init = rest.nanos()?;
        let ts_publish = rest.nanos()?;
        let mut id = |flag| has(flag).then(|| rest.array().map(UUID4::from_bytes)).transpose();
        let headers = Headers { correlation_id: id(CORRELATION)?, causation_id: id(CAUSATION)? };
        let latest = has(LATEST).then(|| rest.nanos()).transpose()?;
        let long_type = has(LONG_TYPE).then(|| rest.long_text()).transpose()?;
        let topic = text(rest.0)?;
        Ok(Self { hash, ts_init, ts_publish, headers, latest, long_type, topic })
    }
}

/// The bytes that are not parsed yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> std::result::Result<[u8; N], String> {
        let (array, rest) = self.0.split_first_chunk().ok_or("it is too short")?;
        self.0 = rest;
        Ok(*array)
    }

    fn nanos(&mut self) -> std::result::Result<UnixNanos, String> {
        self.array().map(|it| u64::from_le_bytes(it).into())
    }

    fn long_text(&mut self) -> std::result::Result<&'a str, String> {
        let length = self.array().map(u32::from_le_bytes)?;
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("it is too short")?;
        self.0 = rest;
        text(bytes)
    }
}

fn text(bytes: &[u8]) -> std::result::Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}
