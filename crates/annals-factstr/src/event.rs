//! Facts in both directions.
//!
//! Owns the layout of a fact in the store. Must never store a payload that cannot be read back.

use annals::{ContentType, Event, Position};
use factstr::{AppendResult, EventRecord, EventStoreError, NewEvent};
use time::OffsetDateTime;

use crate::{Result, failure, query};

pub(crate) fn encode(events: Vec<NewEvent>) -> Result<Vec<annals::NewEvent>> {
    if events.is_empty() {
        return Err(EventStoreError::EmptyAppend);
    }
    let encode = |NewEvent { event_type, payload }| {
        let tags = query::tags_of_payload(&payload)?;
        let data = serde_json::to_vec(&payload).map_err(failure)?;
        Ok(annals::NewEvent::new(event_type, data).content_type(ContentType::Json).tags(tags))
    };
    events.into_iter().map(encode).collect()
}

pub(crate) fn decode(event: &Event) -> Result<EventRecord> {
    let unreadable = |error: &dyn std::fmt::Display| {
        failure(format!("the event at position {} is no fact: {error}", event.position()))
    };
    let nanos = i128::from(event.recorded_at().as_micros()) * 1000;
    Ok(EventRecord {
        sequence_number: event.position().get(),
        occurred_at: OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .map_err(|error| unreadable(&error))?,
        event_type: event.event_type().to_owned(),
        payload: serde_json::from_slice(event.data()).map_err(|error| unreadable(&error))?,
    })
}

pub(crate) fn result(first: Position, last: Position) -> AppendResult {
    let (first, last) = (first.get(), last.get());
    AppendResult {
        first_sequence_number: first,
        last_sequence_number: last,
        committed_count: last - first + 1,
    }
}
