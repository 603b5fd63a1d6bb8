//! `annals copy`, `annals fence` and `annals position`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Stdio;
use std::time::Duration;

use super::support::{Done, Scratch, import, line, lines, run, tool};

fn export(store: &str) -> String {
    run(&["export", store]).ok().stdout
}

#[test]
fn copy_exports_the_same_lines() {
    let scratch = Scratch::new();
    let (old, new, map) = (scratch.store("old"), scratch.store("new"), scratch.store("map"));
    import(&old, lines(0..3000)).ok();
    run(&["cursor", "set", &old, "mailer", "1234"]).ok();
    let done = run(&["copy", &old, &new, "--map", &map, "--segment-size", "256K"]).ok();
    assert_eq!(done.lines(), ["3000 events copied, 3000 compared and equal, 1 checkpoints set"]);
    assert_eq!(export(&old), export(&new));
    assert_eq!(run(&["cursor", "get", &new, "mailer"]).ok().stdout, "1234\n");
    assert_eq!(run(&["position", &map, "0", "77", "9999"]).ok().stdout, "0\n77\n3000\n");
    run(&["position", &old, "1"]).fails(1, "cannot use");
    assert_eq!(run(&["-q", "copy", &old, &new]).ok().stdout, "");
    import(&new, line(5000)).ok();
    run(&["copy", &old, &new]).fails(1, "is not a copy of");
}

/// Whatever moment the copy is killed at, the next one goes on, and the result is equal.
#[test]
fn killed_copies_are_continued() {
    let scratch = Scratch::new();
    let (old, new) = (scratch.store("old"), scratch.store("new"));
    import(&old, lines(0..20_000)).ok();
    let mut kills = 0;
    for milliseconds in (1..30).step_by(2) {
        let mut child = tool(&["copy", &old, &new, "--segment-size", "256K"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0);
    run(&["copy", &old, &new]).ok();
    assert_eq!(export(&old), export(&new));
}

#[test]
fn fenced_store_refuses_writing_commands_and_names_the_next_step() {
    let scratch = Scratch::new();
    let (old, new) = (scratch.store("old"), scratch.store("new"));
    import(&old, lines(0..10)).ok();
    assert_eq!(run(&["fence", "show", &old]).ok().stdout, "not fenced\n");
    run(&["fence", "lift", &old]).fails(1, "is not fenced");
    run(&["fence", "raise", &old, "--to", "the new place"]).ok();
    let shown = run(&["fence", "show", &old]).ok().stdout;
    assert_eq!(shown, "fenced: the history goes on at the new place\n");
    for args in [&["append", &old, "a", "T"][..], &["cursor", "set", &old, "c", "3"]] {
        run(args).fails(1, "its history goes on at \"the new place\"");
        run(args).fails(1, "annals fence lift");
    }
    assert_eq!(run(&["export", &old]).ok().lines().len(), 10);
    let done = run(&["copy", &old, &new, "--follow"]).ok();
    assert!(done.stdout.contains("the copy is complete"), "{done:?}");
    run(&["fence", "lift", &old]).ok();
    run(&["append", &old, "a", "T"]).ok();
    run(&["fence", "raise", &scratch.store("none")]).fails(1, "does not exist");
}

#[test]
fn following_copy_switches_over_when_the_source_is_fenced() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let scratch = Scratch::new();
    let (old, new) = (scratch.store("old"), scratch.store("new"));
    let args = ["import", &old, "-", "--ack"];
    let mut program = tool(&args).stdin(Stdio::piped()).spawn().unwrap();
    let mut acks = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut input = program.stdin.take().unwrap();
    input.write_all(line(1).as_bytes()).unwrap();
    acks.next().unwrap().unwrap();

    let mut copy = tool(&["copy", &old, &new, "--follow"]).spawn().unwrap();
    let mut notes = BufReader::new(copy.stderr.take().unwrap()).lines();
    assert!(notes.next().unwrap().unwrap().contains("following the source"));
    input.write_all(line(2).as_bytes()).unwrap();
    acks.next().unwrap().unwrap();
    run(&["fence", "raise", &old, "--wait=10ms"]).fails(1, "open for writing elsewhere");
    let fence = tool(&["fence", "raise", &old, "--wait"]).spawn().unwrap();
    input.write_all(line(3).as_bytes()).unwrap();
    acks.next().unwrap().unwrap();
    drop(input);
    program.wait().unwrap();
    Done::of(fence.wait_with_output().unwrap()).ok();
    let done = Done::of(copy.wait_with_output().unwrap()).ok();
    assert!(done.stdout.contains("the copy is complete"), "{done:?}");
    assert_eq!(export(&old), export(&new));
    assert_eq!(run(&["export", &new]).ok().lines().len(), 3);
}

#[test]
fn places_that_are_none_are_refused() {
    let scratch = Scratch::new();
    let (old, new) = (scratch.store("old"), scratch.store("new"));
    run(&["copy", &old, &new]).fails(1, "does not exist");
    assert!(!scratch.path("new").exists());
    import(&old, lines(0..10)).ok();
    run(&["copy", &old, &old]).fails(2, "cannot be copied to itself");
    run(&["copy", &old, "mysql://db"]).fails(2, "is no kind of place");
    run(&["copy", &old, &new, "--follow", "--switch"]).fails(2, "cannot be used with");
}
