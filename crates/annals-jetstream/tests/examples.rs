//! The examples of the toolkit, on JetStream: only the line that opens the store is another one. `.ci/nats` starts the
//! servers.

#![allow(missing_docs, clippy::doc_markdown, reason = "tests")]

#[path = "../../annals-es/examples/bank_read_model.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod bank_read_model;
#[path = "../../annals-es/examples/seat_rush.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_rush;

use std::process::ExitCode;

use annals_conformance::{AnySuite, run};
use annals_es::blocking::block_on;
use annals_jetstream::{Durability, JetStreamOptions, JetStreamStore};

const TESTS: &[(&str, fn())] = &[
    ("example_of_the_bank_runs", example_of_the_bank_runs),
    ("example_of_the_seats_runs", example_of_the_seats_runs),
];

fn main() -> ExitCode {
    let missing = std::env::var("ANNALS_JETSTREAM").is_err();
    let missing =
        missing.then(|| "ANNALS_JETSTREAM names no servers; .ci/nats starts three".to_owned());
    run([AnySuite::tests(TESTS.to_vec(), missing)])
}

/// A store that is new.
fn store(name: &str, replicas: usize) -> JetStreamStore {
    let servers = std::env::var("ANNALS_JETSTREAM").expect("servers");
    let servers: Vec<&str> = servers.split(',').collect();
    let options = JetStreamOptions::new(&servers[..]).expect("addresses");
    let options = options.name(format!("{name}_{}", std::process::id())).replicas(replicas);
    block_on(options.durability(Durability::AcceptLoss).open()).expect("it opens")
}

fn example_of_the_bank_runs() {
    let mut out = Vec::new();
    bank_read_model::run(&store("bank", 1), &mut out).expect("the example runs");
    let out = String::from_utf8(out).expect("text");
    assert!(out.contains("account-1  ann    3800 cents\naccount-2  bob    2500 cents"), "{out}");
}

fn example_of_the_seats_runs() {
    for (name, replicas) in [("seats_single", 1), ("seats_replicated", 3)] {
        let mut out = Vec::new();
        seat_rush::run(&store(name, replicas), &mut out).expect("the example runs");
        let out = String::from_utf8(out).expect("text");
        assert!(out.contains("   40 have a seat and paid for it"), "{out}");
        assert!(out.contains("seats were released for others, 0 had two holders"), "{out}");
    }
}
