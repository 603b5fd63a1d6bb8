//! The parts of an event of the store as owned values.
//!
//! Owns a plain value. Must never touch storage.

use bytes::Bytes;
use uuid::Uuid;

use super::{ContentType, NewEvent, Position, SharedStr, Timestamp};

/// Everything about an event as owned values, from [`Event::into_parts`](crate::Event::into_parts).
///
/// Data and metadata share the mapped segment and keep it mapped; nothing is copied but names and tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventParts {
    /// The event's id.
    pub id: Uuid,
    /// Whether the caller gave the id, as [`Event::id_given`](crate::Event::id_given) states it.
    pub id_given: Option<bool>,
    /// The stream that the event belongs to.
    pub stream: SharedStr,
    /// The event's place in its stream, from 1.
    pub version: u64,
    /// The event's place in the store, from 1.
    pub position: Position,
    /// The event's type.
    pub event_type: SharedStr,
    /// The event's data.
    pub data: Bytes,
    /// The event's metadata; empty if it has none.
    pub metadata: Bytes,
    /// The event's tags, in the order they were given.
    pub tags: Vec<SharedStr>,
    /// The version of the schema its data follows.
    pub schema_version: u16,
    /// Whether the event's data was flagged as JSON.
    pub content_type: ContentType,
    /// When the event's commit was recorded.
    pub recorded_at: Timestamp,
    /// The position of the first event of its commit; it identifies the commit.
    pub commit: Position,
    /// Whether the event is the last event of its commit.
    pub is_last_in_commit: bool,
}

impl EventParts {
    /// The parts of an event as a store could have recorded it, for [`Event::from_parts`](crate::Event::from_parts):
    /// the only one of its commit, at a position equal to its version, recorded at the Unix epoch. Without an id of its
    /// own it gets one that follows from stream and version. All fields can be changed.
    pub fn new(stream: impl Into<SharedStr>, version: u64, event: NewEvent) -> Self {
        let (stream, position) = (stream.into(), Position::new(version));
        let name = format!("{stream}@{version}");
        Self {
            id: event.id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())),
            id_given: Some(event.id.is_some()),
            stream,
            version,
            position,
            event_type: event.event_type.as_str().into(),
            data: event.data,
            metadata: event.metadata,
            tags: event.tags.iter().map(|tag| tag.as_str().into()).collect(),
            schema_version: event.schema_version,
            content_type: event.content_type,
            recorded_at: Timestamp::from_micros(0),
            commit: position,
            is_last_in_commit: true,
        }
    }
}
