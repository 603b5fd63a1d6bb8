//! `cursor`, `snapshot` and `stream`: the commands for data other than events.

use annals::{ExpectedVersion, NewEvent, Options, Position, Store, snapshot::Snapshot};

use super::support::{Scratch, count, files, import, lines, run, without_time};

/// A store with `s-0` to `s-6`, three events each: positions 1 to 21.
fn filled(scratch: &Scratch) -> String {
    let store = scratch.store("store");
    import(&store, lines(1..22)).ok();
    store
}

#[track_caller]
fn unchanged(store: &str, args: &[&str], code: i32, message: &str) {
    let tool = |name: &str| run(&[name, "list", store, "--format", "ndjson"]).ok().stdout;
    let before = (tool("cursor"), tool("stream"), tool("snapshot"));
    run(args).fails(code, message);
    assert_eq!((tool("cursor"), tool("stream"), tool("snapshot")), before, "{args:?}");
}

#[test]
fn a_cursor_moves_forward_and_back_only_if_told_to() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let store = store.as_str();
    assert_eq!(run(&["cursor", "list", store]).ok().stdout, "");
    run(&["cursor", "get", store, "emailer"]).fails(1, "there is no cursor \"emailer\"");
    assert_eq!(run(&["cursor", "set", store, "emailer", "7"]).ok().stdout, "");
    run(&["cursor", "set", store, "a\nb", "21"]).ok();
    assert_eq!(run(&["cursor", "get", store, "emailer"]).ok().stdout, "7\n");
    assert_eq!(
        run(&["cursor", "get", store, "emailer", "--format", "ndjson"]).ok().stdout,
        "{\"cursor\":\"emailer\",\"position\":7}\n"
    );
    let listed = run(&["cursor", "list", store]).ok().stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("        21           0  20") && lines[0].ends_with("Z  a\\nb"));
    assert!(lines[1].starts_with("         7          14  20") && lines[1].ends_with("Z  emailer"));
    assert_eq!(lines.len(), 2);
    for position in ["7", "6", "0"] {
        let args = ["cursor", "set", store, "emailer", position];
        unchanged(store, &args, 1, "(use --reset to allow it)");
    }
    let ahead = "cannot be set to 22, the head is 21";
    unchanged(store, &["cursor", "set", store, "emailer", "22"], 1, ahead);
    unchanged(store, &["cursor", "set", store, "emailer", "22", "--reset"], 1, ahead);
    unchanged(store, &["cursor", "set", store, "", "3"], 2, "must not be empty");
    let unknown = "there is no cursor \"nobody\"";
    unchanged(store, &["cursor", "delete", store, "nobody"], 1, unknown);
    run(&["cursor", "set", store, "emailer", "3", "--reset"]).ok();
    run(&["cursor", "delete", store, "a\nb"]).ok();
    let listed = run(&["cursor", "list", store, "--format", "ndjson"]).ok().stdout;
    let emailer = "{\"cursor\":\"emailer\",\"position\":3,\"lag\":18,\"moved_at\":\"20";
    assert!(listed.starts_with(emailer) && listed.lines().count() == 1, "{listed}");
    // No event is changed, and the store is intact.
    assert_eq!(count(store), 21);
    run(&["verify", store]).ok();
}

#[test]
fn snapshots_are_listed_shown_and_deleted() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    let store = Store::open(path).unwrap();
    for version in 1..=3_u64 {
        let state = format!("{{\"balance\":{version}}}");
        store
            .snapshots()
            .save(&Snapshot::new("s-1", version, state).with_schema_version(2))
            .unwrap();
    }
    store.snapshots().save(&Snapshot::new("view", Position::new(9), b"\x00\xff")).unwrap();
    store.snapshots().save(&Snapshot::new("view-2", Position::new(9), "1\n")).unwrap();
    store.close().unwrap();

    let list = run(&["snapshot", "list", path]).ok();
    let starts = ["s-1  version 2  20", "s-1  version 3  20", "view  position 9  20", "view-2  "];
    assert_eq!(list.lines().len(), 4, "{list:?}");
    assert!(list.lines().iter().zip(starts).all(|(it, start)| it.starts_with(start)), "{list:?}");
    assert!(list.lines()[0].ends_with("  13 bytes"), "{list:?}");
    let list = run(&["snapshot", "list", path, "--prefix", "view-", "--format", "ndjson"]).ok();
    assert_eq!(list.lines().len(), 1);
    let line = list.lines()[0].replace("saved_at", "recorded_at");
    let expected = "{\"key\":\"view-2\",\"position\":9,\"schema_version\":0,\"bytes\":2}";
    assert_eq!(without_time(&line), expected);

    let show = |args: &[&str]| run(&[&["snapshot", "show", path], args].concat());
    assert!(show(&["s-1"]).ok().stdout.ends_with("  schema 2\n{\"balance\":3}\n"));
    assert_eq!(show(&["s-1", "--raw"]).ok().stdout, "{\"balance\":3}");
    assert_eq!(show(&["s-1", "--raw", "--up-to-version", "2"]).ok().stdout, "{\"balance\":2}");
    assert!(show(&["view"]).ok().stdout.ends_with("<2 bytes> \\x00\\xff\n"));
    let line = show(&["view", "--format", "ndjson", "--up-to-position", "99"]).ok().stdout;
    assert!(line.ends_with("\"bytes\":2,\"state_base64\":\"AP8=\"}\n"), "{line}");
    let line = show(&["view-2", "--format", "ndjson"]).ok().stdout;
    assert!(line.ends_with("\"bytes\":2,\"state_base64\":\"MQo=\"}\n"), "{line}");
    let line = show(&["s-1", "--format", "ndjson"]).ok().stdout;
    assert!(line.contains("\"version\":3,\"schema_version\":2,"), "{line}");
    assert!(line.ends_with("\"state\":{\"balance\":3}}\n"), "{line}");
    for args in
        [&["nobody"][..], &["s-1", "--up-to-version", "1"], &["view", "--up-to-position", "8"]]
    {
        show(args).fails(1, "there is no such snapshot of");
    }
    show(&[""]).fails(2, "must not be empty");
    show(&["s-1", "--raw", "--format", "text"]).fails(2, "cannot be used with");

    run(&["snapshot", "delete", path, "s-1"]).ok();
    unchanged(path, &["snapshot", "delete", path, "s-1"], 1, "there is no snapshot of \"s-1\"");
    assert_eq!(run(&["snapshot", "list", path]).ok().lines().len(), 2);
    run(&["verify", path]).ok();
}

#[test]
fn streams_are_hidden_and_shown_again() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let store = store.as_str();
    let read = |args: &[&str]| run(&[&["read", store], args].concat()).ok().lines().len();
    run(&["stream", "truncate", store, "s-1", "--before", "3"]).ok();
    run(&["stream", "archive", store, "s-2"]).ok();
    run(&["stream", "metadata", store, "s-3", "--max-count", "1"]).ok();
    assert_eq!((read(&[]), read(&["--include-hidden"])), (21 - 2 - 3 - 2, 21));
    assert_eq!(read(&["--stream", "s-1"]), 1);
    assert_eq!(read(&["--stream", "s-1", "--include-hidden"]), 3);
    assert_eq!(read(&["--stream", "s-2"]), 0);
    assert_eq!(run(&["query", store, "stream:s-2", "--include-hidden"]).ok().lines().len(), 3);
    assert_eq!(run(&["tail", store, "-n", "99"]).ok().lines().len(), 14);
    assert_eq!(run(&["tail", store, "-n", "99", "--include-hidden"]).ok().lines().len(), 21);
    assert_eq!(count(store), 21, "an export leaves nothing out");

    let list = run(&["stream", "list", store]).ok();
    assert_eq!(list.stdout, run(&["streams", store]).ok().stdout);
    assert_eq!(list.lines().len(), 6);
    assert!(list.lines()[1].ends_with("s-1  (from version 3)"), "{list:?}");
    let list = run(&["streams", store, "--include-hidden"]).ok();
    assert!(list.lines()[2].ends_with("s-2  (archived)"), "{list:?}");
    let list = run(&["streams", store, "--include-hidden", "--format", "ndjson"]).ok();
    assert_eq!(list.lines()[0], r#"{"stream":"s-0","version":3,"last_position":21}"#);
    assert!(list.lines()[1].ends_with(r#","first_version":3}"#), "{list:?}");
    assert!(list.lines()[2].ends_with(r#","archived":true}"#), "{list:?}");

    run(&["stream", "unarchive", store, "s-2"]).ok();
    run(&["stream", "truncate", store, "s-1", "--before", "1"]).ok();
    run(&["stream", "metadata", store, "s-3", "--max-count", "none"]).ok();
    assert_eq!(read(&[]), 21);
    run(&["verify", store]).ok();
}

#[test]
fn what_is_known_of_a_stream_is_printed() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let store = store.as_str();
    let ndjson = || run(&["stream", "info", store, "s-4", "--format", "ndjson"]).ok().stdout;
    assert_eq!(
        ndjson(),
        "{\"stream\":\"s-4\",\"version\":3,\"last_position\":18,\"first_version\":1,\
         \"archived\":false,\"max_age\":null,\"max_count\":null}\n"
    );
    run(&["stream", "metadata", store, "s-4", "--max-age", "30d", "--max-count", "2"]).ok();
    assert!(ndjson().ends_with("\"max_age\":\"PT720H\",\"max_count\":2}\n"), "{}", ndjson());
    // A limit that is not given keeps its value.
    run(&["stream", "metadata", store, "s-4", "--max-count", "none"]).ok();
    run(&["stream", "archive", store, "s-4"]).ok();
    let text = run(&["stream", "info", store, "s-4"]).ok().stdout;
    for line in [
        "version          3",
        "archived         yes",
        "max age          720h",
        "max count        none",
    ] {
        assert!(text.lines().any(|it| it == line), "{line:?} is not in {text}");
    }
    run(&["stream", "metadata", store, "s-4", "--max-age", "none"]).ok();
    assert!(ndjson().contains("\"archived\":true,\"max_age\":null"));
}

#[test]
fn a_refused_change_changes_nothing() {
    let scratch = Scratch::new();
    let store = filled(&scratch);
    let store = store.as_str();
    let unknown = "there is no stream \"nobody\"";
    unchanged(store, &["stream", "info", store, "nobody"], 1, unknown);
    unchanged(store, &["stream", "archive", store, "nobody"], 1, unknown);
    unchanged(store, &["stream", "unarchive", store, "nobody"], 1, unknown);
    unchanged(store, &["stream", "truncate", store, "nobody", "--before", "1"], 1, unknown);
    unchanged(store, &["stream", "metadata", store, "nobody", "--max-count", "1"], 1, unknown);
    let ahead = "cannot be truncated before 5, it is at version 3";
    unchanged(store, &["stream", "truncate", store, "s-1", "--before", "5"], 1, ahead);
    for args in [
        &["stream", "metadata", store, "s-1"][..],
        &["stream", "metadata", store, "s-1", "--max-age", "30"],
        &["stream", "metadata", store, "s-1", "--max-count", "0"],
        &["stream", "truncate", store, "s-1"],
        &["cursor", "set", store, "emailer"],
        &["cursor", "set", store, "emailer", "-1"],
        &["snapshot", "show", store, "s-1", "--up-to-version", "1", "--up-to-position", "1"],
        &["stream"],
        &["cursor"],
        &["snapshot"],
    ] {
        unchanged(store, args, 2, "");
    }
}

#[test]
fn changes_need_the_store_for_themselves_and_never_create_one() {
    let scratch = Scratch::new();
    let path = filled(&scratch);
    let path = path.as_str();
    let changes = |store: &'static str| {
        [
            vec!["cursor", "set", store, "emailer", "3"],
            vec!["cursor", "delete", store, "emailer"],
            vec!["snapshot", "delete", store, "s-1"],
            vec!["stream", "truncate", store, "s-1", "--before", "1"],
            vec!["stream", "archive", store, "s-1"],
            vec!["stream", "metadata", store, "s-1", "--max-count", "1"],
        ]
    };
    let at = |store: &str, change: &[&str]| -> Vec<String> {
        change.iter().map(|it| if *it == "STORE" { store.into() } else { (*it).into() }).collect()
    };
    let nowhere = scratch.store("nowhere");
    let writer = Options::new().open(path).unwrap();
    for change in changes("STORE") {
        let args = at(path, &change);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>())
            .fails(1, "open for writing elsewhere");
        let args = at(&nowhere, &change);
        run(&args.iter().map(String::as_str).collect::<Vec<_>>()).fails(1, "does not exist");
    }
    // Commands that read work beside the writer, and see its changes up to its last event.
    writer.cursors().advance("emailer", 5).unwrap();
    writer.archive("s-1").unwrap();
    writer.append("s-2", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    assert_eq!(run(&["cursor", "get", path, "emailer"]).ok().stdout, "5\n");
    assert!(run(&["stream", "info", path, "s-1"]).ok().stdout.contains("archived         yes"));
    let listed = run(&["cursor", "list", path, "--format", "ndjson"]).ok().stdout;
    assert!(listed.contains("\"lag\":") && listed.contains(",\"moved_at\":\"20"), "{listed}");
    writer.cursors().reset("emailer", 2).unwrap();
    let history = run(&["cursor", "history", path, "emailer", "--limit", "2"]).ok().stdout;
    let lines: Vec<Vec<&str>> = history.lines().map(|it| it.split_whitespace().collect()).collect();
    let head = writer.head().get();
    let moved = |at: usize| (lines[at][0].parse().unwrap(), lines[at][1].parse().unwrap());
    assert_eq!([moved(0), moved(1)], [(2, head - 2), (5, head - 6)], "{history}");
    assert!(lines.iter().all(|line| line[2].starts_with("20")), "{history}");
    writer.cursors().advance("gone", 1).unwrap();
    writer.cursors().delete("gone").unwrap();
    let gone = run(&["cursor", "history", path, "gone", "--format", "ndjson"]).ok().stdout;
    let deleted = format!(
        "{{\"cursor\":\"gone\",\"position\":null,\"lag\":null,\"head\":{head},\"moved_at\":\"20"
    );
    assert!(gone.starts_with(&deleted) && gone.lines().count() == 2, "{gone}");
    assert!(
        run(&["cursor", "history", path, "gone"])
            .ok()
            .stdout
            .contains("   deleted           -  20")
    );
    run(&["cursor", "history", path, "never"]).fails(1, "annals: next: ");
    let advice = run(&["cursor", "set", path, "emailer", "6"]).fails(1, "annals: next: add --wait");
    assert!(advice.stderr.contains("annals_control::Control"), "{advice:?}");
    writer.close().unwrap();
    assert!(!scratch.path("nowhere").exists());

    // Looking changes nothing.
    let before = files(&scratch.path("store"));
    run(&["cursor", "list", path]).ok();
    run(&["snapshot", "list", path]).ok();
    run(&["stream", "info", path, "s-1"]).ok();
    assert!(files(&scratch.path("store")) == before);
}
