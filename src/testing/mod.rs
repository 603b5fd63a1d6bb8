//! The simulated disk, and the shared parts of tests and fuzz targets (feature `testing`).

pub mod choices;
mod cold;
pub mod decode;
mod following;
pub mod groups;
pub mod harness;
pub mod model;
pub mod operations;
pub mod random;
pub mod side_operations;
pub mod simulation;
pub mod tally;
mod tokens;

mod backups;
mod commits;
mod compare;
mod hooked;
mod metadata;
mod snapshots;

use std::path::Path;
use std::sync::Arc;

pub use crate::storage::*;
pub use hooked::{Call, Hook, HookedStorage};

use crate::dir::StoreDir;
use crate::error::Result;
use crate::event::Position;
use crate::repair::{AcceptedLoss, Loss, RepairOptions, RepairReport, SalvagedEvent};
use crate::verify::{Progress, VerifyReport};

/// [`verify`](crate::verify()) on any storage.
///
/// # Errors
///
/// Those of [`verify`](crate::verify()).
pub fn verify_on(
    storage: &(impl Storage + Clone),
    root: impl AsRef<Path>,
    progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    crate::verify::verify_in(&dir_on(storage, root), progress)
}

/// [`fence::raise`](crate::fence::raise) on any storage.
///
/// # Errors
///
/// Those of [`fence::raise`](crate::fence::raise).
pub fn raise_fence_on(
    storage: &(impl Storage + Clone),
    root: impl AsRef<Path>,
    to: &str,
    wait: std::time::Duration,
) -> Result<()> {
    crate::fence::raise_in(&dir_on(storage, root), to, wait)
}

/// [`fence::lift`](crate::fence::lift) on any storage.
///
/// # Errors
///
/// Those of [`fence::lift`](crate::fence::lift).
pub fn lift_fence_on(
    storage: &(impl Storage + Clone),
    root: impl AsRef<Path>,
) -> Result<Option<String>> {
    crate::fence::lift_in(&dir_on(storage, root))
}

/// [`repair`](crate::repair::repair()) on any storage.
///
/// # Errors
///
/// Those of [`repair`](crate::repair::repair()).
#[expect(clippy::needless_pass_by_value, reason = "as `repair` takes them")]
pub fn repair_on(
    storage: &Arc<dyn Storage>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: RepairOptions,
) -> Result<RepairReport> {
    repair_and_salvage_on(storage, from, to, &options, |_| Ok(()))
}

/// [`repair_and_salvage`](crate::repair::repair_and_salvage) on any storage.
///
/// # Errors
///
/// Those of [`repair_and_salvage`](crate::repair::repair_and_salvage).
pub fn repair_and_salvage_on(
    storage: &Arc<dyn Storage>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: &RepairOptions,
    mut salvaged: impl FnMut(&SalvagedEvent<'_>) -> std::io::Result<()>,
) -> Result<RepairReport> {
    let dir = |path: &Path| StoreDir::new(Arc::clone(storage), path);
    let (from, to) = (dir(from.as_ref()), dir(to.as_ref()));
    crate::repair::repair_in(&from, &to, options, &mut |_| {}, &mut salvaged)
}

/// [`find_loss`](crate::repair::find_loss) on any storage.
///
/// # Errors
///
/// Those of [`find_loss`](crate::repair::find_loss).
pub fn find_loss_on(storage: &(impl Storage + Clone), root: impl AsRef<Path>) -> Result<Loss> {
    crate::repair::find_loss_in(&dir_on(storage, root))
}

/// [`accept_loss`](crate::repair::accept_loss) on any storage.
///
/// # Errors
///
/// Those of [`accept_loss`](crate::repair::accept_loss).
pub fn accept_loss_on(
    storage: &(impl Storage + Clone),
    root: impl AsRef<Path>,
    after: Position,
) -> Result<AcceptedLoss> {
    crate::repair::accept_loss_in(&dir_on(storage, root), after)
}

fn dir_on(storage: &(impl Storage + Clone), root: impl AsRef<Path>) -> StoreDir {
    StoreDir::new(Arc::new(storage.clone()), root.as_ref()).with_cold_segments(None, 0)
}

/// The number of cells that the look-ups and reads of this thread have touched: members of lists in
/// memory, ordinals decoded from index files, records. A measure of work that is the same in every run.
pub fn touched() -> u64 {
    crate::index::touched::touched()
}
