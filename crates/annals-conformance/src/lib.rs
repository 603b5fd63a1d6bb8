#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL and JetStream are names, and no items")]

mod backend;
mod behaviours;
pub mod history;
mod suite;
mod support;

pub use backend::Backend;
pub use suite::{AnySuite, Suite, run};
