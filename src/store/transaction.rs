//! Transactions, and the tickets of submitted commits.

#[cfg(feature = "async")]
mod tasks;

use crate::engine::Engine;
use crate::engine::append::{
    Accepted, Boundary, CursorFrom, ExpectedMatch, Prepared, Request, StreamOperation, prepare,
};
use crate::error::Result;
use crate::event::snapshot::Snapshot;
use crate::event::{
    Committed, ExpectedRecord, ExpectedVersion, NewEvent, Position, RetentionLimits,
    StreamMetadata, Timestamp,
};
use crate::format::metadata::Change;
use crate::options::Durability;
use crate::query::Query;

use bytes::Bytes;
use smol_str::SmolStr;
use std::sync::Arc;

/// One atomic commit over any number of streams: either all of it becomes visible and durable, or none.
///
/// Operations are checked in the order they were added, each against its stream as the operations before
/// it leave it. If any fails, nothing is written, and the error lists all that failed. A transaction
/// with checks and nothing to append writes nothing: it returns the current versions, or the conflict.
///
/// A transaction may be repeated if its events are given [ids](NewEvent::id). When all of them are
/// recorded already, its checks and boundaries are not made again, and only those of its other
/// operations are applied that are not in effect: a cursor that is at its target or has passed it stays
/// where it is. [`Committed::applied`] lists them.
#[derive(Debug)]
#[must_use = "a transaction does nothing before it is committed"]
pub struct Transaction<'a> {
    engine: &'a Arc<Engine>,
    operations: Vec<Owned>,
    boundaries: Vec<Boundary>,
    requests: Vec<Request>,
    snapshots: Vec<Snapshot>,
    durability: Durability,
    recorded_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Owned {
    stream: String,
    expected: ExpectedVersion,
    events: Vec<NewEvent>,
}

/// A commit on its way to disk. Dropping the ticket does not cancel the commit.
///
/// With feature `async` it is also a `Future`.
#[derive(Debug)]
#[must_use = "the commit is durable when the ticket is ready"]
pub struct Ticket {
    engine: Arc<Engine>,
    accepted: Accepted,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(engine: &'a Arc<Engine>) -> Self {
        let durability = engine.options().durability;
        Self {
            engine,
            operations: Vec::new(),
            boundaries: Vec::new(),
            requests: Vec::new(),
            snapshots: Vec::new(),
            durability,
            recorded_at: None,
        }
    }

    /// Appends events to a stream, if its version is as expected.
    pub fn append(
        mut self,
        stream: impl Into<String>,
        expected: ExpectedVersion,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        let events = events.into_iter().collect();
        self.operations.push(Owned { stream: stream.into(), expected, events });
        self
    }

    /// Requires a stream to have the expected version, and appends nothing to it.
    pub fn check(self, stream: impl Into<String>, expected: ExpectedVersion) -> Self {
        self.append(stream, expected, [])
    }

    /// Fails the commit if any event that the query matches lies after the query's position: a decision
    /// made by reading up to that position still holds. Without a position, any match fails the commit.
    /// Hidden events count, because hiding affects only reads.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Query};
    ///
    /// let taken = Query::tagged(["username:ann"]);
    /// let read = store.read_all().matching(taken.clone()).start()?;
    /// let head = read.head();
    /// assert_eq!(read.count(), 0);
    /// store
    ///     .transaction()
    ///     .append("user-1", ExpectedVersion::Any, [NewEvent::new("Registered", "ann").tag("username:ann")])
    ///     .fail_if(taken.after(head))
    ///     .commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_if(mut self, query: Query) -> Self {
        self.boundaries.push(Boundary::new(query, ExpectedMatch::NothingNew));
        self
    }

    /// Fails the commit if any event matches the query, at any position; positions in the query are
    /// ignored.
    pub fn fail_if_exists(mut self, query: Query) -> Self {
        self.boundaries.push(Boundary::new(query, ExpectedMatch::Nothing));
        self
    }

    /// Fails the commit unless the newest event that the query matches is the one at `position`;
    /// [`Position::START`]: unless none matches. So a decision that remembers the newest event it was
    /// made from needs no read before the append. As for [`Transaction::fail_if`], hidden events count,
    /// and an item of the query with a position matches only events after it.
    ///
    /// A failure is [`FailedCheck::NewestMatchMoved`](crate::FailedCheck::NewestMatchMoved), with the
    /// newest match there is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Position, Query};
    ///
    /// let seat = Query::tagged(["seat:12"]);
    /// let reserved = store
    ///     .transaction()
    ///     .append("booking-1", ExpectedVersion::Any, [NewEvent::new("Reserved", "").tag("seat:12")])
    ///     .expect_newest(seat.clone(), Position::START)
    ///     .commit()?;
    /// store
    ///     .transaction()
    ///     .append("booking-1", ExpectedVersion::Any, [NewEvent::new("Released", "").tag("seat:12")])
    ///     .expect_newest(seat, reserved.last_position)
    ///     .commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expect_newest(mut self, query: Query, position: impl Into<Position>) -> Self {
        let expected = ExpectedMatch::At(position.into().get());
        self.boundaries.push(Boundary::new(query, expected));
        self
    }

    /// Moves a cursor with the commit. Fails the commit unless the cursor moves forward, and at most to
    /// the last event before this commit. A cursor that was never set is at [`Position::START`].
    pub fn cursor(self, name: impl AsRef<str>, to: impl Into<Position>) -> Self {
        self.advance(name.as_ref(), CursorFrom::Anywhere, to.into())
    }

    /// Moves a cursor forward if it is at the position `from`; `None`: if it was never set.
    pub fn cursor_from(
        self,
        name: impl AsRef<str>,
        from: Option<Position>,
        to: impl Into<Position>,
    ) -> Self {
        let from = CursorFrom::At(from.map(Position::get));
        self.advance(name.as_ref(), from, to.into())
    }

    fn advance(mut self, name: &str, from: CursorFrom, to: Position) -> Self {
        self.requests.push(Request::Advance { name: SmolStr::new(name), from, to: to.get() });
        self
    }

    /// Sets a cursor to any position up to the last event, also backwards.
    pub fn reset_cursor(mut self, name: impl AsRef<str>, to: impl Into<Position>) -> Self {
        self.requests.push(Request::Reset { name: SmolStr::new(name), to: to.into().get() });
        self
    }

    /// Deletes a cursor; fails the commit if there is none of that name.
    pub fn delete_cursor(mut self, name: impl AsRef<str>) -> Self {
        self.requests.push(Request::Delete { name: SmolStr::new(name) });
        self
    }

    /// Gives a [record](crate::Records) a value with the commit, if the record is as expected: for state
    /// that must agree with the events. Several changes of one record are made in the order they were
    /// added, each checked against the one before.
    ///
    /// If the events of the transaction are recorded already, a record that was changed in that commit or
    /// later stays as it is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedRecord, ExpectedVersion, NewEvent};
    ///
    /// let done = store
    ///     .transaction()
    ///     .append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "5")])
    ///     .put("balance/account-1", "5", ExpectedRecord::NoRecord)
    ///     .commit()?;
    /// assert_eq!(done.record_versions, [1]);
    /// let lost = store.transaction().put("balance/account-1", "6", ExpectedRecord::Exact(7)).commit();
    /// assert!(lost.is_err_and(|error| error.is_conflict()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put(
        mut self,
        key: impl AsRef<str>,
        value: impl Into<Bytes>,
        expected: ExpectedRecord,
    ) -> Self {
        let (key, value) = (SmolStr::new(key), value.into());
        self.requests.push(Request::PutRecord { key, value, expected });
        self
    }

    /// Deletes a [record](crate::Records) with the commit, if the record is as expected. Fails the commit
    /// if there is none.
    pub fn delete_record(mut self, key: impl AsRef<str>, expected: ExpectedRecord) -> Self {
        self.requests.push(Request::DeleteRecord { key: SmolStr::new(key), expected });
        self
    }

    /// Requires a [record](crate::Records) to be as expected, and changes nothing.
    pub fn check_record(mut self, key: impl AsRef<str>, expected: ExpectedRecord) -> Self {
        self.requests.push(Request::CheckRecord { key: SmolStr::new(key), expected });
        self
    }

    /// Hides a stream's events below a version; see
    /// [`Store::truncate_before`](crate::Store::truncate_before).
    pub fn truncate_before(self, stream: impl AsRef<str>, version: u64) -> Self {
        let stream = SmolStr::new(stream);
        self.hide(Change::Truncated { stream, before: version })
    }

    /// Hides a stream; see [`Store::archive`](crate::Store::archive).
    pub fn archive(self, stream: impl AsRef<str>) -> Self {
        let stream = SmolStr::new(stream);
        self.hide(Change::Archived { stream })
    }

    /// Makes an archived stream visible again.
    pub fn unarchive(self, stream: impl AsRef<str>) -> Self {
        let stream = SmolStr::new(stream);
        self.hide(Change::Unarchived { stream })
    }

    /// Sets the limits on the events of a stream that reads show; see
    /// [`Store::set_stream_metadata`](crate::Store::set_stream_metadata).
    pub fn stream_metadata(self, stream: impl AsRef<str>, metadata: StreamMetadata) -> Self {
        let stream = SmolStr::new(stream);
        let RetentionLimits { max_age, max_count } = metadata.to_limits();
        self.hide(Change::Retention { stream, max_age, max_count })
    }

    fn hide(mut self, change: Change) -> Self {
        self.requests.push(Request::Hide(change));
        self
    }

    /// Saves a snapshot once this commit and every commit accepted before it are durable: it appears
    /// with the commit, or not at all. A [`Durability::Sync`] commit returns, and its ticket is done,
    /// once the snapshot is saved; a transaction that writes nothing does not wait for other commits.
    /// The snapshot's mark may be a version or position that this commit reaches. If the snapshot cannot
    /// be saved, the commit does not fail (replay gives the same state); the failure counts in
    /// [`Stats::snapshot_failures`](crate::Stats::snapshot_failures). With more than 32 MiB of states waiting
    /// for their commits to be durable, the next [`Durability::Buffered`] commit is synced.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, snapshot::Snapshot};
    ///
    /// store
    ///     .transaction()
    ///     .append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Deposited", "5")])
    ///     .snapshot(Snapshot::new("account-1", 1, "balance 5"))
    ///     .commit()?;
    /// assert!(store.snapshots().load("account-1")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(mut self, snapshot: Snapshot) -> Self {
        self.snapshots.push(snapshot);
        self
    }

    /// Sets when this commit counts as done, instead of the store's setting.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Records the commit at this time instead of now: for migrated histories, so that
    /// [`as_of`](crate::ReadAll::as_of), [`Store::position_at`](crate::Store::position_at) and
    /// [`StreamMetadata::max_age`] use the original times.
    ///
    /// Times in a store never decrease, and none is ahead of the clock. A history can therefore be
    /// migrated with its times only in their order, and before anything newer is recorded: into a new
    /// store, or after older events. All events of the commit get this time. Later commits without a
    /// time of their own are recorded at the current time. A commit whose events are recorded already
    /// ([`Committed::already_recorded`]) keeps its time; other changes of such a commit are recorded at
    /// the nearest time that is accepted. A transaction that writes nothing ignores the time.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Timestamp};
    ///
    /// let in_2020 = Timestamp::from_micros(1_577_836_800_000_000);
    /// let done = store
    ///     .transaction()
    ///     .append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])
    ///     .recorded_at(in_2020)
    ///     .commit()?;
    /// assert_eq!(done.recorded_at, in_2020);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The commit fails with [`Error::RecordedTime`](crate::Error::RecordedTime), which holds the range
    /// of accepted times, if the time is before that of the last accepted commit, or ahead of both the
    /// clock and the time of the last commit. This is tested before any check of the transaction.
    pub fn recorded_at(mut self, time: impl Into<Timestamp>) -> Self {
        self.recorded_at = Some(time.into());
        self
    }

    /// Commits, and returns when the commit is as durable as requested.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) with every failed check, once reads show the commit
    /// that caused it; [`Error::RecordedTime`](crate::Error::RecordedTime); and those of
    /// [`Store::append`](crate::Store::append).
    pub fn commit(self) -> Result<Committed> {
        let appends = self.engine.appends();
        self.with_prepared(|commit| appends.commit(commit, self.durability))
    }

    /// Commits, and returns as soon as the commit has its place in the order of commits: every check has
    /// passed, and all later commits are checked against it. It is durable when the ticket is done. With
    /// this, one thread can keep many commits in flight.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that are known by then. A conflict is returned at once, even
    /// with a commit that is still on its way to disk: before another attempt, wait for its `visible_at`
    /// with [`Store::wait_for`](crate::Store::wait_for), or use [`Store::retry`](crate::Store::retry),
    /// which waits.
    pub fn submit(self) -> Result<Ticket> {
        let appends = self.engine.appends();
        let accepted =
            self.with_prepared(|commit| appends.submit(commit, self.durability, true))?;
        Ok(Ticket { engine: Arc::clone(self.engine), accepted })
    }

    /// Makes the checks that need no lock, and calls `call` with the prepared transaction.
    fn with_prepared<T>(&self, call: impl FnOnce(&Prepared<'_>) -> Result<T>) -> Result<T> {
        let operations: Vec<StreamOperation<'_>> = self
            .operations
            .iter()
            .map(|o| StreamOperation { stream: &o.stream, expected: o.expected, events: &o.events })
            .collect();
        let (boundaries, requests) = (&self.boundaries, &self.requests);
        let options = self.engine.options();
        let mut prepared = Prepared::of(&operations, boundaries, requests, &self.snapshots);
        prepare(&mut prepared, options)?;
        prepared.recorded_at = self.recorded_at;
        call(&prepared)
    }
}

impl Ticket {
    /// The result of the commit, which is final once the commit is durable.
    pub fn committed(&self) -> &Committed {
        self.accepted.committed()
    }

    /// Waits until the commit is as durable as requested.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown),
    /// [`Error::WriterPoisoned`](crate::Error::WriterPoisoned) or
    /// [`Error::DiskFull`](crate::Error::DiskFull).
    pub fn wait(self) -> Result<Committed> {
        self.engine.appends().wait(self.accepted)
    }
}

#[cfg(feature = "async")]
impl Future for Ticket {
    type Output = Result<Committed>;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match self.engine.appends().poll(&self.accepted, context.waker()) {
            Some(outcome) => std::task::Poll::Ready(outcome),
            None => std::task::Poll::Pending,
        }
    }
}
