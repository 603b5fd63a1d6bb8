//! What goes in comes out.

use super::support::{
    Scratch, count, exported, field, id, import, join, line, lines, of_commit, quoted, run,
    run_with, without_time,
};

/// Lines with everything that is awkward.
fn awkward() -> Vec<String> {
    let long = "n".repeat(1024);
    let names = [
        "plain",
        "with space",
        "a\"quote\\",
        "line\nbreak",
        "nul\0",
        "tab\t",
        "grüße-日本-🎈",
        "\u{202e}rtl",
        "../../etc",
        long.as_str(),
    ];
    let mut lines: Vec<String> = names
        .iter()
        .map(|name| {
            let name = quoted(name);
            format!(
                "{{\"stream\":{name},\"type\":{},\"data\":{{\"of\": {name}}}}}",
                quoted("Ty \"p\n")
            )
        })
        .collect();
    for data in [
        "null",
        "true",
        "-0.0",
        "1.50",
        "12345678901234567890123456789",
        "1E400",
        "\"\\u00e9\\/\"",
        "\"\\ud800\"",
        "[ 1 ,\t2 ]",
        "{\"b\":1, \"a\": {\"b\" : [ ]}, \"b\":2}",
        "\"\u{2028}\"",
        "{}",
    ] {
        lines.push(format!(
            "{{\"stream\":\"json\",\"type\":\"T\",\"data\":  {data}  ,\"metadata\": {data} }}"
        ));
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    lines.push(format!("{{\"stream\":\"json\",\"type\":\"T\",\"data\":{deep}}}"));
    for (data, rest) in [
        ("", ""),
        ("AP/+Cg==", ""),
        ("AP/+Cg", ",\"metadata_base64\":\"/w==\""),
        ("ewogfQo=", ",\"content_type\":\"json\",\"metadata_base64\":\"ewogfQo=\""),
        ("ew==", ",\"content_type\":\"json\""),
        ("MQ==", ",\"content_type\":\"binary\""),
    ] {
        lines.push(format!(
            "{{\"stream\":\"bin\",\"type\":\"T\",\"data_base64\":\"{data}\"{rest}}}"
        ));
    }
    lines.push(format!(
        "{{\"stream\":\"set\",\"type\":\"T\",\"data\":1,\"tags\":[\"a:1\",\"ü \\n\",\"a:1x\"],\"schema_version\":65535,\"id\":\"{}\"}}",
        id(9)
    ));
    // One commit over several streams, each more than once; then two of one event.
    for (commit, stream) in [
        ("\"x\"", "a"),
        ("\"x\"", "a"),
        ("\"x\"", "b"),
        ("\"\\u0078\"", "a"),
        ("1", "b"),
        ("2", "a"),
    ] {
        lines.push(format!(
            "{{\"stream\":\"{stream}\",\"type\":\"T\",\"data\":1,\"commit\":{commit}}}"
        ));
    }
    lines
}

#[test]
fn export_and_import_reproduce_every_event() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.store("first"), scratch.store("second"));
    let input = awkward();
    let done = import(&first, join(&input)).ok();
    assert!(done.stdout.contains(&format!("imported {} events", input.len())), "{done:?}");
    assert_eq!(done.stderr, "", "success is no matter for standard error");
    let out = run(&["export", &first]).ok();
    assert_eq!(out.lines().len(), input.len());
    assert!(out.stdout.contains("\"data\":{\"b\":1, \"a\": {\"b\" : [ ]}, \"b\":2}"));
    assert!(out.stdout.contains("\"data\":[ 1 ,\t2 ],\"metadata\":[ 1 ,\t2 ]"));
    assert!(out.stdout.contains("\"data_base64\":\"ewogfQo=\",\"content_type\":\"json\""));
    assert!(out.stdout.contains("\"tags\":[\"a:1\",\"ü \\n\",\"a:1x\"],\"schema_version\":65535"));
    for (index, line) in out.lines().iter().enumerate() {
        assert_eq!(field(line, "position"), (index + 1).to_string());
    }
    for options in [&["--batch", "1"][..], &["--buffered"], &["--segment-size", "1M"]] {
        let again = format!("{second}{}", options.join(""));
        let args = [&["import", &again], options].concat();
        run_with(&args, &out.stdout).ok();
        assert_eq!(exported(&again), exported(&first), "{options:?}");
    }
}

#[test]
fn consecutive_lines_of_a_commit_are_one() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = [
        of_commit(1, "1"),
        of_commit(1, "2"),
        "\n".into(),
        of_commit(1, "3"),
        of_commit(2, "4"),
        of_commit(1, "5"),
    ];
    let done = import(&store, input.concat()).ok();
    assert!(
        done.stdout.contains("imported 5 events in 3 commits (0 already recorded)"),
        "{done:?}"
    );
    let out = run(&["export", &store]).ok();
    let commits: Vec<_> = out.lines().iter().map(|line| field(line, "commit").to_owned()).collect();
    assert_eq!(commits, ["1", "1", "1", "4", "5"]);
}

#[test]
fn other_lines_are_committed_in_batches() {
    let scratch = Scratch::new();
    let (store, file) = (scratch.store("s"), scratch.path("in.ndjson"));
    std::fs::write(&file, lines(0..10)).unwrap();
    let file = file.to_str().unwrap();
    let done = run(&["import", &store, file, "--batch", "4"]).ok();
    assert!(done.stdout.contains("10 events in 3 commits"), "{done:?}");
    assert!(done.stderr.is_empty(), "{done:?}");
}

#[test]
fn line_ends_empty_lines_and_a_byte_order_mark_do_no_harm() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let last = line(3);
    let input =
        format!("\u{feff}{}\r\n\n  \n{}\r\n{}", line(1).trim(), line(2).trim(), last.trim());
    import(&store, input).ok();
    assert_eq!(count(&store), 3);
    import(&scratch.store("none"), "").ok();
    assert_eq!(count(&scratch.store("none")), 0);
}

#[test]
fn acknowledgements_name_every_line_once() {
    for mode in ["--sync", "--buffered"] {
        let scratch = Scratch::new();
        let store = scratch.store("s");
        let input = [lines(0..25), of_commit(1, "1"), of_commit(1, "2"), lines(25..30)].concat();
        let done = run_with(&["import", &store, "-", "--ack", mode, "--batch", "10"], input).ok();
        let mut next = 1;
        for ack in done.lines() {
            let ack: serde_json::Value = serde_json::from_str(ack).unwrap();
            let first = ack["lines"][0].as_u64().unwrap();
            let last = ack["lines"][1].as_u64().unwrap();
            assert_eq!((first, ack["first_position"].as_u64().unwrap()), (next, next));
            assert_eq!(ack["last_position"].as_u64().unwrap(), last);
            next = last + 1;
        }
        assert_eq!(next, 33, "{done:?}");
        let commit = "{\"first_position\":26,\"last_position\":27,\"lines\":[26,27]}";
        assert!(done.lines().contains(&commit), "{done:?}");
    }
}

#[test]
fn cloud_events_find_their_places() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = [
        r#"{"specversion":"1.0","id":"1","source":"/shop","type":"Sold","subject":"order-1","time":"2026-01-01T00:00:00Z","data":{"n": 1.0},"partitionkey":"p"}"#,
        r#"{"specversion":"1.0","id":"2","source":"/shop","type":"Sold","data_base64":"AP8="}"#,
        r#"{"specversion":"1.0","id":"00000000-0000-4000-8000-000000000003","source":"/shop","type":"Closed"}"#,
    ];
    let args = ["import", &store, "--format", "cloudevents"];
    run_with(&args, input.join("\n")).ok();
    let out = run(&["export", &store]).ok();
    let lines = out.lines();
    assert_eq!((field(lines[0], "stream"), field(lines[1], "stream")), ("order-1", "/shop"));
    assert!(lines[0].contains("\"data\":{\"n\": 1.0},\"metadata\":{\"id\":\"1\",\"partitionkey\":\"p\",\"source\":\"/shop\""));
    assert!(lines[0].contains("\"time\":\"2026-01-01T00:00:00Z\""));
    assert!(lines[1].contains("\"data_base64\":\"AP8=\""));
    assert_eq!(field(lines[2], "id"), id(3));

    let again = run_with(&args, input.join("\n")).ok();
    assert!(again.stdout.contains("(3 already recorded), nothing changed"), "{again:?}");
    run_with(&args, "\n{\"specversion\":\"0.3\"}").fails(1, "line 2: \"specversion\" must be");
}

#[test]
fn a_missing_input_creates_no_store() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let missing = scratch.store("missing.ndjson");
    run(&["import", &store, &missing]).fails(1, "cannot read");
    run(&["import", &store, &scratch.store("")]).fails(1, "it is a directory");
    assert!(!scratch.path("s").exists());
}

#[test]
fn quiet_is_quiet_and_still_reports_faults() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let done = run_with(&["import", &store, "--quiet"], line(1)).ok();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let done = run_with(&["-q", "import", &store], "{").fails(1, "annals: line 1: ");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
}

#[test]
fn marks_within_concatenated_input_do_no_harm_and_another_encoding_is_named() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let marked = format!("\u{feff}{}\u{feff}{}", line(1), line(2));
    import(&store, marked).ok();
    assert_eq!(count(&store), 2);
    let wide: Vec<u8> =
        format!("\u{feff}{}", line(3)).encode_utf16().flat_map(u16::to_le_bytes).collect();
    import(&store, wide).fails(1, "line 1: the input is UTF-16: convert it to UTF-8");
}

#[test]
fn table_of_postgresql_keeps_order_versions_ids_and_times() {
    let scratch = Scratch::new();
    let store = scratch.store("store");
    let csv = concat!(
        "id,aggregate_id,aggregate_type,event_type,data,metadata,version,created_at\n",
        "1,9,order,Placed,\"{\"\"note\"\": \"\"two\nlines\"\"}\",\"{\"\"by\"\": \"\"ann\"\"}\",1,2026-01-02 10:00:00+00\n",
        "3,7,order,Placed,{},,1,2026-01-02 10:00:05+00\n",
        "4,9,order,Paid,\"{\"\"n\"\": 1.0}\",,2,2026-01-02 10:00:01+00\n",
    );
    let args = ["import", &store, "--format", "postgres-csv", "--keep-times"];
    run_with(&args, csv).ok();
    let out = run(&["export", &store]).ok();
    let lines = out.lines();
    let of = |key: &str| lines.iter().map(|line| field(line, key)).collect::<Vec<_>>();
    assert_eq!(of("stream"), ["order-9", "order-7", "order-9"]);
    let times = of("recorded_at");
    assert!(times[0].starts_with("2026-01-02T10:00:00") && times[1] == times[2], "{times:?}");
    assert!(lines[2].contains("\"version\":2") && lines[2].contains("row:4"), "{}", lines[2]);
    assert!(lines[2].contains("\"data\":{\"n\": 1.0}"), "{}", lines[2]);

    let again = run_with(&args, csv).ok();
    assert!(again.stdout.contains("(3 already recorded), nothing changed"), "{again:?}");

    let copy = "1\t5\tnote\tWritten\t{\"a\": \"x\\\\ty\"}\t\\N\t1\t2026-01-02 10:00:00+00\n\\.\n";
    run_with(&["import", &store, "--format", "postgres-copy"], copy).ok();
    let out = run(&["export", &store]).ok();
    assert!(out.lines()[3].contains(r#""data":{"a": "x\ty"}"#), "{}", out.lines()[3]);

    let gap = csv.replace(",2,2026", ",3,2026");
    let other = scratch.store("other");
    run_with(&["import", &other, "--format", "postgres-csv"], gap)
        .fails(1, "version 3 of stream \"order-9\" follows 1; versions count from 1");
    run_with(&["import", &other, "--format", "postgres-csv"], csv.replace("data", "price"))
        .fails(1, "column \"price\" has no meaning here");
}

#[test]
fn table_of_cqrs_es_is_the_same_as_csv_and_as_dump() {
    let scratch = Scratch::new();
    let csv = include_str!("../../../annals-cqrs-es/tests/cqrs/events.csv");
    let copy = include_str!("../../../annals-cqrs-es/tests/cqrs/events.copy");
    let exports = [("postgres-csv", csv), ("postgres-copy", copy)].map(|(format, rows)| {
        let store = scratch.store(format);
        let args = ["import", &store, "--format", format];
        run_with(&args, rows).ok();
        let again = run_with(&args, rows).ok();
        assert!(again.stdout.contains("(4 already recorded), nothing changed"), "{again:?}");
        let out = run(&["export", &store]).ok();
        out.lines().iter().map(|line| without_time(line)).collect::<Vec<_>>()
    });
    assert_eq!(exports[0], exports[1]);
    let of = |key: &str| exports[0].iter().map(|line| field(line, key)).collect::<Vec<_>>();
    assert_eq!(of("stream"), ["account-A-1", "account-A-1", "running%2Dsum-s", "running%2Dsum-s"]);
    let last = &exports[0][3];
    assert!(last.contains(r#""tags":["event_version:draft"]"#), "{last}");
}
