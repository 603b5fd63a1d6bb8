//! Clients use the store at random while the server is killed, paused and restarted; what they saw is explained.
//!
//! `.ci/postgres` starts a server for it, and sets `ANNALS_POSTGRES_CONTROL` to a program that strikes the server. Other
//! tests must not use that server at the same time. `ANNALS_HISTORY_OPERATIONS` sets the number of operations.

#![allow(missing_docs, reason = "tests")]

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals_conformance::AnySuite;
use annals_conformance::history::{History, Load, Log, check, run, stored};
use annals_es::blocking::block_on;
use annals_es::{NewEvent, OrderedStore, Query, ReadAll};
use annals_postgres::{Positions, PostgresOptions};

fn main() -> ExitCode {
    let missing = std::env::var_os("ANNALS_POSTGRES_CONTROL").is_none();
    let missing =
        missing.then(|| "ANNALS_POSTGRES_CONTROL strikes no server; .ci/postgres sets it".into());
    let tests: [(&'static str, fn()); 1] = [("struck_server_is_explained", || {
        // One after the other: they have one server.
        explained(Positions::Dense);
        explained(Positions::Fast);
    })];
    annals_conformance::run([AnySuite::tests(tests, missing)])
}

fn control(arguments: &[&str]) {
    let control = std::env::var_os("ANNALS_POSTGRES_CONTROL").expect("a program");
    let done = Command::new(control).args(arguments).status().expect("it runs");
    assert!(done.success(), "{arguments:?}");
}

fn strike(number: u64) -> String {
    match number % 5 {
        0 => {
            control(&["kill"]);
            control(&["start"]);
            "the server is killed"
        }
        1 => {
            control(&["pause"]);
            thread::sleep(Duration::from_millis(300));
            control(&["resume"]);
            "the server is paused"
        }
        2 => {
            control(&["restart", "fast"]);
            "the server is restarted"
        }
        3 => {
            control(&["kill-one"]);
            "a session is killed, and with it all others"
        }
        _ => {
            control(&["restart", "immediate"]);
            "the server is restarted without a shutdown"
        }
    }
    .into()
}

/// The least number of faults: each one once.
const FAULTS: u64 = 5;

fn explained(positions: Positions) {
    let operations = std::env::var("ANNALS_HISTORY_OPERATIONS").ok();
    let operations = operations.map_or(4_000, |it| it.parse().expect("a number of operations"));
    let server = std::env::var("ANNALS_ES_POSTGRES").expect("a server");
    let config = server.parse().expect("parameters of a connection");
    let options = PostgresOptions::new(config)
        .schema(format!("annals_history_{positions:?}").to_lowercase())
        .positions(positions)
        .connections(4)
        .accept_loss();
    // Three programs.
    let open = |_| block_on(options.clone().open()).expect("the store opens");
    let stores: Vec<_> = (0..3).map(open).collect();
    let store = &stores[0];
    let mut load = Load::new(operations, 11);
    (load.clients, load.faults) = (16, FAULTS);
    let log = Log::new();
    let last = AtomicU64::new(0);
    run(&stores, &load, &log, |number| {
        // About two dozen faults, spread over the operations.
        let next = last.load(Ordering::Relaxed) + operations / 24;
        for _ in 0..200 {
            if log.operations() >= next {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        last.store(log.operations(), Ordering::Relaxed);
        (number < FAULTS || log.operations() < operations).then(|| strike(number))
    });
    let done = annals_es::Commit::to("end", annals_es::Expected::Any, [NewEvent::new("T", "end")]);
    let done = block_on(annals_es::EventStore::append(store, done)).expect("it is recorded");
    block_on(store.wait_for(done.last_position)).expect("it becomes visible");
    let found = stored(store).expect("the store is read");
    let summary = check(&History { lines: log.into_lines(), stored: found });
    let summary = summary.unwrap_or_else(|violations| {
        panic!("{} violations, the first: {}", violations.len(), violations[0])
    });
    // The index finds the same events.
    let tagged = store.read_all(ReadAll::matching(Query::tagged(["t"])));
    let tagged = annals_es::blocking::iter(tagged).count() as u64;
    assert_eq!(tagged + 1, summary.stored);
    let _ = writeln!(std::io::stderr(), "{positions:?}: {summary}");
    assert!(summary.faults >= FAULTS && summary.acknowledged > 0, "{summary}");
}
