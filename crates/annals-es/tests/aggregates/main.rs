//! Aggregates: commands, snapshots, the past, repetition, contention.

#![allow(missing_docs)]

mod account;
#[path = "../../examples/bank_read_model.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod bank_read_model;
mod commands;
mod contention;
mod contested;
mod past;
mod repetition;
mod snapshots;

/// Runs a test with a store in memory, and with the engine in both forms.
macro_rules! with_each_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&annals_es::MemoryStore::new()); })*
        }
        mod annals_blocking {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::blocking(store));
            })*
        }
        mod annals_for_tasks {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::new(store));
            })*
        }
    };
}

pub(crate) use with_each_store;

#[test]
fn example_prints_balances_and_the_past() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = annals::Store::open(dir.path()).expect("a store");
    let run = |done: Result<(), Box<dyn std::error::Error>>| done.expect("the example runs");
    let (mut out, mut in_memory) = (Vec::new(), Vec::new());
    run(bank_read_model::run(&annals_es::AnnalsStore::new(engine), &mut out));
    run(bank_read_model::run(&annals_es::MemoryStore::new(), &mut in_memory));
    assert_eq!(out, in_memory);
    let expected = "\
the history has 2 events, 0 of which cannot be read
sent twice, carried out once: true
refused: the account has only 3800 cents
account-1  ann    3800 cents
account-2  bob    2500 cents
account-2 had 1000 cents at version 11, and has 2500 at version 26
";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}
