//! The line formats of the `annals` command, apart from it so that tests and fuzz targets can
//! link them.
//!
//! Owns the shapes of lines, in and out, as pure functions over bytes. Must never open a store,
//! a file or a terminal.

pub mod cloudevents;
pub mod columns;
pub mod encoding;
pub mod events_table;
pub mod json_diff;
pub mod lines;
mod object;
mod record;
pub mod time;

pub use record::{BadLine, CommitKey, CommitOf, DERIVED, Record};
