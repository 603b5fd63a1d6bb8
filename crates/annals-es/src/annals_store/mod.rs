//! The engine `annals` as an event store.
//!
//! Owns the choice between the engine's calls for tasks and its blocking ones. Must never copy the data of an
//! event, and must never move work to a thread that the engine itself does in the calling one.

mod convert;
mod reads;

use std::ops::ControlFlow;

use annals::Store;
use uuid::Uuid;

use crate::store::{
    AppendError, AtomicCheckpoints, Boundaries, Commit, CommitParts, Committed, EventRef,
    EventStore, Mark, OrderedStore, Position, ReadAll, ReadStream, RecordedEvent, SeveralStreams,
    Snapshot, StoreError, StreamName, Subscribe, Timestamp, Version,
};
use convert::{append_error, committed, new_event, store_error};

pub use reads::{AnnalsEvents, AnnalsSubscription};

/// The greatest number of events after which the engine ends a message.
const MAX_BATCH: usize = 65_536;

/// A store in a directory, by the engine [`annals`].
///
/// [`AnnalsStore::new`] is for tasks. Writing never blocks its executor, and a thread of the engine makes the reads
/// over all streams. Single streams, snapshots and an event by its id are read in the polling thread, as the
/// engine's subscriptions are: streams in turns of at most 512 events and about a mebibyte. They are read from
/// memory, or from files that the operating system usually has in its cache;
/// [`read_on_thread`](Self::read_on_thread) moves them to a thread of the engine.
///
/// [`AnnalsStore::blocking`] is for programs without an executor. Its futures do everything in the thread that
/// polls them, and are ready at the first poll, except for waits and subscriptions: with
/// [`block_on`](crate::blocking::block_on) a call costs no change of threads.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use annals_es::blocking::block_on;
/// use annals_es::{AnnalsStore, Commit, EventStore, Expected, NewEvent};
///
/// let store = AnnalsStore::blocking(annals::Store::open(dir.path().join("ledger"))?);
/// let opened = NewEvent::new("Opened", "");
/// let done = block_on(store.append(Commit::to("account-1", Expected::NoStream, [opened])))?;
/// assert_eq!(done.last_position.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AnnalsStore {
    store: Store,
    blocking: bool,
    /// Whether a thread of the engine makes all reads of tasks.
    reads_elsewhere: bool,
}

impl AnnalsStore {
    /// The store for tasks of any executor.
    pub fn new(store: Store) -> Self {
        Self { store, blocking: false, reads_elsewhere: false }
    }

    /// The store for programs without an executor.
    pub fn blocking(store: Store) -> Self {
        Self { store, blocking: true, reads_elsewhere: false }
    }

    /// Lets a thread of the engine make all reads of tasks, so that a poll never waits for a file: for stores that
    /// are much larger than memory. The change of threads costs more than reading a short stream.
    #[must_use]
    pub fn read_on_thread(mut self) -> Self {
        self.reads_elsewhere = true;
        self
    }

    /// The engine's handle: for backups, statistics and all that the toolkit does not cover.
    pub fn engine(&self) -> &Store {
        &self.store
    }

    /// The transaction of the engine that makes a commit.
    fn transaction(&self, parts: CommitParts) -> annals::Transaction<'_> {
        let CommitParts { streams, boundaries, checkpoints, snapshots } = parts;
        let mut transaction = self.store.transaction();
        for part in streams {
            let events = part.events.into_iter().map(new_event);
            let expected = convert::expected(part.expected);
            transaction = transaction.append(part.stream.as_str(), expected, events);
        }
        for boundary in &boundaries {
            let query = convert::query(&boundary.query);
            transaction = transaction.fail_if(query.after(boundary.after.get()));
        }
        for checkpoint in checkpoints {
            transaction = transaction.cursor(checkpoint.name, checkpoint.to.get());
        }
        for snapshot in snapshots {
            transaction = transaction.snapshot(convert::to_snapshot(snapshot));
        }
        transaction
    }

    fn commit_blocking(&self, mut parts: CommitParts) -> annals::Result<Committed> {
        let alone = parts.boundaries.is_empty()
            && parts.checkpoints.is_empty()
            && parts.snapshots.is_empty()
            && parts.streams.len() == 1;
        if let Some(part) = parts.streams.pop_if(|part| alone && !part.events.is_empty()) {
            // The engine needs no lists for the events of one stream.
            let events = part.events.into_iter().map(new_event);
            let expected = convert::expected(part.expected);
            return self.store.append(part.stream, expected, events).map(convert::appended);
        }
        self.transaction(parts).commit().map(committed)
    }
}

impl From<Store> for AnnalsStore {
    fn from(store: Store) -> Self {
        Self::new(store)
    }
}

impl EventStore for AnnalsStore {
    type Events = AnnalsEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        if self.blocking {
            return self.commit_blocking(parts).map_err(append_error);
        }
        let committing = self.transaction(parts).commit_async();
        committing.await.map(committed).map_err(append_error)
    }

    fn read_stream(&self, read: ReadStream) -> AnnalsEvents {
        let mut of = self
            .store
            .read_stream(read.stream.as_str())
            .from_version(read.from.get().max(1))
            .up_to_version(read.up_to.get())
            .limit(read.limit);
        if read.up_to_position < Position::MAX {
            of = of.as_of(annals::Position::new(read.up_to_position.get()));
        }
        if read.backwards {
            of = of.backwards();
        }
        match (self.blocking, self.reads_elsewhere) {
            (true, _) => AnnalsEvents::in_place(of),
            (false, false) => AnnalsEvents::in_turns(of),
            (false, true) => AnnalsEvents::elsewhere(of.into_stream()),
        }
    }

    async fn visit_stream<B: Send>(
        &self,
        read: ReadStream,
        each: impl FnMut(EventRef<'_>) -> ControlFlow<B> + Send,
    ) -> Result<ControlFlow<B>, StoreError> {
        self.read_stream(read).visit(each).await
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        let head = if self.reads_elsewhere {
            self.store.stream_head_async(stream.as_str()).await
        } else {
            self.store.stream_head(stream.as_str())
        };
        let head = head.map_err(store_error)?;
        Ok(Version::new(head.map_or(0, |head| head.version)))
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let found = if self.reads_elsewhere {
            self.store.event_async(id).await
        } else {
            self.store.event(id)
        };
        let found = found.map_err(store_error)?;
        Ok(found.filter(|event| event.stream() == stream.as_str()).map(RecordedEvent::from))
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        let snapshots = self.store.snapshots();
        let mark = convert::mark(at_most);
        let found = if self.reads_elsewhere {
            snapshots.load_at_most_async(key, mark).await
        } else {
            snapshots.load_at_most(key, mark)
        };
        Ok(found.map_err(store_error)?.as_ref().and_then(convert::from_snapshot))
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let (snapshots, snapshot) = (self.store.snapshots(), convert::to_snapshot(snapshot));
        let saved = if self.blocking {
            snapshots.save(&snapshot)
        } else {
            snapshots.save_async(snapshot).await
        };
        saved.map_err(store_error)
    }
}

impl OrderedStore for AnnalsStore {
    type Subscription = AnnalsSubscription;

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(Position::new(self.store.head().get()))
    }

    fn read_all(&self, read: ReadAll) -> AnnalsEvents {
        let mut of =
            self.store.read_all().after(read.after.get()).up_to(read.up_to.get()).limit(read.limit);
        if !read.query.is_all() {
            of = of.matching(convert::query(&read.query));
        }
        if read.backwards {
            of = of.backwards();
        }
        if self.blocking {
            AnnalsEvents::all_in_place(of)
        } else {
            AnnalsEvents::elsewhere(of.into_stream())
        }
    }

    fn subscribe(&self, subscribe: Subscribe) -> AnnalsSubscription {
        let mut of = self
            .store
            .subscribe()
            .after(subscribe.after.get())
            .whole_commits()
            .batch_size(subscribe.batch_size.clamp(1, MAX_BATCH));
        if !subscribe.query.is_all() {
            of = of.matching(convert::query(&subscribe.query));
        }
        if subscribe.prompt_progress {
            of = of.progress_every(1);
        }
        of.start().into()
    }

    async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        let position = annals::Position::new(position.get());
        self.store.wait_for_async(position).await.map_err(store_error)
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position, StoreError> {
        let time = annals::Timestamp::from_micros(time.as_micros());
        let position = self.store.position_at(time).map_err(store_error)?;
        Ok(Position::new(position.get()))
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let position = self.store.cursors().get(name).map_err(store_error)?;
        Ok(position.map(|position| Position::new(position.get())))
    }

    async fn save_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        let cursors = self.store.cursors();
        if self.blocking {
            return cursors.advance(name, to.get()).map_err(append_error);
        }
        cursors.advance_async(name, to.get()).await.map_err(append_error)
    }

    async fn reset_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        let cursors = self.store.cursors();
        if self.blocking {
            return cursors.reset(name, to.get()).map_err(append_error);
        }
        cursors.reset_async(name, to.get()).await.map_err(append_error)
    }

    async fn checkpoint_token(&self, position: Position) -> Result<String, StoreError> {
        let token = self.store.checkpoint_token(position.get()).map_err(store_error)?;
        Ok(token.to_string())
    }

    async fn verify_token(&self, token: &str) -> Result<Position, StoreError> {
        let token: annals::CheckpointToken =
            token.parse().map_err(|error: annals::ParseTokenError| {
                StoreError::InvalidArgument { what: "token", why: error.to_string() }
            })?;
        let position = self.store.verify_token(&token).map_err(store_error)?;
        Ok(Position::new(position.get()))
    }
}

impl SeveralStreams for AnnalsStore {}
impl Boundaries for AnnalsStore {}
impl AtomicCheckpoints for AnnalsStore {}
