//! A directory that other programs have changed: links, huge files, names that resemble the
//! store's, pipes and sockets, missing permissions, files that change under an open store.
//!
//! What is checked: opening, reading and verifying return a typed error or behave as `SECURITY.md`
//! describes; they do not block, allocate out of proportion, or read or change anything outside the
//! store.

#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]
#![allow(clippy::print_stderr, reason = "a test that cannot run here says so")]

// A single allocation above 32 MiB ends the process.
#[path = "../fuzz_smoke/allocations.rs"]
mod allocations;
mod changes;
mod hard_links;
mod links;
mod names;
mod permissions;
#[path = "../support/mod.rs"]
mod shared;
mod sparse;
mod special_files;
mod support;
