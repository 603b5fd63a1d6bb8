//! The bank of the toolkit's examples, on JetStream: only the line that opens the store is another one. `.ci/nats` starts
//! the servers.

#![allow(missing_docs, clippy::doc_markdown, reason = "tests")]

#[path = "../../annals-es/examples/bank_read_model.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod bank_read_model;

use std::process::ExitCode;

use annals_conformance::{AnySuite, run};
use annals_es::blocking::block_on;
use annals_jetstream::{Durability, JetStreamOptions};

const TESTS: &[(&str, fn())] = &[("example_of_the_bank_runs", example_of_the_bank_runs)];

fn main() -> ExitCode {
    let missing = std::env::var("ANNALS_JETSTREAM").is_err();
    let missing =
        missing.then(|| "ANNALS_JETSTREAM names no servers; .ci/nats starts three".to_owned());
    run([AnySuite::tests(TESTS.to_vec(), missing)])
}

fn example_of_the_bank_runs() {
    let servers = std::env::var("ANNALS_JETSTREAM").expect("servers");
    let servers: Vec<&str> = servers.split(',').collect();
    let options = JetStreamOptions::new(&servers[..]).expect("addresses");
    let options = options.name(format!("bank_{}", std::process::id())).replicas(1);
    let store = block_on(options.durability(Durability::AcceptLoss).open()).expect("it opens");
    let mut out = Vec::new();
    bank_read_model::run(&store, &mut out).expect("the example runs");
    let out = String::from_utf8(out).expect("text");
    assert!(out.contains("account-1  ann    3800 cents\naccount-2  bob    2500 cents"), "{out}");
}
