#![doc = include_str!("../README.md")]

pub mod cloudevents;
pub mod columns;
pub mod encoding;
pub mod events_table;
pub mod lines;
mod object;
mod record;
pub mod time;

pub use record::{BadLine, CommitKey, CommitOf, DERIVED, Record};
