//! Events of evento as events of the store.
//!
//! Owns the names of streams, the tags, and the layout of an event's metadata:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | the layout, 1 |
//! | 8 | the stamp in milliseconds since the Unix epoch, little-endian |
//! | the rest | routing key and metadata of evento, by bitcode |
//!
//! Must never drop a field of an event.

use annals::{Bytes, NewEvent, StreamName};
use evento_core::metadata::Metadata;
use evento_core::{Event, EventCursor};
use ulid::Ulid;

use crate::Error;
use crate::error::uuid;

const LAYOUT: u8 = 1;
const STAMP_END: usize = 9;

/// The longest tag, in bytes: a longer one would add a byte to each tag of its event. A longer value is cut, and what a
/// query finds by it is compared with the whole value.
const MAX_TAG: usize = 255;

/// The place of an event in the order of cursors. It rises with the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Key {
    pub(crate) millis: u64,
    pub(crate) version: u16,
    pub(crate) id: u128,
}

impl Key {
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let millis = millis(event.timestamp, event.timestamp_subsec)?;
        Some(Self { millis, version: event.version, id: event.id.0 })
    }

    /// A cursor may be made by a program from anything; milliseconds over 999 sort last in their second.
    pub(crate) fn of_cursor(cursor: &EventCursor) -> Result<Self, ulid::DecodeError> {
        let millis = cursor.t.saturating_mul(1000).saturating_add(u64::from(cursor.s.min(999)));
        Ok(Self { millis, version: cursor.v, id: Ulid::from_string(&cursor.i)?.0 })
    }
}

fn millis(seconds: u64, millis: u32) -> Option<u64> {
    if millis > 999 {
        return None;
    }
    seconds.checked_mul(1000)?.checked_add(u64::from(millis))
}

/// The stream of an aggregate. The type is its category. In the default tenant, the rest is the id; in another, or
/// if the id begins with `@`, it is `@`, the tenant as a category, and the id.
pub(crate) fn stream(tenant: &str, aggregate_type: &str, id: &str) -> String {
    if tenant.is_empty() && !id.starts_with('@') {
        return StreamName::new(aggregate_type, id).into();
    }
    StreamName::new(aggregate_type, format_args!("@{}", StreamName::new(tenant, id))).into()
}

/// The tag that holds a value.
pub(crate) fn tag(name: &str, value: &str) -> String {
    let mut tag = format!("{name}:{value}");
    if tag.len() > MAX_TAG {
        let end = (0..=MAX_TAG).rev().find(|at| tag.is_char_boundary(*at)).unwrap_or(0);
        tag.truncate(end);
    }
    tag
}

/// Whether a tag may be the beginning of a longer one. A cut is made before a character, which has up to 4 bytes.
pub(crate) fn may_be_cut(tag: &str) -> bool {
    tag.len() > MAX_TAG - 4
}

pub(crate) const ROUTING: &str = "routing";
pub(crate) const TENANT: &str = "tenant";
pub(crate) const ID: &str = "id";

/// What is stored of an event beside its stream, type, data and stamp.
#[derive(Debug, PartialEq, bitcode::Encode, bitcode::Decode)]
struct Envelope {
    routing_key: Option<String>,
    metadata: Metadata,
}

/// An event that waits for its stamp.
#[derive(Debug, Clone)]
pub(crate) struct Unstamped {
    pub(crate) stream: String,
    /// The place that the event asks for; only replicated events get it.
    pub(crate) key: Key,
    name: String,
    data: Bytes,
    metadata: Vec<u8>,
    tags: Vec<String>,
}

impl Unstamped {
    /// Prepares an event, with its own stamp or with none.
    pub(crate) fn new(event: Event, millis: u64) -> Self {
        let key = Key { millis, version: event.version, id: event.id.0 };
        let mut tags = Vec::new();
        if let Some(routing_key) = &event.routing_key {
            tags.push(tag(ROUTING, routing_key));
        }
        if !event.tenant.is_empty() {
            tags.push(tag(TENANT, &event.tenant));
            tags.push(tag(ID, &event.aggregate_id));
        }
        let stream = stream(&event.tenant, &event.aggregate_type, &event.aggregate_id);
        let envelope = Envelope { routing_key: event.routing_key, metadata: event.metadata };
        let mut metadata = vec![0; STAMP_END];
        metadata.extend_from_slice(&bitcode::encode(&envelope));
        Self { stream, key, name: event.name, data: event.data.into(), metadata, tags }
    }

    pub(crate) fn stamped(&self, millis: u64) -> NewEvent {
        let mut metadata = self.metadata.clone();
        metadata[0] = LAYOUT;
        metadata[1..STAMP_END].copy_from_slice(&millis.to_le_bytes());
        NewEvent::new(&self.name, self.data.clone())
            .metadata(metadata)
            .id(uuid(Ulid(self.key.id)))
            .tags(self.tags.clone())
    }

    /// Whether a stored event is this one, with this one's stamp.
    pub(crate) fn is_stored_as(&self, stored: &annals::Event) -> bool {
        let (Ok(new_envelope), Ok(stored_envelope)) = (
            bitcode::decode::<Envelope>(&self.metadata[STAMP_END..]),
            bitcode::decode::<Envelope>(stored.metadata().get(STAMP_END..).unwrap_or_default()),
        ) else {
            return false;
        };
        key(stored).is_ok_and(|key| key == self.key)
            && (stored.stream(), stored.event_type(), stored.data())
                == (&self.stream, &self.name, &self.data)
            && new_envelope == stored_envelope
    }
}

/// The place of a stored event.
pub(crate) fn key(event: &annals::Event) -> Result<Key, Error> {
    let parts = event.metadata().split_first_chunk::<STAMP_END>();
    let (Some(([LAYOUT, stamp @ ..], _)), Ok(version)) = (parts, u16::try_from(event.version()))
    else {
        return Err(foreign(event));
    };
    Ok(Key { millis: u64::from_le_bytes(*stamp), version, id: event.id().as_u128() })
}

/// A stored event, as it was written.
pub(crate) fn decode(event: &annals::Event) -> Result<Event, Error> {
    let Key { millis, version, id } = key(event)?;
    let envelope = event.metadata().get(STAMP_END..).unwrap_or_default();
    let Envelope { routing_key, metadata } =
        bitcode::decode(envelope).map_err(|_| foreign(event))?;
    let name = StreamName::parse(event.stream());
    let aggregate_type = name.category().into_owned();
    let id_part = name.id().ok_or_else(|| foreign(event))?;
    let (tenant, aggregate_id) = match id_part.strip_prefix('@').map(StreamName::parse) {
        None => (String::new(), id_part.to_owned()),
        Some(of_tenant) => {
            let aggregate_id = of_tenant.id().ok_or_else(|| foreign(event))?.to_owned();
            (of_tenant.category().into_owned(), aggregate_id)
        }
    };
    Ok(Event {
        id: Ulid(id),
        aggregate_id,
        aggregate_type,
        version,
        name: event.event_type().to_owned(),
        routing_key,
        tenant,
        data: event.data().to_vec(),
        metadata,
        timestamp: millis / 1000,
        timestamp_subsec: (millis % 1000) as u32,
    })
}

fn foreign(event: &annals::Event) -> Error {
    Error::Foreign { stream: event.stream().to_owned(), position: event.position() }
}
