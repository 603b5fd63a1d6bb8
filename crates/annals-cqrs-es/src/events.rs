//! Events of cqrs-es as events of annals, and back.
//!
//! Owns where each field is stored. Must never change a field on the way: what was written is what is read.
//!
//! | cqrs-es | annals |
//! |---|---|
//! | aggregate type and id | the stream `TYPE-ID`, see [`StreamName`]; the type is its category |
//! | sequence | the version |
//! | event type | the type |
//! | event version `N.0` | the schema version `N` |
//! | any other event version | the schema version `N`, if it begins with that number, and the tag `event_version:TEXT` |
//! | payload, metadata | data, metadata, as JSON |

use std::collections::HashMap;

use annals::{Event, NewEvent, Store, StreamName};
use cqrs_es::persist::{EventUpcaster, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, EventEnvelope};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, of_store, unknown};

/// The tag of an event whose version is not `N.0`.
const VERSION_TAG: &str = "event_version:";

pub(crate) fn stream_of<A: Aggregate>(aggregate_id: &str) -> String {
    StreamName::new(A::TYPE, aggregate_id).into()
}

/// A new event without metadata.
pub(crate) fn new_event(
    event_type: &str,
    version: &str,
    payload: &impl Serialize,
) -> annals::Result<NewEvent> {
    let event = NewEvent::json(event_type, payload)?;
    let major = version.split('.').next().and_then(|major| major.parse::<u16>().ok()).unwrap_or(0);
    let event = event.schema_version(major);
    let is_derivable = (major > 0 && version == format!("{major}.0")) || version.is_empty();
    Ok(if is_derivable { event } else { event.tag(format!("{VERSION_TAG}{version}")) })
}

fn version_of(event: &Event) -> String {
    let tagged = event.tags().find_map(|tag| tag.strip_prefix(VERSION_TAG).map(str::to_owned));
    tagged.unwrap_or_else(|| match event.schema_version() {
        0 => String::new(),
        major => format!("{major}.0"),
    })
}

fn sequence_of(event: &Event) -> Result<usize, PersistenceError> {
    usize::try_from(event.version()).map_err(|_| {
        let stream = event.stream().to_owned();
        unknown(Error::SequenceRange { stream, sequence: event.version() })
    })
}

fn aggregate_id_of(event: &Event) -> String {
    event.stream().split_once('-').map(|(_, id)| id.to_owned()).unwrap_or_default()
}

/// The event, as repositories return it. Events of other programs may have no metadata.
pub(crate) fn serialized<A: Aggregate>(event: &Event) -> Result<SerializedEvent, PersistenceError> {
    let metadata = match event.metadata() {
        [] => Value::Object(serde_json::Map::new()),
        _ => event.metadata_json().map_err(of_store)?,
    };
    Ok(SerializedEvent {
        aggregate_id: aggregate_id_of(event),
        sequence: sequence_of(event)?,
        aggregate_type: A::TYPE.to_owned(),
        event_type: event.event_type().to_owned(),
        event_version: version_of(event),
        payload: event.json().map_err(of_store)?,
        metadata,
    })
}

/// The event of the aggregate. It is read without an intermediate JSON value if no upcaster applies.
pub(crate) fn envelope<A: Aggregate>(
    event: &Event,
    upcasters: &[Box<dyn EventUpcaster>],
) -> Result<EventEnvelope<A>, PersistenceError> {
    let applies = |(event_type, version): (&str, &str)| {
        upcasters.iter().any(|upcaster| upcaster.can_upcast(event_type, version))
    };
    if !upcasters.is_empty() && applies((event.event_type(), &version_of(event))) {
        let event = upcasters.iter().fold(serialized::<A>(event)?, |event, upcaster| {
            let applies = upcaster.can_upcast(&event.event_type, &event.event_version);
            if applies { upcaster.upcast(event) } else { event }
        });
        return event.try_into();
    }
    Ok(EventEnvelope {
        aggregate_id: aggregate_id_of(event),
        sequence: sequence_of(event)?,
        payload: event.json().map_err(of_store)?,
        metadata: match event.metadata() {
            [] => HashMap::new(),
            _ => event.metadata_json().map_err(of_store)?,
        },
    })
}

/// Passes the events of a stream after a version to `each`, in order. No polling of the future blocks.
pub(crate) async fn for_each_after(
    store: &Store,
    stream: &str,
    mut last: u64,
    mut each: impl FnMut(&Event) -> Result<(), PersistenceError>,
) -> Result<(), PersistenceError> {
    let mut events = store.read_stream(stream).from_version(last.saturating_add(1)).into_stream();
    while let Some(event) = events.next().await {
        let event = event.map_err(of_store)?;
        if event.version() != last + 1 {
            let (stream, found) = (stream.to_owned(), event.version());
            return Err(unknown(Error::SequenceGap { stream, last, found, source: None }));
        }
        last = event.version();
        each(&event)?;
    }
    Ok(())
}
