//! Read models in PostgreSQL: each event once, whatever happens in between.
//!
//! The tests need a server, on which they create schemas and remove them: `ANNALS_ES_POSTGRES` has the parameters of
//! its connection, such as `host=localhost user=postgres`. Without it they are ignored. `.ci/postgres` starts one.

#![allow(missing_docs)]
#![allow(clippy::doc_markdown, clippy::unnecessary_literal_bound, reason = "names in tests")]

mod connections;
mod failures;
mod following;
mod histories;
mod proxy;
mod support;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test has several threads of its own, and connections of which a server permits a hundred.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let has_server = support::server().is_some();
    let tests = [following::TESTS, failures::TESTS, connections::TESTS, histories::TESTS].concat();
    let trial = |(name, test): (&'static str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!has_server)
    };
    let trials = tests.into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !has_server && !arguments.list {
        let why = "annals-es-postgres: the tests are ignored, because ANNALS_ES_POSTGRES names no server; \
                   .ci/postgres starts one";
        // The outcome of the tests does not depend on the message.
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    conclusion.exit_code()
}
