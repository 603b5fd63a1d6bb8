//! The store: connects the modules. Opens and closes, and passes each call to the module that owns it.

mod backup;
mod cold;
pub(crate) mod cursors;
mod handle;
mod overview;
pub(crate) mod records;
pub(crate) mod snapshots;
pub(crate) mod transaction;
mod waits;

#[cfg(feature = "async")]
mod tasks;

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use crate::engine::Engine;
use crate::engine::append::{Answer, Prepared, StreamOperation, prepare};
use crate::engine::compaction::Compacted;
use crate::engine::stats::Stats;
use crate::error::{Error, Result};
use crate::event::token::CheckpointToken;
use crate::event::{
    Appended, ExpectedVersion, NewEvent, Position, StreamHead, StreamMetadata, Timestamp,
};
use crate::index::Head;
use crate::options::Options;
use crate::read::event::Event;
use crate::read::point::{event_at, event_by_id, position_at};
use crate::read::streams::stream_info;
use crate::read::{ReadAll, ReadStream, StreamInfo};
use crate::recovery::Opened;
use crate::store::cursors::Cursors;
use crate::store::handle::Handle;
use crate::store::records::Records;
use crate::store::snapshots::Snapshots;
use crate::store::transaction::Transaction;
use crate::subscription::Subscribe;

/// A handle to an open store: cheap to clone, and usable from any number of threads.
///
/// Dropping the last handle closes the store like [`Store::close`], but does not report errors.
#[derive(Debug, Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Options {
    /// Opens the store in the directory `path`. If another writer has it open, waits for
    /// [`Options::lock_timeout`] at most.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another writer still has it open after that, [`Error::NotAStore`] if the
    /// directory holds something else, [`Error::Corrupt`] if acknowledged data is damaged,
    /// [`Error::Unsupported`] if a newer version wrote it, [`Error::InvalidArgument`] for a setting out
    /// of its range, [`Error::Io`] and [`Error::DiskFull`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        Store::open_with(path.as_ref(), self)
    }
}

impl Store {
    /// Opens the store in a directory with the default [`Options`]; creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Those of [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        Ok(Self { handle: Arc::new(Handle::open(path, options)?) })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.handle.engine()
    }

    /// Appends events to a stream as one commit, if the stream has the expected version. Returns when
    /// the commit is durable, or written, as [`Options::durability`] requires.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use annals::{ExpectedVersion, NewEvent, Store};
    ///
    /// let store = Store::open(dir.path().join("ledger"))?;
    /// let opened = NewEvent::new("AccountOpened", br#"{"initialDeposit":1000}"#);
    /// let done = store.append("account-1", ExpectedVersion::NoStream, [opened])?;
    /// assert_eq!((done.version, done.last_position.get()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the stream does not have the expected version, once reads show the commit
    /// that caused it; [`Error::actual_version`] returns the actual version. [`Error::IdReused`],
    /// [`Error::DuplicateId`], [`Error::EmptyCommit`], [`Error::LimitExceeded`],
    /// [`Error::InvalidArgument`], [`Error::DiskFull`] and [`Error::WriterPoisoned`] leave the store
    /// unchanged. After [`Error::OutcomeUnknown`] the commit may or may not survive: open the store
    /// again and repeat the append with the same event ids.
    pub fn append(
        &self,
        stream: impl AsRef<str>,
        expected: ExpectedVersion,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<Appended> {
        let engine = self.engine();
        // Most appends have one event, and need no list.
        let mut given = events.into_iter();
        let mut first = given.next();
        let second = if first.is_some() { given.next() } else { None };
        let many: Vec<NewEvent>;
        let events = if second.is_some() {
            many = first.take().into_iter().chain(second).chain(given).collect();
            many.as_slice()
        } else {
            first.as_slice()
        };
        if events.is_empty() {
            return Err(Error::EmptyCommit);
        }
        let operation = [StreamOperation { stream: stream.as_ref(), expected, events }];
        let mut commit = Prepared::of(&operation, &[], &[], &[]);
        prepare(&mut commit, engine.options())?;
        let mut version = [0];
        let mut answer = Answer::new(&mut version);
        engine.appends().append(&commit, &mut answer)?;
        let done = answer.sequenced;
        Ok(Appended {
            first_position: done.first_position,
            last_position: done.last_position,
            version: version[0],
            recorded_at: done.recorded_at,
            already_recorded: done.already_recorded,
        })
    }

    /// Begins a transaction: one atomic commit over several streams, with checks.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let done = store
    ///     .transaction()
    ///     .append("account-1", ExpectedVersion::Any, [NewEvent::new("Debited", "10")])
    ///     .append("account-2", ExpectedVersion::Any, [NewEvent::new("Credited", "10")])
    ///     .check("fx-rates", ExpectedVersion::NoStream)
    ///     .commit()?;
    /// assert_eq!(done.versions, [1, 1, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(self.engine())
    }

    /// Calls `attempt` again as long as it returns a conflict, at most `attempts` times in total (0
    /// counts as 1): for callers that read, decide and append. Each call has to read again what it
    /// decides on.
    ///
    /// It cannot spin: each conflict means that another commit succeeded, and the next call begins once
    /// reads show that commit. With *n* threads that append to one stream, an append takes at most about
    /// *n* calls. The last conflict is returned, and every other error at once.
    ///
    /// If the application itself refuses, that is not an error of the store: return it from `attempt` as
    /// part of its value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Result, Store};
    ///
    /// /// Withdraws once at most; whether it did.
    /// fn withdraw(store: &Store) -> Result<bool> {
    ///     store.retry(10, |store| {
    ///         let mut version = 0;
    ///         for event in store.read_stream("account-1") {
    ///             let event = event?;
    ///             if event.event_type() == "Withdrawn" {
    ///                 return Ok(false);
    ///             }
    ///             version = event.version();
    ///         }
    ///         let withdrawn = NewEvent::new("Withdrawn", "10");
    ///         store.append("account-1", ExpectedVersion::Exact(version), [withdrawn])?;
    ///         Ok(true)
    ///     })
    /// }
    /// assert!(withdraw(&store)?);
    /// assert!(!withdraw(&store)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `attempt`.
    pub fn retry<T>(
        &self,
        attempts: u32,
        mut attempt: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let mut left = attempts.max(1);
        loop {
            left -= 1;
            match attempt(self) {
                Err(conflict) if conflict.is_conflict() && left > 0 => {
                    self.engine().appends().settle(&conflict);
                }
                done => return done,
            }
        }
    }

    /// Reads one stream, oldest event first. A stream that does not exist has no events.
    pub fn read_stream(&self, stream: impl Into<String>) -> ReadStream {
        ReadStream::new(Arc::clone(self.engine()), stream.into())
    }

    /// Reads all streams in the order of positions.
    pub fn read_all(&self) -> ReadAll {
        ReadAll::new(Arc::clone(self.engine()))
    }

    /// The last version and position of a stream; `None` if it has no visible events.
    pub fn stream_head(&self, stream: &str) -> Result<Option<StreamHead>> {
        stream_head(self.engine(), stream)
    }

    /// Information about a stream, hidden or not; `None` if it has no events up to the head.
    pub fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>> {
        let head = self.stream_head(stream)?;
        Ok(head.map(|head| {
            let (version, last_position) = (head.version, head.last_position.get());
            stream_info(self.engine(), stream.into(), Head { version, last_position })
        }))
    }

    /// Hides a stream's events below a version from reads: after `truncate_before("a", 3)`, version 3 is
    /// the first that reads show. The log keeps the events, versions continue, and a smaller version
    /// shows the events again.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] with [`FailedCheck::UnknownStream`](crate::FailedCheck::UnknownStream), or
    /// [`FailedCheck::TruncateAhead`](crate::FailedCheck::TruncateAhead) for a version greater than the
    /// stream's next one; those of a failed write.
    pub fn truncate_before(&self, stream: &str, version: u64) -> Result<()> {
        self.transaction().truncate_before(stream, version).commit().map(drop)
    }

    /// Hides a stream from reads and listings, including events that are appended to it later, until it
    /// is unarchived. Its versions continue, and checks include its events.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] with [`FailedCheck::UnknownStream`](crate::FailedCheck::UnknownStream),
    /// and those of a failed write.
    pub fn archive(&self, stream: &str) -> Result<()> {
        self.transaction().archive(stream).commit().map(drop)
    }

    /// Makes an archived stream visible again.
    ///
    /// # Errors
    ///
    /// Those of [`Store::archive`].
    pub fn unarchive(&self, stream: &str) -> Result<()> {
        self.transaction().unarchive(stream).commit().map(drop)
    }

    /// Sets how many events of a stream reads show, by age and by count; both limits are applied when
    /// the stream is read.
    ///
    /// # Errors
    ///
    /// Those of [`Store::archive`].
    pub fn set_stream_metadata(&self, stream: &str, metadata: StreamMetadata) -> Result<()> {
        self.transaction().stream_metadata(stream, metadata).commit().map(drop)
    }

    /// The records: small durable values under a key.
    pub fn records(&self) -> Records {
        Records::new(Arc::clone(self.engine()))
    }

    /// The cursors: named positions of consumers.
    pub fn cursors(&self) -> Cursors {
        Cursors::new(Arc::clone(self.engine()))
    }

    /// The position of the last visible event. For a store that is read beside its writer: as of the
    /// last read or wait.
    pub fn head(&self) -> Position {
        Position::new(self.engine().visible(false))
    }

    /// A new event id, as the store generates it for events without one: a UUID version 7 (RFC 9562)
    /// with the current time. For callers that need the id before they append, for example to repeat the
    /// append after a crash.
    pub fn new_id(&self) -> Uuid {
        Uuid::from_bytes(self.engine().new_id())
    }

    /// The event with this id; `None` if there is none or it is not visible.
    pub fn event(&self, id: Uuid) -> Result<Option<Event>> {
        self.engine().check_open()?;
        self.engine().refresh()?;
        event_by_id(self.engine(), id)
    }

    /// The event at this position; `None` if there is none or it is not visible.
    pub fn event_at(&self, position: Position) -> Result<Option<Event>> {
        let engine = self.engine();
        engine.check_open()?;
        engine.refresh()?;
        if position.get() > engine.visible(false) {
            return Ok(None);
        }
        event_at(engine, position.get())
    }

    /// The last visible position that was recorded at or before `time`;
    /// [`Position::START`] if there is none.
    pub fn position_at(&self, time: impl Into<Timestamp>) -> Result<Position> {
        let engine = self.engine();
        engine.check_open()?;
        engine.refresh()?;
        let visible = engine.visible(false);
        position_at(engine, time.into(), visible).map(Position::new)
    }

    /// A token for a visible position, to be stored outside the store together with state that was built
    /// from the events up to that position. It proves later that the position belongs to this history.
    ///
    /// # Errors
    ///
    /// [`Error::PositionAhead`] for a position after the head; [`Error::Closed`], [`Error::Corrupt`]
    /// and [`Error::Io`] if the commit at it cannot be read.
    pub fn checkpoint_token(&self, position: impl Into<Position>) -> Result<CheckpointToken> {
        self.engine().checkpoint_token(position.into().get())
    }

    /// Proves that a token belongs to this history, and returns its position.
    ///
    /// # Errors
    ///
    /// [`Error::OtherStore`]; [`Error::PositionAhead`] if this store's log ends before the position, for
    /// example after a restore; [`Error::OtherHistory`] if other events were recorded since; those of
    /// [`Store::checkpoint_token`].
    pub fn verify_token(&self, token: &CheckpointToken) -> Result<Position> {
        self.engine().verify_token(token).map(Position::new)
    }

    /// Follows the store from a position on: first the recorded events, then new ones as they are
    /// committed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "5")])?;
    /// let mut subscription = store.subscribe().start()?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// assert_eq!(message.events()[0].event_type(), "Deposited");
    /// let message = subscription.next().expect("it has not ended")?;
    /// assert!(message.is_caught_up());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(&self) -> Subscribe {
        Subscribe::new(Arc::clone(self.engine()), None)
    }

    /// Follows one stream, by default from its first event on; a subscription to it can begin at a
    /// [version](Subscribe::from_version). All other settings are those of [`Store::subscribe`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// for stream in ["account-1", "account-2", "account-1"] {
    ///     store.append(stream, ExpectedVersion::Any, [NewEvent::new("Deposited", "5")])?;
    /// }
    /// let mut events = store.subscribe_stream("account-1").after_version(1).start()?.events();
    /// let event = events.next().expect("it has not ended")?;
    /// assert_eq!((event.version(), event.position().get()), (2, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe_stream(&self, stream: impl Into<String>) -> Subscribe {
        Subscribe::new(Arc::clone(self.engine()), Some(stream.into()))
    }

    /// Snapshots: states of the caller that are stored beside the log. They are disposable, and no other
    /// call needs them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, snapshot::Snapshot};
    ///
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "5")])?;
    /// store.snapshots().save(&Snapshot::new("account-1", 1, "balance 5"))?;
    /// let snapshot = store.snapshots().load("account-1")?.expect("a moment ago");
    /// assert_eq!(snapshot.state(), b"balance 5");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(self.engine()))
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.engine().check_writable()
    }

    /// Makes every commit accepted before this call durable.
    pub fn sync(&self) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().sync_all()
    }

    /// Merges the indexes of neighbouring sealed segments into level files, as many as can be merged,
    /// now and without pauses. Never rewrites an event; look-ups continue meanwhile. Closing the store
    /// from another thread ends the call early.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Closed`], or a failed write, after which the indexes are as they
    /// were before, and only disk space is lost.
    pub fn compact(&self) -> Result<Compacted> {
        self.engine().compact()
    }

    /// Counters and sizes of the store, for any metrics system.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// The result of opening the store.
    pub fn opened(&self) -> &Opened {
        self.engine().shared().opened()
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.engine().shared().root()
    }

    /// Closes the store for all clones of this handle: every accepted commit becomes durable, a
    /// checkpoint is written so that the next opening is fast, and the lock is released. Events that
    /// were read stay readable.
    ///
    /// # Errors
    ///
    /// Those of a failed write or sync: then the outcome of commits that were not waited for is unknown.
    /// [`Error::MaintenanceFailed`] if everything is durable, but background work (sealing, indexes,
    /// checkpoints, compaction, snapshots of transactions) failed and repeating it did not succeed; it
    /// names each failure. The store is closed in any case.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

fn stream_head(engine: &Engine, stream: &str) -> Result<Option<StreamHead>> {
    engine.check_open()?;
    engine.refresh()?;
    let visible = engine.visible(false);
    let head = engine.contents().head_at(stream, visible)?;
    Ok((head.version > 0).then(|| StreamHead {
        version: head.version,
        last_position: Position::new(head.last_position),
    }))
}
