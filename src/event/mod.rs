//! Events, positions, versions and new events: the values that the API takes and returns.
//!
//! Owns the plain value types. Must never touch storage.

pub(crate) mod snapshot;
pub(crate) mod token;

mod rfc3339;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use smol_str::SmolStr;
use uuid::Uuid;

pub use rfc3339::ParseTimestampError;

/// An event's place in the whole store: 1-based, dense, gapless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Position(u64);

impl Position {
    /// The position before the first event: reading after it yields every event.
    pub const START: Self = Self(0);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, which is also the number of events up to this position.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Position {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: microseconds since the Unix epoch.
///
/// ```
/// use annals::Timestamp;
///
/// let time: Timestamp = "2026-11-21T23:06:05.863688+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-11-21T22:06:05.863688Z");
/// # Ok::<(), annals::ParseTimestampError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time this many microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before the Unix epoch are converted to the epoch.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0)
    }
}

/// How much of a stream reads show; other events are hidden and stay in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StreamMetadata {
    /// Events recorded longer ago than this are hidden. `None`: no limit.
    pub max_age: Option<Duration>,
    /// All events but this number of newest ones are hidden; at least 1. `None`: all are shown.
    pub max_count: Option<u64>,
}

impl StreamMetadata {
    /// Hides no event.
    pub const fn new() -> Self {
        Self { max_age: None, max_count: None }
    }

    /// Hides events recorded longer ago than this.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Hides all events but this number of newest ones.
    pub const fn max_count(mut self, events: u64) -> Self {
        self.max_count = Some(events);
        self
    }

    /// Age in microseconds and count, 0 for no limit. The smallest age and count are 1; the largest
    /// are what the format can represent, which hides no event.
    pub(crate) fn to_limits(self) -> RetentionLimits {
        let most = 1 << 62;
        let max_age = self
            .max_age
            .map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(most).clamp(1, most));
        let max_count = self.max_count.map_or(0, |count| count.clamp(1, most));
        RetentionLimits { max_age, max_count }
    }
}

/// [`StreamMetadata`] as the log records it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionLimits {
    /// In microseconds; 0: no limit.
    pub(crate) max_age: u64,
    /// 0: no limit.
    pub(crate) max_count: u64,
}

impl RetentionLimits {
    pub(crate) fn to_metadata(self) -> StreamMetadata {
        StreamMetadata {
            max_age: (self.max_age != 0).then(|| Duration::from_micros(self.max_age)),
            max_count: (self.max_count != 0).then_some(self.max_count),
        }
    }
}

/// The expected state of a stream, checked together with the append against everything accepted
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ExpectedVersion {
    /// Anything.
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream has exactly this many events; `Exact(0)` is `NoStream`.
    Exact(u64),
}

impl ExpectedVersion {
    /// Whether a stream at `version` meets the expectation.
    pub const fn holds_for(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => version == 0,
            Self::StreamExists => version > 0,
            Self::Exact(expected) => version == expected,
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// The format of an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ContentType {
    /// Bytes whose format is known to the caller only.
    #[default]
    Binary,
    /// UTF-8 JSON. The store keeps the flag and does not parse the data.
    Json,
}

/// An event that is to be appended.
///
/// ```
/// use annals::{ContentType, NewEvent};
///
/// let event = NewEvent::new("AccountOpened", br#"{"initialDeposit":1000}"#)
///     .content_type(ContentType::Json)
///     .tag("owner:42")
///     .schema_version(1);
/// # let _ = event;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an event is stored by an append"]
pub struct NewEvent {
    pub(crate) id: Option<Uuid>,
    /// Stored inline up to 23 bytes, so that most events need no allocation for it.
    pub(crate) event_type: SmolStr,
    pub(crate) data: Bytes,
    pub(crate) metadata: Bytes,
    pub(crate) tags: Vec<String>,
    pub(crate) schema_version: u16,
    pub(crate) content_type: ContentType,
}

impl NewEvent {
    /// An event of a type (1 to 255 bytes) with its data, which may be empty.
    pub fn new(event_type: impl AsRef<str>, data: impl EventData) -> Self {
        Self {
            id: None,
            event_type: SmolStr::new(event_type),
            data: data.into_bytes(),
            metadata: Bytes::new(),
            tags: Vec::new(),
            schema_version: 0,
            content_type: ContentType::Binary,
        }
    }

    /// An event whose data is `value` as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// [`Error::WriteJson`](crate::Error::WriteJson), with the event's type, if `value` cannot be
    /// written as JSON: a map with keys that are not strings, or an error of its `Serialize`.
    #[cfg(feature = "serde")]
    pub fn json<T: serde::Serialize + ?Sized>(
        event_type: impl AsRef<str>,
        value: &T,
    ) -> crate::Result<Self> {
        let data = serde_json::to_vec(value).map_err(|source| crate::Error::WriteJson {
            part: "data",
            event_type: event_type.as_ref().to_owned(),
            source,
        })?;
        Ok(Self::new(event_type, data).content_type(ContentType::Json))
    }

    /// Sets the metadata to `value` as JSON (feature `serde`). [`Event::metadata_json`] reads it.
    ///
    /// # Errors
    ///
    /// Those of [`NewEvent::json`].
    ///
    /// [`Event::metadata_json`]: crate::Event::metadata_json
    #[cfg(feature = "serde")]
    pub fn metadata_json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> crate::Result<Self> {
        let metadata = serde_json::to_vec(value).map_err(|source| crate::Error::WriteJson {
            part: "metadata",
            event_type: self.event_type.to_string(),
            source,
        })?;
        self.metadata = metadata.into();
        Ok(self)
    }

    /// Bytes stored with the data, such as user, reason and correlation id. Default: none.
    pub fn metadata(mut self, metadata: impl EventData) -> Self {
        self.metadata = metadata.into_bytes();
        self
    }

    /// Adds a tag of 1 to 255 bytes; an event has at most 64.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The version of the schema the data follows. Default: 0.
    pub fn schema_version(mut self, version: u16) -> Self {
        self.schema_version = version;
        self
    }

    /// The event's id, unique in the store without a time limit: a repeated append with the same ids
    /// and contents returns the first one's result. Appending an event with the nil UUID is refused
    /// with [`Error::InvalidArgument`](crate::Error::InvalidArgument). Default: a generated UUID v7.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Derives the event's id from another event's id and a name (UUID v5, RFC 9562), so that a handler that
    /// appends in reaction to an event appends the same ids when it handles that event again, and the
    /// repetition is recognized. Give the events of one reaction different names.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// store.append("order-1", ExpectedVersion::Any, [NewEvent::new("OrderPlaced", "")])?;
    /// let placed = store.read_stream("order-1").into_iter().next().expect("an event")?;
    /// for repeated in [false, true] {
    ///     let reserved = NewEvent::new("StockReserved", "").id_derived_from(placed.id(), "reserve");
    ///     let appended = store.append("stock-7", ExpectedVersion::Any, [reserved])?;
    ///     assert_eq!(appended.already_recorded, repeated);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id_derived_from(self, cause: Uuid, name: &str) -> Self {
        self.id(Uuid::new_v5(&cause, name.as_bytes()))
    }

    /// Flags the data as JSON or binary. Default: [`ContentType::Binary`].
    pub fn content_type(mut self, content_type: ContentType) -> Self {
        self.content_type = content_type;
        self
    }
}

/// Bytes that an event can take without a copy if they are owned.
///
/// Implemented for owned and borrowed bytes and strings. It cannot be implemented outside this
/// crate, so that methods can be added to it.
pub trait EventData: sealed::Sealed {
    /// The bytes.
    fn into_bytes(self) -> Bytes;
}

mod sealed {
    /// Prevents other crates from implementing [`EventData`](super::EventData).
    pub trait Sealed {}
}

impl sealed::Sealed for Bytes {}
impl sealed::Sealed for Vec<u8> {}
impl sealed::Sealed for String {}
impl sealed::Sealed for &[u8] {}
impl<const N: usize> sealed::Sealed for &[u8; N] {}
impl sealed::Sealed for &Vec<u8> {}
impl sealed::Sealed for &str {}

impl EventData for Bytes {
    fn into_bytes(self) -> Bytes {
        self
    }
}

impl EventData for Vec<u8> {
    fn into_bytes(self) -> Bytes {
        self.into()
    }
}

impl EventData for String {
    fn into_bytes(self) -> Bytes {
        self.into()
    }
}

impl EventData for &[u8] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> EventData for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl EventData for &Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl EventData for &str {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}

/// The result of an append to one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Appended {
    /// The position of the first event.
    pub first_position: Position,
    /// The position of the last event.
    pub last_position: Position,
    /// The stream's version after the append.
    pub version: u64,
    /// The time of the commit.
    pub recorded_at: Timestamp,
    /// The events were in the store already, and nothing was written.
    pub already_recorded: bool,
}

/// The result of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Committed {
    /// The position of the first event; for a transaction with only checks, the store's head.
    pub first_position: Position,
    /// The position of the last event; for a transaction with only checks, the store's head.
    pub last_position: Position,
    /// The version of each operation's stream after it, in the order in which operations were
    /// added.
    pub versions: Vec<u64>,
    /// The time of the commit; for a transaction with only checks, of the newest commit.
    pub recorded_at: Timestamp,
    /// The events were in the store already, and none was written again. The checks and boundaries
    /// of the transaction were not repeated; `applied` lists the other changes.
    pub already_recorded: bool,
    /// If the events were in the store already: the other operations that were no longer in effect,
    /// in the order in which they were added. They were applied in a commit of their own. Empty for
    /// a transaction that is recorded for the first time, which applies all of its operations.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub applied: Vec<Applied>,
}

/// An operation of a repeated transaction that was applied again; see [`Committed::applied`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Applied {
    /// A cursor was moved.
    CursorSet {
        /// The cursor's name.
        name: String,
        /// The new position.
        position: Position,
    },
    /// A cursor was deleted.
    CursorDeleted {
        /// The cursor's name.
        name: String,
    },
    /// The visible part of a stream was changed: it was truncated, archived, unarchived, or its
    /// metadata was set.
    StreamChanged {
        /// The stream's name.
        stream: String,
    },
    /// A snapshot was missing; it is saved when its mark is durable.
    Snapshot {
        /// The snapshot's key.
        key: String,
        /// The snapshot's mark: a version or a position, as a number.
        mark: u64,
    },
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StreamHead {
    /// The number of its events.
    pub version: u64,
    /// The position of its last event.
    pub last_position: Position,
}

/// A point in the past, as of which a read shows the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AsOf {
    /// Everything recorded at or before this time.
    Time(Timestamp),
    /// Everything at or before this position.
    Position(Position),
    /// Everything at or before this version of the stream; reads over all streams refuse it.
    Version(u64),
}

impl From<Timestamp> for AsOf {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

impl From<SystemTime> for AsOf {
    fn from(time: SystemTime) -> Self {
        Self::Time(time.into())
    }
}

impl From<Position> for AsOf {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

/// The category of a stream: the part of its name before the first `-`, or all of it.
///
/// ```
/// assert_eq!(annals::category_of("account-42-eur"), "account");
/// assert_eq!(annals::category_of("audit"), "audit");
/// ```
pub fn category_of(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

/// The difference by which a clock is behind a recorded time, if it is more than the clocks of
/// machines that share a store usually differ; in µs.
pub(crate) fn clock_behind_by(recorded_at: u64, now: u64) -> Option<Duration> {
    const TOLERANCE: Duration = Duration::from_secs(60);
    let behind = Duration::from_micros(recorded_at.saturating_sub(now));
    (behind > TOLERANCE).then_some(behind)
}
