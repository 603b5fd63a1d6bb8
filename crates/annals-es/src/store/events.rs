//! Events as a store takes and returns them.
//!
//! Owns the envelope around an event's bytes. Must never interpret the bytes: that is the business of codecs
//! and schemas.

use std::borrow::Cow;
use std::fmt;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{ContentType, Position, StreamName, Timestamp, Version};

/// An event to append, as bytes with an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an event is stored by an append"]
pub struct NewEvent {
    /// The event's id. `None`: the store generates one, and a repeated append is not recognized.
    pub id: Option<Uuid>,
    /// The name of the event's type.
    pub event_type: Cow<'static, str>,
    /// The version of the schema that the data follows.
    pub schema_version: u16,
    /// The event's data.
    pub data: Bytes,
    /// The format of the data.
    pub content_type: ContentType,
    /// Data about the event, as JSON; empty if there is none.
    pub metadata: Bytes,
    /// The event's tags, which queries look up.
    pub tags: Vec<String>,
}

impl NewEvent {
    /// An event of a type, with its data.
    pub fn new(event_type: impl Into<Cow<'static, str>>, data: impl Into<Bytes>) -> Self {
        Self {
            id: None,
            event_type: event_type.into(),
            schema_version: 1,
            data: data.into(),
            content_type: ContentType::Binary,
            metadata: Bytes::new(),
            tags: Vec::new(),
        }
    }

    /// Sets the id: an append that is repeated with the same ids and contents returns the first result.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets the version of the schema. Default: 1.
    pub fn schema_version(mut self, version: u16) -> Self {
        self.schema_version = version;
        self
    }

    /// Sets the format of the data. Default: binary.
    pub fn content_type(mut self, content_type: ContentType) -> Self {
        self.content_type = content_type;
        self
    }

    /// Sets the metadata.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }
}

/// The event to append that has all of a recorded one, its id included.
impl From<&RecordedEvent> for NewEvent {
    fn from(event: &RecordedEvent) -> Self {
        Self {
            id: Some(event.id()),
            event_type: event.event_type().to_owned().into(),
            schema_version: event.schema_version(),
            data: event.data_bytes(),
            content_type: event.content_type(),
            metadata: Bytes::copy_from_slice(event.metadata()),
            tags: event.tags().map(str::to_owned).collect(),
        }
    }
}

/// The parts of a recorded event: what a store builds a [`RecordedEvent`] from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventParts {
    /// The event's id, unique in the store.
    pub id: Uuid,
    /// The stream that the event belongs to.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The event's place in the store.
    pub position: Position,
    /// The position of the first event of the event's commit; it identifies the commit.
    pub commit: Position,
    /// Whether the event is the last one of its commit.
    pub is_last_in_commit: bool,
    /// When the event's commit was recorded.
    pub recorded_at: Timestamp,
    /// The name of the event's type.
    pub event_type: Cow<'static, str>,
    /// The version of the schema that the data follows.
    pub schema_version: u16,
    /// The event's data.
    pub data: Bytes,
    /// The format of the data.
    pub content_type: ContentType,
    /// Data about the event, as JSON; empty if there is none.
    pub metadata: Bytes,
    /// The event's tags.
    pub tags: Vec<String>,
}

impl EventParts {
    /// The event that an append of `new` records: alone in its commit, with this id unless it has its own.
    pub fn of(
        new: NewEvent,
        id: Uuid,
        stream: StreamName,
        version: Version,
        position: Position,
        recorded_at: Timestamp,
    ) -> Self {
        let NewEvent { id: own, event_type, schema_version, data, content_type, metadata, tags } =
            new;
        Self {
            id: own.unwrap_or(id),
            stream,
            version,
            position,
            commit: position,
            is_last_in_commit: true,
            recorded_at,
            event_type,
            schema_version,
            data,
            content_type,
            metadata,
            tags,
        }
    }
}

/// An event of a store; cheap to clone. Its bytes stay where the store keeps them.
#[derive(Clone)]
pub struct RecordedEvent(Inner);

#[derive(Clone)]
enum Inner {
    Parts(Arc<EventParts>),
    #[cfg(feature = "annals")]
    Annals(annals::Event),
}

impl From<EventParts> for RecordedEvent {
    fn from(parts: EventParts) -> Self {
        Self(Inner::Parts(Arc::new(parts)))
    }
}

#[cfg(feature = "annals")]
impl From<annals::Event> for RecordedEvent {
    fn from(event: annals::Event) -> Self {
        Self(Inner::Annals(event))
    }
}

/// Reads a field of either representation.
macro_rules! either {
    ($self:ident, $parts:ident => $of_parts:expr, $event:ident => $of_event:expr) => {
        match &$self.0 {
            Inner::Parts($parts) => $of_parts,
            #[cfg(feature = "annals")]
            Inner::Annals($event) => $of_event,
        }
    };
}

impl RecordedEvent {
    /// The event's id, unique in the store.
    pub fn id(&self) -> Uuid {
        either!(self, parts => parts.id, event => event.id())
    }

    /// The name of the event's stream.
    pub fn stream(&self) -> &str {
        either!(self, parts => parts.stream.as_str(), event => event.stream())
    }

    /// The part of the stream's name after the first `-`, such as the id of an aggregate; `None` for a name
    /// without one.
    pub fn stream_id(&self) -> Option<&str> {
        self.stream().split_once('-').map(|(_, id)| id)
    }

    /// The event's place in its stream.
    pub fn version(&self) -> Version {
        either!(self, parts => parts.version, event => Version::new(event.version()))
    }

    /// The event's place in the store.
    pub fn position(&self) -> Position {
        either!(self, parts => parts.position, event => Position::new(event.position().get()))
    }

    /// The position of the first event of the event's commit; it identifies the commit.
    pub fn commit(&self) -> Position {
        either!(self, parts => parts.commit, event => Position::new(event.commit().get()))
    }

    /// Whether the event is the last one of its commit.
    pub fn is_last_in_commit(&self) -> bool {
        either!(self, parts => parts.is_last_in_commit, event => event.is_last_in_commit())
    }

    /// When the event's commit was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        either!(
            self,
            parts => parts.recorded_at,
            event => Timestamp::from_micros(event.recorded_at().as_micros())
        )
    }

    /// The name of the event's type.
    pub fn event_type(&self) -> &str {
        either!(self, parts => &parts.event_type, event => event.event_type())
    }

    /// The version of the schema that the data follows.
    pub fn schema_version(&self) -> u16 {
        either!(self, parts => parts.schema_version, event => event.schema_version())
    }

    /// The event's data.
    pub fn data(&self) -> &[u8] {
        either!(self, parts => &parts.data, event => event.data())
    }

    /// The event's data, shared and not copied.
    pub fn data_bytes(&self) -> Bytes {
        either!(self, parts => parts.data.clone(), event => event.data_bytes())
    }

    /// The format of the data.
    pub fn content_type(&self) -> ContentType {
        either!(self, parts => parts.content_type, event => match event.content_type() {
            annals::ContentType::Json => ContentType::Json,
            _ => ContentType::Binary,
        })
    }

    /// Data about the event, as JSON; empty if there is none.
    pub fn metadata(&self) -> &[u8] {
        either!(self, parts => &parts.metadata, event => event.metadata())
    }

    /// The event's tags, in the order they were given.
    pub fn tags(&self) -> Tags<'_> {
        Tags(either!(
            self,
            parts => EitherTags::Parts(parts.tags.iter()),
            event => EitherTags::Annals(event.tags())
        ))
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("stream", &self.stream())
            .field("version", &self.version().get())
            .field("position", &self.position().get())
            .field("event_type", &self.event_type())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The tags of an event; see [`RecordedEvent::tags`].
#[derive(Debug, Clone)]
pub struct Tags<'a>(EitherTags<'a>);

#[derive(Debug, Clone)]
enum EitherTags<'a> {
    Parts(slice::Iter<'a, String>),
    #[cfg(feature = "annals")]
    Annals(annals::Tags<'a>),
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            EitherTags::Parts(tags) => tags.next().map(String::as_str),
            #[cfg(feature = "annals")]
            EitherTags::Annals(tags) => tags.next(),
        }
    }
}
