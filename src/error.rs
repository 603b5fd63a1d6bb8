//! The one error type of the crate.
//!
//! Errors are data: each variant carries what a caller needs in order to act on
//! it. This module must never format a decision into prose that a program would
//! then have to parse back out.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::event::{ExpectedVersion, Position, Timestamp};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
///
/// Nothing is stored by a call that returns an error, with the one exception
/// that [`Error::OutcomeUnknown`] names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One or more checks of a commit failed; all that failed are listed. Nothing was written.
    ///
    /// A call that waits for its commit returns this once what it lost to is visible to reads, so
    /// a loop that reads, decides and appends again makes progress with each round; see
    /// [`Store::retry`](crate::Store::retry). [`Transaction::submit`](crate::Transaction::submit)
    /// returns it at once.
    #[error("{}", conflict_text(failed))]
    Conflict {
        /// Every check that failed: boundaries, then streams, then cursors and streams to hide, then
        /// snapshots; of each, in the order they were added. Never empty.
        failed: Vec<FailedCheck>,
        /// Reads that see up to this position see the events that the commit lost to. The position is
        /// visible already, unless the error is from
        /// [`Transaction::submit`](crate::Transaction::submit): pass it to
        /// [`Store::wait_for`](crate::Store::wait_for) then. [`Position::START`] if no event was in
        /// the way.
        visible_at: Position,
    },
    /// An event id is already in the store, on other contents, in another order,
    /// or beside ids that are new. Nothing was written.
    #[error("event id {id} is already used at position {position}")]
    IdReused {
        /// The id that was given again.
        id: Uuid,
        /// Where the store holds it.
        position: Position,
    },
    /// An event id stands twice in one commit. Nothing was written.
    #[error("event id {id} stands twice in one commit")]
    DuplicateId {
        /// The repeated id.
        id: Uuid,
    },
    /// The time that a commit was to be recorded at is before the last one that is recorded, or ahead
    /// of the clock. Nothing was written.
    #[error("the commit cannot be recorded at {given} µs: the last one is of {earliest} µs, and the \
        clock is at {latest} µs", given = given.as_micros(), earliest = earliest.as_micros(),
        latest = latest.as_micros())]
    RecordedTime {
        /// What the caller passed.
        given: Timestamp,
        /// The earliest time that is accepted: that of the commit before, those on their way to disk
        /// included.
        earliest: Timestamp,
        /// The latest time that is accepted: the clock's, or `earliest` if that is later.
        latest: Timestamp,
    },
    /// A commit without events, without changes and without checks.
    #[error("the commit has neither events nor changes nor checks")]
    EmptyCommit,
    /// A size is above its limit. Nothing was written.
    #[error("{what} is {size}, the limit is {max}")]
    LimitExceeded {
        /// What was measured, with its unit.
        what: &'static str,
        /// What it measured.
        size: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// An argument has a value that has no meaning.
    #[error("{what}: {why}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A snapshot's mark lies behind the end of its stream, or of the store. Nothing was saved.
    #[error("snapshot {key:?} is of {mark}, only {reached} is reached")]
    SnapshotAhead {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The stream's version, or the store's head.
        reached: u64,
    },
    /// A snapshot of the same key and mark is saved already, with another state, and its schema
    /// version is not lower. Nothing was saved. Delete it first, or save with a higher schema version.
    #[error(
        "snapshot {key:?} of {mark} is saved already with another state, of schema version \
        {schema_version}; delete it, or save with a higher schema version"
    )]
    SnapshotExists {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The schema version of the one that is there.
        schema_version: u32,
    },
    /// A position to go on from is ahead of the store: no event was recorded there. Either it was
    /// kept while an older backup was restored, or it is of another store. A reader beside a writer
    /// may also lag: [`Store::wait_for`](crate::Store::wait_for) waits for a position.
    #[error(
        "position {position} is ahead of the store, whose head is {head}: it belongs to another \
        history, or is not visible yet; start over, or wait for it"
    )]
    PositionAhead {
        /// The position that was passed.
        position: Position,
        /// The position of the last event.
        head: Position,
    },
    /// A checkpoint token was made by another store.
    #[error("the checkpoint token is of store {found}, this is store {expected}")]
    OtherStore {
        /// The id of this store.
        expected: Uuid,
        /// The id of the store that made the token.
        found: Uuid,
    },
    /// A position belongs to another history of this store: an older backup was restored, and other
    /// events took the place of those that were seen. What was derived from them is to be derived
    /// again.
    #[error(
        "position {position} belongs to another history of this store: other events were \
        recorded since an older state was restored; derive again what was derived from it"
    )]
    OtherHistory {
        /// The position.
        position: Position,
    },
    /// The clock reads a time that nothing explains, and a commit recorded then would date all later ones
    /// there. Nothing was written. Correct the clock and try again; if it is right, open the store with a
    /// larger [`Options::max_clock_jump`](crate::Options::max_clock_jump).
    #[error(
        "the clock reads {now}, the last commit was recorded at {last}, and no time after {limit} is \
        plausible: correct the clock, or open the store with a larger Options::max_clock_jump"
    )]
    ClockJumped {
        /// When the last commit was recorded; the epoch if there is none.
        last: Timestamp,
        /// What the clock reads.
        now: Timestamp,
        /// The latest time that would have been taken.
        limit: Timestamp,
    },
    /// No room on the disk, or in the user's quota. Nothing was written, and the store goes on
    /// when space returns: repeat the call then.
    #[error("the disk is full: no room for {}{}; free space there, or raise the quota, and repeat \
        the call (a new segment takes its whole size at once, see `Options::segment_size`)",
        needed.map(|bytes| format!("{bytes} bytes of ")).unwrap_or_default(), path.display())]
    DiskFull {
        /// The file or directory that could not be created or extended.
        path: PathBuf,
        /// How many bytes were wanted for it at once, where that is known.
        needed: Option<u64>,
    },
    /// An earlier write or sync failed, so what is on disk is uncertain; or a sealed segment is
    /// not what it was when the store was closed. Nothing of this call was written; close the store
    /// and open it again.
    #[error("the store stopped writing after a failure: {reason}")]
    WriterPoisoned {
        /// The failure that stopped it.
        reason: String,
    },
    /// The write or sync that carried this commit failed: it may or may not survive.
    /// Open the store again and repeat the append with the same event ids.
    #[error("the outcome of the commit is unknown: {reason}")]
    OutcomeUnknown {
        /// The failure.
        reason: String,
    },
    /// Another process, or another handle of this one, has the store open for writing.
    /// [`Options::lock_timeout`](crate::Options::lock_timeout) waits for it to close the store, and
    /// [`Options::read_only`](crate::Options::read_only) reads beside it.
    #[error("the store at {} is open for writing elsewhere{}; Options::lock_timeout waits for it, \
        Options::read_only reads beside it", path.display(), by_process(*holder))]
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The id of the process that holds the lock, as this process sees it; its own id if the other
        /// handle is in this process. `None` where it is not known: on systems other than Linux, for a
        /// process of another PID namespace or another machine, and where the holder has gone
        /// meanwhile.
        holder: Option<u32>,
    },
    /// The store's directory, or something in it, was removed or replaced by another while the store
    /// was open. Nothing was written to what is in its place now. A writer stops writing: close the
    /// store, and open it where it is now.
    #[error("the store was moved or replaced while it was open: {why} ({}); nothing is written any \
        more: close it, and open it again where it is now", path.display())]
    StoreGone {
        /// The file or directory that was asked for.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// The directory holds something else than a store. Nothing in it was touched.
    #[error("{} is not a store: {why}", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The store was written by a version of the format that this build does not know.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The version or feature bits that are not known.
        what: String,
    },
    /// Bytes that must be there, because they were acknowledged, are not what was written.
    /// Nothing was changed. [`verify`](crate::verify()) lists every fault of the store,
    /// [`repair`](crate::repair::repair()) copies what is intact into a new one.
    #[error("{} is damaged at offset {offset}: {what} (expected position {expected_position}{}); \
        annals::verify lists every fault, annals::repair copies what is intact",
        file.display(), evidence.as_ref().map(|e| format!("; {e}")).unwrap_or_default())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// The position that should be found there.
        expected_position: Position,
        /// What is wrong.
        what: String,
        /// What proves that the bytes had been acknowledged, where that was in question.
        evidence: Option<String>,
    },
    /// The store opens for writing: there is no loss to accept. Nothing was changed.
    #[error("the store at {} opens as it is: there is no loss to accept", path.display())]
    NothingLost {
        /// The store's directory.
        path: PathBuf,
    },
    /// A loss was accepted after another position than the one behind which the store is
    /// damaged. Nothing was changed.
    #[error("the store is whole up to position {whole}, not {given}: nothing was cut")]
    WrongCut {
        /// What the caller passed.
        given: Position,
        /// The last position before the damage.
        whole: Position,
    },
    /// The call needs a store that was opened for writing.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The handle, or another clone of it, closed the store.
    #[error("the store is closed")]
    Closed,
    /// The store is closed, and everything that was appended is durable; but work beside the appends
    /// failed, and was not made good before the close. Returned by
    /// [`Store::close`](crate::Store::close) alone.
    #[error("everything appended is durable, but the store could not {}{}",
        failed.first().map(|failed| with_causes(failed)).unwrap_or_default(),
        match failed.len() { 0 | 1 => String::new(), more => format!("; and {} more", more - 1) })]
    MaintenanceFailed {
        /// What failed, and why; at least one.
        failed: Vec<FailedMaintenance>,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An event's data or metadata is not JSON, or not of the shape that was asked for (feature `serde`). The
    /// event is in the store as it was appended.
    #[cfg(feature = "serde")]
    #[error(
        "the {part} of event {position} ({event_type:?}, version {version} of stream {stream:?}) \
        cannot be read as JSON"
    )]
    ReadJson {
        /// Which part of the event: `"data"` or `"metadata"`.
        part: &'static str,
        /// The event's stream.
        stream: String,
        /// Its version.
        version: u64,
        /// Its type.
        event_type: String,
        /// Its position.
        position: Position,
        /// What is wrong, and where in the data.
        source: serde_json::Error,
    },
    /// A value could not be written as the JSON data or metadata of a new event (feature `serde`).
    #[cfg(feature = "serde")]
    #[error("the {part} of a new event of type {event_type:?} cannot be written as JSON")]
    WriteJson {
        /// Which part of the event: `"data"` or `"metadata"`.
        part: &'static str,
        /// The type that the event was to have.
        event_type: String,
        /// Why not.
        source: serde_json::Error,
    },
}

/// Work beside the appends that failed for good: part of [`Error::MaintenanceFailed`].
#[derive(Debug, thiserror::Error)]
#[error("{task}")]
#[non_exhaustive]
pub struct FailedMaintenance {
    /// What was to be done.
    pub task: Maintenance,
    /// Why the last attempt failed.
    #[source]
    pub error: Error,
}

/// Work that a store does beside the appends. Nothing acknowledged depends on it; what is said of each is
/// the consequence of leaving it undone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Maintenance {
    /// Sealing a full segment. The next opening for writing seals it.
    #[error("seal segment {segment}")]
    Seal {
        /// The segment's number.
        segment: u64,
    },
    /// Writing the index file of a sealed segment. The next opening reads the segment and writes it.
    #[error("write the index of segment {segment}")]
    Index {
        /// The segment's number.
        segment: u64,
    },
    /// Writing a checkpoint. The next opening reads more of the log.
    #[error("write a checkpoint")]
    Checkpoint,
    /// Merging index files, or removing those that were merged. Look-ups ask more files, and space stays
    /// taken, until a later merge.
    #[error("compact the index files")]
    Compaction,
    /// Saving a snapshot that was given to a transaction. The state has to be made again from the
    /// events.
    #[error("save the snapshot {key:?}")]
    Snapshot {
        /// The snapshot's key.
        key: String,
    },
}

/// A check of a commit that failed; part of [`Error::Conflict`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailedCheck {
    /// A stream was not at the version the transaction expected.
    #[error("stream {stream:?} is at version {actual}, expected {expected}")]
    WrongExpectedVersion {
        /// The operation's index, counted from 0 in the order they were added; 0 for
        /// [`Store::append`](crate::Store::append).
        index: usize,
        /// The stream that was checked.
        stream: String,
        /// What the caller passed.
        expected: ExpectedVersion,
        /// The stream's version, commits on their way to disk included; 0 = no such stream.
        actual: u64,
    },
    /// An event that a boundary's query matches lies after the query's position.
    #[error("query {query}: the event at position {position} matches it")]
    AppendConditionFailed {
        /// The query's index, counted from 0 in the order boundaries were added.
        query: usize,
        /// The newest event that matches.
        position: Position,
    },
    /// An event exists that must not exist.
    #[error("query {query}: the event at position {position} exists already")]
    AlreadyExists {
        /// The query's index, counted from 0 in the order boundaries were added.
        query: usize,
        /// The newest event that matches.
        position: Position,
    },
    /// A cursor would not move forward.
    #[error("cursor {name:?} is at position {at}, {to} is not after it")]
    CursorNotForward {
        /// The cursor.
        name: String,
        /// Where it is; [`Position::START`] if it was never set.
        at: Position,
        /// Where it was to go.
        to: Position,
    },
    /// A cursor is somewhere else than was expected.
    #[error("cursor {name:?} is at {actual:?}, expected {expected:?}")]
    WrongCursor {
        /// The cursor.
        name: String,
        /// What the caller passed; `None`: that there is no such cursor.
        expected: Option<Position>,
        /// Where it is, commits on their way to disk included.
        actual: Option<Position>,
    },
    /// A cursor would stand behind the last event.
    #[error("cursor {name:?} cannot be set to {to}, the head is {head}")]
    CursorAhead {
        /// The cursor.
        name: String,
        /// Where it was to go.
        to: Position,
        /// The last position.
        head: Position,
    },
    /// A snapshot's mark lies behind the end of its stream, or of the store, after the commit.
    #[error("snapshot {key:?} is of {mark}, only {reached} is reached")]
    SnapshotAhead {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The stream's version, or the last position, after the commit.
        reached: u64,
    },
    /// There is no cursor of this name.
    #[error("there is no cursor {name:?}")]
    UnknownCursor {
        /// The name.
        name: String,
    },
    /// There is no stream of this name.
    #[error("there is no stream {stream:?}")]
    UnknownStream {
        /// The name.
        stream: String,
    },
    /// A stream would be truncated beyond its end.
    #[error("stream {stream:?} cannot be truncated before {before}, it is at version {version}")]
    TruncateAhead {
        /// The stream.
        stream: String,
        /// The first version that was to stay visible.
        before: u64,
        /// The stream's version.
        version: u64,
    },
}

/// One failed check speaks for itself; several are counted, and the first is shown.
fn conflict_text(failed: &[FailedCheck]) -> String {
    match failed {
        [only] => only.to_string(),
        [first, ..] => format!("{} checks failed; the first: {first}", failed.len()),
        [] => "a check failed".into(),
    }
}

fn by_process(holder: Option<u32>) -> String {
    match holder {
        Some(id) if id == std::process::id() => " in this process".to_owned(),
        Some(id) => format!(" by process {id}"),
        None => String::new(),
    }
}

/// Whether there is no room: on the disk, or in what the user may take of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The text of an error and of what caused it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Whether what was opened is not in its place any more. A network file system uses the same kind for
/// a file that it does not have any more.
pub(crate) fn is_displaced(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StaleNetworkFileHandle
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        if is_full(&source) {
            return Self::DiskFull { path, needed: None };
        }
        if is_displaced(&source) {
            return Self::StoreGone { path, why: source.to_string() };
        }
        Self::Io { operation, path, source }
    }

    /// Adds to a [`Error::DiskFull`] how many bytes were wanted.
    pub(crate) fn wanting(mut self, bytes: u64) -> Self {
        if let Self::DiskFull { needed, .. } = &mut self {
            *needed = Some(bytes);
        }
        self
    }

    /// Whether a commit was refused because a check of it failed: somebody else was faster, or what
    /// was expected never held. Read again, decide again, and append again, or let
    /// [`Store::retry`](crate::Store::retry) do so.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let open = || store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Opened", "")]);
    /// open()?;
    /// let lost = open().expect_err("it was opened before");
    /// assert!(lost.is_conflict());
    /// assert_eq!(lost.actual_version(), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// The checks that failed; empty if this is not a conflict.
    pub fn failed_checks(&self) -> &[FailedCheck] {
        match self {
            Self::Conflict { failed, .. } => failed,
            _ => &[],
        }
    }

    /// The version of the stream that was not at the version it was expected at, 0 if there is no
    /// such stream; of several, the first. `None` if no check of a version failed.
    pub fn actual_version(&self) -> Option<u64> {
        self.failed_checks().iter().find_map(|check| match check {
            FailedCheck::WrongExpectedVersion { actual, .. } => Some(*actual),
            _ => None,
        })
    }

    /// Whether the store itself is at fault (damage, an unknown format), as opposed to the call.
    pub fn is_store_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Unsupported { .. })
    }
}
