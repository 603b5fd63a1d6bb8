//! Data about events: who caused them, and by what.
//!
//! Owns the names of the fields, the tag of a correlation and the derivation of ids.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{CodecError, Json};
use crate::store::{RecordedEvent, Tag};

/// Data about an event, stored as JSON in its metadata.
///
/// ```
/// use annals_es::Metadata;
/// use uuid::Uuid;
///
/// let request = Uuid::from_u128(7);
/// let metadata = Metadata::new().correlation_id(request).user("ann").tenant("north");
/// assert_eq!(metadata.correlation_tag().as_deref(), Some("correlation:00000000-0000-0000-0000-000000000007"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metadata {
    /// Identifies everything that one request has caused, over all streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The id of the command or event that caused the event directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// The user on whose behalf the event was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The tenant that the event belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The trace that the event belongs to, in the form of the header `traceparent` of W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The header `tracestate` of W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// Fields of the application.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Metadata {
    /// No data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the correlation.
    #[must_use]
    pub fn correlation_id(mut self, id: Uuid) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn causation_id(mut self, id: Uuid) -> Self {
        self.causation_id = Some(id);
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the trace.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Adds a field of the application. A field with the name of one of the struct's own fields is not stored.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }

    /// The metadata of an event.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is not JSON of this form: other programs may store anything there.
    pub fn of(event: &RecordedEvent) -> Result<Self, CodecError> {
        if event.metadata().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(event.metadata()).map_err(CodecError::new::<Json>)
    }

    /// The metadata of what an event causes: the event as its cause, and the event's correlation, user, tenant and
    /// trace. An event without a correlation begins one.
    ///
    /// # Errors
    ///
    /// Those of [`Metadata::of`].
    pub fn caused_by(event: &RecordedEvent) -> Result<Self, CodecError> {
        let of = Self::of(event)?;
        Ok(Self {
            correlation_id: of.correlation_id.or(Some(event.id())),
            causation_id: Some(event.id()),
            more: Map::new(),
            ..of
        })
    }

    /// The tag under which events of the correlation are found.
    pub fn correlation_tag(&self) -> Option<String> {
        self.correlation_id.map(|id| Tag::new("correlation", id).into())
    }

    /// The bytes that are stored: none without data.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if a field of the application cannot be written as JSON.
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        if *self == Self::default() {
            return Ok(Bytes::new());
        }
        if !self.more.keys().any(|name| OWN.contains(&name.as_str())) {
            return serde_json::to_vec(self).map(Bytes::from).map_err(CodecError::new::<Json>);
        }
        let mut without = self.clone();
        without.more.retain(|name, _| !OWN.contains(&name.as_str()));
        without.encode()
    }
}

/// The names of the struct's own fields.
const OWN: [&str; 6] =
    ["correlation_id", "causation_id", "user", "tenant", "traceparent", "tracestate"];

/// The id of what follows from a cause, by a name that is unique among what follows from it (UUID version 5).
/// What handles the same cause again derives the same ids, so that a store recognizes the repetition.
///
/// ```
/// use annals_es::derived_id;
/// use uuid::Uuid;
///
/// let placed = Uuid::from_u128(1);
/// assert_eq!(derived_id(placed, "reserve-stock"), derived_id(placed, "reserve-stock"));
/// assert_ne!(derived_id(placed, "reserve-stock"), derived_id(placed, "send-invoice"));
/// ```
pub fn derived_id(cause: Uuid, name: &str) -> Uuid {
    Uuid::new_v5(&cause, name.as_bytes())
}
