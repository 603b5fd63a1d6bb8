//! `diff`.

use super::support::{Scratch, import, run, run_with};

const EVENTS: &str = r#"{"stream":"a-1","type":"Set","data":{"name":"Ann","limits":[1,2]},"recorded_at":"2026-01-01T10:00:00Z"}
{"stream":"a-2","type":"Set","data":1,"recorded_at":"2026-01-01T11:00:00Z"}
{"stream":"a-1","type":"Noted","data_base64":"AAE=","recorded_at":"2026-01-02T10:00:00Z"}
{"stream":"a-1","type":"Set","data":{"limits":[1,3,2],"name":"Ann B"},"recorded_at":"2026-01-03T10:00:00Z"}
{"stream":"a-1","type":"Set","data":{"name":"Ann B", "limits":[1,3,2]},"recorded_at":"2026-01-04T10:00:00Z"}
"#;

fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    run_with(&["import", &store, "--keep-times", "--quiet"], EVENTS).ok();
    store
}

#[test]
fn moments_are_versions_positions_and_times() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let expected = "\
--- a-1@1  Set  position 1  2026-01-01T10:00:00.000000Z
+++ a-1@3  Set  position 4  2026-01-03T10:00:00.000000Z
+ /limits/1: 3
- /name: \"Ann\"
+ /name: \"Ann B\"
";
    for (from, to) in [("@1", "@3"), ("1", "4"), ("2026-01-02", "2026-01-03 12:00"), ("2", "4")] {
        let args = ["diff", store.as_str(), "a-1", "--from", from, "--to", to];
        assert_eq!(run(&args).ok().stdout, expected, "{from} {to}");
    }
    let newest = run(&["diff", &store, "a-1"]).ok().stdout;
    assert!(newest.contains("--- a-1@3") && newest.ends_with("  no difference\n"), "{newest}");
    // The types select before neighbours are compared.
    let of_type = run(&["diff", &store, "a-1", "--to", "@3", "--type", "Set"]).ok().stdout;
    assert_eq!(of_type, expected);
}

#[test]
fn steps_compare_each_event_with_the_one_before_it() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let steps = run(&["diff", &store, "a-1", "--steps", "--to", "@2"]).ok().stdout;
    let expected = "\
--- nothing
+++ a-1@1  Set  position 1  2026-01-01T10:00:00.000000Z
+ /: {\"name\":\"Ann\",\"limits\":[1,2]}

--- a-1@1  Set  position 1  2026-01-01T10:00:00.000000Z
+++ a-1@2  Noted  position 3  2026-01-02T10:00:00.000000Z
- {\"name\":\"Ann\",\"limits\":[1,2]}
+ <2 bytes> \\x00\\x01
";
    assert_eq!(steps, expected);
    let steps = ["diff", &store, "a-1", "--steps", "--type", "Set", "--format", "ndjson"];
    let lines = run(&steps).ok().stdout;
    let lines: Vec<&str> = lines.lines().collect();
    let expected = [
        r#"{"stream":"a-1","from":null,"to":{"version":1,"position":1,"type":"Set"},"patch":[{"op":"add","path":"","value":{"name":"Ann","limits":[1,2]}}],"same":false}"#,
        r#"{"stream":"a-1","from":{"version":1,"position":1,"type":"Set"},"to":{"version":3,"position":4,"type":"Set"},"patch":[{"op":"add","path":"/limits/1","value":3},{"op":"replace","path":"/name","value":"Ann B"}],"same":false}"#,
        r#"{"stream":"a-1","from":{"version":3,"position":4,"type":"Set"},"to":{"version":4,"position":5,"type":"Set"},"patch":[],"same":false}"#,
    ];
    assert_eq!(lines, expected);
    let last = run(&["diff", &store, "a-1", "--steps", "--from", "@3"]).ok().stdout;
    assert_eq!(last.matches("+++").count(), 1, "{last}");
}

#[test]
fn bad_arguments_and_hostile_data_are_reported_and_escaped() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    run(&["diff", &store, "none"]).fails(1, "there is no stream \"none\"");
    run(&["diff", &store, "a-1", "--from", "@x"]).fails(2, "expected a version after @");
    run(&["diff", &store, "a-1", "--from", "soon"]).fails(2, "expected a time");
    let note = run(&["diff", &store, "a-1", "--to", "2025-01-01"]).ok();
    assert!(note.stdout.is_empty() && note.stderr.contains("no event"), "{note:?}");
    import(&store, "{\"stream\":\"a-1\",\"type\":\"Set\",\"data\":{\"\u{202e}\":\"\u{9b}2J\"}}\n")
        .ok();
    let shown = run(&["diff", &store, "a-1"]).ok().stdout;
    assert!(shown.contains(r#"+ /\u{202e}: "\u{9b}2J""#), "{shown}");
}
