//! What the store in memory of eventually is tested for, and what annals promises beyond.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod repository;
mod store;
mod subscriber;
mod support;
mod upstream;
