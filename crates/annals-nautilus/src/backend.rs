//! One run, with upstream's trait.
//!
//! Owns the high watermark of the open run. Must never acknowledge an entry that is not durable.

use annals::{Durability, Event, ExpectedRecord, ExpectedVersion, NewEvent, Store, Transaction};
use nautilus_core::UnixNanos;
use nautilus_event_store::{
    AppendEntry, EventStore, EventStoreEntry, EventStoreError, IndexKind, RunManifest, RunStatus,
    ScanDirection, SnapshotAnchor,
};

use crate::error::{backend, from_annals, of_commit};
use crate::run::{self, RunName};
use crate::runs::Reserved;
use crate::{Result, RunStore, entry, keys};

/// At most one open run of a [`RunStore`]. Entries are events of the run's stream, with the sequence number as version.
///
/// Dropping it leaves a run that is not sealed as a crash does; [`RunStore::recover`] seals it.
#[derive(Debug)]
pub struct AnnalsBackend {
    runs: RunStore,
    state: Option<State>,
}

/// The open run.
#[derive(Debug)]
struct State {
    run: RunName,
    manifest: RunManifest,
    record_version: u64,
    high_watermark: u64,
    /// The largest `ts_init` of the entries.
    latest: UnixNanos,
    has_further_keys: bool,
    /// `None` for a sealed run that was opened to be read.
    reserved: Option<Reserved>,
}

impl AnnalsBackend {
    pub(crate) fn new(runs: RunStore) -> Self {
        Self { runs, state: None }
    }

    pub(crate) fn open_sealed(&mut self, run: &RunName) -> Result<()> {
        let stored = run::read(self.store(), run)?;
        let stored = stored.ok_or_else(|| backend(format!("there is no run {}", run.path())))?;
        if !stored.manifest.is_sealed() {
            return Err(backend(format!("run {} is not sealed", run.path())));
        }
        self.state = Some(State::load(self.store(), run.clone(), stored, None)?);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.runs.store()
    }

    fn state(&self) -> Result<&State> {
        self.state.as_ref().ok_or_else(no_run)
    }

    /// The store, and the run if it takes writes.
    fn writable(&mut self) -> Result<(&Store, &mut State)> {
        let state = self.state.as_mut().ok_or_else(no_run)?;
        if state.manifest.is_sealed() {
            return Err(EventStoreError::Closed);
        }
        Ok((self.runs.store(), state))
    }
}

impl EventStore for AnnalsBackend {
    fn open_run(&mut self, mut manifest: RunManifest) -> Result<()> {
        if let Some(state) = &self.state {
            if state.reserved.is_none() {
                return Err(EventStoreError::Closed);
            }
            if !state.manifest.is_sealed() {
                return Err(EventStoreError::CrashedPredecessor);
            }
        }
        let run = RunName::new(&manifest.instance_id, &manifest.run_id)?;
        if let Some(stored) = run::read(self.store(), &run)? {
            if stored.manifest.is_sealed() {
                let (path, status) = (run.path(), stored.manifest.status);
                return Err(backend(format!("run {path} is sealed already, as {status:?}")));
            }
            let reserved = self.runs.reserve(&run)?;
            self.state = Some(State::load(self.store(), run, stored, Some(reserved))?);
            return Err(EventStoreError::CrashedPredecessor);
        }
        let reserved = self.runs.reserve(&run)?;
        manifest.status = RunStatus::Running;
        manifest.end_ts_init = None;
        manifest.high_watermark = 0;
        let value = run::encode_manifest(&manifest)?;
        let transaction = synced(self.store())
            .put(run.manifest_key(), value, ExpectedRecord::NoRecord)
            // A stream of that name would be the entries of another run.
            .check(run.stream(), ExpectedVersion::NoStream);
        let committed = transaction.commit().map_err(|error| from_annals(&error))?;
        self.state = Some(State {
            run,
            manifest,
            record_version: committed.record_versions.first().copied().unwrap_or(1),
            high_watermark: 0,
            latest: UnixNanos::default(),
            has_further_keys: false,
            reserved: Some(reserved),
        });
        Ok(())
    }

    fn append_batch(&mut self, entries: &[AppendEntry]) -> Result<u64> {
        let (store, state) = self.writable()?;
        let Some(first) = entries.first() else { return Ok(state.high_watermark) };
        let high_watermark = state.high_watermark;
        for (expected, append) in (high_watermark + 1..).zip(entries) {
            let seq = append.entry.seq;
            if seq != expected {
                return Err(EventStoreError::OutOfOrder { high_watermark, seq });
            }
        }
        let mut latest = state.latest;
        let mut events = Vec::with_capacity(entries.len());
        let mut further = Vec::new();
        for append in entries {
            latest = latest.max(append.entry.ts_init);
            let mut parts = keys::parts(&append.index_keys).into_iter();
            let tags = parts.next().unwrap_or_default();
            events.push(entry::encode(&append.entry, latest)?.tags(tags));
            further.extend(parts.map(|tags| keys::further(append.entry.seq, tags)));
        }
        let has_further_keys = state.has_further_keys || !further.is_empty();
        let committed = state.commit(synced(store), events, further);
        state.finish(store, committed, first.entry.seq)?;
        state.high_watermark += entries.len() as u64;
        state.manifest.high_watermark = state.high_watermark;
        state.latest = latest;
        state.has_further_keys = has_further_keys;
        Ok(state.high_watermark)
    }

    fn scan_range(
        &self,
        from: u64,
        to: u64,
        direction: ScanDirection,
    ) -> Result<Vec<EventStoreEntry>> {
        let state = self.state()?;
        let to = to.min(state.high_watermark);
        if from == 0 || from > to {
            return Ok(Vec::new());
        }
        let mut entries = state.read(self.store(), from, to)?;
        if direction == ScanDirection::Reverse {
            entries.reverse();
        }
        Ok(entries)
    }

    fn scan_seq(&self, seq: u64) -> Result<Option<EventStoreEntry>> {
        Ok(self.scan_range(seq, seq, ScanDirection::Forward)?.pop())
    }

    fn lookup(&self, kind: IndexKind, key: &str) -> Result<Option<u64>> {
        let state = self.state()?;
        keys::first(self.store(), &state.run, kind, key, state.has_further_keys)
    }

    fn iter_index_keys(&self, kind: IndexKind) -> Result<Vec<(String, u64)>> {
        let state = self.state()?;
        keys::all(self.store(), &state.run, kind, state.has_further_keys)
    }

    fn record_snapshot_anchor(&mut self, anchor: SnapshotAnchor) -> Result<()> {
        let (store, state) = self.writable()?;
        let (new, durable) = (anchor.high_watermark, state.high_watermark);
        if new > durable {
            return Err(backend(format!(
                "the anchor is at {new}, which exceeds durable high_watermark {durable}"
            )));
        }
        let latest = run::anchor(store, &state.run)?.map_or(0, |it| it.high_watermark);
        if new < latest {
            return Err(backend(format!(
                "the anchor is at {new}, which is older than latest anchor {latest}"
            )));
        }
        let (key, value) = (state.run.anchor_key(), run::encode_anchor(&anchor)?);
        let transaction = state.if_unsealed(synced(store)).put(key, value, ExpectedRecord::Any);
        state.finish(store, transaction.commit().map(drop), durable)
    }

    fn latest_snapshot_anchor(&self) -> Result<Option<SnapshotAnchor>> {
        run::anchor(self.store(), &self.state()?.run)
    }

    fn seal(&mut self, status: RunStatus) -> Result<()> {
        let state = self.state.as_mut().ok_or_else(no_run)?;
        if status == RunStatus::Running {
            return Err(backend("a run is sealed with a terminal status, not as Running"));
        }
        if state.manifest.is_sealed() {
            return Err(EventStoreError::Closed);
        }
        let mut manifest = state.manifest.clone();
        manifest.status = status;
        manifest.high_watermark = state.high_watermark;
        manifest.end_ts_init = (state.high_watermark > 0).then_some(state.latest);
        let value = run::encode_manifest(&manifest)?;
        let store = self.runs.store();
        let expected = ExpectedRecord::Exact(state.record_version);
        // Entries that another handle appended are not sealed with a watermark that is too low.
        let transaction = synced(store)
            .put(state.run.manifest_key(), value, expected)
            .check(state.run.stream(), ExpectedVersion::Exact(state.high_watermark));
        let committed = transaction.commit();
        let version = committed.as_ref().ok().and_then(|it| it.record_versions.first().copied());
        state.finish(store, committed.map(drop), state.high_watermark)?;
        state.manifest = manifest;
        state.record_version = version.unwrap_or(state.record_version + 1);
        Ok(())
    }

    fn manifest(&self) -> Result<RunManifest> {
        Ok(self.state()?.manifest.clone())
    }

    fn high_watermark(&self) -> Result<u64> {
        Ok(self.state()?.high_watermark)
    }
}

impl State {
    fn load(
        store: &Store,
        run: RunName,
        stored: run::Stored,
        reserved: Option<Reserved>,
    ) -> Result<Self> {
        let mut state = Self {
            run,
            manifest: stored.manifest,
            record_version: stored.record_version,
            high_watermark: 0,
            latest: UnixNanos::default(),
            has_further_keys: false,
            reserved,
        };
        state.load_progress(store)?;
        Ok(state)
    }

    /// Reads the manifest and the progress again, after another handle changed the run.
    fn reload(&mut self, store: &Store) -> Result<()> {
        let missing = || backend(format!("there is no run {}", self.run.path()));
        let stored = run::read(store, &self.run)?.ok_or_else(missing)?;
        self.manifest = stored.manifest;
        self.record_version = stored.record_version;
        self.load_progress(store)
    }

    fn load_progress(&mut self, store: &Store) -> Result<()> {
        let head = |stream: &str| store.stream_head(stream).map_err(|error| from_annals(&error));
        self.high_watermark = head(self.run.stream())?.map_or(0, |it| it.version);
        self.has_further_keys = head(self.run.keys_stream())?.is_some();
        self.latest = UnixNanos::default();
        // An entry that cannot be decoded is reported by scans: a run that has one can be opened, and quarantined.
        for event in store.read_stream(self.run.stream()).include_hidden().backwards() {
            let event = event.map_err(|error| from_annals(&error))?;
            if let Ok(latest) = entry::latest(&event) {
                self.latest = latest;
                break;
            }
        }
        if !self.manifest.is_sealed() {
            self.manifest.high_watermark = self.high_watermark;
        }
        Ok(())
    }

    /// Appends to the run if it is as this handle knows it.
    fn commit(
        &self,
        transaction: Transaction<'_>,
        events: Vec<NewEvent>,
        further: Vec<NewEvent>,
    ) -> annals::Result<()> {
        let expected = ExpectedVersion::Exact(self.high_watermark);
        let transaction = self.if_unsealed(transaction).append(self.run.stream(), expected, events);
        let transaction = if further.is_empty() {
            transaction
        } else {
            transaction.append(self.run.keys_stream(), ExpectedVersion::Any, further)
        };
        transaction.commit().map(drop)
    }

    fn if_unsealed<'a>(&self, transaction: Transaction<'a>) -> Transaction<'a> {
        let expected = ExpectedRecord::Exact(self.record_version);
        transaction.check_record(self.run.manifest_key(), expected)
    }

    /// The result of a commit, with the sequence number for its error; after a conflict the state is that of the store.
    fn finish(&mut self, store: &Store, committed: annals::Result<()>, seq: u64) -> Result<()> {
        let Err(error) = committed else { return Ok(()) };
        let error = of_commit(&error, seq);
        if matches!(error, EventStoreError::Closed | EventStoreError::OutOfOrder { .. }) {
            self.reload(store)?;
        }
        Err(error)
    }

    /// The entries of a range that is not empty.
    fn read(&self, store: &Store, from: u64, to: u64) -> Result<Vec<EventStoreEntry>> {
        let read = store.read_stream(self.run.stream()).from_version(from).up_to_version(to);
        let most = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut entries = Vec::with_capacity(most.saturating_add(1).min(1 << 16));
        let mut expected = from;
        for event in read.include_hidden() {
            let event: Event = event.map_err(|error| from_annals(&error))?;
            if event.version() != expected {
                return Err(gap(expected, event.version()));
            }
            entries.push(entry::decode(&event)?);
            expected += 1;
        }
        if expected <= to {
            return Err(gap(expected, to + 1));
        }
        Ok(entries)
    }
}

fn synced(store: &Store) -> Transaction<'_> {
    store.transaction().durability(Durability::Sync)
}

fn no_run() -> EventStoreError {
    backend("no run open")
}

fn gap(missing: u64, next: u64) -> EventStoreError {
    EventStoreError::Gap { prev: missing - 1, next, missing }
}
