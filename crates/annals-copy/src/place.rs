//! What a copy needs of a place.
//!
//! The traits are apart from those of the toolkit: a copy records events at their own times and positions, sees hidden
//! events, and lists checkpoints, which no program needs. Their methods block, so that one copy is one loop.

use std::time::Duration;

#[cfg(any(feature = "postgres", feature = "nats"))]
use annals_es::{EventParts, NewEvent, StreamName, Timestamp};
use annals_es::{Position, RecordedEvent};
use bytes::Bytes;

use crate::Error;

/// The events of a read, in the order of positions.
pub type Events<'a> = Box<dyn Iterator<Item = Result<RecordedEvent, Error>> + 'a>;

/// A mark that nothing is appended to a place any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fence {
    /// Where the history goes on.
    pub to: String,
    /// Whether nothing can be appended any more. A program that had a directory open when it was fenced may still append
    /// until it closes it.
    pub is_complete: bool,
}

impl Fence {
    /// A fence.
    pub fn new(to: impl Into<String>, is_complete: bool) -> Self {
        Self { to: to.into(), is_complete }
    }
}

/// What a stream hides from reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HiddenStream {
    /// The stream.
    pub name: String,
    /// Whether all of it is hidden.
    pub archived: bool,
    /// The first version that is shown; 0: all are.
    pub truncated_before: u64,
    /// The limits by age and count.
    pub limits: annals::StreamMetadata,
}

/// What a directory has besides events, checkpoints and snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rest {
    /// The streams that hide something.
    pub streams: Vec<HiddenStream>,
    /// The records: keys and values.
    pub records: Vec<(String, Bytes)>,
}

impl Rest {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.records.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let (records, streams) = (self.records.len(), self.streams.len());
        format!("{records} records, and what {streams} streams hide from reads")
    }
}

/// A place that events are copied from.
pub trait Source {
    /// What the place is called in messages and fences: an address without a password.
    fn name(&self) -> &str;

    /// The last visible event. Everything before it is visible as well, and nothing is recorded before it later.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn last(&mut self) -> Result<Option<RecordedEvent>, Error>;

    /// The events after a position and up to another one, hidden ones included. Both are ends of commits.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn read(&mut self, after: Position, up_to: Position) -> Result<Events<'_>, Error>;

    /// The event of this place that has the id of an event of another one.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn same(&mut self, other: &RecordedEvent) -> Result<Option<RecordedEvent>, Error>;

    /// The last event at or before a position.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn at_or_before(&mut self, position: Position) -> Result<Option<RecordedEvent>, Error>;

    /// The checkpoints: names and positions.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn checkpoints(&mut self) -> Result<Vec<(String, Position)>, Error>;

    /// What else the place has that a move would lose.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn rest(&mut self) -> Result<Rest, Error>;

    /// The fence, if there is one.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn find_fence(&mut self) -> Result<Option<Fence>, Error>;

    /// Fences the place: when this returns, nothing can be appended any more. A program that has to close it first is
    /// waited for up to `wait`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a place that cannot be fenced; those of a failed write.
    fn raise_fence(&mut self, to: &str, wait: Duration) -> Result<(), Error>;

    /// Removes the fence, and returns where it pointed to.
    ///
    /// # Errors
    ///
    /// Those of [`Source::raise_fence`].
    fn lift_fence(&mut self) -> Result<Option<String>, Error>;

    /// Waits until there may be events after a position, up to `at_most`.
    ///
    /// # Errors
    ///
    /// Those of a failed read.
    fn wait(&mut self, after: Position, at_most: Duration) -> Result<(), Error>;
}

/// A place that events are copied to.
pub trait Target: Source {
    /// Appends whole commits in their order, with their ids, versions and times. They are durable when this returns.
    /// After an error, a beginning of them may be recorded, and nothing else. Returns the number of commits whose time
    /// was set to that of the commit before, which was later.
    ///
    /// # Errors
    ///
    /// Those of a failed write; a version that does not follow the one before it.
    fn append(&mut self, commits: &[Vec<RecordedEvent>]) -> Result<u64, Error>;

    /// Sets a checkpoint, also backwards.
    ///
    /// # Errors
    ///
    /// Those of a failed write.
    fn set_checkpoint(&mut self, name: &str, to: Position) -> Result<(), Error>;

    /// Whether [`Target::keep`] keeps what a directory has besides events.
    fn keeps_rest(&self) -> bool;

    /// Makes what the place has besides events equal to this.
    ///
    /// # Errors
    ///
    /// Those of a failed write.
    fn keep(&mut self, rest: &Rest) -> Result<(), Error>;

    /// Ends the use of the place.
    ///
    /// # Errors
    ///
    /// Those of a failed write.
    fn close(&mut self) -> Result<(), Error>;
}

/// The commit at its time, or at that of the commit before if that is later, and whether it is. Sets the time.
#[cfg(any(feature = "postgres", feature = "nats"))]
pub(crate) fn not_before(
    commit: &[RecordedEvent],
    time: &mut Timestamp,
) -> (Vec<RecordedEvent>, bool) {
    let own = commit.first().map_or(*time, RecordedEvent::recorded_at);
    if own >= *time {
        *time = own;
        return (commit.to_vec(), false);
    }
    (commit.iter().map(|event| recorded_at(event, *time)).collect(), true)
}

#[cfg(any(feature = "postgres", feature = "nats"))]
fn recorded_at(event: &RecordedEvent, time: Timestamp) -> RecordedEvent {
    let (stream, version) = (StreamName::from(event.stream()), event.version());
    let new = NewEvent::from(event);
    let mut parts = EventParts::of(new, event.id(), stream, version, event.position(), time);
    (parts.commit, parts.is_last_in_commit) = (event.commit(), event.is_last_in_commit());
    parts.into()
}
