//! `record`: small durable values under a key.

use super::support::{Done, Scratch, files, import, lines, run, run_with, tool};

/// A store with a few events, on which records are put.
fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("store");
    import(&store, lines(1..4)).ok();
    store
}

fn list(store: &str, args: &[&str]) -> Done {
    run(&[&["record", "list", store], args].concat())
}

#[track_caller]
fn refused(store: &str, args: &[&str], code: i32, message: &str) {
    let records = || list(store, &["--format", "ndjson"]).ok().stdout;
    let before = records();
    run(&[&["record", args[0], store], &args[1..]].concat()).fails(code, message);
    assert_eq!(records(), before, "{args:?}");
}

#[test]
fn record_is_put_shown_and_deleted_at_its_version() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    assert_eq!(list(path, &[]).ok().stdout, "");
    let put = |args: &[&str]| run(&[&["record", "put", path, "sum"], args].concat());
    assert_eq!(put(&["{\"n\": 1}", "--expect", "none"]).ok().stdout, "sum@1\n");
    let done = put(&["-5", "--expected", "1", "--format", "ndjson"]).ok();
    assert_eq!(done.stdout, "{\"key\":\"sum\",\"version\":2}\n");
    assert_eq!(put(&["6", "--expect", "exists"]).ok().stdout, "sum@3\n");
    let get = |args: &[&str]| run(&[&["record", "get", path, "sum"], args].concat());
    assert_eq!(get(&[]).ok().stdout, "       3  sum  6\n");
    assert_eq!(get(&["--raw"]).ok().stdout, "6");
    assert_eq!(
        get(&["--format", "ndjson"]).ok().stdout,
        "{\"key\":\"sum\",\"version\":3,\"bytes\":1,\"value\":6}\n"
    );

    let stale = "record \"sum\" is at version 3, expected version 2";
    refused(path, &["put", "sum", "7", "--expect", "2"], 1, stale);
    refused(path, &["delete", "sum", "--expect", "2"], 1, stale);
    refused(path, &["put", "sum", "7", "--expect", "none"], 1, "expected no record");
    refused(path, &["put", "other", "7", "--expect", "4"], 1, "is at version 0");
    refused(path, &["delete", "other"], 1, "there is no record \"other\"");
    refused(path, &["get", "other"], 1, "there is no record \"other\"");

    run(&["record", "delete", path, "sum", "--expect", "3"]).ok();
    get(&[]).fails(1, "there is no record \"sum\"");
    // The version goes on after a deletion.
    assert_eq!(put(&["1", "--expect", "none"]).ok().stdout, "sum@5\n");
    assert_eq!(run(&["records", "list", path]).ok().stdout, "       5  sum  1\n");
    run(&["verify", path]).ok();
}

#[test]
fn record_value_keeps_every_byte() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    // A mark, line breaks, zeros and what is not UTF-8.
    let mut bytes = b"\xef\xbb\xbf{}\r\n\n".to_vec();
    bytes.extend((0..=255).rev());
    run_with(&["record", "put", path, "bin", "-"], &bytes).ok();
    let file = scratch.path("value");
    std::fs::write(&file, &bytes).unwrap();
    let at = format!("@{}", file.display());
    run(&["record", "put", path, "file", &at]).ok();
    for key in ["bin", "file"] {
        let raw = tool(&["record", "get", path, key, "--raw"]).output().unwrap();
        assert!(raw.status.success() && raw.stdout == bytes, "{key}: {raw:?}");
    }
    run_with(&["record", "put", path, "bin", "-"], b"\x00\xff").ok();
    run_with(&["record", "put", path, "lines", "-"], b"1\n").ok();
    run(&["record", "put", path, "text", "plain"]).ok();
    run(&["record", "put", path, "a\nb", ""]).ok();
    let text = list(path, &[]).ok();
    let starts = [
        "       1  a\\nb  <0 bytes> ",
        "       2  bin  <2 bytes> \\x00\\xff",
        "       1  file  <264 bytes> ",
        "       1  lines  1",
        "       1  text  <5 bytes> plain",
    ];
    assert_eq!(text.lines().len(), 5, "{text:?}");
    assert!(text.lines().iter().zip(starts).all(|(it, start)| it.starts_with(start)), "{text:?}");
    let ndjson = list(path, &["--format", "ndjson", "--prefix", "li"]).ok().stdout;
    assert_eq!(ndjson, "{\"key\":\"lines\",\"version\":1,\"bytes\":2,\"value_base64\":\"MQo=\"}\n");
    let ndjson = run(&["record", "get", path, "bin", "--format", "ndjson"]).ok().stdout;
    assert_eq!(ndjson, "{\"key\":\"bin\",\"version\":2,\"bytes\":2,\"value_base64\":\"AP8=\"}\n");
}

#[test]
fn record_listing_is_continued_after_its_limit() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    for key in ["a", "view/1", "view/2", "view/3", "w"] {
        run(&["record", "put", path, key, "1"]).ok();
    }
    let keys = |args: &[&str]| -> (Vec<String>, String) {
        let done = list(path, &[args, &["--prefix", "view/"]].concat()).ok();
        let key = |line: &&str| line.split_whitespace().nth(1).unwrap().to_owned();
        (done.lines().iter().map(key).collect(), done.stderr)
    };
    let (page, note) = keys(&["--limit", "2"]);
    assert_eq!(page, ["view/1", "view/2"]);
    assert!(note.contains("annals: note: there are more records") && note.contains("view/2"));
    assert_eq!(
        keys(&["--limit", "2", "--after", "view/2"]),
        (vec!["view/3".into()], String::new())
    );
    assert_eq!(keys(&["--limit", "3"]).1, "", "the last page is not followed by another");
    assert_eq!(keys(&["--limit", "2", "--quiet"]).1, "");
    assert_eq!(keys(&["--limit", "0"]), (Vec::new(), String::new()));
    assert_eq!(keys(&["--after", "view/11"]).0, ["view/2", "view/3"]);
    assert_eq!(keys(&[]).0.len(), 3);
}

#[test]
fn refused_record_changes_nothing() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    run(&["record", "put", path, "a", "1"]).ok();
    let long_key = "k".repeat(1025);
    for (args, code, message) in [
        (&["put", "", "1"][..], 2, "empty"),
        (&["get", ""], 2, "empty"),
        (&["put", &long_key, "1"], 1, "the limit is 1024"),
        (&["get", &long_key], 1, "the limit is 1024"),
        (&["put", "a", "@/nonexistent/file"], 1, "cannot read"),
        (&["put", "a"], 2, "VALUE"),
        (&["put", "a", "1", "--expect", "some"], 2, "expected any, none, exists or a version"),
        (&["put", "a", "1", "--expect", "-1"], 2, ""),
        (&["put", "a", "--exect"], 2, "--exect"),
        (&["get", "a", "--raw", "--format", "text"], 2, "cannot be used with"),
    ] {
        refused(path, args, code, message);
    }
    // The longest value is accepted; a longer one is not read to its end.
    run_with(&["record", "put", path, "a", "-"], vec![b'v'; 16 << 20]).ok();
    let endless = run_with(&["record", "put", path, "a", "-"], vec![b'v'; 20 << 20]);
    endless.fails(1, "standard input holds more than 16777216 bytes");
    assert_eq!(run(&["record", "get", path, "a", "--raw"]).ok().stdout.len(), 16 << 20);
    let nowhere = scratch.store("nowhere");
    for command in [&["list"][..], &["get", "a"], &["put", "a", "1"], &["delete", "a"]] {
        run(&[&["record", command[0], &nowhere], &command[1..]].concat())
            .fails(1, "does not exist");
    }
    assert!(!scratch.path("nowhere").exists());
    let before = files(&scratch.path("store"));
    list(path, &[]).ok();
    run(&["record", "get", path, "a"]).ok();
    assert!(files(&scratch.path("store")) == before, "looking changes nothing");
}

#[test]
fn records_are_shown_beside_their_writer() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let writer = annals::Store::open(&path).unwrap();
    let event = annals::NewEvent::new("T", "");
    let transaction = writer.transaction().append("s", annals::ExpectedVersion::Any, [event]);
    transaction.put("a", "5", annals::ExpectedRecord::Any).commit().unwrap();
    assert_eq!(run(&["record", "get", &path, "a", "--raw"]).ok().stdout, "5");
    run(&["record", "put", &path, "a", "6"]).fails(1, "open for writing elsewhere");
    writer.close().unwrap();
}
