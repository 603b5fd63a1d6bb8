//! Events that are borrowed from where a store keeps them.
//!
//! Owns the view for code that needs an event only while it looks at it. Must never copy an event's bytes, unless
//! they are asked for as owned ones.

use bytes::Bytes;

use super::{ContentType, Position, RecordedEvent, Timestamp, Version};

/// An event of a store, borrowed for the duration of a call: what [`EventStore::visit_stream`] passes.
///
/// [`EventStore::visit_stream`]: super::EventStore::visit_stream
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a>(Inner<'a>);

#[derive(Debug, Clone, Copy)]
enum Inner<'a> {
    Recorded(&'a RecordedEvent),
    #[cfg(feature = "annals")]
    Annals(annals::EventRef<'a>),
}

impl<'a> From<&'a RecordedEvent> for EventRef<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        Self(Inner::Recorded(event))
    }
}

#[cfg(feature = "annals")]
impl<'a> From<annals::EventRef<'a>> for EventRef<'a> {
    fn from(event: annals::EventRef<'a>) -> Self {
        Self(Inner::Annals(event))
    }
}

/// Reads a field of either representation.
macro_rules! either {
    ($self:ident, $recorded:ident => $of_recorded:expr, $event:ident => $of_event:expr) => {
        match $self.0 {
            Inner::Recorded($recorded) => $of_recorded,
            #[cfg(feature = "annals")]
            Inner::Annals($event) => $of_event,
        }
    };
}

impl<'a> EventRef<'a> {
    /// The name of the event's stream.
    pub fn stream(self) -> &'a str {
        either!(self, event => event.stream(), event => event.stream())
    }

    /// The event's place in its stream.
    pub fn version(self) -> Version {
        either!(self, event => event.version(), event => Version::new(event.version()))
    }

    /// The event's place in the store.
    pub fn position(self) -> Position {
        either!(self, event => event.position(), event => Position::new(event.position().get()))
    }

    /// When the event's commit was recorded.
    pub fn recorded_at(self) -> Timestamp {
        either!(
            self,
            event => event.recorded_at(),
            event => Timestamp::from_micros(event.recorded_at().as_micros())
        )
    }

    /// The name of the event's type.
    pub fn event_type(self) -> &'a str {
        either!(self, event => event.event_type(), event => event.event_type())
    }

    /// The version of the schema that the data follows.
    pub fn schema_version(self) -> u16 {
        either!(self, event => event.schema_version(), event => event.schema_version())
    }

    /// The event's data.
    pub fn data(self) -> &'a [u8] {
        either!(self, event => event.data(), event => event.data())
    }

    /// The event's data as owned bytes: shared with a [`RecordedEvent`], otherwise a copy.
    pub fn data_bytes(self) -> Bytes {
        either!(
            self,
            event => event.data_bytes(),
            event => Bytes::copy_from_slice(event.data())
        )
    }

    /// The format of the data.
    pub fn content_type(self) -> ContentType {
        either!(self, event => event.content_type(), event => match event.content_type() {
            annals::ContentType::Json => ContentType::Json,
            _ => ContentType::Binary,
        })
    }

    /// Data about the event, as JSON; empty if there is none.
    pub fn metadata(self) -> &'a [u8] {
        either!(self, event => event.metadata(), event => event.metadata())
    }
}
