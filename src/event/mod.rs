//! Positions, times, versions and events: the values that the API takes and returns.
//!
//! Owns the plain value types. Must never touch storage.

mod committed;
mod new_event;
mod record;
pub(crate) mod snapshot;
pub(crate) mod token;

mod parts;
mod rfc3339;
mod shared_str;
mod stream_name;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use committed::{Appended, Applied, Committed};
pub use new_event::{ContentType, EventData, NewEvent};
pub use parts::EventParts;
pub use record::ExpectedRecord;
pub use rfc3339::ParseTimestampError;
pub use shared_str::SharedStr;
pub use stream_name::StreamName;

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
/// [`StreamName`] builds names from categories that may contain `-` themselves.
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
