//! What a backup holds: its description, its branches, the newest manifest of one.
//!
//! Owns the search for the newest manifest. Must never trust a listing alone: it may be older than what was written.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::keys::hex;
use crate::manifest::{self, DESCRIPTION, Description, FORMAT, MANIFESTS, Manifest, SegmentEntry};
use crate::pack::{open_message, seal_message};

/// How often a manifest is looked for again that was removed while it was looked for.
const TRIES: u32 = 4;

/// A branch as of one manifest.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    /// The SHA-256 of its object, in hexadecimal.
    pub(crate) digest: String,
    /// All segments, from 1 without a gap.
    pub(crate) segments: Vec<SegmentEntry>,
    /// The number of segments that the base lists for good.
    pub(crate) covered: usize,
}

/// The manifests of each branch, by a listing.
pub(crate) type Branches = BTreeMap<u32, Vec<u64>>;

fn not_a_backup(from: &Destination, why: &str) -> Error {
    Error::NotABackup { url: from.url().into(), why: why.into() }
}

/// The description of the backup, if there is one.
pub(crate) fn description(from: &Destination) -> Result<Option<Description>> {
    let Some(bytes) = from.get(DESCRIPTION)? else { return Ok(None) };
    manifest::check_format(DESCRIPTION, &bytes)?;
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|e| not_a_backup(from, &format!("its description is damaged: {e}")))
}

/// The id of the store that is backed up.
pub(crate) fn store_id(from: &Destination) -> Result<Uuid> {
    let found = description(from)?;
    found.map(|found| found.store_id).ok_or_else(|| not_a_backup(from, "it has no description"))
}

/// Makes the place a backup of a store, or checks that it is one.
pub(crate) fn claim(to: &Destination, store_id: Uuid) -> Result<()> {
    let mut found = description(to)?;
    if found.is_none() {
        if let Some(other) = to.list("")?.into_iter().find(|object| object.name != DESCRIPTION) {
            return Err(not_a_backup(to, &format!("it holds {:?}", other.name)));
        }
        let new = Description { format: FORMAT, store_id };
        let bytes = encode(DESCRIPTION, &new)?;
        if !to.put_new(DESCRIPTION, &bytes)? {
            found = description(to)?;
        }
    }
    match found {
        Some(found) if found.store_id != store_id => Err(Error::OtherStore {
            url: to.url().into(),
            expected: store_id,
            found: found.store_id,
        }),
        _ => Ok(()),
    }
}

fn encode(name: &str, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Damaged {
        object: name.into(),
        position: annals::Position::START,
        why: e.to_string(),
    })
}

/// The object of a manifest, and its digest.
pub(crate) fn seal(to: &Destination, manifest: &Manifest) -> Result<(Vec<u8>, String)> {
    let name = manifest.name();
    let object = seal_message(&name, to.keys(), &encode(&name, manifest)?)?;
    let digest = hex(&Sha256::digest(&object));
    Ok((object, digest))
}

/// A manifest and its digest, if it is there.
pub(crate) fn read(
    from: &Destination,
    branch: u32,
    number: u64,
) -> Result<Option<(Manifest, String)>> {
    let name = manifest::name(branch, number);
    let Some(object) = from.get(&name)? else { return Ok(None) };
    let message = open_message(&name, from.keys(), &object)?;
    Ok(Some((Manifest::decode(&name, &message)?, hex(&Sha256::digest(&object)))))
}

/// The branches that a listing shows.
pub(crate) fn branches(from: &Destination) -> Result<Branches> {
    let mut branches = Branches::new();
    for object in from.list(MANIFESTS)? {
        if let Some((branch, number)) = manifest::parse_name(&object.name) {
            branches.entry(branch).or_default().push(number);
        }
    }
    Ok(branches)
}

/// The newest manifest of a branch, or of the newest branch; `None`: there is none.
pub(crate) fn newest(from: &Destination, branch: Option<u32>) -> Result<Option<Loaded>> {
    for _ in 0..TRIES {
        let branches = branches(from)?;
        let last = branches.last_key_value().map_or(0, |(branch, _)| *branch);
        let listed = |branch| branches.get(&branch).and_then(|numbers| numbers.last()).copied();
        let mut found = None;
        // What was written since, or what a listing does not show yet.
        let mut next = branch.unwrap_or(last.max(1));
        loop {
            let mut number = listed(next).unwrap_or(1);
            let mut is_there = false;
            while let Some(read) = read(from, next, number)? {
                number += 1;
                is_there = true;
                found = Some(read);
            }
            if !is_there || branch.is_some() {
                break;
            }
            next += 1;
        }
        match found {
            Some(found) => {
                if let Some(loaded) = expand(from, found)? {
                    return Ok(Some(loaded));
                }
            }
            None if branches.is_empty() => return Ok(None),
            None if branch.is_some_and(|branch| !branches.contains_key(&branch)) => {
                return Ok(None);
            }
            None => {}
        }
    }
    Err(not_a_backup(from, "its manifests are incomplete"))
}

/// Adds the segments that the base lists; `None` if the base is gone.
pub(crate) fn expand(
    from: &Destination,
    (manifest, digest): (Manifest, String),
) -> Result<Option<Loaded>> {
    let mut segments = Vec::new();
    let first = manifest.segments.first().map_or(1, |segment| segment.number);
    if !manifest.is_base() {
        let Some((base, _)) = read(from, manifest.branch, manifest.base)? else {
            return Ok(None);
        };
        segments = base.segments;
        segments.retain(|segment| segment.number < first);
    }
    let covered = if manifest.is_base() {
        manifest.segments.iter().take_while(|segment| segment.full.is_some()).count()
    } else {
        segments.len()
    };
    segments.extend(manifest.segments.iter().cloned());
    if segments.iter().zip(1..).any(|(segment, number)| segment.number != number) {
        return Err(Error::Damaged {
            object: manifest.name(),
            position: annals::Position::START,
            why: "it does not continue its base".into(),
        });
    }
    Ok(Some(Loaded { manifest, digest, segments, covered }))
}
