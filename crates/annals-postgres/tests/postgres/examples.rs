//! The examples of the toolkit, on PostgreSQL: only the line that opens the store is another one.

#[path = "../../../annals-es/examples/bank_read_model.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod bank_read_model;
#[path = "../../../annals-es/examples/seat_rush.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_rush;

use crate::support::{Schema, Tests};

pub(crate) const TESTS: Tests = &[
    ("example_of_the_bank_runs", example_of_the_bank_runs),
    ("example_of_the_seats_runs", example_of_the_seats_runs),
];

fn both() -> [Schema; 2] {
    [Schema::dense(), Schema::fast()]
}

fn example_of_the_bank_runs() {
    for schema in both() {
        let mut out = Vec::new();
        bank_read_model::run(&schema.store(), &mut out).expect("the example runs");
        let out = String::from_utf8(out).expect("text");
        assert!(
            out.contains("account-1  ann    3800 cents\naccount-2  bob    2500 cents"),
            "{out}"
        );
    }
}

fn example_of_the_seats_runs() {
    for schema in both() {
        let mut out = Vec::new();
        seat_rush::run(&schema.store(), &mut out).expect("the example runs");
        let out = String::from_utf8(out).expect("text");
        assert!(out.contains("   40 have a seat and paid for it"), "{out}");
        assert!(out.contains("seats were released for others, 0 had two holders"), "{out}");
    }
}
