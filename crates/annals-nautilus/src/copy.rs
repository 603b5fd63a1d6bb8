//! Copies runs of other backends.
//!
//! Owns the check that an interrupted copy continues the same run. Must never append an entry that differs from the
//! source's.

use std::collections::HashMap;
use std::path::Path;

use nautilus_event_store::{
    AppendEntry, EventStore, EventStoreError, IndexKey, IndexKind, RedbBackend, RunId,
    ScanDirection,
};

use crate::error::backend;
use crate::{Result, RunStore};

/// The number of entries that are read at once, and the most that are appended at once.
const BATCH: u64 = 1024;

/// Copies the sealed runs of an instance that the redb backend has under `base_dir`, and returns those that were
/// copied now. Runs that were copied before are left as they are. Run upstream's `recover_predecessors` first: runs that
/// are not sealed are skipped.
///
/// # Errors
///
/// Those of [`copy_run`], and of the listing.
pub fn copy_redb(base_dir: &Path, instance_id: &str, target: &RunStore) -> Result<Vec<RunId>> {
    let mut copied = Vec::new();
    for manifest in RedbBackend::list_runs(base_dir, instance_id)? {
        if manifest.is_sealed() {
            let source = RedbBackend::open_sealed(base_dir, instance_id, &manifest.run_id)?;
            if copy_run(&source, target)? {
                copied.push(manifest.run_id);
            }
        }
    }
    Ok(copied)
}

/// Copies the sealed run that `source` has open, through upstream's trait: manifest, entries with their hashes, the
/// first entry of each index key, the latest anchor, the seal. An interrupted copy is continued by the next call. Returns
/// whether the run was copied now: `false` if the target has it already.
///
/// # Errors
///
/// [`EventStoreError::Backend`] if the run is not sealed, is open in the target, or is another run of the same id
/// there; those of reads of the source and of writes. What was copied before an error stays copied.
pub fn copy_run(source: &dyn EventStore, target: &RunStore) -> Result<bool> {
    let manifest = source.manifest()?;
    if !manifest.is_sealed() {
        return Err(backend(format!("run {} is not sealed: recover it first", manifest.run_id)));
    }
    let existing = target.list_runs(&manifest.instance_id)?;
    if let Some(existing) = existing.into_iter().find(|it| it.run_id == manifest.run_id)
        && existing.is_sealed()
    {
        return if existing == manifest { Ok(false) } else { Err(other_run(&manifest.run_id)) };
    }
    let mut copy = target.backend();
    match copy.open_run(manifest.clone()) {
        Ok(()) | Err(EventStoreError::CrashedPredecessor) => {}
        Err(error) => return Err(error),
    }
    let begun = copy.manifest()?;
    let copied = copy.high_watermark()?;
    let last = source.high_watermark()?;
    let same_start = begun.start_ts_init == manifest.start_ts_init
        && begun.binary_hash == manifest.binary_hash
        && begun.config_hash == manifest.config_hash;
    if !same_start || copied > last || copy.scan_seq(copied)? != source.scan_seq(copied)? {
        return Err(other_run(&manifest.run_id));
    }
    let mut keys = keys_by_seq(source)?;
    // A commit takes a quarter of a segment; half of that leaves room for what is not counted.
    let limit = usize::try_from(target.store().stats().segment_size / 8).unwrap_or(usize::MAX);
    let mut from = copied + 1;
    while from <= last {
        let to = last.min(from + BATCH - 1);
        let entries = source.scan_range(from, to, ScanDirection::Forward)?;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let keys = keys.remove(&entry.seq).unwrap_or_default();
            let append = AppendEntry::new(entry, keys);
            let needed = size(&append);
            // An entry that exceeds the limit alone is refused by the append.
            if bytes + needed > limit && !batch.is_empty() {
                copy.append_batch(&batch)?;
                batch.clear();
                bytes = 0;
            }
            bytes += needed;
            batch.push(append);
        }
        copy.append_batch(&batch)?;
        from = to + 1;
    }
    if let Some(anchor) = source.latest_snapshot_anchor()? {
        copy.record_snapshot_anchor(anchor)?;
    }
    copy.seal(manifest.status)?;
    Ok(true)
}

/// About the bytes of an entry in a commit.
fn size(append: &AppendEntry) -> usize {
    let AppendEntry { entry, index_keys } = append;
    let keys: usize = index_keys.iter().map(|it| it.key.len() + 64).sum();
    let names = entry.topic.as_ref().len() + entry.payload_type.as_str().len();
    entry.payload.len() + names + keys + 512
}

fn keys_by_seq(source: &dyn EventStore) -> Result<HashMap<u64, Vec<IndexKey>>> {
    let mut keys: HashMap<u64, Vec<IndexKey>> = HashMap::new();
    for kind in [IndexKind::ClientOrderId, IndexKind::VenueOrderId] {
        for (key, seq) in source.iter_index_keys(kind)? {
            keys.entry(seq).or_default().push(IndexKey::new(kind, key));
        }
    }
    Ok(keys)
}

fn other_run(run_id: &str) -> EventStoreError {
    backend(format!("the target has another run {run_id}"))
}
