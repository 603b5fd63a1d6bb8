//! `read` and `tail` over a store without a writer.

use super::support::{Scratch, field, import, run};

const NONE: [u64; 0] = [];

/// Six events: positions 1 to 6.
fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    let input = [
        ("account-1", "Opened", "[\"owner:1\"]"),
        ("account-2", "Opened", "[\"owner:2\",\"vip\"]"),
        ("account-1", "Deposited", "[\"owner:1\",\"vip\"]"),
        ("audit", "Checked", "[]"),
        ("account-1", "Withdrawn", "[\"owner:1\"]"),
        ("accountant-1", "Opened", "[]"),
    ]
    .map(|(stream, kind, tags)| {
        format!("{{\"stream\":\"{stream}\",\"type\":\"{kind}\",\"data\":{{\"n\": 1}},\"tags\":{tags}}}\n")
    });
    import(&store, input.concat()).ok();
    store
}

fn positions(args: &[&str]) -> Vec<u64> {
    let args = [args, &["--format", "ndjson"]].concat();
    let out = run(&args).ok();
    out.lines().iter().map(|line| field(line, "position").parse().expect("a number")).collect()
}

#[test]
fn filters_choose_events() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let read = |args: &[&str]| positions(&[&["read", &store], args].concat());
    assert_eq!(read(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(read(&["--all", "--backwards"]), [6, 5, 4, 3, 2, 1]);
    assert_eq!(read(&["--after", "4"]), [5, 6]);
    assert_eq!(read(&["--after", "4", "--backwards"]), [6, 5]);
    assert_eq!(read(&["--after", "99"]), NONE);
    assert_eq!(read(&["--limit", "2"]), [1, 2]);
    assert_eq!(read(&["--limit", "0"]), NONE);
    assert_eq!(read(&["--stream", "account-1"]), [1, 3, 5]);
    assert_eq!(read(&["--stream", "account-1", "--from-version", "2"]), [3, 5]);
    assert_eq!(read(&["--stream", "account-1", "--backwards", "--limit", "1"]), [5]);
    assert_eq!(read(&["--stream", "account-1", "--after", "1"]), [3, 5]);
    assert_eq!(read(&["--category", "account"]), [1, 2, 3, 5]);
    assert_eq!(read(&["--category", "audit"]), [4]);
    assert_eq!(read(&["--type", "Opened"]), [1, 2, 6]);
    assert_eq!(read(&["--type", "Opened", "--type", "Checked"]), [1, 2, 4, 6]);
    assert_eq!(read(&["--tag", "owner:1"]), [1, 3, 5]);
    assert_eq!(read(&["--tag", "owner:1", "--tag", "vip"]), [3]);
    assert_eq!(read(&["--stream", "account-1", "--type", "Opened"]), [1]);
    assert_eq!(read(&["--category", "account", "--tag", "vip", "--backwards"]), [3, 2]);
    assert_eq!(read(&["--as-of", "3"]), [1, 2, 3]);
    assert_eq!(read(&["--as-of", "3", "--stream", "account-1"]), [1, 3]);
    assert_eq!(read(&["--as-of", "0"]), NONE);
}

#[test]
fn the_past_can_be_read_by_time() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    for data in ["1", "2", "3"] {
        run(&["append", &store, "a", "T", "--data", data]).ok();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let out = run(&["export", &store]).ok();
    let line = out.lines()[1].to_owned();
    let start = line.find("\"recorded_at\":\"").unwrap() + "\"recorded_at\":\"".len();
    let time = &line[start..start + "2026-01-01T00:00:00.000000Z".len()];
    assert_eq!(positions(&["read", &store, "--as-of", time]), [1, 2]);
    assert_eq!(positions(&["read", &store, "--as-of", "1999-12-31"]), NONE);
    assert_eq!(positions(&["read", &store, "--as-of", "9999-01-01T00:00:00+01:00"]), [1, 2, 3]);
}

#[test]
fn text_is_one_line_an_event_and_has_no_colour_in_a_pipe() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input =
        "{\"stream\":\"a\\u001b[31m\\n\",\"type\":\"T\",\"data\":{\"a\": [1]},\"tags\":[\"x\"]}";
    import(&store, input).ok();
    let out = run(&["read", &store]).ok();
    assert_eq!(out.stdout.lines().count(), 1);
    assert!(out.stdout.starts_with("1  20"), "{out:?}");
    assert!(out.stdout.ends_with("Z  a\\u{1b}[31m\\n@1  T  {\"a\": [1]}  #x\n"), "{out:?}");
}

#[test]
fn tail_prints_the_newest() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let tail = |args: &[&str]| positions(&[&["tail", &store], args].concat());
    assert_eq!(tail(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(tail(&["-n", "2"]), [5, 6]);
    assert_eq!(tail(&["-n", "0"]), NONE);
    assert_eq!(tail(&["-n", "2", "--type", "Opened"]), [2, 6]);
    assert_eq!(tail(&["-n", "1", "--stream", "audit"]), [4]);
    run(&["import", &scratch.store("empty")]).ok();
    assert_eq!(positions(&["tail", &scratch.store("empty")]), NONE);
}

#[test]
fn stream_that_does_not_exist_is_named() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    for command in ["read", "tail"] {
        let done = run(&[command, &store, "--stream", "nosuch"]);
        let done = done.fails(1, "annals: there is no stream \"nosuch\"");
        assert_eq!(done.stdout, "");
    }
    run(&["-q", "read", &store, "--stream", "nosuch"]).fails(1, "there is no stream");
    // An existing stream without selected events is not a failure.
    for rest in [&["--after", "99"][..], &["--as-of", "0"], &["--limit", "0"], &["--type", "X"]] {
        let args = [&["read", &store, "--stream", "audit"], rest].concat();
        let done = run(&args).ok();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""), "{rest:?}");
    }
}

#[test]
fn stream_that_is_hidden_is_named_with_the_option_that_shows_it() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let hidden = "the 1 events of stream \"audit\" are hidden; --include-hidden shows them";
    run(&["stream", "truncate", &store, "audit", "--before", "2"]).ok();
    assert!(run(&["read", &store, "--stream", "audit"]).ok().stderr.contains(hidden));
    run(&["stream", "archive", &store, "audit"]).ok();
    assert!(run(&["read", &store, "--stream", "audit"]).ok().stderr.contains(hidden));
    assert_eq!(run(&["-q", "read", &store, "--stream", "audit"]).ok().stderr, "");
    assert_eq!(positions(&["read", &store, "--stream", "audit", "--include-hidden"]), [4]);
}
