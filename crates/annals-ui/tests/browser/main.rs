//! Every page in a real browser; without one, the tests are skipped.
//!
//! `.ci/browser cargo test -p annals-ui --test browser` finds or installs the browser. With `ANNALS_SCREENSHOTS`, the
//! pictures of the README are written into that directory.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests look at files from outside")]
#![allow(clippy::unwrap_used, reason = "a failure of a helper is the failure of its test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod chrome;
mod hostile;
mod pages;
mod site;
