//! The simulated disk, and what tests and fuzz targets share (feature `testing`).

pub mod aside;
pub mod decode;
pub mod harness;
pub mod metadata;
pub mod model;
pub mod operations;
pub mod random;
pub mod simulation;
pub mod tally;

mod commits;
mod compare;

use std::path::Path;

pub use crate::storage::*;

use crate::error::Result;
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
