//! Moves the data of the PostgreSQL backends.
//!
//! The tests need a server, on which they create databases and remove them: `ANNALS_ES_POSTGRES` has the parameters of its
//! connection. Without it they are ignored. `.ci/postgres` starts one.

#![allow(clippy::unwrap_used, reason = "a test ends with the first failure")]

mod disintegrate;
mod eventsourced;
mod server;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let has_server = server::config().is_some();
    let tests: [(&str, fn()); 3] = [
        ("table_of_disintegrate_is_the_same_in_annals", disintegrate::is_the_same),
        ("rows_of_eventsourced_are_the_entities_they_were", eventsourced::imported),
        ("entities_of_eventsourced_are_copied_in_two_parts", eventsourced::copied),
    ];
    let trial = |(name, test): (&'static str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!has_server)
    };
    let trials = tests.into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if !has_server {
        eprintln!("the tests are ignored, because ANNALS_ES_POSTGRES names no server");
    }
    conclusion.exit_code()
}
