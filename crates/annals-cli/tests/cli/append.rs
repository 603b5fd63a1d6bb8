//! `append`.

use super::support::{Scratch, field, id, run, run_with};

#[test]
fn an_event_is_stored_as_given_and_the_result_is_printed() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let done = run(&["append", &store, "account-1", "Opened", "--data", " {\"a\": 1.0}\n"]).ok();
    assert_eq!(done.stdout, "position 1, account-1@1\n");
    let id = id(5);
    let args = [
        "append",
        &store,
        "account-1",
        "Closed",
        "--data",
        "-",
        "--binary",
        "--id",
        &id,
        "--metadata",
        "{\"by\": 7}",
        "--tag",
        "x",
        "--tag",
        "y",
        "--schema-version",
        "3",
        "--format",
        "ndjson",
    ];
    let done = run_with(&args, b"\0\xff").ok();
    assert!(
        done.stdout.starts_with(
            "{\"stream\":\"account-1\",\"position\":2,\"version\":2,\"recorded_at\":\""
        )
    );
    assert!(done.stdout.ends_with("\"already_recorded\":false}\n"));
    let again = run_with(&args, b"\0\xff").ok();
    assert_eq!(again.stdout, done.stdout.replace("false", "true"));

    let out = run(&["export", &store]).ok();
    assert!(out.lines()[0].ends_with("\"data\":{\"a\": 1.0}}"), "{out:?}");
    assert!(out.lines()[1].ends_with(
        "\"data_base64\":\"AP8=\",\"metadata\":{\"by\": 7},\"tags\":[\"x\",\"y\"],\"schema_version\":3}"
    ));
    assert_eq!(field(out.lines()[1], "id"), id);
}

#[test]
fn data_may_be_missing_or_come_from_a_file() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    std::fs::write(scratch.path("data.json"), "[1, 2]\n").unwrap();
    run(&["append", &store, "a", "T"]).ok();
    run(&["append", &store, "a", "T", "--data", &format!("@{}", scratch.store("data.json"))]).ok();
    run(&["append", &store, "a", "T", "--data", "-5"]).ok();
    let out = run(&["export", &store]).ok();
    assert!(out.lines()[0].ends_with("\"data_base64\":\"\"}"), "{out:?}");
    assert!(out.lines()[1].ends_with("\"data\":[1, 2]}"), "{out:?}");
    assert!(out.lines()[2].ends_with("\"data\":-5}"), "{out:?}");
}

#[test]
fn expectations_are_checked() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let append = |expect: &str| run(&["append", &store, "a", "T", "--expect", expect]);
    append("exists").fails(1, "stream \"a\" is at version 0, expected an existing stream");
    append("1").fails(1, "is at version 0, expected version 1");
    append("none").ok();
    append("none").fails(1, "stream \"a\" is at version 1, expected no stream");
    append("0").fails(1, "is at version 1");
    append("1").ok();
    append("exists").ok();
    append("any").ok();
    assert_eq!(run(&["export", &store]).ok().lines().len(), 4);
}

#[test]
fn nil_id_is_refused_and_creates_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let nil = "00000000-0000-0000-0000-000000000000";
    run(&["append", &store, "a", "T", "--id", nil]).fails(2, "the nil UUID is not a valid id");
    assert!(!scratch.path("s").exists(), "nothing was created");
}

#[test]
fn what_is_not_json_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    std::fs::write(scratch.path("text"), "text").unwrap();
    let file = format!("@{}", scratch.store("text"));
    let append = |rest: &[&str]| run(&[&["append", &store, "a", "T"], rest].concat());
    append(&["--data", "text"]).fails(2, "--data is not JSON");
    append(&["--data", ""]).fails(2, "--data is not JSON");
    append(&["--metadata", "{"]).fails(2, "--metadata is not JSON");
    append(&["--data", &file]).fails(1, "is not JSON");
    append(&["--data", "@/nonexistent/file"]).fails(1, "cannot read");
    assert!(!scratch.path("s").exists(), "nothing was created");
    append(&["--data", &file, "--binary"]).ok();
}

#[test]
fn byte_order_mark_before_json_is_taken_off_and_bytes_stay_as_they_are() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    std::fs::write(scratch.path("data"), "\u{feff}{\"a\": 1}\r\n").unwrap();
    let file = format!("@{}", scratch.store("data"));
    run(&["append", &store, "a", "T", "--data", &file]).ok();
    run_with(&["append", &store, "a", "T", "--data", "-"], "\u{feff}{\"a\": 1}").ok();
    run(&["append", &store, "a", "T", "--data", "\u{feff}{\"a\": 1}"]).ok();
    run(&["append", &store, "a", "T", "--metadata", "\u{feff}{\"a\": 1}"]).ok();
    run(&["append", &store, "a", "T", "--data", &file, "--binary"]).ok();
    let out = run(&["export", &store]).ok();
    for line in &out.lines()[..3] {
        assert!(line.ends_with("\"data\":{\"a\": 1}}"), "{line}");
    }
    assert!(out.lines()[3].ends_with("\"metadata\":{\"a\": 1}}"), "{out:?}");
    assert!(out.lines()[4].contains("\"data_base64\":\"77u/"), "{out:?}");

    let wide: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(scratch.path("wide"), wide).unwrap();
    let file = format!("@{}", scratch.store("wide"));
    run(&["append", &store, "a", "T", "--data", &file]).fails(1, "UTF-16");
}
