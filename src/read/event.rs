//! Events as reads return them: owned handles and borrowed views into the log.
//!
//! An event's bytes are not copied, unless the platform's mapping cannot be used; then the handle owns
//! one copy.

mod borrowed;
mod made;

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes};
use uuid::Uuid;

pub use self::borrowed::EventRef;
use crate::event::{ContentType, EventParts, Position, SharedStr, Timestamp};
use crate::format::frame::{FrameHeader, HEADER_LEN};
use crate::format::record::{Layout, RecordRef};
use crate::format::tags::Tags;
use crate::log::segment::RecordBytes;
use crate::query::Query;

/// The part of an event that comes from its commit's frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventPlace {
    position: u64,
    recorded_at: u64,
    /// The numbers of events of its commit before and after it.
    before: u32,
    after: u32,
}

impl EventPlace {
    /// The place of the event at `position`, which is one of the frame's.
    #[inline]
    pub(crate) fn new(header: &FrameHeader, position: u64) -> Self {
        let before = position.saturating_sub(header.first_position);
        // A frame counts its events in 32 bits.
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let after = header.event_count.saturating_sub(before).saturating_sub(1);
        Self { position, recorded_at: header.recorded_at, before, after }
    }

    fn commit(&self) -> Position {
        Position::new(self.position.saturating_sub(self.before.into()))
    }

    fn commit_end(&self) -> Position {
        Position::new(self.position + u64::from(self.after))
    }
}

/// An event of the store: an owned handle into the log.
///
/// Cheap to clone, copies no data, and stays readable after the store is closed.
#[derive(Clone)]
pub struct Event {
    bytes: RecordBytes,
    layout: Layout,
    place: EventPlace,
}

impl Event {
    pub(crate) fn new(bytes: RecordBytes, layout: Layout, place: EventPlace) -> Self {
        Self { bytes, layout, place }
    }

    fn view(&self) -> EventRef<'_> {
        EventRef::new(self.record(), self.place)
    }

    fn record(&self) -> RecordRef<'_> {
        self.bytes.record(self.layout)
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.view().id()
    }

    /// Whether the caller gave the event's id ([`NewEvent::id`](crate::NewEvent::id)): `Some(false)` for
    /// an id that the store generated.
    ///
    /// Earlier versions did not record it. For an event that one of them recorded, or that was added to a
    /// segment that one of them created, the result is `None` if the id has the form of a generated one, a
    /// UUID v7 of the time of recording, and `Some(true)` otherwise.
    ///
    /// ```
    /// use annals::{ExpectedVersion, NewEvent, Store, Uuid};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path().join("ledger"))?;
    /// let events = [NewEvent::new("Opened", "").id(Uuid::from_u128(7)), NewEvent::new("Closed", "")];
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    ///
    /// let events: Vec<_> = store.read_stream("account-1").into_iter().collect::<Result<_, _>>()?;
    /// assert_eq!(events[0].id_given(), Some(true));
    /// assert_eq!(events[1].id_given(), Some(false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id_given(&self) -> Option<bool> {
        self.view().id_given()
    }

    /// The stream that the event belongs to.
    pub fn stream(&self) -> &str {
        self.record().stream()
    }

    /// The event's place in its stream, from 1.
    pub fn version(&self) -> u64 {
        self.view().version()
    }

    /// The event's place in the store, from 1.
    pub fn position(&self) -> Position {
        Position::new(self.place.position)
    }

    /// The event's type.
    pub fn event_type(&self) -> &str {
        self.record().event_type()
    }

    /// The event's data.
    pub fn data(&self) -> &[u8] {
        self.record().data()
    }

    /// The event's data, sharing the mapping; it outlives the store's handle too.
    pub fn data_bytes(&self) -> Bytes {
        self.bytes.buffer(self.record().data_range())
    }

    /// The event's metadata; empty if it has none.
    pub fn metadata(&self) -> &[u8] {
        self.record().metadata()
    }

    /// The event's metadata, sharing the mapping like [`Event::data_bytes`]; empty if it has none.
    pub fn metadata_bytes(&self) -> Bytes {
        let range = self.record().metadata_range();
        if range.is_empty() { Bytes::new() } else { self.bytes.buffer(range) }
    }

    /// Everything about the event as owned values, in one pass over its record.
    ///
    /// Data and metadata are not copied. A scan of all streams cuts them from one buffer for many events,
    /// so that an event without tags, whose stream and type have at most 23 bytes, needs no allocation of
    /// its own.
    ///
    /// Where a `String` is needed, take it from the accessor: `event.stream().to_owned()` copies once.
    ///
    /// ```
    /// use annals::{ExpectedVersion, NewEvent, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path().join("ledger"))?;
    /// let event = NewEvent::new("Deposited", "5").metadata("by a clerk").tag("owner:42");
    /// store.append("account-1", ExpectedVersion::Any, [event])?;
    ///
    /// for event in store.read_all() {
    ///     let parts = event?.into_parts();
    ///     assert_eq!((parts.stream, parts.version), ("account-1".into(), 1));
    ///     assert_eq!((&parts.data[..], &parts.metadata[..]), (&b"5"[..], &b"by a clerk"[..]));
    ///     assert_eq!(parts.tags, ["owner:42"]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_parts(self) -> EventParts {
        let Self { bytes, layout, place } = self;
        let mut data = bytes.into_buffer(layout);
        let record = RecordRef::from_parts(&data, layout);
        let event = EventRef::new(record, place);
        let mut parts = EventParts {
            id: event.id(),
            id_given: event.id_given(),
            stream: event.stream().into(),
            version: event.version(),
            position: event.position(),
            event_type: event.event_type().into(),
            data: Bytes::new(),
            metadata: Bytes::new(),
            tags: event.tags().map(SharedStr::from).collect(),
            schema_version: event.schema_version(),
            content_type: event.content_type(),
            recorded_at: event.recorded_at(),
            commit: event.commit(),
            is_last_in_commit: event.is_last_in_commit(),
        };
        let (metadata, Range { start, end }) = (record.metadata_range(), record.data_range());
        if !metadata.is_empty() {
            parts.metadata = data.slice(metadata);
        }
        if start < end {
            data.truncate(end);
            data.advance(start);
            parts.data = data;
        }
        parts
    }

    /// The event's tags, in the order they were given.
    pub fn tags(&self) -> Tags<'_> {
        self.record().tags()
    }

    /// The version of the schema its data follows.
    pub fn schema_version(&self) -> u16 {
        self.view().schema_version()
    }

    /// Whether the event's data was flagged as JSON.
    pub fn content_type(&self) -> ContentType {
        self.view().content_type()
    }

    /// When the event's commit was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        Timestamp::from_micros(self.place.recorded_at)
    }

    /// The position of the first event of its commit; it identifies the commit.
    pub fn commit(&self) -> Position {
        self.place.commit()
    }

    /// Whether the event is the last event of its commit.
    pub fn is_last_in_commit(&self) -> bool {
        self.place.after == 0
    }

    /// The position of the last event of its commit.
    pub fn commit_end(&self) -> Position {
        self.place.commit_end()
    }

    /// Whether a query matches the event.
    pub fn matches(&self, query: &Query) -> bool {
        query.matches(&self.view())
    }

    /// The event's data as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// [`Error::ReadJson`](crate::Error::ReadJson), which names the event, if the data is not JSON or
    /// not of the shape of `T`.
    #[cfg(feature = "serde")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> crate::Result<T> {
        self.view().json()
    }

    /// The event's metadata as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// Those of [`Event::json`], also for an event without metadata.
    #[cfg(feature = "serde")]
    pub fn metadata_json<'a, T: serde::Deserialize<'a>>(&'a self) -> crate::Result<T> {
        self.view().metadata_json()
    }

    /// The bytes that this handle keeps in memory; none where the segment is mapped.
    pub(crate) fn owned_len(&self) -> usize {
        match &self.bytes {
            RecordBytes::Mapped { .. } | RecordBytes::Shared(_) => 0,
            RecordBytes::Owned(bytes) => bytes.len(),
        }
    }

    /// The length of the event's record in the log, in bytes.
    pub(crate) fn record_len(&self) -> usize {
        self.layout.padded_len()
    }

    /// The event as an [`EventRef`], for code that takes both kinds.
    #[allow(
        clippy::should_implement_trait,
        reason = "the result is a view and not a reference, which `AsRef` would have to return"
    )]
    pub fn as_ref(&self) -> EventRef<'_> {
        self.view()
    }
}

/// Offset of the first record in a frame: after the header.
pub(crate) const FIRST_RECORD: usize = HEADER_LEN;

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}
