//! The forms in which events are printed: CSV, whole, local times, and lines of the width of a terminal.

use super::support::{Done, Scratch, run, run_with, tool};

const EVENTS: &str = r#"{"stream":"a-1","type":"Set","data":{"name":"Ann, B"},"tags":["x","y"],"metadata":{"by":1},"id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11","recorded_at":"2026-01-01T20:00:00Z"}
{"stream":"a-1","type":"Set","data_base64":"/wA=","id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a12","recorded_at":"2026-01-02T10:00:00Z"}
"#;

fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    run_with(&["import", &store, "--keep-times", "--quiet"], EVENTS).ok();
    store
}

/// A run in a time zone nine hours ahead of UTC.
fn in_tokyo(args: &[&str]) -> String {
    Done::of(tool(args).env("TZ", "JST-9").output().expect("the tool runs")).ok().stdout
}

#[test]
fn csv_has_all_columns_or_those_that_are_named() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let all = run(&["read", &store, "--format", "csv"]).ok().stdout;
    let expected = "\
position,recorded_at,stream,version,type,id,commit,schema_version,tags,content_type,data,data_base64,metadata,metadata_base64
1,2026-01-01T20:00:00.000000Z,a-1,1,Set,7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11,1,0,\"[\"\"x\"\",\"\"y\"\"]\",json,\"{\"\"name\"\":\"\"Ann, B\"\"}\",,\"{\"\"by\"\":1}\",
2,2026-01-02T10:00:00.000000Z,a-1,2,Set,7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a12,2,0,[],binary,,/wA=,,
";
    assert_eq!(all, expected);
    let args =
        ["query", &store, "all", "--format", "csv", "--fields", "data,stream", "--limit", "1"];
    assert_eq!(run(&args).ok().stdout, "data,stream\n\"{\"\"name\"\":\"\"Ann, B\"\"}\",a-1\n");
    let args = ["tail", &store, "-n", "1", "--format", "csv", "--fields", "position"];
    assert_eq!(run(&args).ok().stdout, "position\n2\n");
    let args = ["read", &store, "--format", "csv", "--count"];
    assert_eq!(run(&args).ok().stdout, "events\n2\n");
    let args = ["read", &store, "--format", "csv", "--fields", "position,nothing"];
    run(&args).fails(2, "expected names of position, recorded_at");
    run(&["read", &store, "--fields", "data"]).fails(2, "--fields goes with --format csv");
    run(&["tail", &store, "--long", "--format", "csv"]).fails(2, "--long goes with --format text");
}

#[test]
fn read_and_query_have_one_default_format_and_long_prints_events_whole() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let read = run(&["read", &store]).ok().stdout;
    assert!(read.starts_with("1  2026-01-01T20:00:00.000000Z  a-1@1  Set  {"), "{read}");
    assert_eq!(run(&["query", &store, "all"]).ok().stdout, read);
    assert_eq!(run(&["read", &store, "--query", "all"]).ok().stdout, read);
    let long = run(&["read", &store, "--long"]).ok().stdout;
    let expected = "\
event 1  a-1@1
type         Set
id           7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11
recorded at  2026-01-01T20:00:00.000000Z
tags         x y
metadata
    {
      \"by\": 1
    }
data
    {
      \"name\": \"Ann, B\"
    }

event 2  a-1@2
";
    assert!(long.starts_with(expected), "{long}");
    assert_eq!(run(&["log", &store, "-n", "1"]).ok().stdout, long[long.find("event 2").unwrap()..]);
}

#[test]
fn local_times_have_the_offset_of_the_zone() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let local = "2026-01-02T05:00:00.000000+09:00";
    for args in [
        &["read", &store, "--limit", "1", "--local"][..],
        &["read", &store, "--limit", "1", "--local", "--long"],
        &["read", &store, "--limit", "1", "--local", "--format", "csv"],
        &["show", &store, "1", "--local"],
        &["log", &store, "--local"],
        &["diff", &store, "a-1", "--local"],
    ] {
        let shown = in_tokyo(args);
        assert!(shown.contains(local), "{args:?}: {shown}");
    }
    // Programs get one notation, and UTC is the default.
    let lines = in_tokyo(&["read", &store, "--local", "--format", "ndjson"]);
    assert!(lines.contains("\"recorded_at\":\"2026-01-01T20:00:00.000000Z\""), "{lines}");
    assert!(in_tokyo(&["read", &store]).contains("2026-01-01T20:00:00.000000Z"));
}

#[cfg(unix)]
#[test]
fn only_a_terminal_cuts_lines_and_has_colours() {
    use crate::pty::Terminal;
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let data = format!("{{\"long\":\"{}\"}}", "x".repeat(200));
    run(&["append", &store, "a-1", "Set", "--data", &data, "--tag", "t"]).ok();
    assert!(run(&["read", &store]).ok().stdout.contains(&data));
    let mut terminal = Terminal::start(&["read", &store, "--no-pager"], 100, 10);
    assert!(terminal.end().success());
    let rows = terminal.screen();
    assert_eq!(rows.lines().count(), 1, "{rows}");
    assert!(rows.contains("x…  #t") && terminal.text().contains("\u{1b}[36ma-1"), "{rows}");
    let mut terminal = Terminal::start(&["read", &store, "--long", "--no-pager"], 100, 20);
    assert!(terminal.end().success());
    let whole: String = terminal.screen().lines().map(str::trim).collect();
    assert!(whole.contains(&"x".repeat(200)), "{whole}");
    // The bytes of CSV and NDJSON are for programs, but a terminal must not obey them.
    run(&["append", &store, "a-2", "Set", "--data", "\u{1b}[2Jgone", "--binary"]).ok();
    let args = ["read", &store, "--stream", "a-2", "--format", "csv", "--no-pager"];
    let mut terminal = Terminal::start(&args, 300, 10);
    assert!(terminal.end().success());
    assert!(terminal.screen().contains("\\u{1b}[2Jgone"), "{}", terminal.screen());
}
