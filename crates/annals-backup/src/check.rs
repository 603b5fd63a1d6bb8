//! Looks at a backup: what it holds, and whether every byte of it is there.
//!
//! Owns the reports. Must never change anything.

use std::collections::BTreeMap;

use annals::verify::Progress;
use annals::{Position, Timestamp};
use uuid::Uuid;

use crate::catalog::{self, Loaded};
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::fetch::{at_position, fetch_beginning};
use crate::manifest::{LOG, SegmentEntry};
use crate::restore::load;

/// A backup, as [`list`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupList {
    /// The identity of the store.
    pub store_id: Uuid,
    /// Its branches, oldest first: each restore to the past and each promotion of a standby begins one.
    pub branches: Vec<BranchInfo>,
    /// Bytes of all objects with bytes of the log, named or not.
    pub stored_bytes: u64,
}

/// A branch of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BranchInfo {
    /// Its number, from 1.
    pub branch: u32,
    /// The last position in it.
    pub position: Position,
    /// When its newest manifest was written, by the clock of the process that did.
    pub written_at: Timestamp,
    /// The number of segments of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of its objects.
    pub stored_bytes: u64,
    /// Where the history goes on, if a standby was promoted.
    pub fenced: Option<String>,
}

/// Lists what a backup holds, from its manifests.
///
/// # Errors
///
/// [`Error::NotABackup`], [`Error::Damaged`] if a manifest is damaged, [`Error::Key`], and those of the storage.
pub fn list(from: &Destination) -> Result<BackupList> {
    let store_id = catalog::store_id(from)?;
    let mut branches = Vec::new();
    for branch in catalog::branches(from)?.into_keys() {
        let Some(Loaded { manifest, segments, .. }) = catalog::newest(from, Some(branch))? else {
            continue;
        };
        let parts = segments.iter().flat_map(|segment| &segment.parts);
        branches.push(BranchInfo {
            branch,
            position: Position::new(manifest.end.position),
            written_at: Timestamp::from_micros(manifest.written_at),
            segments: segments.len() as u64,
            log_bytes: segments.iter().map(SegmentEntry::len).sum(),
            stored_bytes: parts.map(|part| part.stored).sum(),
            fenced: manifest.fenced,
        });
    }
    let stored_bytes = from.list(LOG)?.iter().map(|object| object.len).sum();
    Ok(BackupList { store_id, branches, stored_bytes })
}

/// The result of [`verify`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The branch.
    pub branch: u32,
    /// The last position in it.
    pub position: Position,
    /// Manifests whose digests were compared.
    pub manifests: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Bytes of the log that they hold.
    pub log_bytes: u64,
    /// What is wrong, in the order of the log.
    pub faults: Vec<Error>,
}

/// Reads every byte of a branch, the newest by default, and compares digests and checksums, and the chain of manifests.
/// To prove the log itself too, [`restore`](crate::restore) it into a directory that is not needed otherwise.
///
/// # Errors
///
/// [`Error::NotABackup`], a damaged newest manifest, [`Error::Key`] for wrong keys, and those of the storage. Damage
/// of anything else is in the result.
pub fn verify(
    from: &Destination,
    branch: Option<u32>,
    mut progress: impl FnMut(Progress),
) -> Result<Verified> {
    catalog::store_id(from)?;
    let loaded = load(from, branch)?;
    let mut faults = Vec::new();
    let manifests = verify_chain(from, &loaded, &mut faults)?;
    let total = loaded.segments.iter().map(SegmentEntry::len).sum();
    let (mut done, mut objects) = (0, 0);
    for segment in &loaded.segments {
        let before = done;
        let (branch, len) = (loaded.manifest.branch, segment.len());
        let fetched = fetch_beginning(from, branch, segment, len, &mut || Ok(()), &mut |bytes| {
            done += bytes.len() as u64;
            progress(Progress::new(done, total));
            Ok(())
        });
        match fetched {
            Ok(()) => objects += segment.parts.len() as u64,
            Err(fault @ (Error::Damaged { .. } | Error::Key { .. })) => faults.push(fault),
            Err(error) => return Err(error),
        }
        done = before + segment.len();
    }
    Ok(Verified {
        branch: loaded.manifest.branch,
        position: Position::new(loaded.manifest.end.position),
        manifests,
        objects,
        log_bytes: total,
        faults,
    })
}

/// Compares the manifests that are kept with the digests that their successors state.
fn verify_chain(from: &Destination, newest: &Loaded, faults: &mut Vec<Error>) -> Result<u64> {
    let (branch, last) = (newest.manifest.branch, newest.manifest.number);
    let listed = catalog::branches(from)?.remove(&branch).unwrap_or_default();
    let mut digests = BTreeMap::new();
    for number in listed.into_iter().filter(|number| *number <= last) {
        match catalog::read(from, branch, number) {
            Ok(Some((manifest, digest))) => {
                let before = number.checked_sub(1).and_then(|before| digests.get(&before));
                if before.is_some_and(|before| Some(before) != manifest.previous.as_ref()) {
                    let why = format!("it does not follow manifest {}", number - 1);
                    let end = manifest.end.position;
                    let object = manifest.name();
                    let damaged = Error::Damaged { object, position: Position::START, why };
                    faults.push(at_position(damaged, end));
                }
                digests.insert(number, digest);
            }
            // It was removed since.
            Ok(None) => {}
            Err(fault @ (Error::Damaged { .. } | Error::Key { .. })) => faults.push(fault),
            Err(error) => return Err(error),
        }
    }
    Ok(digests.len() as u64)
}
