//! Waiting for a store that another process writes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::support::{Done, Scratch, count, import, line, lines, run, tool};

/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that holds the store until its input ends.
struct Holder(Child);

impl Holder {
    fn of(store: &str) -> Self {
        use std::io::{BufRead as _, BufReader, Write as _};
        let args = ["import", store, "-", "--ack"];
        let mut child = tool(&args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(line(999).as_bytes()).unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap());
        acks.read_line(&mut String::new()).unwrap();
        child.stdout = Some(acks.into_inner());
        Self(child)
    }

    fn let_go(mut self) {
        drop(self.0.stdin.take());
        Done::of(self.0.wait_with_output().unwrap()).ok();
    }
}

#[test]
fn parallel_appends_that_wait_all_succeed() {
    const PROCESSES: usize = 40;
    let scratch = Scratch::new();
    let store = scratch.store("s");
    run(&["import", &store, "--segment-size", "64K"]).ok();
    let (sender, ended) = channel();
    for number in 0..PROCESSES {
        let child =
            tool(&["append", &store, &format!("s-{number}"), "T", "--wait"]).spawn().unwrap();
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(Done::of(child.wait_with_output().unwrap())));
    }
    for _ in 0..PROCESSES {
        ended.recv_timeout(PATIENCE).expect("none waits for ever").ok();
    }
    assert_eq!(count(&store), PROCESSES);
}

#[test]
fn every_writing_command_waits_if_asked_to() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..20)).ok();
    for args in [
        &["append", &store, "a", "T"][..],
        &["import", &store],
        &["cursor", "set", &store, "c", "3"],
        &["cursor", "delete", &store, "c"],
        &["stream", "truncate", &store, "s-1", "--before", "2"],
        &["stream", "archive", &store, "s-1"],
        &["stream", "unarchive", &store, "s-1"],
        &["stream", "metadata", &store, "s-1", "--max-count", "2"],
        &["compact", &store],
        &["recover", &store, "--accept-loss", "--cut-after", "3"],
        &["record", "put", &store, "k", "1"],
        &["record", "delete", &store, "k"],
        &["snapshot", "delete", &store, "k"],
    ] {
        let holder = Holder::of(&store);
        run(args).fails(1, "open for writing elsewhere");
        let in_vain = run(&[args, &["--wait=10ms"]].concat());
        in_vain.fails(1, "open for writing elsewhere");
        let waiting = tool(&[args, &["--wait"]].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        holder.let_go();
        let done = Done::of(waiting.wait_with_output().unwrap());
        assert!(!done.stderr.contains("elsewhere"), "{args:?}: {done:?}");
        // There is neither such a loss nor such a snapshot.
        let code = i32::from(matches!(args[0], "recover" | "snapshot"));
        assert_eq!(done.code, code, "{args:?}: {done:?}");
    }
}

#[test]
fn wait_takes_a_duration_and_nothing_else() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    for good in ["--wait", "--wait=forever", "--wait=0s", "--wait=1m30s"] {
        run(&["append", &store, "a", "T", good]).ok();
    }
    // The value is part of the option, so that the store is not parsed as the value.
    run(&["append", "--wait", &store, "a", "T"]).ok();
    for bad in ["--wait=", "--wait=30", "--wait=-1s", "--wait=soon"] {
        run(&["append", &store, "a", "T", bad]).fails(2, "--wait");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn process_that_holds_the_store_is_named() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let holder = Holder::of(&store);
    let process = format!("open for writing elsewhere (process {})", holder.0.id());
    let done = run(&["append", &store, "a", "T"]).fails(1, &process);
    assert!(done.stderr.contains("annals: next: add --wait"), "{done:?}");
    // A waiting command prints the holder, unless it is quiet.
    for (quiet, expected) in [("--quiet", false), ("--wait", true)] {
        let done = run(&["append", &store, "a", "T", "--wait=1500ms", quiet].map(|it| match it {
            "--wait" => "--schema-version=1",
            other => other,
        }));
        let note = format!("note: waiting for {store} to be closed (process {})", holder.0.id());
        assert_eq!(done.stderr.contains(&note), expected, "{done:?}");
        assert_eq!(done.code, 1);
    }
    holder.let_go();
}
