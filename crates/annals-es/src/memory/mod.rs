//! A store in memory, with the semantics of the durable ones: for tests, and for programs that need no
//! durability.
//!
//! Owns the lock around the state, and the wake-up of those that wait for it. Must never wait with the lock held.

mod reads;
mod state;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use uuid::Uuid;

use crate::clock::Clock;
use crate::store::{
    AppendError, AtomicCheckpoints, Boundaries, Commit, Committed, EventStore, Mark, OrderedStore,
    Position, ReadAll, ReadStream, RecordedEvent, SeveralStreams, Snapshot, StoreError, StreamName,
    Subscribe, Timestamp, Version,
};
use state::State;

pub use reads::{MemoryEvents, MemorySubscription};

/// A store in memory. Clones share their contents.
///
/// It is made in less than a microsecond, so that each test can have a store of its own. Its generated event ids
/// are the same in each run.
///
/// ```
/// use annals_es::blocking::block_on;
/// use annals_es::{Commit, EventStore, Expected, MemoryStore, NewEvent};
///
/// let store = MemoryStore::new();
/// let opened = Commit::to("account-1", Expected::NoStream, [NewEvent::new("Opened", "")]);
/// block_on(store.append(opened.clone()))?;
/// assert!(block_on(store.append(opened)).is_err());
/// assert_eq!(store.events().len(), 1);
/// # Ok::<(), annals_es::AppendError>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    clock: Clock,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is made after all checks, so that a panic leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that records commits at the times of a clock.
    pub fn with_clock(clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::default(), clock }) }
    }

    /// All events, in the order of positions.
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.shared.state().events().to_vec()
    }

    /// Changes the state, and wakes what waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let done = change(&mut state, now);
        let waiting = state.take_waiting();
        drop(state);
        waiting.into_iter().for_each(std::task::Waker::wake);
        done
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.shared.state().head();
        f.debug_struct("MemoryStore").field("head", &head).finish_non_exhaustive()
    }
}

impl EventStore for MemoryStore {
    type Events = MemoryEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        self.change(|state, now| state.append(commit.into_parts(), now))
    }

    fn read_stream(&self, read: ReadStream) -> MemoryEvents {
        MemoryEvents::of_stream(Arc::clone(&self.shared), read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        Ok(self.shared.state().version(stream))
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        let found = self.shared.state().event(id).cloned();
        Ok(found.filter(|event| event.stream() == stream.as_str()))
    }

    async fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.shared.state().snapshot(key, at_most))
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.change(|state, now| state.save_snapshot(snapshot, now))
    }
}

impl OrderedStore for MemoryStore {
    type Subscription = MemorySubscription;

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(self.shared.state().head())
    }

    fn read_all(&self, read: ReadAll) -> MemoryEvents {
        MemoryEvents::of_all(Arc::clone(&self.shared), read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> MemorySubscription {
        MemorySubscription::new(Arc::clone(&self.shared), subscribe)
    }

    async fn wait_for(&self, position: Position) -> Result<(), StoreError> {
        poll_fn(|context| {
            let mut state = self.shared.state();
            if state.head() >= position {
                return Poll::Ready(Ok(()));
            }
            state.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position, StoreError> {
        let state = self.shared.state();
        let count = state.events().partition_point(|event| event.recorded_at() <= time);
        Ok(Position::new(count as u64))
    }

    async fn checkpoint(&self, name: &str) -> Result<Option<Position>, StoreError> {
        Ok(self.shared.state().checkpoint(name))
    }

    async fn save_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        self.append(Commit::progress(name, to)).await.map(drop)
    }

    async fn reset_checkpoint(&self, name: &str, to: Position) -> Result<(), AppendError> {
        self.change(|state, _| state.reset_checkpoint(name, to))
    }
}

impl SeveralStreams for MemoryStore {}
impl Boundaries for MemoryStore {}
impl AtomicCheckpoints for MemoryStore {}
