//! Commits: what an append records, and what it expects.
//!
//! Owns the rule that a commit uses only what its store offers: the methods that add streams, boundaries and
//! checkpoints exist for stores that implement the trait of the capability.

use std::fmt;
use std::marker::PhantomData;

use super::{
    AtomicCheckpoints, Boundaries, NewEvent, Position, Query, RecordedEvent, SeveralStreams,
    Snapshot, StreamName, Timestamp, Version,
};

/// The expected state of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Anything.
    Any,
    /// The stream has no events.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream has exactly this version; `Exact(Version::NONE)` is `NoStream`.
    Exact(Version),
}

impl Expected {
    /// Whether a stream at `version` meets the expectation.
    pub const fn holds_for(self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => version.get() == 0,
            Self::StreamExists => version.get() > 0,
            Self::Exact(expected) => version.get() == expected.get(),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::StreamExists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

/// One atomic commit to a store of type `S`: all of it is recorded, or nothing.
///
/// What a store cannot do does not compile: further streams need [`SeveralStreams`], boundaries need
/// [`Boundaries`], and checkpoints need [`AtomicCheckpoints`].
///
/// ```
/// use annals_es::blocking::block_on;
/// use annals_es::{Commit, EventStore, Expected, MemoryStore, NewEvent, Query, Version};
///
/// let store = MemoryStore::new();
/// let transfer = Commit::to("account-1", Expected::Any, [NewEvent::new("Debited", "10")])
///     .and("account-2", Expected::Any, [NewEvent::new("Credited", "10")])
///     .fail_if_exists(Query::tagged(["transfer:7"]));
/// let done = block_on(store.append(transfer))?;
/// assert_eq!(done.versions, [Version::new(1), Version::new(1)]);
/// # Ok::<(), annals_es::AppendError>(())
/// ```
///
/// For a store that implements only [`EventStore`](crate::EventStore), the same commit is refused by the compiler:
///
/// ```compile_fail,E0599
/// # use annals_es::{Commit, EventStore, Expected, NewEvent, Query};
/// fn register<S: EventStore>(_: &S) -> Commit<S> {
///     let commit = Commit::<S>::to("user-1", Expected::NoStream, [NewEvent::new("Registered", "")]);
///     commit.fail_if_exists(Query::tagged(["name:ann"]))
/// }
/// ```
#[must_use = "a commit is recorded by EventStore::append"]
pub struct Commit<S: ?Sized> {
    parts: CommitParts,
    store: PhantomData<fn(&S)>,
}

/// The contents of a [`Commit`], for implementations of [`EventStore`](crate::EventStore).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitParts {
    /// The streams, in the order they were added. Each is checked against the state that the ones before it
    /// leave.
    pub streams: Vec<StreamCommit>,
    /// The boundaries, in the order they were added.
    pub boundaries: Vec<Boundary>,
    /// The checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// What a commit expects of a stream and appends to it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamCommit {
    /// The stream.
    pub stream: StreamName,
    /// Its expected state.
    pub expected: Expected,
    /// The events to append; empty: the stream is only checked.
    pub events: Vec<NewEvent>,
}

/// A query that must not match an event after a position.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Boundary {
    /// The query.
    pub query: Query,
    /// The position; [`Position::START`]: no event may match.
    pub after: Position,
}

/// A move of a checkpoint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The name of the checkpoint.
    pub name: String,
    /// Its new position, after the present one.
    pub to: Position,
}

/// The result of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The position of the first event; without events, the head.
    pub first_position: Position,
    /// The position of the last event; without events, the head.
    pub last_position: Position,
    /// The version of each stream of the commit, in the order they were added.
    pub versions: Vec<Version>,
    /// When the commit was recorded.
    pub recorded_at: Timestamp,
    /// The events were recorded earlier, and nothing was appended.
    pub already_recorded: bool,
}

impl Committed {
    /// A result; the other fields have their default.
    pub fn new(first: Position, last: Position, versions: Vec<Version>, at: Timestamp) -> Self {
        Self {
            first_position: first,
            last_position: last,
            versions,
            recorded_at: at,
            already_recorded: false,
        }
    }
}

impl From<&Committed> for Position {
    /// The position of the last event.
    fn from(committed: &Committed) -> Self {
        committed.last_position
    }
}

impl<S: ?Sized> Commit<S> {
    /// The commit with these contents: for a store that passes commits to another one. That store has to offer what
    /// the contents use.
    ///
    /// ```
    /// use annals_es::{AppendError, Commit, Committed, EventStore, MemoryStore};
    ///
    /// async fn pass_on<S: EventStore>(commit: Commit<S>, to: &MemoryStore) -> Result<Committed, AppendError> {
    ///     to.append(Commit::from_parts(commit.into_parts())).await
    /// }
    /// ```
    pub fn from_parts(parts: CommitParts) -> Self {
        Self { parts, store: PhantomData }
    }

    /// Appends events to a stream, if it is as expected.
    pub fn to(
        stream: impl Into<StreamName>,
        expected: Expected,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        Self::from_parts(CommitParts::default()).with(stream, expected, events)
    }

    fn with(
        mut self,
        stream: impl Into<StreamName>,
        expected: Expected,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        let (stream, events) = (stream.into(), events.into_iter().collect());
        self.parts.streams.reserve_exact(1);
        self.parts.streams.push(StreamCommit { stream, expected, events });
        self
    }

    /// Saves a snapshot with the commit. It may be of a version or position that the commit reaches. If it
    /// cannot be saved, the commit does not fail: snapshots are disposable.
    pub fn snapshot(mut self, snapshot: Snapshot) -> Self {
        self.parts.snapshots.push(snapshot);
        self
    }

    /// The contents, for implementations of [`EventStore`](crate::EventStore).
    pub fn into_parts(self) -> CommitParts {
        self.parts
    }
}

impl<S: SeveralStreams> Commit<S> {
    /// The commit that records events of another store again: with their ids, in their order, and each stream expected at the
    /// version before. For copies of a history.
    ///
    /// ```
    /// use annals_es::blocking::block_on;
    /// use annals_es::{Commit, EventStore, Expected, MemoryStore, NewEvent, ReadStream, next};
    ///
    /// let (old, new) = (MemoryStore::new(), MemoryStore::new());
    /// let opened = NewEvent::new("Opened", "{}");
    /// block_on(old.append(Commit::to("account-1", Expected::NoStream, [opened])))?;
    /// let mut read = old.read_stream(ReadStream::of("account-1"));
    /// let event = block_on(next(&mut read)).expect("an event")?;
    /// block_on(new.append(Commit::of_recorded(&[event.clone()])))?;
    /// let found = block_on(new.find_event(&"account-1".into(), event.id()))?;
    /// assert!(found.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_recorded(events: &[RecordedEvent]) -> Self {
        let runs = events.chunk_by(|one, next| one.stream() == next.stream());
        let streams = runs.filter_map(|run| {
            let first = run.first()?;
            let before = Version::new(first.version().get().saturating_sub(1));
            Some(StreamCommit {
                stream: first.stream().into(),
                expected: Expected::Exact(before),
                events: run.iter().map(NewEvent::from).collect(),
            })
        });
        Self::from_parts(CommitParts { streams: streams.collect(), ..CommitParts::default() })
    }

    /// Appends events to a further stream, if it is as expected.
    pub fn and(
        self,
        stream: impl Into<StreamName>,
        expected: Expected,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        self.with(stream, expected, events)
    }

    /// Requires a further stream to be as expected, and appends nothing to it.
    pub fn check(self, stream: impl Into<StreamName>, expected: Expected) -> Self {
        self.with(stream, expected, [])
    }
}

impl<S: Boundaries> Commit<S> {
    /// Fails the commit if the query matches an event after a position: a decision that was made from the
    /// events up to there no longer holds. The events of the commit do not count.
    pub fn fail_if(mut self, query: Query, after: Position) -> Self {
        self.parts.boundaries.push(Boundary { query, after });
        self
    }

    /// Fails the commit if the query matches any event.
    pub fn fail_if_exists(self, query: Query) -> Self {
        self.fail_if(query, Position::START)
    }
}

impl<S: AtomicCheckpoints> Commit<S> {
    /// A commit that only moves a checkpoint.
    pub fn progress(name: impl Into<String>, to: Position) -> Self {
        Self::from_parts(CommitParts::default()).checkpoint(name, to)
    }

    /// Moves a checkpoint with the commit, which fails unless the checkpoint moves forward: of two consumers
    /// that handle an event under the same name, one succeeds.
    pub fn checkpoint(mut self, name: impl Into<String>, to: Position) -> Self {
        self.parts.checkpoints.push(Checkpoint { name: name.into(), to });
        self
    }
}

impl<S: ?Sized> Clone for Commit<S> {
    fn clone(&self) -> Self {
        Self::from_parts(self.parts.clone())
    }
}

impl<S: ?Sized> fmt::Debug for Commit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}
