#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "SQLite is a name, and no item")]

mod tables;
mod target;

pub use rusqlite;
pub use tables::{active_version, position, remove};
pub use target::Sqlite;
