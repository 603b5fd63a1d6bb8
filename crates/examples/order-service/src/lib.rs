//! Orders behind HTTP: an example of [`annals_es`], to be read in this order.
//!
//! | file | what it has |
//! |---|---|
//! | `order.rs` | the aggregate: commands, events, rules |
//! | `expiry.rs` | the process: an order that is not confirmed in time expires |
//! | `list.rs` | the read model in SQLite |
//! | `http.rs` | the routes: entity tags, idempotency keys, reads of one's own writes |
//! | `problem.rs` | every error, and its status |
//! | `store.rs` | which store it is: a directory, or with the feature `postgres` or `nats` a server |
//! | `service.rs` | the parts put together, and stopped in order |

#![allow(clippy::doc_markdown, reason = "SQLite and PostgreSQL are names, and no items")]

mod expiry;
mod http;
mod list;
mod order;
mod problem;
mod service;
mod store;

pub use expiry::CONFIRM_WITHIN;
pub use service::{Service, ServiceError};
