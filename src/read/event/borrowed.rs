//! Events as borrowed views into the log.
//!
//! Owns where the place of such an event is read from. Must never copy bytes.

use std::fmt;

use uuid::Uuid;

use super::EventPlace;
use crate::event::{ContentType, Position, Timestamp};
use crate::format::frame::{FrameHeader, HEADER_LEN};
use crate::format::record::{IdOrigin, RecordRef};
use crate::format::tags::Tags;
use crate::query::{Query, Queryable};

/// An event of the store, borrowed from the log for the duration of a callback.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    record: RecordRef<'a>,
    place: PlaceRef<'a>,
}

/// The place of a borrowed event.
#[derive(Clone, Copy)]
enum PlaceRef<'a> {
    Known(EventPlace),
    /// The header of its frame, which was proven: most readers need nothing of it, and it is elsewhere in
    /// memory.
    InFrame {
        position: u64,
        header: &'a [u8; HEADER_LEN],
    },
}

impl PlaceRef<'_> {
    #[inline]
    fn position(&self) -> u64 {
        match self {
            Self::Known(place) => place.position,
            Self::InFrame { position, .. } => *position,
        }
    }

    #[inline]
    fn get(&self) -> EventPlace {
        match *self {
            Self::Known(place) => place,
            Self::InFrame { position, header } => {
                EventPlace::new(&FrameHeader::fields(header), position)
            }
        }
    }
}

impl<'a> EventRef<'a> {
    pub(crate) fn new(record: RecordRef<'a>, place: EventPlace) -> Self {
        Self { record, place: PlaceRef::Known(place) }
    }

    /// The event at `position`, of which `header` is the header of the frame; both were proven.
    pub(crate) fn in_frame(
        record: RecordRef<'a>,
        position: u64,
        header: &'a [u8; HEADER_LEN],
    ) -> Self {
        Self { record, place: PlaceRef::InFrame { position, header } }
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        Uuid::from_bytes(self.record.id())
    }

    /// Whether the caller gave the event's id, as [`Event::id_given`](crate::Event::id_given) states it.
    pub fn id_given(&self) -> Option<bool> {
        match self.record.id_origin() {
            IdOrigin::Given => Some(true),
            IdOrigin::Generated => Some(false),
            IdOrigin::Unrecorded => (!self.may_have_generated_id()).then_some(true),
        }
    }

    /// Whether the id has the form of generated ones: UUID version 7, which begins with the time in
    /// milliseconds, of the time of recording.
    fn may_have_generated_id(&self) -> bool {
        let mut time = [0; 8];
        time[2..].copy_from_slice(&self.record.id()[..6]);
        let at_that_time = u64::from_be_bytes(time) == self.place.get().recorded_at / 1000;
        at_that_time && self.id().get_version_num() == 7
    }

    /// The stream that the event belongs to.
    pub fn stream(&self) -> &'a str {
        self.record.stream()
    }

    /// The event's place in its stream, from 1.
    pub fn version(&self) -> u64 {
        self.record.version()
    }

    /// The event's place in the store, from 1.
    pub fn position(&self) -> Position {
        Position::new(self.place.position())
    }

    /// The event's type.
    pub fn event_type(&self) -> &'a str {
        self.record.event_type()
    }

    /// The event's data.
    pub fn data(&self) -> &'a [u8] {
        self.record.data()
    }

    /// The event's metadata; empty if it has none.
    pub fn metadata(&self) -> &'a [u8] {
        self.record.metadata()
    }

    /// The event's tags, in the order they were given.
    pub fn tags(&self) -> Tags<'a> {
        self.record.tags()
    }

    /// The version of the schema its data follows.
    pub fn schema_version(&self) -> u16 {
        self.record.schema_version()
    }

    /// Whether the event's data was flagged as JSON.
    pub fn content_type(&self) -> ContentType {
        if self.record.is_json() { ContentType::Json } else { ContentType::Binary }
    }

    /// When the event's commit was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        Timestamp::from_micros(self.place.get().recorded_at)
    }

    /// The position of the first event of its commit; it identifies the commit.
    pub fn commit(&self) -> Position {
        self.place.get().commit()
    }

    /// Whether the event is the last event of its commit.
    pub fn is_last_in_commit(&self) -> bool {
        self.place.get().after == 0
    }

    /// The position of the last event of its commit.
    pub fn commit_end(&self) -> Position {
        self.place.get().commit_end()
    }

    /// Whether a query matches the event.
    pub fn matches(&self, query: &Query) -> bool {
        query.matches(self)
    }

    /// The event's data as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// Those of [`Event::json`](crate::Event::json).
    #[cfg(feature = "serde")]
    pub fn json<T: serde::Deserialize<'a>>(&self) -> crate::Result<T> {
        self.part_from_json("data", self.data())
    }

    /// The event's metadata as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// Those of [`Event::metadata_json`](crate::Event::metadata_json).
    #[cfg(feature = "serde")]
    pub fn metadata_json<T: serde::Deserialize<'a>>(&self) -> crate::Result<T> {
        self.part_from_json("metadata", self.metadata())
    }

    #[cfg(feature = "serde")]
    fn part_from_json<T: serde::Deserialize<'a>>(
        &self,
        part: &'static str,
        bytes: &'a [u8],
    ) -> crate::Result<T> {
        serde_json::from_slice(bytes).map_err(|source| crate::Error::ReadJson {
            part,
            stream: self.stream().to_owned(),
            version: self.version(),
            event_type: self.event_type().to_owned(),
            position: self.position(),
            source,
        })
    }
}

impl Queryable for EventRef<'_> {
    fn position(&self) -> Position {
        Self::position(self)
    }

    fn stream(&self) -> &str {
        self.record.stream()
    }

    fn event_type(&self) -> &str {
        self.record.event_type()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.record.tags().any(|own| own == tag)
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("position", &self.position().get())
            .field("stream", &self.stream())
            .field("version", &self.version())
            .field("type", &self.event_type())
            .field("id", &self.id())
            .field("data_len", &self.data().len())
            .finish_non_exhaustive()
    }
}
