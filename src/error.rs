//! The one error type of the crate.
//!
//! Errors are data: each variant carries what a caller needs in order to act on it. A program must
//! never have to parse an error's text.

mod failed_check;
mod maintenance;
mod not_local;

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::event::{Position, Timestamp};

pub use failed_check::FailedCheck;
pub use maintenance::{FailedMaintenance, Maintenance};
pub(crate) use not_local::NotLocal;

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong.
///
/// A call that returns an error has stored nothing, except with [`Error::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One or more checks of a commit failed; all failed checks are listed. Nothing was written.
    ///
    /// A call that waits for its commit returns this when the commit that caused the conflict is
    /// visible to reads, so that a loop of read, decide and append makes progress in each round;
    /// see [`Store::retry`](crate::Store::retry).
    /// [`Transaction::submit`](crate::Transaction::submit) returns it at once.
    #[error("{}", conflict_text(failed))]
    Conflict {
        /// Every failed check: boundaries, then streams, then cursors and streams to hide, then
        /// snapshots; each kind in the order in which its checks were added. Never empty.
        failed: Vec<FailedCheck>,
        /// Reads that see up to this position see the events that caused the conflict. The position
        /// is visible already, unless [`Transaction::submit`](crate::Transaction::submit) returned
        /// the error: pass it to [`Store::wait_for`](crate::Store::wait_for) in that case.
        /// [`Position::START`] if no event caused the conflict.
        visible_at: Position,
    },
    /// An event id is already in the store, with other contents, in another order, or the commit
    /// also has new ids. Nothing was written.
    #[error("event id {id} is already used at position {position}")]
    IdReused {
        /// The repeated id.
        id: Uuid,
        /// The position of the stored event.
        position: Position,
    },
    /// An event id occurs twice in one commit. Nothing was written.
    #[error("event id {id} occurs twice in one commit")]
    DuplicateId {
        /// The repeated id.
        id: Uuid,
    },
    /// The given time of a commit is before that of the last commit, or ahead of the clock. Nothing
    /// was written.
    #[error("the commit cannot be recorded at {given} µs: the last one was recorded at {earliest} µs, \
        and the clock is at {latest} µs", given = given.as_micros(), earliest = earliest.as_micros(),
        latest = latest.as_micros())]
    RecordedTime {
        /// What the caller passed.
        given: Timestamp,
        /// The earliest accepted time: that of the previous commit, which may not be durable yet.
        earliest: Timestamp,
        /// The latest accepted time: the clock's, or `earliest` if that is later.
        latest: Timestamp,
    },
    /// A commit without events, without changes and without checks.
    #[error("the commit has neither events nor changes nor checks")]
    EmptyCommit,
    /// A size is above its limit. Nothing was written.
    #[error("{what} is {size}, the limit is {max}; {hint}")]
    LimitExceeded {
        /// What was measured, with its unit.
        what: &'static str,
        /// The measured size.
        size: u64,
        /// The largest allowed size.
        max: u64,
        /// What the caller can do instead.
        hint: &'static str,
    },
    /// An argument has an invalid value.
    #[error("{what}: {why}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A snapshot's mark is past the end of its stream, or of the store. Nothing was saved.
    #[error("snapshot {key:?} is at {mark}, but only {reached} is reached")]
    SnapshotAhead {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The stream's version, or the store's head.
        reached: u64,
    },
    /// A snapshot with the same key and mark and another state exists, and its schema version is not
    /// lower. Nothing was saved. Delete it first, or save with a higher schema version.
    #[error(
        "snapshot {key:?} at {mark} exists already with another state, of schema version \
        {schema_version}; delete it, or save with a higher schema version"
    )]
    SnapshotExists {
        /// The snapshot's key.
        key: String,
        /// Its mark: a version or a position.
        mark: u64,
        /// The schema version of the existing snapshot.
        schema_version: u32,
    },
    /// A position to continue from is ahead of the head. Either an older backup was restored since
    /// the position was saved, or it belongs to another store. A reader beside a writer may also
    /// lag: [`Store::wait_for`](crate::Store::wait_for) waits for a position.
    #[error(
        "position {position} is ahead of the head, {head}: it belongs to another history, or is \
        not visible yet; start over, or wait for it"
    )]
    PositionAhead {
        /// The position that was passed.
        position: Position,
        /// The position of the last event.
        head: Position,
    },
    /// A version of a stream to continue from is ahead of the stream: an older backup was restored
    /// since the version was saved, or it belongs to another stream or store. A reader beside a writer
    /// may also lag: [`Store::wait_for`](crate::Store::wait_for) waits for the version's position.
    #[error(
        "version {version} of stream {stream:?} is ahead of its last version, {last}: it belongs to \
        another history, or is not visible yet; start over, or wait for it"
    )]
    VersionAhead {
        /// The stream.
        stream: String,
        /// The version after which the subscription was to begin.
        version: u64,
        /// The stream's last visible version, 0 if there is none.
        last: u64,
    },
    /// A subscription ended before its consumer had handled a position that a
    /// [`Progress`](crate::subscription::Progress) waits for: it was stopped or dropped, its thread
    /// panicked, or its store was closed.
    #[error(
        "the subscription ended when events up to position {handled} were handled, before position \
        {awaited}; wait for the progress of the one that continues"
    )]
    SubscriptionEnded {
        /// The position up to which every selected event is handled.
        handled: Position,
        /// The position that the call waits for.
        awaited: Position,
    },
    /// A checkpoint token was made by another store.
    #[error("the checkpoint token belongs to store {found}, and this is store {expected}")]
    OtherStore {
        /// The id of this store.
        expected: Uuid,
        /// The id of the store that made the token.
        found: Uuid,
    },
    /// A position belongs to another history of this store: an older backup was restored, and other
    /// events were recorded at these positions. Rebuild what was derived from the former events.
    #[error(
        "position {position} belongs to another history of this store: an older state was \
        restored, and other events were recorded since; rebuild what was derived from the former \
        events"
    )]
    OtherHistory {
        /// The position.
        position: Position,
    },
    /// The clock shows an implausible time, which all later commits would inherit. Nothing was written.
    /// Correct the clock and try again; if it is right, open the store with a larger
    /// [`Options::max_clock_jump`](crate::Options::max_clock_jump).
    #[error(
        "the clock reads {now}, the last commit was recorded at {last}, and no time after {limit} is \
        plausible: correct the clock, or open the store with a larger Options::max_clock_jump"
    )]
    ClockJumped {
        /// The time of the last commit; the epoch if there is none.
        last: Timestamp,
        /// The clock's time.
        now: Timestamp,
        /// The latest accepted time.
        limit: Timestamp,
    },
    /// The disk, or the user's quota, is full. Nothing was written. The store continues when there
    /// is space again: repeat the call then.
    #[error("the disk is full: no room for {}{}; free space there, or raise the quota, and repeat \
        the call (a new segment takes its whole size at once, see `Options::segment_size`)",
        needed.map(|bytes| format!("{bytes} bytes of ")).unwrap_or_default(), path.display())]
    DiskFull {
        /// The file or directory that could not be created or extended.
        path: PathBuf,
        /// The number of bytes that were requested at once, if known.
        needed: Option<u64>,
    },
    /// An earlier write or sync failed, so that the contents of the disk are uncertain; or a sealed
    /// segment differs from its state when the store was closed. This call wrote nothing. Close the
    /// store and open it again.
    #[error("the store stopped writing after a failure: {reason}")]
    WriterPoisoned {
        /// The failure that stopped the writer.
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
        /// handle is in this process. `None` if it is unknown: on systems other than Linux, for a
        /// process of another PID namespace or another machine, and if the holder has ended meanwhile.
        holder: Option<u32>,
    },
    /// The store is fenced: its history goes on elsewhere, and nothing is appended here. Open the other place; or, if the
    /// move was given up, remove the fence with [`fence::lift`](crate::fence::lift).
    #[error("the store at {} is fenced, its history goes on at {to:?}: open that instead, or remove the fence with \
        annals::fence::lift", path.display())]
    Fenced {
        /// The store's directory.
        path: PathBuf,
        /// Where the history goes on; empty if it is not known.
        to: String,
    },
    /// The store's directory, or a file or directory in it, was removed or replaced while the store
    /// was open. Nothing was written to its replacement. A writer stops writing: close the store,
    /// and open it at its new place.
    #[error("the store was moved or replaced while it was open: {why} ({}); writing has stopped: \
        close the store, and open it at its new place", path.display())]
    StoreGone {
        /// The file or directory that was to be used.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// The directory cannot take a backup of this store. Nothing in it was changed. Use an empty one.
    #[error("{} cannot take a backup of this store: {why}", path.display())]
    BackupRefused {
        /// The directory.
        path: PathBuf,
        /// Why it cannot.
        why: String,
    },
    /// The directory is not a store. Nothing in it was changed.
    #[error("{} is not a store: {why}", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The store was written by a format version that this build does not support.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file with the version or feature bits.
        path: PathBuf,
        /// The unsupported version or feature bits.
        what: String,
    },
    /// Acknowledged bytes are damaged or missing. Nothing was changed. [`verify`](crate::verify())
    /// lists every fault of the store, [`repair`](crate::repair::repair()) copies what is intact
    /// into a new one.
    #[error("{} is damaged at offset {offset}: {what}{}; \
        annals::verify lists every fault, annals::repair copies what is intact",
        file.display(), known(*expected_position, evidence.as_deref()))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// The offset in the file, in bytes.
        offset: u64,
        /// The position of the event that is expected there; 0 if it is not known.
        expected_position: Position,
        /// What is wrong.
        what: String,
        /// What proves that the bytes had been acknowledged, if that had to be decided.
        evidence: Option<String>,
    },
    /// The store opens for writing: there is no loss to accept. Nothing was changed.
    #[error("the store at {} opens for writing: there is no loss to accept", path.display())]
    NothingLost {
        /// The store's directory.
        path: PathBuf,
    },
    /// The given position is not the last one before the damage. Nothing was changed.
    #[error("the store is intact up to position {whole}, not {given}: nothing was cut")]
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
    /// The store is closed, and everything that was appended is durable, but background work failed
    /// and was not completed before the close. Only [`Store::close`](crate::Store::close) returns
    /// this.
    #[error("everything appended is durable, but the store could not {}{}",
        failed.first().map(|failed| with_causes(failed)).unwrap_or_default(),
        match failed.len() { 0 | 1 => String::new(), more => format!("; and {} more", more - 1) })]
    MaintenanceFailed {
        /// What failed, and why; never empty.
        failed: Vec<FailedMaintenance>,
    },
    /// The operating system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A cold segment could not be read back, or one is in the way of an operation that needs the files of the log. The
    /// store is unchanged; see [`cold`](crate::cold).
    #[error("segment {segment} is in cold storage: {why}")]
    ColdSegment {
        /// The number of the segment.
        segment: u64,
        /// Where its file would be.
        path: PathBuf,
        /// Why it is not read back, and what helps.
        why: String,
        /// The error of the [`SegmentSource`](crate::cold::SegmentSource), if it gave one.
        source: Option<io::Error>,
    },
    /// An event's data or metadata is not JSON, or not of the requested type (feature `serde`). The event is
    /// stored as it was appended.
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
        /// The fault and its place in the data.
        source: serde_json::Error,
    },
    /// A value could not be written as the JSON data or metadata of a new event (feature `serde`).
    #[cfg(feature = "serde")]
    #[error("the {part} of a new event of type {event_type:?} cannot be written as JSON")]
    WriteJson {
        /// Which part of the event: `"data"` or `"metadata"`.
        part: &'static str,
        /// The type of the new event.
        event_type: String,
        /// Why it cannot be written.
        source: serde_json::Error,
    },
}

/// The text of a conflict: the failed check, or the number of failed checks and the first one.
/// What is known of damage beside its place, in brackets.
fn known(expected_position: Position, evidence: Option<&str>) -> String {
    let position = Some(expected_position).filter(|position| position.get() > 0);
    let position = position.map(|position| format!("expected position {position}"));
    let known: Vec<String> = position.into_iter().chain(evidence.map(str::to_owned)).collect();
    if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) }
}

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

/// Whether the disk or the user's quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The text of an error and of its sources.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Whether an opened file or directory is no longer in its place. A network file system uses the same
/// kind of error for a file that it no longer has.
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
        let source = match source.downcast::<NotLocal>() {
            Ok(NotLocal { segment, why, source }) => {
                return Self::ColdSegment { segment, path, why, source };
            }
            Err(source) => source,
        };
        Self::Io { operation, path, source }
    }

    /// Sets the number of requested bytes of an [`Error::DiskFull`].
    pub(crate) fn wanting(mut self, bytes: u64) -> Self {
        if let Self::DiskFull { needed, .. } = &mut self {
            *needed = Some(bytes);
        }
        self
    }

    /// Whether a commit was refused because one of its checks failed: another commit came first, or
    /// the expectation was wrong. Read again, decide again and append again, for example with
    /// [`Store::retry`](crate::Store::retry).
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

    /// The actual version of the first stream that failed a check of its version, 0 if there is no
    /// such stream. `None` if no check of a version failed.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_reported_with_what_is_known_of_it() {
        let text = |position: u64, evidence: Option<&str>| {
            let (file, what) = (PathBuf::from("log/1.seg"), "cut short".to_owned());
            let (offset, expected_position) = (8, Position::new(position));
            let evidence = evidence.map(str::to_owned);
            let error = Error::Corrupt { file, offset, expected_position, what, evidence };
            error.to_string().split(';').next().unwrap_or_default().to_owned()
        };
        let damaged = "log/1.seg is damaged at offset 8: cut short";
        assert_eq!(text(0, None), damaged);
        assert_eq!(text(0, Some("a later seal")), format!("{damaged} (a later seal)"));
        assert_eq!(text(7, None), format!("{damaged} (expected position 7)"));
    }
}
