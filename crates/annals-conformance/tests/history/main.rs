//! The history checker: it finds the flaw of each flawed store, and nothing in those that are sound. The embedded store
//! is used by a process of its own, which is killed and stopped again and again.
//!
//! `ANNALS_HISTORY_OPERATIONS` sets the number of operations on the embedded store.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "a test keeps its history in a file")]

mod flawed;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use annals::{Options, Store};
use annals_conformance::AnySuite;
use annals_conformance::history::{
    Event, History, Line, Load, Log, Summary, Violation, check, check_with_stale_reads, run, stored,
};
use annals_es::{AnnalsStore, MemoryStore, OrderedStore, SeveralStreams};
use flawed::{Flaw, Flawed};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, directory, log, generation, operations] = &arguments[..]
        && first == "--child"
    {
        child(Path::new(directory), Path::new(log), generation, operations);
        return ExitCode::SUCCESS;
    }
    let tests: [(&'static str, fn()); 9] = [
        ("store_in_memory_is_explained", || explained(&MemoryStore::new(), 20_000)),
        ("sound_store_is_explained", || sound(Flaw::Sound)),
        ("ignored_versions_are_found", || {
            found(Flaw::IgnoresVersions, |it| matches!(it, Violation::Expectation(_)));
        }),
        ("acknowledgement_before_storing_is_found", || {
            found(Flaw::AcknowledgesFirst, |it| matches!(it, Violation::Lost(_)));
        }),
        ("reader_of_a_sequence_is_found", || {
            found(Flaw::Sequence, |it| matches!(it, Violation::Delivery(_)));
        }),
        ("blind_repetition_is_found", || {
            found(Flaw::RetriesBlindly, |it| matches!(it, Violation::Doubled(_)));
        }),
        ("loss_of_the_last_commit_is_found", || {
            found(Flaw::LosesLast, |it| matches!(it, Violation::Lost(_)));
        }),
        ("stale_reads_are_found_or_counted", stale_reads),
        ("embedded_store_is_explained_while_its_process_is_killed", embedded),
    ];
    annals_conformance::run([AnySuite::tests(tests, None)])
}

fn judge(log: Log, stored: Vec<Event>) -> Result<Summary, Vec<Violation>> {
    check(&History { lines: log.into_lines(), stored })
}

fn explained<S: OrderedStore + SeveralStreams>(store: &S, operations: u64) {
    let log = Log::new();
    run(std::slice::from_ref(store), &Load::new(operations, 1), &log, |_| None);
    let judged = judge(log, stored(store).expect("the store is read"));
    let summary = judged.unwrap_or_else(|violations| panic!("{}", violations[0]));
    assert!(summary.acknowledged > 0 && summary.conflicts > 0 && summary.delivered > 0);
}

fn history_of(flaw: Flaw) -> History {
    let (store, log) = (Flawed::new(flaw), Log::new());
    let mut load = Load::new(6_000, 7);
    load.streams = 6;
    run(std::slice::from_ref(&store), &load, &log, |number| {
        thread::sleep(Duration::from_millis(10));
        store.strike();
        (number < 20).then(|| "it is killed".into())
    });
    store.strike();
    History { lines: log.into_lines(), stored: stored(&store).expect("the store is read") }
}

fn sound(flaw: Flaw) {
    if let Err(violations) = check(&history_of(flaw)) {
        panic!("{}", violations[0]);
    }
}

fn found(flaw: Flaw, is_it: impl Fn(&Violation) -> bool) {
    let history = history_of(flaw);
    for check in [check, check_with_stale_reads] {
        let violations = check(&history).expect_err("the flaw is found");
        assert!(violations.iter().any(&is_it), "{}", violations[0]);
    }
}

fn stale_reads() {
    let history = history_of(Flaw::StaleReads);
    let violations = check(&history).expect_err("they are found");
    assert!(violations.iter().all(|it| matches!(it, Violation::Order(_))), "{}", violations[0]);
    let counted = check_with_stale_reads(&history);
    let counted = counted.unwrap_or_else(|violations| panic!("{}", violations[0]));
    assert!(counted.stale_reads > 10 && counted.longest_stale > 0, "{counted}");
    let sound = check_with_stale_reads(&history_of(Flaw::Sound)).expect("it is explained");
    assert_eq!(sound.stale_reads, 0);
}

fn open(directory: &Path) -> AnnalsStore {
    let options = Options::new().segment_size(1 << 20);
    AnnalsStore::blocking(options.open(directory).expect("the store opens"))
}

fn close(store: AnnalsStore) {
    let engine: Store = store.engine().clone();
    drop(store);
    engine.close().expect("it closes");
}

/// The process that is killed: its consumers go on where those of the one before it were.
fn child(directory: &Path, log: &Path, generation: &str, operations: &str) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let generation = number(generation);
    let mut history = History::default();
    history.read(log).expect("the history is read");
    let mut load = Load::new(number(operations), generation);
    load.name = format!("process-{generation}");
    for line in history.lines {
        if let Line::Delivered { consumer, scanned_through, .. } = line {
            load.after.retain(|(it, _)| *it != consumer);
            load.after.push((consumer, scanned_through));
        }
    }
    let log = Log::at(log, generation << 32).expect("the history is written");
    run(&[open(directory)], &load, &log, |_| None);
}

fn signal(child: &Child, signal: &str) {
    let done = Command::new("kill").args([signal, &child.id().to_string()]).status();
    done.expect("the signal is sent");
}

fn operations(path: &Path) -> u64 {
    let text = std::fs::read(path).expect("the history is read");
    text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"Began\"")).count() as u64
}

fn embedded() {
    let wanted = std::env::var("ANNALS_HISTORY_OPERATIONS").ok();
    let wanted = wanted.map_or(12_000, |it| it.parse().expect("a number of operations"));
    let directory = tempfile::tempdir().expect("a directory");
    let (path, log) = (directory.path().join("store"), directory.path().join("history"));
    close(open(&path));
    std::fs::write(&log, "").expect("a file");
    // A process that only reads follows the one that is killed.
    let options = Options::new().segment_size(1 << 20).read_only(true);
    let follower = AnnalsStore::new(options.open(&path).expect("the store opens to read"));
    let (mut load, own) = (Load::new(0, 99), Log::new());
    (load.clients, load.consumers) = (0, 2);
    run(std::slice::from_ref(&follower), &load, &own, |number| strike(number, wanted, &path, &log));
    close(follower);
    let mut history = History::default();
    history.read(&log).expect("the history is read");
    for line in own.into_lines() {
        history.lines.push(match line {
            Line::Delivered { consumer, events, scanned_through } => {
                let consumer = format!("follower {consumer}");
                Line::Delivered { consumer, events, scanned_through }
            }
            line => line,
        });
    }
    history.stored = stored(&open(&path)).expect("the store is read");
    let judged = check(&history);
    let summary = judged.unwrap_or_else(|violations| {
        panic!("{} violations, the first: {}", violations.len(), violations[0])
    });
    let _ = writeln!(std::io::stderr(), "embedded: {summary}");
    assert!(summary.faults >= FAULTS && summary.delivered > summary.stored, "{summary}");
}

/// The least number of processes that are killed.
const FAULTS: u64 = 8;

/// Starts the process, and lets it end in one way or another. `None`: enough was done.
fn strike(number: u64, wanted: u64, store: &Path, log: &Path) -> Option<String> {
    let done = operations(log);
    if done >= wanted && number >= FAULTS {
        return None;
    }
    let program = std::env::current_exe().expect("the program");
    let mut child = Command::new(program)
        .arg("--child")
        .args([store, log])
        .args([(number + 1).to_string(), wanted.to_string()])
        .spawn()
        .expect("a process");
    // Many processes share the operations.
    let enough = done + wanted / 32;
    while operations(log) < enough && child.try_wait().is_ok_and(|ended| ended.is_none()) {
        thread::sleep(Duration::from_millis(20 + number * 7 % 30 + wanted / 2000));
    }
    let mut what = "SIGKILL";
    if number % 3 == 1 {
        what = "SIGSTOP, SIGCONT, SIGKILL";
        signal(&child, "-STOP");
        thread::sleep(Duration::from_millis(50));
        signal(&child, "-CONT");
        thread::sleep(Duration::from_millis(20));
    }
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().expect("the process ends");
    Some(what.into())
}
