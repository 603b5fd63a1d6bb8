//! The calls on snapshots.
//!
//! Owns the rules by which a snapshot may be saved, and which one is loaded; where they are belongs to
//! [`SnapshotFiles`](crate::engine::snapshots::SnapshotFiles).

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::snapshots::{Candidate, check, check_key};
use crate::error::{Error, Result};
use crate::event::snapshot::{Mark, Snapshot};
use crate::event::{AsOf, Position, Timestamp};
use crate::read::point::position_at;

/// How often the snapshots of a key are listed, at most, because one of them could not be used.
const LISTINGS: usize = 8;

/// A snapshot in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its key.
    pub key: String,
    /// The version or position that the state covers.
    pub mark: Mark,
    /// The length of the state, in bytes.
    pub state_len: u64,
    /// The version of the state's schema.
    pub schema_version: u32,
    /// When the snapshot was saved.
    pub saved_at: Timestamp,
}

/// The snapshots of a store; see [`Store::snapshots`](crate::Store::snapshots).
#[derive(Debug, Clone)]
pub struct Snapshots {
    engine: Arc<Engine>,
}

impl Snapshots {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Saves a snapshot atomically. At least the newest
    /// [`Options::snapshots_kept`](crate::Options::snapshots_kept) snapshots of a key are kept. To
    /// save one with a commit: [`Transaction::snapshot`](crate::Transaction::snapshot).
    ///
    /// A key has one snapshot per mark. Saving the same state again succeeds and changes nothing; a
    /// state of a higher schema version replaces the stored one; any other state is refused. If
    /// threads race to save different states at one mark, one succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::SnapshotExists`] if another state is saved at the mark;
    /// [`Error::SnapshotAhead`] if the stream, or the store, has not come to its mark yet;
    /// [`Error::LimitExceeded`], [`Error::InvalidArgument`], [`Error::ReadOnly`], [`Error::Io`],
    /// [`Error::DiskFull`].
    pub fn save(&self, snapshot: &Snapshot) -> Result<()> {
        self.engine.check_writable()?;
        check(snapshot)?;
        self.check_mark(snapshot)?;
        self.engine.snapshots().save(snapshot)
    }

    /// The newest undamaged snapshot of a key, with a version as its mark or else with a position. A
    /// snapshot that is ahead of its stream or of the store, or that was taken of another history, is
    /// skipped: an older copy of the log may have been restored.
    pub fn load(&self, key: &str) -> Result<Option<Snapshot>> {
        let by_version = self.load_at_most(key, Mark::Version(u64::MAX))?;
        if by_version.is_some() {
            return Ok(by_version);
        }
        self.load_at_most(key, Position::new(u64::MAX))
    }

    /// The newest undamaged snapshot of a key whose mark is of the same kind as `mark` and not greater.
    pub fn load_at_most(&self, key: &str, mark: impl Into<Mark>) -> Result<Option<Snapshot>> {
        self.engine.check_open()?;
        check_key(key)?;
        let most = mark.into();
        let (mut last, mut marks_before) = (None, None);
        // What is skipped may have been superseded, and its file removed, after it was listed; in a reader, it may
        // be newer than the positions that the reader knows.
        for _ in 0..LISTINGS {
            self.engine.refresh()?;
            let mut candidates = self.engine.snapshots().candidates(key, most.is_position())?;
            candidates.retain(|candidate| candidate.mark <= most.number());
            let (newest, skipped) = self.first_intact(key, &candidates)?;
            if skipped == 0 {
                return Ok(newest);
            }
            last = newest;
            let marks = candidates.iter().map(|candidate| candidate.mark).collect::<Vec<_>>();
            if marks_before.as_ref() == Some(&marks) {
                break;
            }
            marks_before = Some(marks);
        }
        Ok(last)
    }

    /// The newest undamaged snapshot of a key that covers only events at or before a time, a position or
    /// a version: the state from which a state of the past is computed with the fewest events.
    ///
    /// With a time or a position, a snapshot by version counts if its stream had reached that version by
    /// then; if there is none, the newest snapshot by position is returned. With a version, only
    /// snapshots by version count. Events after the snapshot are read with the same bound
    /// ([`ReadStream::as_of`](crate::ReadStream::as_of),
    /// [`ReadAll::as_of`](crate::ReadAll::as_of)).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, snapshot::{Mark, Snapshot}};
    ///
    /// let mut times = Vec::new();
    /// for version in 1..=3 {
    ///     let done = store
    ///         .transaction()
    ///         .append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "5")])
    ///         .snapshot(Snapshot::new("account-1", version, format!("{}", 5 * version)))
    ///         .commit()?;
    ///     times.push(done.recorded_at);
    ///     # std::thread::sleep(std::time::Duration::from_millis(1));
    /// }
    /// let then = store.snapshots().load_as_of("account-1", times[1])?.expect("saved by then");
    /// assert_eq!((then.mark(), then.state()), (Mark::Version(2), &b"10"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_as_of(&self, key: &str, as_of: impl Into<AsOf>) -> Result<Option<Snapshot>> {
        self.engine.check_open()?;
        check_key(key)?;
        self.engine.refresh()?;
        let visible = self.engine.visible(false);
        let position = match as_of.into() {
            AsOf::Version(version) => return self.load_at_most(key, Mark::Version(version)),
            AsOf::Position(position) => position.get().min(visible),
            AsOf::Time(time) => position_at(&self.engine, time, visible)?,
        };
        let version = self.engine.contents().head_at(key, position)?.version;
        let by_version = self.load_at_most(key, Mark::Version(version))?;
        if by_version.is_some() {
            return Ok(by_version);
        }
        self.load_at_most(key, Position::new(position))
    }

    /// Like [`Snapshots::load_at_most`], for a task: it never blocks the executor (feature `async`).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, snapshot::Snapshot};
    ///
    /// store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Deposited", "5")])?;
    /// # futures::executor::block_on(async {
    /// store.snapshots().save_async(Snapshot::new("account-1", 1, "5")).await?;
    /// let saved = store.snapshots().load_at_most_async("account-1", 9).await?;
    /// assert_eq!(saved.expect("it is saved").state(), b"5");
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Snapshots::load_at_most`].
    #[cfg(feature = "async")]
    pub fn load_at_most_async(
        &self,
        key: impl Into<String>,
        mark: impl Into<Mark>,
    ) -> impl Future<Output = Result<Option<Snapshot>>> + Send + 'static {
        let (engine, key, mark) = (Arc::clone(&self.engine), key.into(), mark.into());
        async move {
            engine.send(move |engine| Self::new(Arc::clone(engine)).load_at_most(&key, mark)).await
        }
    }

    /// Like [`Snapshots::save`], for a task: it never blocks the executor (feature `async`). Dropping the
    /// future after it was polled does not cancel the save.
    ///
    /// # Errors
    ///
    /// Those of [`Snapshots::save`].
    #[cfg(feature = "async")]
    pub fn save_async(
        &self,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(&self.engine);
        async move { engine.send(move |engine| Self::new(Arc::clone(engine)).save(&snapshot)).await }
    }

    /// All undamaged snapshots whose keys begin with `prefix`, in no particular order. Reads every
    /// snapshot of the store: for inspection.
    pub fn list(&self, prefix: &str) -> Result<Vec<SnapshotInfo>> {
        self.engine.check_open()?;
        self.engine.refresh()?;
        let mut found = Vec::new();
        self.engine.snapshots().for_each(prefix, |snapshot| {
            found.push(SnapshotInfo {
                state_len: snapshot.state().len() as u64,
                mark: snapshot.mark(),
                schema_version: snapshot.schema_version(),
                saved_at: snapshot.saved_at(),
                key: snapshot.key().to_owned(),
            });
        })?;
        Ok(found)
    }

    /// Deletes all snapshots of a key; returns whether there were any.
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.engine.check_writable()?;
        check_key(key)?;
        self.engine.snapshots().delete(key)
    }

    /// Refuses a snapshot of events that are not durable: it could outlive them, and be used with
    /// another history.
    /// The first candidate that is an intact snapshot of this history, and the number of those before it.
    fn first_intact(
        &self,
        key: &str,
        candidates: &[Candidate],
    ) -> Result<(Option<Snapshot>, usize)> {
        for (skipped, candidate) in candidates.iter().enumerate() {
            if let Some(snapshot) = self.engine.snapshots().read(key, candidate)? {
                return Ok((Some(snapshot), skipped));
            }
        }
        Ok((None, candidates.len()))
    }

    fn check_mark(&self, snapshot: &Snapshot) -> Result<()> {
        let mark = snapshot.mark().number();
        if mark > self.reached(snapshot)? {
            self.engine.sync_all()?;
        }
        let reached = self.reached(snapshot)?;
        if mark > reached {
            return Err(Error::SnapshotAhead { key: snapshot.key().to_owned(), mark, reached });
        }
        Ok(())
    }

    /// The durable version of the stream, or the durable head of the store.
    fn reached(&self, snapshot: &Snapshot) -> Result<u64> {
        let durable = self.engine.positions().durable();
        match snapshot.mark() {
            Mark::Version(_) => {
                let head = self.engine.contents().head_at(snapshot.key(), durable)?;
                Ok(head.version)
            }
            Mark::Position(_) => Ok(durable),
        }
    }
}
