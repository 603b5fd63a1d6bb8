//! The work of look-ups, counted for tests: members of lists, decoded ordinals, records, and records
//! that are proven.
//!
//! Time is not meaningful on a shared machine; this number is the same in every run. Costs nothing
//! outside of tests.

#[cfg(any(test, feature = "testing"))]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static TOUCHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Adds to the count of work done.
    pub(crate) fn touch(count: u64) {
        TOUCHED.set(TOUCHED.get().wrapping_add(count));
    }

    /// The number of cells that this thread has touched.
    pub(crate) fn touched() -> u64 {
        TOUCHED.get()
    }
}

#[cfg(any(test, feature = "testing"))]
pub(crate) use counted::{touch, touched};

/// Adds to the count of work done.
#[cfg(not(any(test, feature = "testing")))]
#[inline]
pub(crate) fn touch(_count: u64) {}
