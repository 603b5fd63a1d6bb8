//! Bugs that are planted in annals on purpose, one by one, to show that its checks can fail.
//!
//! Each bug is a file of data in `bugs/`: the lines of the engine to replace, their replacements,
//! and the detector. Nothing of this is part of the engine: the edits are made in a copy of the
//! tree.
//!
//! - [`bug`]: the definition of a bug, and the list of them.
//! - [`tree`]: the copy, and the edits in it.
//! - [`catcher`]: builds the copy and runs what must notice.
//! - [`report`]: the table.

#![allow(clippy::disallowed_methods, reason = "a tool for this repository works on its files")]

pub mod bug;
pub mod catcher;
pub mod report;
pub mod tree;

use std::path::{Path, PathBuf};

/// The root of the repository that this crate is part of.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
