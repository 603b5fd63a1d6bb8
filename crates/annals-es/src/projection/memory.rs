//! A read model in memory, with snapshots.
//!
//! Owns the lock around the state: readers see only whole transactions. A snapshot is disposable: a failure to save
//! one never fails a projection.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_lock::{RwLock, RwLockReadGuardArc, RwLockWriteGuardArc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::target::{Opened, Progress, Target};
use super::{Parked, ProjectionId, TargetError};
use crate::aggregate::{Since, SnapshotPolicy};
use crate::clock::Clock;
use crate::event::{Codec, Json};
use crate::store::{Mark, OrderedStore, Position, Snapshot, StoreError};

/// How many snapshots of other schema versions are passed over in the search for a usable one.
const SEARCHED: usize = 16;

/// A read model in memory: a state of the program, which is computed from the events at each start, or from a
/// snapshot and the events after it.
///
/// A failed transaction is undone by computing the state again from the last snapshot, or from the first event. With
/// a long history, save snapshots. Readers wait meanwhile, as they do during each transaction.
pub struct Memory<T> {
    cell: Arc<RwLock<Cell<T>>>,
    view: View<T>,
    replaces: bool,
    initial: Arc<dyn Fn() -> T + Send + Sync>,
    saves: Option<Saves<T>>,
    clock: Clock,
    id: ProjectionId,
    /// The lock, while a transaction is open or the state has fewer events than readers have seen.
    guard: Option<RwLockWriteGuardArc<Cell<T>>>,
    committed: Position,
    rolled_back: bool,
    parked: BTreeMap<Position, Parked>,
    since: Since,
}

struct Cell<T> {
    state: T,
    position: Position,
}

/// How states are saved.
struct Saves<T> {
    policy: SnapshotPolicy,
    encode: fn(&T, &[Parked]) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<Saved<T>>,
}

/// What a snapshot has.
type Saved<T> = (T, Vec<Parked>);

/// The state that a view shows.
type Slot<T> = Arc<Mutex<Arc<RwLock<Cell<T>>>>>;

impl<T: Clone + Send + Sync + 'static> Memory<T> {
    /// A read model with its state before the first event.
    pub fn new(initial: T) -> Self {
        let cell = Cell { state: initial.clone(), position: Position::START };
        let cell = Arc::new(RwLock::new(cell));
        let view = View { slot: Arc::new(Mutex::new(Arc::clone(&cell))), failures: Arc::default() };
        Self {
            cell,
            view,
            replaces: false,
            initial: Arc::new(move || initial.clone()),
            saves: None,
            clock: Clock::system(),
            id: ProjectionId::new("", 0),
            guard: None,
            committed: Position::START,
            rolled_back: false,
            parked: BTreeMap::new(),
            since: Since::default(),
        }
    }
}

impl<T: Send + Sync + 'static> Memory<T> {
    /// Saves the state as snapshots of the store, in JSON: by the policy, and when the projection is stopped. A
    /// snapshot of another schema version is ignored, and the state is computed from the events.
    ///
    /// A parked event that was replayed or discarded after the last snapshot is parked again after a restart.
    #[must_use]
    pub fn snapshots(self, policy: SnapshotPolicy) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        self.snapshots_with::<Json>(policy)
    }

    /// Saves the state as [snapshots](Self::snapshots), by a codec.
    #[must_use]
    pub fn snapshots_with<C: Codec>(mut self, policy: SnapshotPolicy) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        self.saves = Some(Saves {
            policy,
            encode: |state, parked| C::encode(&(state, parked)).ok(),
            decode: |bytes| C::decode(PhantomData, bytes).ok(),
        });
        self
    }

    /// Sets the clock by which the age of snapshots is measured.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes over a view from another version of the read model: it shows this one once it has caught up.
    #[must_use]
    pub fn replacing(mut self, view: &View<T>) -> Self {
        self.view = view.clone();
        self.replaces = true;
        self
    }

    /// The read model for readers.
    pub fn view(&self) -> View<T> {
        self.view.clone()
    }

    /// The newest usable snapshot at or before a position, or the initial state.
    pub(super) async fn saved<S: OrderedStore>(
        &self,
        store: &S,
        id: &ProjectionId,
        mut at_most: Position,
    ) -> Result<(T, Position, Vec<Parked>), StoreError> {
        if let Some(saves) = &self.saves {
            let key = snapshot_key(id);
            for _ in 0..SEARCHED {
                let Some(snapshot) = store.load_snapshot(&key, Mark::Position(at_most)).await?
                else {
                    break;
                };
                let Mark::Position(position) = snapshot.mark else { break };
                if snapshot.schema_version == saves.policy.schema_version
                    && let Some((state, parked)) = (saves.decode)(&snapshot.state)
                {
                    return Ok((state, position, parked));
                }
                if position == Position::START {
                    break;
                }
                at_most = Position::new(position.get() - 1);
            }
        }
        Ok(((self.initial)(), Position::START, Vec::new()))
    }

    async fn load<S: OrderedStore>(
        &self,
        store: &S,
    ) -> Result<(Cell<T>, Vec<Parked>), TargetError> {
        let (state, position, parked) = self.saved(store, &self.id, Position::MAX).await?;
        Ok((Cell { state, position }, parked))
    }

    /// The snapshot of a state; `None` if none is wanted, or its codec failed.
    fn snapshot(&self, cell: &Cell<T>) -> Option<Snapshot> {
        let saves = self.saves.as_ref()?;
        let parked: Vec<Parked> = self.parked.values().cloned().collect();
        let Some(state) = (saves.encode)(&cell.state, &parked) else {
            self.view.failures.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let snapshot = Snapshot::new(snapshot_key(&self.id), cell.position, state);
        Some(snapshot.schema_version(saves.policy.schema_version))
    }

    async fn save<S: OrderedStore>(&mut self, store: &S, snapshot: Option<Snapshot>) {
        self.since = Since::default();
        let Some(snapshot) = snapshot else { return };
        if store.save_snapshot(snapshot).await.is_err() {
            self.view.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn lock(&mut self) -> &mut RwLockWriteGuardArc<Cell<T>> {
        let guard = match self.guard.take() {
            Some(guard) => guard,
            None => self.cell.write_arc().await,
        };
        self.guard.insert(guard)
    }
}

/// The key of a projection's snapshots.
pub(crate) fn snapshot_key(id: &ProjectionId) -> String {
    format!("projection:{id}")
}

impl<T: Send + Sync + 'static, S: OrderedStore> Target<S> for Memory<T> {
    type Model = T;

    const RESETS_MODEL: bool = true;
    const PROGRESS_EVERY: u64 = 1;

    async fn open(&mut self, store: &S, id: &ProjectionId) -> Result<Opened, TargetError> {
        self.id = id.clone();
        let (cell, parked) = self.load(store).await?;
        let position = cell.position;
        **self.lock().await = cell;
        self.guard = None;
        self.committed = position;
        self.parked = parked.iter().map(|it| (it.position, it.clone())).collect();
        let is_new = position == Position::START;
        Ok(Opened::new((!is_new).then_some(position)).parked(parked).active(!self.replaces))
    }

    async fn begin(&mut self) -> Result<&mut T, TargetError> {
        Ok(&mut self.lock().await.state)
    }

    async fn commit(&mut self, store: &S, progress: Progress<'_>) -> Result<(), TargetError> {
        let Some(mut guard) = self.guard.take() else {
            return Err(TargetError::failed("no transaction is open"));
        };
        guard.position = progress.position;
        self.committed = progress.position;
        self.rolled_back = false;
        if let Some(parked) = progress.park {
            self.parked.insert(parked.position, parked.clone());
        }
        if let Some(position) = progress.unpark {
            self.parked.remove(&position);
        }
        if let Some(first) = progress.first_recorded_at {
            self.since.add(progress.events, progress.bytes, first);
        }
        let saves = self.saves.as_ref();
        let is_due = saves.is_some_and(|it| it.policy.is_due(&self.since, self.clock.now()));
        let snapshot = if is_due { self.snapshot(&guard) } else { None };
        drop(guard);
        if is_due {
            self.save(store, snapshot).await;
        }
        if progress.activate {
            self.view.show(Arc::clone(&self.cell));
        }
        Ok(())
    }

    async fn rollback(&mut self, store: &S) -> Result<Position, TargetError> {
        if self.guard.is_none() {
            return Ok(self.committed);
        }
        let (cell, parked) = self.load(store).await?;
        let position = cell.position;
        **self.lock().await = cell;
        // Events that were parked later stay parked: the runner leaves them out when it applies events again.
        for parked in parked {
            self.parked.entry(parked.position).or_insert(parked);
        }
        self.since = Since::default();
        if position == self.committed || std::mem::replace(&mut self.rolled_back, true) {
            self.guard = None;
            self.rolled_back = false;
            self.committed = position;
        }
        Ok(position)
    }

    async fn reset(&mut self) -> Result<&mut T, TargetError> {
        let initial = (self.initial)();
        self.parked.clear();
        self.since = Since::default();
        let cell = self.lock().await;
        **cell = Cell { state: initial, position: Position::START };
        Ok(&mut cell.state)
    }

    async fn close(&mut self, store: &S) -> Result<(), TargetError> {
        if self.since.events == 0 || self.saves.is_none() || self.guard.is_some() {
            return Ok(());
        }
        let cell = self.cell.read_arc().await;
        let snapshot = self.snapshot(&cell);
        drop(cell);
        self.save(store, snapshot).await;
        Ok(())
    }
}

impl<T> Drop for Memory<T> {
    /// Readers must not see half of a transaction, and the state before it is gone.
    fn drop(&mut self) {
        if let Some(guard) = &mut self.guard {
            **guard = Cell { state: (self.initial)(), position: Position::START };
        }
    }
}

impl<T> fmt::Debug for Memory<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("committed", &self.committed).finish_non_exhaustive()
    }
}

/// A read model in memory, for readers; cheap to clone. It remains when its runner has ended. If the runner was
/// dropped during a transaction, it shows the initial state.
pub struct View<T> {
    slot: Slot<T>,
    failures: Arc<AtomicU64>,
}

impl<T> View<T> {
    /// The read model after the last transaction. The projection waits while the guard exists.
    pub async fn read(&self) -> MemoryGuard<T> {
        let cell = self.cell();
        MemoryGuard(cell.read_arc().await)
    }

    /// Like [`read`](Self::read), for programs without an executor.
    pub fn read_blocking(&self) -> MemoryGuard<T> {
        MemoryGuard(self.cell().read_arc_blocking())
    }

    /// The number of snapshots that could not be saved.
    pub fn snapshot_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn cell(&self) -> Arc<RwLock<Cell<T>>> {
        Arc::clone(&self.slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, cell: Arc<RwLock<Cell<T>>>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = cell;
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), failures: Arc::clone(&self.failures) }
    }
}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// A read model that does not change while the guard exists.
pub struct MemoryGuard<T>(RwLockReadGuardArc<Cell<T>>);

impl<T> MemoryGuard<T> {
    /// The position up to which the read model is complete.
    pub fn position(&self) -> Position {
        self.0.position
    }
}

impl<T> Deref for MemoryGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.state
    }
}

impl<T: fmt::Debug> fmt::Debug for MemoryGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryGuard")
            .field("position", &self.position())
            .field("state", &**self)
            .finish()
    }
}
