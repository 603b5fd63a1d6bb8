//! Lines that are no events.

use super::support::{Done, Scratch, count, id, import, line, lines, of_commit, run_with};

const GOOD: &str = "\"stream\":\"s\",\"type\":\"T\",\"data\":1";

/// Lines with their faults, and whether their commit can be read.
fn bad_lines() -> Vec<(Vec<u8>, &'static str, bool)> {
    let with = |rest: &str| format!("{{{GOOD},{rest}}}").into_bytes();
    let long = format!("\"tags\":[\"{}\"]", "t".repeat(65_534));
    vec![
        (b"{".to_vec(), "EOF while parsing an object at column 1", false),
        (b"[1]".to_vec(), "invalid type: sequence, expected a JSON object", false),
        (b"words".to_vec(), "expected value", false),
        (b"{\"stream\":\"\xff\"}".to_vec(), "not UTF-8 at byte 12", false),
        (format!("{{{GOOD}}} {{}}").into_bytes(), "trailing characters", false),
        (with("\"type\":\"U\""), "the key \"type\" occurs twice", false),
        (with("\"commit\":{}"), "\"commit\" must be", false),
        (b"{\"type\":\"T\",\"data\":1}".to_vec(), "\"stream\" is missing", true),
        (b"{\"stream\":\"s\",\"data\":1}".to_vec(), "\"type\" is missing", true),
        (b"{\"stream\":\"s\",\"type\":\"T\"}".to_vec(), "\"data\" or \"data_base64\"", true),
        (b"{\"stream\":\"\",\"type\":\"T\",\"data\":1}".to_vec(), "\"stream\" is empty", true),
        (with("\"data_base64\":\"\""), "both \"data\" and \"data_base64\"", true),
        (with("\"tag\":[]"), "unknown key \"tag\"", true),
        (with("\"id\":\"7\""), "\"id\" must be a UUID", true),
        (
            with("\"id\":\"00000000-0000-0000-0000-000000000000\""),
            "\"id\" must not be the nil UUID",
            true,
        ),
        (with("\"schema_version\":-1"), "\"schema_version\" must be", true),
        (with("\"tags\":[1]"), "\"tags\" must be an array of strings", true),
        (with(&long), "\"tags\" takes 65536 bytes, the limit is 65535", true),
    ]
}

fn imported(done: &Done) -> &str {
    let mut lines = done.stdout.lines().chain(done.stderr.lines());
    lines.find(|line| line.starts_with("imported")).expect("a summary")
}

#[test]
fn a_bad_line_stops_the_import_and_takes_its_commit_along() {
    for (bad, what, tells_its_commit) in bad_lines() {
        let scratch = Scratch::new();
        let store = scratch.store("s");
        let before = [of_commit(1, "1"), of_commit(1, "2"), of_commit(2, "3")].concat();
        let input = [before.as_bytes(), &bad, b"\n", of_commit(3, "4").as_bytes()].concat();
        let done = import(&store, input).fails(1, &format!("annals: line 4: {what}"));
        // A line without a readable commit may belong to the commit before it.
        let stored = if tells_its_commit { 3 } else { 2 };
        assert_eq!(count(&store), stored, "{what}: {done:?}");
        assert!(done.stderr.contains("the import stopped"), "{done:?}");
    }
}

#[test]
fn nothing_of_a_commit_with_a_bad_line_is_stored() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = [of_commit(1, "1"), of_commit(2, "2"), of_commit(2, "3"), of_commit(2, "x")];
    let done = import(&store, input.concat()).fails(1, "annals: line 4: expected value");
    assert_eq!(count(&store), 1);
    assert!(done.stderr.contains("the last line stored is 1"), "{done:?}");

    let batch = scratch.store("batch");
    let input = [lines(0..7), "{}\n".to_owned(), line(8)].concat();
    run_with(&["import", &batch, "--batch", "3"], input).fails(1, "annals: line 8: \"data\"");
    assert_eq!(count(&batch), 6, "the third batch had the bad line");
}

#[test]
fn skip_bad_goes_on_and_counts() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = [
        lines(0..2),
        "{}\n".to_owned(),
        line(2),
        of_commit(1, "1"),
        format!("{{{GOOD},\"commit\":1,\"x\":1}}\n"),
        of_commit(1, "2"),
        of_commit(2, "3"),
    ];
    let done = run_with(&["import", &store, "--skip-bad"], input.concat()).ok();
    assert!(imported(&done).contains("imported 4 events"), "{done:?}");
    assert!(imported(&done).contains("4 lines skipped: 2 bad"), "{done:?}");
    assert!(done.stderr.contains("annals: warning: skipped line 3: "), "{done:?}");
    assert!(done.stderr.contains("annals: warning: skipped line 6: unknown key \"x\""), "{done:?}");
    assert_eq!(count(&store), 4);
}

#[test]
fn skip_bad_lists_ten() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = format!("{}{}", "{}\n".repeat(25), line(1));
    let done = run_with(&["import", &store, "--skip-bad"], input).ok();
    assert_eq!(done.stderr.matches("annals: warning: skipped line").count(), 10, "{done:?}");
    assert!(imported(&done).contains("25 lines skipped: 25 bad"), "{done:?}");
}

#[test]
fn a_line_over_the_bound_is_a_bad_line() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let long = format!("{{{GOOD},\"metadata\":\"{}\"}}\n", "m".repeat(1 << 20));
    let input = [line(1), long, line(2)].concat();
    let args = ["import", &store, "--max-line", "1K", "--skip-bad"];
    let done = run_with(&args, &input).ok();
    assert!(done.stderr.contains("skipped line 2: longer than 1024 bytes"), "{done:?}");
    assert_eq!(count(&store), 2);
    import(&store, input).ok();
}

#[test]
fn a_commit_over_the_limit_is_refused_and_a_batch_is_split() {
    let scratch = Scratch::new();
    let data = quoted_kilobytes(3);
    let in_commit = [of_commit(1, "1"), of_commit(2, &data).repeat(20), of_commit(3, "1")].concat();
    let alone = in_commit.replace(",\"commit\":2", "");
    let store = scratch.store("commit");
    run_with(&["import", &store, "--segment-size", "64K"], &in_commit).fails(1, "lines 2 to 21: ");
    assert_eq!(count(&store), 1);

    let store = scratch.store("batch");
    run_with(&["import", &store, "--segment-size", "64K"], &alone).ok();
    assert_eq!(count(&store), 22);

    let store = scratch.store("event");
    let input = [line(1), of_commit(2, &quoted_kilobytes(30)), line(2)].concat();
    let args = ["import", &store, "--segment-size", "64K", "--skip-bad"];
    let done = run_with(&args, input.replace(",\"commit\":2", "")).ok();
    assert!(done.stderr.contains("skipped line 2: "), "{done:?}");
    assert_eq!(count(&store), 2);
}

fn quoted_kilobytes(size: usize) -> String {
    format!("\"{}\"", "x".repeat(size << 10))
}

#[test]
fn an_id_with_other_contents_is_a_bad_line() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let other = line(3).replace("\"data\":3", "\"data\":4");
    let input = [lines(0..5), other, lines(5..9)].concat();
    let done = import(&store, &input).fails(1, "line 6: event id ");
    assert!(done.stderr.contains(&id(3)), "{done:?}");
    assert_eq!(count(&store), 5);
    let done = run_with(&["import", &store, "--skip-bad"], &input).ok();
    assert!(imported(&done).contains("4 events"), "{done:?}");
    assert!(imported(&done).contains("5 already recorded, 1 line skipped: 1 bad"), "{done:?}");
    assert_eq!(count(&store), 9);
}
