#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod connect;
mod error;
mod model;
mod session;
mod tables;
mod target;

pub use error::Error;
pub use model::Tables;
pub use tables::{active_version, position, remove};
pub use target::Postgres;
pub use tokio_postgres;
