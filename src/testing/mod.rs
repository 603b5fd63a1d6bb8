//! The simulated disk, and the shared parts of tests and fuzz targets (feature `testing`).

pub mod aside;
pub mod choices;
pub mod decode;
pub mod harness;
pub mod model;
pub mod operations;
pub mod random;
pub mod simulation;
pub mod tally;
mod tokens;

mod commits;
mod compare;
mod hooked;
mod metadata;
mod snapshots;

use std::path::Path;
use std::sync::Arc;

pub use crate::storage::*;
pub use hooked::{Call, Hook, HookedStorage};

use crate::error::Result;
use crate::event::Position;
use crate::repair::{AcceptedLoss, Loss, RepairOptions, RepairReport};
use crate::verify::{Progress, VerifyReport};

/// [`verify`](crate::verify()) on any storage.
///
/// # Errors
///
/// Those of [`verify`](crate::verify()).
pub fn verify_on(
    storage: &dyn Storage,
    root: impl AsRef<Path>,
    progress: impl FnMut(Progress),
) -> Result<VerifyReport> {
    crate::verify::verify_in(storage, root.as_ref(), progress)
}

/// [`repair`](crate::repair::repair()) on any storage.
///
/// # Errors
///
/// Those of [`repair`](crate::repair::repair()).
pub fn repair_on(
    storage: &Arc<dyn Storage>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    options: RepairOptions,
) -> Result<RepairReport> {
    crate::repair::repair_in(storage, from.as_ref(), to.as_ref(), options, |_| {})
}

/// [`find_loss`](crate::repair::find_loss) on any storage.
///
/// # Errors
///
/// Those of [`find_loss`](crate::repair::find_loss).
pub fn find_loss_on(storage: &dyn Storage, root: impl AsRef<Path>) -> Result<Loss> {
    crate::repair::find_loss_in(storage, root.as_ref())
}

/// [`accept_loss`](crate::repair::accept_loss) on any storage.
///
/// # Errors
///
/// Those of [`accept_loss`](crate::repair::accept_loss).
pub fn accept_loss_on(
    storage: &dyn Storage,
    root: impl AsRef<Path>,
    after: Position,
) -> Result<AcceptedLoss> {
    crate::repair::accept_loss_in(storage, root.as_ref(), after)
}

/// The number of cells that the look-ups and reads of this thread have touched: members of lists in
/// memory, ordinals decoded from index files, records. A measure of work that is the same in every run.
pub fn touched() -> u64 {
    crate::index::touched::touched()
}
