#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "JetStream and PostgreSQL are names, and no items")]

mod append;
mod bucket;
mod check;
mod checkpoint;
mod clock;
mod error;
mod fence;
mod ids;
mod import;
mod message;
mod open;
mod options;
mod pages;
mod partition;
mod partitioned;
mod plan;
mod reads;
mod runtime;
mod server;
mod settings;
mod shared;
mod signal;
mod store;
mod streams;
mod subject;
mod subscription;
mod tails;

pub use async_nats;
pub use error::Error;
pub use options::{Durability, JetStreamOptions};
pub use partitioned::PartitionedStore;
pub use reads::JetStreamEvents;
pub use store::JetStreamStore;
pub use subscription::JetStreamSubscription;
