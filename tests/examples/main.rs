//! The examples, called as functions; their output is compared with what it must be.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(dead_code, reason = "an example's `main` is not called from here")]

#[path = "../../examples/bank_account/main.rs"]
mod bank_account;
#[path = "../../examples/conference_seats.rs"]
mod conference_seats;
#[path = "../../examples/course_enrolment.rs"]
mod course_enrolment;

mod bank;
mod courses;
mod seats;

use std::error::Error;
use std::io::Write;
use std::path::Path;

/// The output of an example on a new store.
pub(crate) fn printed(
    run: impl FnOnce(&Path, &mut dyn Write) -> Result<(), Box<dyn Error>>,
) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut out = Vec::new();
    run(&dir.path().join("store"), &mut out).expect("the example runs");
    String::from_utf8(out).expect("it prints text")
}
