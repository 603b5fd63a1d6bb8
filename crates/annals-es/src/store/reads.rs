//! The settings of reads and subscriptions, their messages, and snapshots.
//!
//! Owns plain values. Must never read anything itself.

use bytes::Bytes;

use super::{Position, Query, RecordedEvent, StreamName, Timestamp, Version};

/// A read of one stream, in the order of versions.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "a read is passed to EventStore::read_stream"]
pub struct ReadStream {
    /// The stream.
    pub stream: StreamName,
    /// The first version to read.
    pub from: Version,
    /// The last version to read.
    pub up_to: Version,
    /// Only events at or before this position are read.
    pub up_to_position: Position,
    /// Whether the newest event is returned first.
    pub backwards: bool,
    /// The greatest number of events to return.
    pub limit: u64,
}

impl ReadStream {
    /// All events of a stream.
    pub fn of(stream: impl Into<StreamName>) -> Self {
        Self {
            stream: stream.into(),
            from: Version::new(1),
            up_to: Version::MAX,
            up_to_position: Position::MAX,
            backwards: false,
            limit: u64::MAX,
        }
    }

    /// Only events from this version on.
    pub fn from(mut self, version: Version) -> Self {
        self.from = version;
        self
    }

    /// Only events up to this version.
    pub fn up_to(mut self, version: Version) -> Self {
        self.up_to = version;
        self
    }

    /// Only events at or before this position.
    pub fn up_to_position(mut self, position: Position) -> Self {
        self.up_to_position = position;
        self
    }

    /// The newest event first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// At most this number of events.
    pub fn limit(mut self, events: u64) -> Self {
        self.limit = events;
        self
    }
}

/// A read over all streams, in the order of positions.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "a read is passed to OrderedStore::read_all"]
pub struct ReadAll {
    /// The events to read.
    pub query: Query,
    /// Only events after this position are read.
    pub after: Position,
    /// Only events at or before this position are read.
    pub up_to: Position,
    /// Whether the newest event is returned first.
    pub backwards: bool,
    /// The greatest number of events to return.
    pub limit: u64,
}

impl Default for ReadAll {
    fn default() -> Self {
        Self::matching(Query::all())
    }
}

impl ReadAll {
    /// Every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// The events that a query selects.
    pub fn matching(query: Query) -> Self {
        let (after, up_to) = (Position::START, Position::MAX);
        Self { query, after, up_to, backwards: false, limit: u64::MAX }
    }

    /// Only events after this position.
    pub fn after(mut self, position: Position) -> Self {
        self.after = position;
        self
    }

    /// Only events at or before this position.
    pub fn up_to(mut self, position: Position) -> Self {
        self.up_to = position;
        self
    }

    /// The newest event first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// At most this number of events.
    pub fn limit(mut self, events: u64) -> Self {
        self.limit = events;
        self
    }
}

/// The settings of a subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use = "the settings are passed to OrderedStore::subscribe"]
pub struct Subscribe {
    /// The events to deliver.
    pub query: Query,
    /// Only events after this position are delivered.
    pub after: Position,
    /// The number of events of a message, at least; a message ends with the commit that reaches it.
    pub batch_size: usize,
    /// Whether progress without selected events is reported at once.
    pub prompt_progress: bool,
}

impl Subscribe {
    /// Every event after a position.
    pub fn after(position: Position) -> Self {
        Self { query: Query::all(), after: position, batch_size: 256, prompt_progress: false }
    }

    /// Only events that a query selects.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = query;
        self
    }

    /// Reports progress each time the visible events were examined, also if none of them was selected: for consumers
    /// whose progress is waited for. Without it, a store may report such progress from time to time.
    pub fn prompt_progress(mut self) -> Self {
        self.prompt_progress = true;
        self
    }

    /// Sets after how many events a message ends. Default: 256. 0 counts as 1, and a store may have a greatest number.
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch_size = events;
        self
    }
}

/// A message of a subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// The selected events of whole commits, in the order of positions; may be empty.
    pub events: Vec<RecordedEvent>,
    /// Every selected event at or before this position has been delivered, with this message or an earlier
    /// one. A subscription that begins after it misses no event.
    pub scanned_through: Position,
    /// Whether everything that was visible has been delivered. It is set once when that is first so, and again
    /// after more events were appended than the subscription had delivered.
    pub caught_up: bool,
}

impl Message {
    /// A message.
    pub fn new(events: Vec<RecordedEvent>, scanned_through: Position, caught_up: bool) -> Self {
        Self { events, scanned_through, caught_up }
    }
}

/// The version or position that a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// A version of the stream that is the snapshot's key.
    Version(Version),
    /// A position of the store; the key is a free name.
    Position(Position),
}

impl From<Version> for Mark {
    fn from(version: Version) -> Self {
        Self::Version(version)
    }
}

impl From<Position> for Mark {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

/// A state that was computed from events. It is disposable: without it, the events give the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The name of the stream, or a free name.
    pub key: String,
    /// What the state covers.
    pub mark: Mark,
    /// The version of the state's schema.
    pub schema_version: u32,
    /// The state.
    pub state: Bytes,
    /// When it was saved; the epoch if it was not.
    pub saved_at: Timestamp,
}

impl Snapshot {
    /// The state of a stream at a version, or of anything at a position.
    pub fn new(key: impl Into<String>, mark: impl Into<Mark>, state: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            mark: mark.into(),
            schema_version: 0,
            state: state.into(),
            saved_at: Timestamp::default(),
        }
    }

    /// Sets the version of the state's schema. Default: 0.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }
}
