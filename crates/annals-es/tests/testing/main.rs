//! Given, when, then: what passes, and what each check says when it fails.

#![allow(missing_docs)]

#[path = "../processes/booking.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod booking;
mod decided;
mod processes;
mod projections;
#[path = "../../examples/seat_payments.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_payments;
mod upcasters;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The text with which a check fails.
fn failure(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("the check has to fail");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

/// Requires that a check fails with a text that has these parts.
#[track_caller]
fn fails_with(parts: &[&str], check: impl FnOnce()) {
    let text = failure(check);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
