//! A run in the store: its names, its manifest and its anchor.
//!
//! Owns the keys of the records of a run. The values are in upstream's encoding, which has a version of its own. Must
//! never return a manifest or an anchor that was decoded in part.

use annals::Store;
use nautilus_event_store::codec;
use nautilus_event_store::{RunManifest, SnapshotAnchor};

use crate::Result;
use crate::error::{backend, corrupted, from_annals};

/// The records with manifests begin with this; the key continues with instance and run.
const MANIFESTS: &str = "nautilus/run/";

/// Where a run is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunName {
    /// Instance and run with a slash between.
    path: String,
    stream: String,
    keys_stream: String,
}

impl RunName {
    pub(crate) fn new(instance_id: &str, run_id: &str) -> Result<Self> {
        for (what, id) in [("instance id", instance_id), ("run id", run_id)] {
            if id.is_empty() || id.contains('/') {
                return Err(backend(format!("the {what} {id:?} is empty or has a slash")));
            }
        }
        Ok(Self::of_path(format!("{instance_id}/{run_id}")))
    }

    fn of_path(path: String) -> Self {
        Self {
            stream: format!("nautilus-{path}"),
            keys_stream: format!("nautilus_keys-{path}"),
            path,
        }
    }

    /// The stream of the entries. The version of an event is the sequence number of the entry.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }

    /// The stream of index keys that are more than an event takes.
    pub(crate) fn keys_stream(&self) -> &str {
        &self.keys_stream
    }

    /// Instance and run, for texts.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn manifest_key(&self) -> String {
        format!("{MANIFESTS}{}", self.path)
    }

    pub(crate) fn anchor_key(&self) -> String {
        format!("nautilus/anchor/{}", self.path)
    }
}

/// The manifest of a run, and the version of its record.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) manifest: RunManifest,
    pub(crate) record_version: u64,
}

/// The manifest of a run, if there is such a run.
pub(crate) fn read(store: &Store, run: &RunName) -> Result<Option<Stored>> {
    let record = store.records().get(&run.manifest_key()).map_err(|error| from_annals(&error))?;
    let decode = |record: annals::Record| {
        let manifest = decode_manifest(run, &record.value)?;
        Ok(Stored { manifest, record_version: record.version })
    };
    record.map(decode).transpose()
}

/// The manifests of all runs of an instance, the run that began first at the beginning.
pub(crate) fn list(store: &Store, instance_id: &str) -> Result<Vec<RunManifest>> {
    let mut manifests = Vec::new();
    for record in store.records().list().prefix(format!("{MANIFESTS}{instance_id}/")) {
        let record = record.map_err(|error| from_annals(&error))?;
        let path = record.key.strip_prefix(MANIFESTS).unwrap_or_default();
        manifests.push(decode_manifest(&RunName::of_path(path.to_owned()), &record.value)?);
    }
    manifests.sort_by(|a, b| (a.start_ts_init, &a.run_id).cmp(&(b.start_ts_init, &b.run_id)));
    Ok(manifests)
}

pub(crate) fn encode_manifest(manifest: &RunManifest) -> Result<Vec<u8>> {
    codec::encode_to_vec(manifest)
        .map_err(|error| backend(format!("the manifest cannot be encoded: {error}")))
}

fn decode_manifest(run: &RunName, value: &[u8]) -> Result<RunManifest> {
    let manifest: RunManifest = codec::decode_from_slice(value).map_err(|error| {
        corrupted(format!("the manifest of run {} cannot be decoded", run.path()), &error)
    })?;
    if RunName::new(&manifest.instance_id, &manifest.run_id).ok().as_ref() != Some(run) {
        let other = format!("it is of run {}/{}", manifest.instance_id, manifest.run_id);
        return Err(corrupted(format!("the manifest of run {}", run.path()), &other));
    }
    Ok(manifest)
}

/// The anchor of a run.
pub(crate) fn anchor(store: &Store, run: &RunName) -> Result<Option<SnapshotAnchor>> {
    let record = store.records().get(&run.anchor_key()).map_err(|error| from_annals(&error))?;
    let decode = |record: annals::Record| {
        codec::decode_from_slice(&record.value).map_err(|error| {
            corrupted(format!("the anchor of run {} cannot be decoded", run.path()), &error)
        })
    };
    record.map(decode).transpose()
}

pub(crate) fn encode_anchor(anchor: &SnapshotAnchor) -> Result<Vec<u8>> {
    codec::encode_to_vec(anchor)
        .map_err(|error| backend(format!("the anchor cannot be encoded: {error}")))
}
