//! What led to an event, and what followed from it.
//!
//! Owns the names of fields in metadata that connect events.

use annals::Event;

use crate::json;

/// The names under which metadata has a correlation, and the id of a cause: those of annals-es first.
const CORRELATION: [&str; 3] = ["correlation_id", "correlationId", "$correlationId"];
const CAUSATION: [&str; 3] = ["causation_id", "causationId", "$causationId"];
/// The key of the tag under which events of a correlation are found.
const TAG: &str = "correlation:";

/// The correlation of an event: of its tag, or else of its metadata.
pub(crate) fn correlation(event: &Event) -> Option<String> {
    let tag = event.tags().find_map(|tag| tag.strip_prefix(TAG));
    tag.map(str::to_owned).or_else(|| json::text_field(event.metadata(), &CORRELATION))
}

/// What metadata states as the cause of an event.
pub(crate) fn cause(event: &Event) -> Option<String> {
    json::text_field(event.metadata(), &CAUSATION)
}
