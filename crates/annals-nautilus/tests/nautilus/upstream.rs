//! The trait of the version that the adapter is written for. This file does not compile if a method is added, removed
//! or changed.

use annals_nautilus::AnnalsBackend;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EventStore, EventStoreEntry, EventStoreError, IndexKind, RunManifest, RunStatus,
    ScanDirection, SnapshotAnchor,
};

type Result<T> = std::result::Result<T, EventStoreError>;

/// All methods of the trait, those with a default body as well. A new method without a default body is missing here.
struct Every(AnnalsBackend);

impl EventStore for Every {
    fn open_run(&mut self, manifest: RunManifest) -> Result<()> {
        self.0.open_run(manifest)
    }
    fn append_batch(&mut self, entries: &[AppendEntry]) -> Result<u64> {
        self.0.append_batch(entries)
    }
    fn scan_range(&self, from: u64, to: u64, way: ScanDirection) -> Result<Vec<EventStoreEntry>> {
        self.0.scan_range(from, to, way)
    }
    fn scan_seq(&self, seq: u64) -> Result<Option<EventStoreEntry>> {
        self.0.scan_seq(seq)
    }
    fn lookup(&self, kind: IndexKind, key: &str) -> Result<Option<u64>> {
        self.0.lookup(kind, key)
    }
    fn iter_index_keys(&self, kind: IndexKind) -> Result<Vec<(String, u64)>> {
        self.0.iter_index_keys(kind)
    }
    fn record_snapshot_anchor(&mut self, anchor: SnapshotAnchor) -> Result<()> {
        self.0.record_snapshot_anchor(anchor)
    }
    fn latest_snapshot_anchor(&self) -> Result<Option<SnapshotAnchor>> {
        self.0.latest_snapshot_anchor()
    }
    fn seal(&mut self, status: RunStatus) -> Result<()> {
        self.0.seal(status)
    }
    fn manifest(&self) -> Result<RunManifest> {
        self.0.manifest()
    }
    fn high_watermark(&self) -> Result<u64> {
        self.0.high_watermark()
    }
}

/// Every variant, so that a new status, kind, direction or error is noticed: a match without a wildcard.
#[test]
fn enums_of_upstream_have_the_known_variants() {
    let status = |status: RunStatus| match status {
        RunStatus::Running | RunStatus::Ended => 1,
        RunStatus::CrashedRecovered | RunStatus::Quarantined => 2,
    };
    let kind = |kind: IndexKind| match kind {
        IndexKind::ClientOrderId | IndexKind::VenueOrderId => 1,
    };
    let direction = |direction: ScanDirection| match direction {
        ScanDirection::Forward | ScanDirection::Reverse => 1,
    };
    let error = |error: &EventStoreError| match error {
        EventStoreError::Backend(_)
        | EventStoreError::Corrupted(_)
        | EventStoreError::Disk(_)
        | EventStoreError::HashMismatch { .. }
        | EventStoreError::SeqMismatch { .. }
        | EventStoreError::OutOfOrder { .. }
        | EventStoreError::Closed
        | EventStoreError::Gap { .. }
        | EventStoreError::CrashedPredecessor => 1,
    };
    assert_eq!(status(RunStatus::Ended) + kind(IndexKind::VenueOrderId), 2);
    assert_eq!(direction(ScanDirection::Forward) + error(&EventStoreError::Closed), 2);
}

/// A boxed backend is what the writer, the verifier and the kernel take.
#[test]
fn backend_is_a_trait_object_that_threads_can_take() {
    fn takes<T: EventStore + Send + 'static>(_: Option<T>) {}
    takes::<AnnalsBackend>(None);
    takes::<Every>(None);
}
