//! Copies between places.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod directories;
mod fences;
mod histories;
mod outages;
