//! The adapter, tested as upstream's own backends are, and under upstream's own tools.

#![allow(clippy::unwrap_used, clippy::assert_is_empty)]

mod bad_input;
mod contract;
mod keys;
mod lifecycle;
mod migration;
mod parity;
mod runs;
mod support;
mod tools;
mod upstream;
