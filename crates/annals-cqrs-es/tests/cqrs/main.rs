//! What the framework's own backends are tested for, its demo application, and what annals promises beyond.
#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, and no item")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
#![allow(clippy::float_cmp, reason = "the demo application computes with whole amounts")]

mod bad_input;
mod bank;
mod event_store;
mod framework;
mod migration;
mod repository;
mod upstream;
mod views;
