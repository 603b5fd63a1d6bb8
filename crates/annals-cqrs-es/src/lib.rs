#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod error;
mod event_store;
mod events;
mod framework;
mod repository;
mod view_repository;

pub use error::Error;
pub use event_store::AnnalsEventStore;
pub use framework::{AnnalsCqrs, annals_aggregate_cqrs, annals_cqrs, annals_snapshot_cqrs};
pub use repository::AnnalsEventRepository;
pub use view_repository::AnnalsViewRepository;
