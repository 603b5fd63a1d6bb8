//! Pipes, signals, and two processes at once.

#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use super::running::Running;
use super::support::{Done, Scratch, count, field, import, line, lines, of_commit, run, tool};

#[test]
fn a_followed_store_shows_what_others_append_until_interrupted() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..3)).ok();
    let tail = Running::start(&["tail", &store, "--follow", "-n", "1", "--format", "ndjson"]);
    assert_eq!(field(&tail.next(), "position"), "3");
    for position in 4..8 {
        run(&["append", &store, "live", "T", "--data", "1"]).ok();
        assert_eq!(field(&tail.next(), "position"), position.to_string());
    }
    import(&store, lines(3..500)).ok();
    for position in 8..505 {
        assert_eq!(field(&tail.next(), "position"), position.to_string());
    }
    tail.signal("-INT");
    let done = tail.end();
    assert_eq!((done.code, done.stderr.as_str()), (130, ""), "{done:?}");
}

#[test]
fn a_followed_store_can_be_queried() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, "").ok();
    let query = "type:U tag:x or stream:b";
    let tail = Running::start(&["tail", &store, "-f", "--query", query, "--format", "ndjson"]);
    for (stream, kind, tag) in [("a", "U", "y"), ("a", "U", "x"), ("a", "T", "x"), ("b", "T", "y")]
    {
        run(&["append", &store, stream, kind, "--tag", tag]).ok();
    }
    assert_eq!(field(&tail.next(), "position"), "2");
    assert_eq!(field(&tail.next(), "position"), "4");
    tail.signal("-INT");
    assert_eq!(tail.end().code, 130);
}

#[test]
fn a_followed_store_can_be_filtered() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, "").ok();
    let tail = Running::start(&["tail", &store, "-f", "--type", "U", "--format", "ndjson"]);
    for kind in ["T", "U", "T", "U"] {
        run(&["append", &store, "a", kind]).ok();
    }
    assert_eq!(field(&tail.next(), "position"), "2");
    assert_eq!(field(&tail.next(), "position"), "4");
    tail.signal("-TERM");
    assert_eq!(tail.end().code, 130);
}

#[test]
fn readers_work_beside_a_writer() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let mut writer = Running::start(&["import", &store, "-", "--ack"]);
    writer.feed(&line(1));
    writer.next();
    assert_eq!(count(&store), 1);
    run(&["stats", &store]).ok();
    run(&["streams", &store]).ok();
    run(&["verify", &store]).ok();
    run(&["append", &store, "a", "T"]).fails(1, "open for writing elsewhere");
    writer.feed(&line(2));
    writer.next();
    assert_eq!(count(&store), 2);
    drop(writer.child.stdin.take());
    assert_eq!(writer.end().code, 0);
}

#[test]
fn a_producer_may_wait_for_each_acknowledgement() {
    for mode in ["--sync", "--buffered"] {
        let scratch = Scratch::new();
        let store = scratch.store("s");
        let mut import = Running::start(&["import", &store, "-", "--ack", mode]);
        for number in 1..=20 {
            import.feed(&line(number));
            let ack = import.next();
            assert!(ack.ends_with(&format!("\"lines\":[{number},{number}]}}")), "{ack}");
        }
        drop(import.child.stdin.take());
        assert_eq!(import.end().code, 0);
        assert_eq!(count(&store), 20);
    }
}

#[test]
fn an_interrupted_import_keeps_what_it_acknowledged_and_no_half_commit() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let mut import = Running::start(&["import", &store, "-", "--ack"]);
    import.feed(&[line(1), of_commit(1, "1"), of_commit(1, "2")].concat());
    assert!(import.next().ends_with("\"lines\":[1,1]}"));
    import.signal("-INT");
    let done = import.end().fails(130, "the import stopped; the last line stored is 1");
    assert!(done.stderr.contains("imported 1 event in 1 commit"), "{done:?}");
    assert_eq!(count(&store), 1);
}

#[test]
fn a_reader_that_leaves_ends_a_read_quietly() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..20_000)).ok();
    for args in [&["export", &store][..], &["read", &store], &["tail", &store, "-n", "20000"]] {
        let mut child = tool(args).spawn().unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let done = Done::of(child.wait_with_output().unwrap());
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}: {done:?}");
    }
}

#[test]
fn an_import_whose_acknowledgements_nobody_reads_stops() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let mut child = tool(&["import", &store, "-", "--ack"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line(1).as_bytes()).unwrap();
    let done = Done::of(child.wait_with_output().unwrap()).fails(141, "the import stopped");
    assert!(done.stderr.contains("the last line stored is 1"), "{done:?}");
    drop(stdin);
    assert_eq!(count(&store), 1);
}
