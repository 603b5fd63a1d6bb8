//! Removes what no restore needs.
//!
//! Owns the choice of what may go. Must never remove an object that a manifest which stays names.

use std::collections::HashSet;
use std::time::Duration;

use crate::catalog::{self, Loaded};
use crate::destination::Destination;
use crate::error::Result;
use crate::manifest::{self, LOG};
use crate::ship::now_micros;

/// Options of [`prune`].
#[derive(Debug, Clone)]
pub struct PruneOptions {
    keep_branches: Option<usize>,
    grace: Duration,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { keep_branches: None, grace: Duration::from_secs(24 * 3600) }
    }
}

impl PruneOptions {
    /// The defaults: every branch stays, and of each everything that a restore to any of its commits needs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps this many of the newest branches, at least one. Default: all.
    pub fn keep_branches(mut self, branches: usize) -> Self {
        self.keep_branches = Some(branches.max(1));
        self
    }

    /// Objects that no manifest names are kept this long after they were written: a shipper may be about to name them.
    /// Must be longer than an upload takes. Default: 24 hours.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// The result of [`prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// Branches that were removed.
    pub branches: u64,
    /// Objects that were removed, with manifests.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes older branches, and objects that an upload left which did not end. Every commit of the branches that stay can
/// still be restored. Works beside a shipper.
///
/// # Errors
///
/// [`Error::NotABackup`](crate::Error::NotABackup), any damaged manifest of a branch that stays, and those of the
/// storage: nothing that is needed has been removed then.
pub fn prune(from: &Destination, options: &PruneOptions) -> Result<Pruned> {
    catalog::store_id(from)?;
    // Before the manifests: what is written later is named by none of those that are read.
    let objects = from.list(LOG)?;
    let branches = catalog::branches(from)?;
    let keep = options.keep_branches.unwrap_or(branches.len());
    let first_kept = branches.keys().rev().nth(keep.saturating_sub(1)).copied().unwrap_or(0);
    let mut named = HashSet::new();
    for (&branch, numbers) in branches.range(first_kept..) {
        let newest = catalog::newest(from, Some(branch))?;
        let all = |newest: Loaded| [newest.segments, newest.manifest.ahead].concat();
        let mut segments = newest.map(all).unwrap_or_default();
        // Those before the newest are kept for readers that have just read them. Their bases are among them.
        for &number in numbers {
            if let Some((manifest, _)) = catalog::read(from, branch, number)? {
                segments.extend(manifest.segments.into_iter().chain(manifest.ahead));
            }
        }
        named.extend(segments.into_iter().flat_map(|it| it.parts).map(|part| part.object));
    }
    let mut pruned = Pruned::default();
    for (&branch, numbers) in branches.range(..first_kept) {
        for &number in numbers {
            from.delete(&manifest::name(branch, number))?;
            pruned.objects += 1;
        }
        pruned.branches += 1;
    }
    let now = i64::try_from(now_micros() / 1_000_000).unwrap_or(i64::MAX);
    let grace = i64::try_from(options.grace.as_secs()).unwrap_or(i64::MAX);
    for object in objects {
        let is_old = now.saturating_sub(object.modified) >= grace;
        if is_old && !named.contains(&object.name) {
            from.delete(&object.name)?;
            pruned.objects += 1;
            pruned.bytes += object.len;
        }
    }
    Ok(pruned)
}
