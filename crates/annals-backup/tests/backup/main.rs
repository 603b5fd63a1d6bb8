//! Backups in object storage: shipped, restored to any commit, verified, pruned, followed and promoted, while the storage
//! and the processes fail.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch files directly")]

mod bad_input;
mod cold;
mod drill;
mod faulty;
mod lives;
mod ship;
mod standby;
mod support;
