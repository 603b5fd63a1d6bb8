//! A store in which other commits come first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use annals_es::{
    AppendError, Commit, Committed, EventStore, Expected, Mark, MemoryStore, ReadStream,
    RecordedEvent, Snapshot, StoreError, StreamName, Version,
};
use uuid::Uuid;

use crate::account::AccountEvent;

/// A store in which another commit comes first, or the answer to a commit is lost, a number of times.
#[derive(Clone)]
pub(crate) struct Contested {
    store: MemoryStore,
    pub(crate) conflicts: Arc<AtomicU32>,
    pub(crate) lost_answers: Arc<AtomicU32>,
}

impl Contested {
    pub(crate) fn new(conflicts: u32, lost_answers: u32) -> Self {
        let [conflicts, lost_answers] = [conflicts, lost_answers].map(|it| Arc::new(it.into()));
        Self { store: MemoryStore::new(), conflicts, lost_answers }
    }
}

impl EventStore for Contested {
    type Events = annals_es::MemoryEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        if take(&self.conflicts) {
            let other = annals_es::encode(&AccountEvent::Deposited { amount: 1 }).expect("JSON");
            let other = Commit::to(&parts.streams[0].stream, Expected::Any, [other]);
            self.store.append(other).await?;
        }
        let done = self.store.append(Commit::from_parts(parts)).await?;
        if take(&self.lost_answers) {
            return Err(AppendError::OutcomeUnknown("the connection was lost".into()));
        }
        Ok(done)
    }

    fn read_stream(&self, read: ReadStream) -> Self::Events {
        self.store.read_stream(read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        self.store.stream_version(stream).await
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        self.store.find_event(stream, id).await
    }

    async fn load_snapshot(&self, key: &str, at: Mark) -> Result<Option<Snapshot>, StoreError> {
        self.store.load_snapshot(key, at).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.store.save_snapshot(snapshot).await
    }
}

/// Whether one is left, which is taken.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok()
}
