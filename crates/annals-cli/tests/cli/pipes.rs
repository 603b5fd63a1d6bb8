//! Readers of standard output that go away.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::support::{Done, Scratch, import, line, lines, run, tool};

/// Far longer than it takes: a test that waits for it has found a command that never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the end of a process without input.
#[track_caller]
fn ends(child: Child) -> Done {
    let id = child.id().to_string();
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(PATIENCE) {
        Ok(output) => Done::of(output.expect("it can be waited for")),
        Err(_) => {
            let _gone_meanwhile = std::process::Command::new("kill").args(["-9", &id]).status();
            panic!("the command goes on after its reader has gone");
        }
    }
}

#[test]
fn followed_store_without_news_ends_when_its_reader_is_gone() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..3)).ok();
    for filter in [&[][..], &["--type", "Never", "-n", "0"]] {
        let args = [&["tail", &store, "--follow"], filter].concat();
        let mut child = tool(&args).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        if filter.is_empty() {
            out.read_line(&mut String::new()).unwrap();
        }
        drop(out);
        let done = ends(child);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn waiting_import_ends_when_nobody_reads_its_acknowledgements() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let mut child = tool(&["import", &store, "-", "--ack"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap());
    stdin.write_all(line(1).as_bytes()).unwrap();
    acks.read_line(&mut String::new()).unwrap();
    drop(acks);
    // The input stays open and silent.
    ends(child).fails(141, "the last line stored is 1");
    drop(stdin);
}

#[test]
fn every_command_ends_quietly_when_its_reader_is_gone() {
    let scratch = Scratch::new();
    let (store, copy) = (scratch.store("s"), scratch.store("copy"));
    import(&store, lines(0..20)).ok();
    run(&["cursor", "set", &store, "c", "3"]).ok();
    run(&["record", "put", &store, "k", "1"]).ok();
    let file = scratch.path("in.ndjson");
    std::fs::write(&file, lines(20..22)).unwrap();
    let file = file.to_str().unwrap();
    for args in [
        &["read", &store][..],
        &["read", &store, "--stream", "s-1"],
        &["query", &store, "all"],
        &["export", &store],
        &["tail", &store],
        &["streams", &store],
        &["stream", "list", &store],
        &["stream", "info", &store, "s-1"],
        &["cursor", "list", &store],
        &["cursor", "get", &store, "c"],
        &["snapshot", "list", &store],
        &["record", "list", &store],
        &["record", "get", &store, "k"],
        &["record", "put", &store, "k", "2"],
        &["stats", &store],
        &["stats", &store, "--format", "json"],
        &["verify", &store],
        &["compact", &store],
        &["append", &store, "a", "T"],
        &["import", &store, file],
        &["repair", &store, "--to", &copy],
        &["completions", "bash"],
        &["--help"],
        &["help", "import"],
    ] {
        let mut child = tool(args).spawn().unwrap();
        drop(child.stdout.take());
        let done = ends(child);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}");
    }
    assert_eq!(run(&["export", &store]).ok().lines().len(), 23, "what was stored is stored");
}

#[test]
fn damage_is_no_success_where_nobody_reads_the_report() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..20)).ok();
    let log = scratch.path("s").join("log/00000000000000000001.seg");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[4096] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    run(&["verify", &store]).fails(1, "");
    let mut child = tool(&["verify", &store]).spawn().unwrap();
    drop(child.stdout.take());
    let done = ends(child);
    assert_eq!(done.code, 1);
    assert!(done.stderr.lines().all(|line| line.starts_with("annals: next: ")), "{done:?}");
}
