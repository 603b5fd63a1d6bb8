//! `query`, and `--query` on the commands that print events.

use super::support::{Scratch, field, import, run};

const NONE: [u64; 0] = [];

/// Six events: positions 1 to 6.
fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    let input = [
        ("account-1", "Opened", "[\"owner:1\"]"),
        ("account-2", "Opened", "[\"owner:2\",\"vip\"]"),
        ("account-1", "Deposited", "[\"owner:1\",\"vip\"]"),
        ("audit", "Checked", "[\"a b\\\\\\\"c,\"]"),
        ("account-1", "Withdrawn", "[\"owner:1\"]"),
        ("accountant-1", "Opened", "[]"),
    ]
    .map(|(stream, kind, tags)| {
        format!("{{\"stream\":\"{stream}\",\"type\":\"{kind}\",\"data\":1,\"tags\":{tags}}}\n")
    });
    import(&store, input.concat()).ok();
    store
}

fn positions(args: &[&str]) -> Vec<u64> {
    let out = run(args).ok();
    out.lines().iter().map(|line| field(line, "position").parse().expect("a number")).collect()
}

#[test]
fn a_query_chooses_events() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let query =
        |args: &[&str]| positions(&[&["query", &store, "--format", "ndjson"], args].concat());
    assert_eq!(query(&["all"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(query(&["none"]), NONE);
    assert_eq!(query(&["type:Opened,Checked"]), [1, 2, 4, 6]);
    assert_eq!(query(&["tag:owner:1 tag:vip"]), [3]);
    assert_eq!(query(&["stream:account-2 or type:Withdrawn"]), [2, 5]);
    assert_eq!(query(&["category:account after:2 or category:audit"]), [3, 4, 5]);
    assert_eq!(query(&[r#"tag:"a b\\\"c,""#]), [4]);
    assert_eq!(query(&["tag:owner:1", "--after", "1"]), [3, 5]);
    assert_eq!(query(&["tag:owner:1", "--backwards", "--limit", "2"]), [5, 3]);
    assert_eq!(query(&["tag:owner:1", "--as-of", "3"]), [1, 3]);
    assert_eq!(query(&["after:99"]), NONE);
    let text = run(&["query", &store, "type:Checked"]).ok().stdout;
    assert!(text.contains("  audit@1  Checked  "), "{text}");
}

#[test]
fn read_and_tail_take_the_same_queries() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let ndjson = ["--format", "ndjson"];
    let text = "tag:owner:1 or category:audit";
    let read = ["read", &store, "--query", text];
    assert_eq!(positions(&[&read[..], &ndjson].concat()), [1, 3, 4, 5]);
    let read = ["read", &store, "--query", text, "--after", "3", "--backwards"];
    assert_eq!(positions(&[&read[..], &ndjson].concat()), [5, 4]);
    let tail = ["tail", &store, "-n", "2", "--query", text];
    assert_eq!(positions(&[&tail[..], &ndjson].concat()), [4, 5]);
}

#[test]
fn a_text_that_is_no_query_is_told_where_and_why() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    for (text, why) in [
        ("", "at byte 0: expected an item with at least one condition"),
        ("colour:red", "at byte 0: \"colour\" is not type, tag, stream, category or after"),
        ("type:A or", "at byte 9: expected an item with at least one condition"),
        ("tag:\"a", "at byte 4: the quote is not closed"),
        ("after:x", "at byte 6: \"x\" is not a position"),
        ("stream:a stream:b", "at byte 9: an item has at most one \"stream\""),
    ] {
        run(&["query", &store, text]).fails(2, why);
        run(&["read", &store, "--query", text]).fails(2, why);
        run(&["tail", &store, "--query", text]).fails(2, why);
    }
    for option in ["--stream", "--category", "--type", "--tag"] {
        run(&["read", &store, "--query", "all", option, "a"]).fails(2, "cannot be used with");
    }
    run(&["query", &scratch.store("nowhere"), "all"]).fails(1, "does not exist");
}
