//! All runs of a store.
//!
//! Owns the runs that are open in this process, so that none is open twice. Must never seal a run that is open.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::{Options, Store};
use nautilus_event_store::{
    EventStore, EventStoreConfig, EventStoreEntry, EventStoreError, RecoveredRun, RecoveryOutcome,
    RunId, RunManifest, RunStatus, ScanDirection,
};

use crate::backend::AnnalsBackend;
use crate::error::from_annals;
use crate::run::{self, RunName};
use crate::{Result, error};

/// The topic and the type of the entry that the kernel appends last.
const RUN_ENDED: (&str, &str) = ("run.lifecycle.RunEnded", "RunEnded");

/// The number of entries that recovery checks at once.
const CHUNK: u64 = 4096;

/// A store with the runs of any number of trader instances. Clones share it; it is closed when the last clone and the
/// last backend are dropped.
#[derive(Debug, Clone)]
pub struct RunStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The runs that a backend has open.
    runs: HashSet<String>,
    /// For an instance, the run that the next one resumes from.
    parents: HashMap<String, RunId>,
}

impl RunStore {
    /// Opens or creates a store in this directory, for entries of up to 32 MiB, the largest commit that its segments
    /// of 128 MiB take.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`]: of damage as [`EventStoreError::Corrupted`], of a full disk as
    /// [`EventStoreError::Disk`], others, such as that another process has the store open, as
    /// [`EventStoreError::Backend`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let options = Options::new().max_event_size(32 << 20);
        options.open(directory).map(Self::new).map_err(|error| from_annals(&error))
    }

    /// The runs of a store that is open, with any options. Commits of runs are synced whatever its durability is.
    pub fn new(store: Store) -> Self {
        Self { shared: Arc::new(Shared { store, open: Mutex::default() }) }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// A backend without an open run; [`EventStore::open_run`] begins one.
    pub fn backend(&self) -> AnnalsBackend {
        AnnalsBackend::new(self.clone())
    }

    /// A backend that reads a sealed run.
    ///
    /// # Errors
    ///
    /// [`EventStoreError::Backend`] if there is no such run, or if it is not sealed; those of a failed read.
    pub fn open_sealed(&self, instance_id: &str, run_id: &str) -> Result<AnnalsBackend> {
        let mut backend = self.backend();
        backend.open_sealed(&RunName::new(instance_id, run_id)?)?;
        Ok(backend)
    }

    /// The manifests of the runs of an instance, in the order in which they began.
    ///
    /// # Errors
    ///
    /// [`EventStoreError::Corrupted`] for a manifest that cannot be decoded; those of a failed read.
    pub fn list_runs(&self, instance_id: &str) -> Result<Vec<RunManifest>> {
        run::list(self.store(), instance_id)
    }

    /// Seals the runs of an instance that a crash left open, with the status that upstream's recovery gives them:
    /// `Ended` if the last entry is the kernel's `RunEnded`, `Quarantined` if an entry is damaged, else
    /// `CrashedRecovered`. The newest of the latter is the parent of the next run. Runs that are open in this process
    /// are left alone.
    ///
    /// # Errors
    ///
    /// Those of a failed read or write.
    pub fn recover(&self, instance_id: &str) -> Result<RecoveryOutcome> {
        let mut outcome = RecoveryOutcome::default();
        for manifest in self.list_runs(instance_id)? {
            let run = RunName::new(instance_id, &manifest.run_id)?;
            if manifest.is_sealed() || self.is_open(&run) {
                continue;
            }
            let run_id = manifest.run_id.clone();
            let mut backend = self.backend();
            match backend.open_run(manifest) {
                Err(EventStoreError::CrashedPredecessor) => {}
                Err(error) => return Err(error),
                Ok(()) => return Err(error::backend(format!("run {run_id} is new"))),
            }
            let status = status_of_crashed(&backend)?;
            backend.seal(status)?;
            if status == RunStatus::CrashedRecovered {
                outcome.parent_run_id = Some(run_id.clone());
            }
            outcome.recovered.push(RecoveredRun { run_id, status });
        }
        if let Some(parent) = &outcome.parent_run_id {
            self.lock().parents.insert(instance_id.to_owned(), parent.clone());
        }
        Ok(outcome)
    }

    /// What [`EventStoreLifecycleOptions::with_backend_opener`] takes: recovers the crashed runs of the instance, and
    /// opens the new one. It has the parent that the kernel gives it, or else the run that was recovered since the last
    /// run was opened.
    ///
    /// [`EventStoreLifecycleOptions::with_backend_opener`]:
    ///     nautilus_event_store::EventStoreLifecycleOptions::with_backend_opener
    pub fn opener(
        &self,
    ) -> impl Fn(&EventStoreConfig, &RunManifest) -> Result<Box<dyn EventStore + Send>>
    + Send
    + Sync
    + 'static {
        let runs = self.clone();
        move |_, manifest| {
            let mut manifest = manifest.clone();
            runs.recover(&manifest.instance_id)?;
            let parent = runs.lock().parents.get(&manifest.instance_id).cloned();
            manifest.parent_run_id = manifest.parent_run_id.or(parent);
            let instance_id = manifest.instance_id.clone();
            let mut backend = runs.backend();
            backend.open_run(manifest)?;
            runs.lock().parents.remove(&instance_id);
            Ok(Box::new(backend))
        }
    }

    /// Reserves a run for one backend.
    pub(crate) fn reserve(&self, run: &RunName) -> Result<Reserved> {
        if !self.lock().runs.insert(run.path().to_owned()) {
            return Err(error::backend(format!("run {} is open already", run.path())));
        }
        Ok(Reserved { runs: self.clone(), path: run.path().to_owned() })
    }

    fn is_open(&self, run: &RunName) -> bool {
        self.lock().runs.contains(run.path())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one backend to write a run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    runs: RunStore,
    path: String,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.runs.lock().runs.remove(&self.path);
    }
}

/// Reads all entries of a run that was left open.
fn status_of_crashed(backend: &AnnalsBackend) -> Result<RunStatus> {
    let last = backend.high_watermark()?;
    let mut status = RunStatus::CrashedRecovered;
    let mut from = 1;
    while from <= last {
        let to = last.min(from + CHUNK - 1);
        match backend.scan_range(from, to, ScanDirection::Forward) {
            Ok(entries) => {
                let newest = entries.last().filter(|it| it.seq == last);
                let ended = |it: &EventStoreEntry| {
                    (it.topic.as_ref(), it.payload_type.as_str()) == RUN_ENDED
                };
                if newest.is_some_and(ended) {
                    status = RunStatus::Ended;
                }
            }
            Err(
                EventStoreError::HashMismatch { .. }
                | EventStoreError::SeqMismatch { .. }
                | EventStoreError::Corrupted(_)
                | EventStoreError::Gap { .. },
            ) => return Ok(RunStatus::Quarantined),
            Err(error) => return Err(error),
        }
        from = to + 1;
    }
    Ok(status)
}
