//! The intact events of broken commits, as they are handed to the caller of a repair.
//!
//! Owns the view of one of them. Must never show a record whose checksum was not verified.

use std::fmt;
use std::io;
use std::path::Path;

use uuid::Uuid;

use crate::event::{ContentType, NewEvent, Position, Timestamp};
use crate::format::record::{IdOrigin, RecordRef};
use crate::format::tags::Tags;

/// Takes each intact event of a broken commit.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&SalvagedEvent<'_>) -> io::Result<()>;

/// An event whose record is intact, of a commit that is not: the new store does not have it.
///
/// The record's checksum covers all of the event and its position; the time is in the frame around the record, which
/// may be damaged.
#[derive(Clone, Copy)]
pub struct SalvagedEvent<'a> {
    pub(super) record: RecordRef<'a>,
    pub(super) position: u64,
    pub(super) commit: BrokenCommit<'a>,
}

/// A commit that a repair could not copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenCommit<'a> {
    /// The segment's file, relative to the damaged store.
    pub file: &'a Path,
    /// The offset of the commit's frame in the file, in bytes.
    pub offset: u64,
    /// The position of its first event; `None` if the header of the frame and the first record are damaged.
    pub first_position: Option<Position>,
    /// The number of its events; `None` if the header of the frame is damaged.
    pub events: Option<u32>,
    /// When it was recorded; `None` if the header of the frame is damaged.
    pub recorded_at: Option<Timestamp>,
    /// Why it could not be copied.
    pub reason: &'a str,
}

impl<'a> SalvagedEvent<'a> {
    /// The event's position in the damaged store.
    pub fn position(&self) -> Position {
        Position::new(self.position)
    }

    /// The stream that the event belongs to.
    pub fn stream(&self) -> &'a str {
        self.record.stream()
    }

    /// The event's version in the damaged store.
    pub fn version(&self) -> u64 {
        self.record.version()
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        Uuid::from_bytes(self.record.id())
    }

    /// Whether the caller gave the event's id; `None` if an earlier version recorded the event, which did not note it.
    pub fn id_given(&self) -> Option<bool> {
        match self.record.id_origin() {
            IdOrigin::Unrecorded => None,
            IdOrigin::Given => Some(true),
            IdOrigin::Generated => Some(false),
        }
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

    /// When the event was recorded; `None` if the header of its commit's frame is damaged.
    pub fn recorded_at(&self) -> Option<Timestamp> {
        self.commit.recorded_at
    }

    /// The commit that the event was part of.
    pub fn commit(&self) -> BrokenCommit<'a> {
        self.commit
    }

    /// The event for an append, with its id, so that a second append is recognised.
    pub fn to_new_event(&self) -> NewEvent {
        NewEvent::new(self.event_type(), self.data().to_vec())
            .content_type(self.content_type())
            .metadata(self.metadata().to_vec())
            .tags(self.tags())
            .schema_version(self.schema_version())
            .id(self.id())
    }
}

impl fmt::Debug for SalvagedEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SalvagedEvent")
            .field("position", &self.position)
            .field("stream", &self.stream())
            .field("version", &self.version())
            .field("event_type", &self.event_type())
            .field("id", &self.id())
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}
