//! The store in PostgreSQL.
//!
//! The tests need a server, on which they create schemas and remove them: `ANNALS_ES_POSTGRES` has the parameters of its
//! connection, such as `host=localhost user=postgres`. Without it they are ignored. `.ci/postgres` starts one.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "names in tests")]

mod classic;
mod errors;
mod examples;
mod moving;
mod support;
mod transactions;

use std::process::ExitCode;

use annals_conformance::{AnySuite, Suite, run};
use support::Schema;

fn main() -> ExitCode {
    let missing = match support::server() {
        Some(_) => None,
        None => Some("ANNALS_ES_POSTGRES names no server; .ci/postgres starts one"),
    };
    let suite = |name, make: fn() -> Schema| {
        let suite =
            Suite::new(name, make).ordered().several_streams().boundaries().atomic_checkpoints();
        match missing {
            Some(missing) => suite.missing(missing),
            None => suite,
        }
    };
    let tests =
        [classic::TESTS, errors::TESTS, examples::TESTS, moving::TESTS, transactions::TESTS]
            .concat();
    run([
        suite("dense", Schema::dense).dense_positions().into(),
        suite("fast", Schema::fast).into(),
        AnySuite::tests(tests, missing.map(str::to_owned)),
    ])
}
