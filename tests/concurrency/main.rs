//! Many threads and several processes at once, on a real disk.
//!
//! What is checked: commits are all or nothing for every reader, positions and versions have no
//! gaps, one of several conflicting appends wins, and acknowledged commits survive a killed
//! process.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::cast_possible_truncation, reason = "patterns in test data")]

mod conflicts;
mod handles;
mod processes;
mod readers;
mod records;
mod sealing;
#[path = "../support/mod.rs"]
mod shared;
mod support;
