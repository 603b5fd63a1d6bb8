//! The simulated disk, and what tests and fuzz targets share (feature `testing`).

pub use crate::storage::*;
