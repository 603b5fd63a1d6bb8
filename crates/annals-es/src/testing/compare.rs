//! The comparison of what a test expects with what came, and its texts.
//!
//! Owns the form of the messages. Must never decide what is compared.

use std::fmt::{Debug, Write};

/// Requires that two values are equal.
#[track_caller]
pub(super) fn value<T: PartialEq + Debug + ?Sized>(what: &str, expected: &T, came: &T) {
    assert!(expected == came, "{what}\nexpected: {expected:#?}\n    came: {came:#?}");
}

/// Requires that two lists are equal.
#[track_caller]
pub(super) fn list<T: PartialEq + Debug>(what: &str, expected: &[T], came: &[T]) {
    assert!(expected == came, "{what}\nexpected:{}\ncame:{}", lines(expected), lines(came));
}

/// The items of a list, one a line.
pub(super) fn lines<T: Debug>(items: &[T]) -> String {
    if items.is_empty() {
        return "\n  nothing".to_owned();
    }
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {item:?}");
        text
    })
}
