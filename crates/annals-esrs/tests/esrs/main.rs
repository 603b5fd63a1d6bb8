//! What the PostgreSQL backend and the manager of esrs are tested for, and what annals promises beyond.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]

mod book;
mod manager;
mod migration;
mod store;
mod upstream;
