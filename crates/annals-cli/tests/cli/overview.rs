//! `show`, `log`, `types`, `categories`, `tags`, `streams` in an order, `--count`, `--since` and `--until`.

use super::support::{Scratch, run, run_with};

#[test]
fn what_is_missing_names_the_command_that_lists_what_there_is() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    for (args, list) in [
        (&["show", &store, "9"][..], "log"),
        (&["read", &store, "--stream", "none"], "streams"),
        (&["diff", &store, "none"], "streams"),
        (&["stream", "info", &store, "none"], "streams"),
        (&["cursor", "get", &store, "none"], "cursor list"),
        (&["record", "get", &store, "none"], "record list"),
        (&["snapshot", "show", &store, "none"], "snapshot list"),
    ] {
        let next = format!("annals: next: annals {list} {store}    lists what there is");
        run(args).fails(1, &next);
    }
}

#[test]
fn listing_that_its_limit_ended_names_the_option_that_continues_it() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    for (command, last) in [("streams", "account-1"), ("types", "Deposited"), ("tags", "owner:ann")]
    {
        let listed = run(&[command, &store, "--limit", "1"]).ok();
        let next = format!("to continue, add --after {last:?}");
        assert!(listed.stderr.contains(&next), "{listed:?}");
        let all = run(&[command, &store, "--limit", "3"]).ok();
        let quiet = run(&[command, &store, "--limit", "1", "--quiet"]).ok();
        assert!(all.stderr.is_empty() && quiet.stderr.is_empty(), "{all:?} {quiet:?}");
    }
    let largest = run(&["streams", &store, "--limit", "1", "--sort", "size"]).ok();
    assert!(largest.stderr.is_empty(), "{largest:?}");
}

#[test]
fn stats_have_units_for_people_and_digits_for_programs() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let text = stdout(&["stats", &store]);
    assert!(text.contains("\nallocated        128 MiB\n"), "{text}");
    assert!(text.contains("\nindexes          0 B in 0 files\n"), "{text}");
    let json = stdout(&["stats", &store, "--format", "json"]);
    assert!(json.contains("\"allocated_bytes\":134217728,"), "{json}");
}

const EVENTS: &str = r#"{"stream":"account-1","type":"Opened","data":{"owner":"Ann","limits":[1.50,2]},"tags":["owner:ann","vip"],"id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11","commit":"a","recorded_at":"2026-01-01T10:00:00Z","metadata":{"by":"x"}}
{"stream":"account-2","type":"Opened","data":{"owner":"Bob"},"tags":["owner:bob"],"commit":"a","recorded_at":"2026-01-01T10:00:00Z"}
{"stream":"account-1","type":"Deposited","data":5,"tags":["owner:ann"],"commit":"b","recorded_at":"2026-01-02T10:00:00Z"}
{"stream":"audit","type":"Noted","data_base64":"AAE=","commit":"c","recorded_at":"2026-01-03T10:00:00Z"}
{"stream":"account-1","type":"Deposited","data":7,"tags":["owner:ann"],"commit":"d","recorded_at":"2026-01-03T10:00:00Z"}
"#;

fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    run_with(&["import", &store, "--keep-times", "--quiet"], EVENTS).ok();
    store
}

fn stdout(args: &[&str]) -> String {
    run(args).ok().stdout
}

#[test]
fn show_prints_one_event_whole_by_position_id_or_version() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let shown = stdout(&["show", &store, "1"]);
    let expected = "\
position     1
stream       account-1@1
type         Opened
id           7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11
recorded at  2026-01-01T10:00:00.000000Z
tags         owner:ann vip
previous     none
next         version 2 at position 3
commit       positions 1 to 2
           * 1  account-1@1  Opened
             2  account-2@1  Opened
metadata
    {
      \"by\": \"x\"
    }
data
    {
      \"owner\": \"Ann\",
      \"limits\": [
        1.50,
        2
      ]
    }
";
    assert_eq!(shown, expected);
    assert_eq!(stdout(&["show", &store, "account-1@1"]), expected);
    assert_eq!(stdout(&["show", &store, "7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11"]), expected);
    let last = stdout(&["show", &store, "account-1@3"]);
    assert!(last.contains("previous     version 2 at position 3\nnext         none\n"), "{last}");
    assert!(last.contains("commit       this event\n"), "{last}");
    let line = stdout(&["show", &store, "4", "--format", "ndjson"]);
    assert_eq!(line.lines().next(), stdout(&["export", &store]).lines().nth(3));
    run(&["show", &store, "9"]).fails(1, "there is no event at position 9");
    run(&["show", &store, "account-1@4"]).fails(1, "there is no event \"account-1\"@4");
    run(&["show", &store, "nothing"]).fails(2, "expected a position, an id, or STREAM@VERSION");
}

#[test]
fn log_prints_the_newest_events_first() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let log = stdout(&["log", &store, "-n", "2"]);
    let heads: Vec<&str> = log.lines().filter(|line| line.starts_with("event ")).collect();
    assert_eq!(heads, ["event 5  account-1@3", "event 4  audit@1"]);
    assert!(log.contains("data\n    7\n\nevent 4"), "{log}");
    let all = stdout(&["log", &store, "-n", "0", "--stream", "account-1", "--format", "ndjson"]);
    assert_eq!(all.lines().count(), 3);
}

#[test]
fn names_are_listed_with_the_number_of_their_events() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    assert_eq!(
        stdout(&["types", &store]),
        "         2  Deposited\n         1  Noted\n         2  Opened\n"
    );
    assert_eq!(stdout(&["categories", &store]), "         4  account\n         1  audit\n");
    let owners = stdout(&["tags", &store, "--prefix", "owner:", "--format", "ndjson"]);
    assert_eq!(
        owners,
        "{\"name\":\"owner:ann\",\"events\":3}\n{\"name\":\"owner:bob\",\"events\":1}\n"
    );
    let first = stdout(&["tags", &store, "--sort", "count", "--limit", "1"]);
    assert_eq!(first, "         3  owner:ann\n");
    assert_eq!(stdout(&["tags", &store, "--after", "owner:bob"]), "         1  vip\n");
}

#[test]
fn streams_are_listed_by_name_size_or_change() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let names = |args: &[&str]| -> Vec<String> {
        let listed = stdout(&[&["streams", &store], args].concat());
        listed.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["account-1", "account-2", "audit"]);
    assert_eq!(names(&["--limit", "1", "--after", "account-1"]), ["account-2"]);
    assert_eq!(names(&["--category", "account", "--limit", "9"]), ["account-1", "account-2"]);
    assert_eq!(names(&["--sort", "size", "--limit", "1"]), ["account-1"]);
    assert_eq!(names(&["--sort", "changed"]), ["account-1", "audit", "account-2"]);
    assert_eq!(names(&["--sort", "name", "--prefix", "au"]), ["audit"]);
}

#[test]
fn events_are_counted_and_selected_by_time() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let count = |args: &[&str]| stdout(&[&["read", &store, "--count"], args].concat());
    assert_eq!(count(&[]), "5\n");
    assert_eq!(count(&["--type", "Deposited", "--format", "ndjson"]), "{\"events\":2}\n");
    assert_eq!(count(&["--stream", "account-1", "--limit", "2"]), "2\n");
    assert_eq!(count(&["--since", "2026-01-02"]), "3\n");
    assert_eq!(count(&["--until", "2026-01-02T10:00:00Z"]), "3\n");
    assert_eq!(count(&["--since", "2026-01-02T10:00:00Z", "--until", "2026-01-02 10:00"]), "1\n");
    assert_eq!(count(&["--since", "1h ago"]), "0\n");
    assert_eq!(
        stdout(&["query", &store, "tag:owner:ann or type:Noted", "--count", "--format", "text"]),
        "4\n"
    );
    let read = |args: &[&str]| stdout(&[&["read", &store], args].concat()).lines().count();
    assert_eq!(read(&["--since", "2026-01-03"]), 2);
    assert_eq!(read(&["--stream", "account-1", "--since", "2026-01-02", "--until", "today"]), 2);
    assert_eq!(
        stdout(&["log", &store, "--until", "2026-01-01T11:00:00Z", "--format", "ndjson"])
            .lines()
            .count(),
        2
    );
    run(&["read", &store, "--count", "--stream", "none"]).fails(1, "there is no stream");
    run(&["read", &store, "--since", "soon"]).fails(2, "expected a time");
    let versions = ["read", &store, "--stream", "account-1", "--from-version", "2", "--count"];
    run(&versions).fails(2, "--count");
}
