//! The store on JetStream: the behaviours of every store, and those of its own.
//!
//! `.ci/nats` starts three servers for it.

#![allow(missing_docs, clippy::doc_markdown, reason = "tests")]

mod checkpoints;
mod commits;
mod errors;
mod fences;
mod partitions;
mod proxy;
mod support;

use std::process::ExitCode;

use annals_conformance::{AnySuite, Suite, run};
use support::Name;

fn main() -> ExitCode {
    let missing = match support::addresses() {
        Some(_) => None,
        None => Some("ANNALS_JETSTREAM names no servers; .ci/nats starts three"),
    };
    let suite = |name, make: fn() -> Name| -> AnySuite {
        // Boundaries over queries are not offered: the types say so.
        let suite = Suite::new(name, make).ordered().several_streams().atomic_checkpoints();
        match missing {
            Some(missing) => suite.missing(missing).into(),
            None => suite.into(),
        }
    };
    let partitioned = Suite::new("partitioned", partitions::Partitioned::new);
    let partitioned: AnySuite = match missing {
        Some(missing) => partitioned.missing(missing).into(),
        None => partitioned.into(),
    };
    let tests =
        [errors::TESTS, commits::TESTS, checkpoints::TESTS, fences::TESTS, partitions::TESTS]
            .concat();
    run([
        suite("replicated", Name::replicated),
        suite("single", Name::single),
        partitioned,
        AnySuite::tests(tests, missing.map(str::to_owned)),
    ])
}
