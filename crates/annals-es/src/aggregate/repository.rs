//! The repository of aggregates of one type.
//!
//! Owns the settings. Loading and executing have files of their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Aggregate;
use super::blocking::BlockingRepository;
use super::cache::{Cache, Slot};
use super::snapshots::{SnapshotPolicy, Snapshots};
use crate::clock::Clock;
use crate::event::{Codec, Json, SchemaError, Schemas};
use crate::store::{EventStore, StreamName};

/// The aggregates of one type in a store: loads them, and executes commands on them.
///
/// A repository is cheap to clone, and its clones share their cache. Use one per store and type of aggregate.
pub struct Repository<A: Aggregate, S> {
    store: S,
    schemas: Arc<Schemas<A::Event>>,
    cache: Arc<Cache<A>>,
    snapshots: Option<Snapshots<A>>,
    attempts: u32,
    clock: Clock,
    snapshot_failures: Arc<AtomicU64>,
}

impl<A: Aggregate, S: EventStore> Repository<A, S> {
    /// The aggregates in a store. By default up to 1,024 of them are kept in memory, none is saved as a snapshot,
    /// and a command is attempted ten times.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if an earlier version of an event has no path to the present one.
    pub fn new(store: S) -> Result<Self, SchemaError> {
        Ok(Self {
            store,
            schemas: Arc::new(Schemas::new()?),
            cache: Arc::new(Cache::new(1024)),
            snapshots: None,
            attempts: 10,
            clock: Clock::system(),
            snapshot_failures: Arc::default(),
        })
    }

    /// Saves states as snapshots, in JSON.
    #[must_use]
    pub fn snapshots(self, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots_with::<Json>(policy)
    }

    /// Saves states as snapshots, by a codec.
    #[must_use]
    pub fn snapshots_with<C: Codec>(mut self, policy: SnapshotPolicy) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(Snapshots::new::<C>(policy));
        self
    }

    /// Keeps the states of at most this number of aggregates in memory: those that were used last. 0: none; then
    /// tasks that use one aggregate at once cause conflicts, which are retried.
    #[must_use]
    pub fn cache(mut self, aggregates: usize) -> Self {
        self.cache = Arc::new(Cache::new(aggregates));
        self
    }

    /// Sets how often a command is attempted if other commits come first; 0 counts as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the clock by which the age of snapshots is measured.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The repository for programs without an executor.
    pub fn blocking(self) -> BlockingRepository<A, S> {
        BlockingRepository::new(self)
    }

    /// The name of an aggregate's stream.
    pub fn stream(&self, id: impl fmt::Display) -> StreamName {
        StreamName::new(A::CATEGORY, id)
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The schemas of the aggregate's events.
    pub fn schemas(&self) -> &Schemas<A::Event> {
        &self.schemas
    }

    /// The number of aggregates whose states are kept in memory, or are about to be.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The number of states that could not be written by their codec, so that no snapshot was saved.
    pub fn snapshot_failures(&self) -> u64 {
        self.snapshot_failures.load(Ordering::Relaxed)
    }

    pub(super) fn slot(&self, stream: &StreamName) -> Slot<A> {
        self.cache.slot(stream)
    }

    pub(super) fn snapshot_rules(&self) -> Option<Snapshots<A>> {
        self.snapshots
    }

    pub(super) fn most_attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn now(&self) -> crate::store::Timestamp {
        self.clock.now()
    }

    pub(super) fn count_snapshot_failure(&self) {
        self.snapshot_failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl<A: Aggregate, S: Clone> Clone for Repository<A, S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            schemas: Arc::clone(&self.schemas),
            cache: Arc::clone(&self.cache),
            snapshots: self.snapshots,
            attempts: self.attempts,
            clock: self.clock.clone(),
            snapshot_failures: Arc::clone(&self.snapshot_failures),
        }
    }
}

impl<A: Aggregate, S: fmt::Debug> fmt::Debug for Repository<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("category", &A::CATEGORY)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
