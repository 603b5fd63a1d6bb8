#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod batch;
mod check;
mod classic;
mod condition;
mod decide;
mod error;
mod fence;
mod import;
mod open;
mod options;
mod pool;
mod queue;
mod reads;
mod rows;
mod shared;
mod signal;
mod sql;
mod store;
mod subscription;

pub use classic::{ClassicEvents, ClassicTable};
pub use error::Error;
pub use options::{Positions, PostgresOptions};
pub use reads::PostgresEvents;
pub use store::PostgresStore;
pub use subscription::PostgresSubscription;
pub use tokio_postgres;
