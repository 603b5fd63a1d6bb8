//! Events and queries in both directions.
//!
//! Owns the layout of an event's metadata. Must never drop what it cannot decode: that is an error.

use annals::{Event, NewEvent, Query, QueryItem};
use serde::{Deserialize, Serialize};
use umadb_dcb::{DcbError, DcbEvent, DcbQuery, DcbResult, DcbSequencedEvent, TrackingInfo};
use uuid::Uuid;

/// What the engine has no field for, as JSON in the event's metadata; an event without any of it has
/// empty metadata.
///
/// The id is here, because UmaDB accepts one id several times.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<(String, String)>,
    /// The source and its position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracking: Option<(String, u64)>,
}

pub(crate) fn encode(event: DcbEvent, tracking: Option<&TrackingInfo>) -> DcbResult<NewEvent> {
    let DcbEvent { event_type, data, tags, uuid, metadata } = event;
    let tracking = tracking.map(|it| (it.source.clone(), it.position));
    let new = NewEvent::new(event_type, data).tags(tags);
    if uuid.is_none() && metadata.is_empty() && tracking.is_none() {
        return Ok(new);
    }
    let header = serde_json::to_vec(&Header { uuid, metadata, tracking })
        .map_err(|error| DcbError::SerializationError(error.to_string()))?;
    Ok(new.metadata(header))
}

pub(crate) fn decode(event: Event) -> DcbResult<DcbSequencedEvent> {
    let position = event.position().get();
    let header = match event.metadata() {
        [] => Header { uuid: None, metadata: Vec::new(), tracking: None },
        bytes => serde_json::from_slice(bytes).map_err(|error| {
            DcbError::DeserializationError(format!(
                "the metadata of the event at position {position} was not written by annals-umadb: {error}"
            ))
        })?,
    };
    let parts = event.into_parts();
    Ok(DcbSequencedEvent {
        position,
        event: DcbEvent {
            event_type: parts.event_type.to_string(),
            data: parts.data.to_vec(),
            tags: parts.tags.iter().map(ToString::to_string).collect(),
            uuid: header.uuid,
            metadata: header.metadata,
        },
        tracking_info: header.tracking.map(|(source, position)| TrackingInfo { source, position }),
    })
}

/// A DCB query without items matches every event, unlike one of annals.
pub(crate) fn query(query: Option<DcbQuery>) -> Query {
    let items = query.map(|it| it.items).unwrap_or_default();
    let mut items = items.into_iter().map(|item| {
        let mut converted = QueryItem::new();
        if !item.types.is_empty() {
            converted = converted.types(item.types);
        }
        converted.tags(item.tags)
    });
    match items.next() {
        None => Query::all(),
        Some(first) => items.fold(Query::from(first), Query::or),
    }
}
