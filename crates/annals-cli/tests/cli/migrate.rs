//! Histories from other systems: derived ids, resumed imports, kept times.

use std::ops::Range;

use super::support::{Scratch, count, exported, field, id, import, lines, run, run_with, without};

/// Lines without ids, of three streams, with data that repeats.
fn plain(numbers: Range<u64>) -> String {
    let line =
        |n| format!("{{\"stream\":\"p-{}\",\"type\":\"T\",\"data\":{}}}\n", n % 3, n / 3 % 4);
    numbers.map(line).collect::<Vec<_>>().concat()
}

/// The same with times, one second apart, from the first of January 2020 on.
fn timed(numbers: Range<u64>) -> String {
    let time = |n| format!("2020-01-01T00:{:02}:{:02}Z", n / 60, n % 60);
    numbers.map(|n| timed_line(n, &time(n))).collect::<Vec<_>>().concat()
}

fn timed_line(n: u64, time: &str) -> String {
    format!(
        "{{\"stream\":\"p-{}\",\"type\":\"T\",\"data\":{n},\"recorded_at\":\"{time}\"}}\n",
        n % 3
    )
}

#[test]
fn import_with_derived_ids_can_be_repeated() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let args = ["import", &store, "--derive-ids"];
    run_with(&args, plain(0..500)).ok();
    let before = exported(&store);
    for batch in ["1", "7", "1000"] {
        let args = [&args[..], &["--batch", batch]].concat();
        let again = run_with(&args, plain(0..500)).ok();
        assert!(again.stdout.contains("(500 already recorded), nothing changed"), "{again:?}");
    }
    assert_eq!(exported(&store), before);
    // More of the same input.
    let more = run_with(&args, plain(0..600)).ok();
    assert!(more.stdout.contains("imported 100 events"), "{more:?}");
    assert!(more.stdout.contains("(500 already recorded)"), "{more:?}");
    // Another store gets the same ids, whatever the commits are.
    let other = scratch.store("other");
    run_with(&["import", &other, "--derive-ids", "--batch", "3"], plain(0..600)).ok();
    let ids = |store: &str| -> Vec<String> {
        exported(store).iter().map(|line| field(line, "id").to_owned()).collect()
    };
    assert_eq!(ids(&other), ids(&store));
}

#[test]
fn other_input_under_the_same_derived_ids_is_refused_and_under_another_name_is_not() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    run_with(&["import", &store, "--derive-ids"], plain(0..5)).ok();
    let other = "{\"stream\":\"p-0\",\"type\":\"T\",\"data\":\"other\"}\n";
    run_with(&["import", &store, "--derive-ids"], other).fails(1, "line 1: event id");
    run_with(&["import", &store, "--derive-ids=february"], other).ok();
    let again = run_with(&["import", &store, "--derive-ids=february"], other).ok();
    assert!(again.stdout.contains("nothing changed"), "{again:?}");
    assert_eq!(count(&store), 6);
}

#[test]
fn version_of_a_line_counts_for_its_derived_id() {
    let scratch = Scratch::new();
    let (by_count, by_version) = (scratch.store("c"), scratch.store("v"));
    let line = |version: &str| format!("{{\"stream\":\"a\",\"type\":\"T\",\"data\":1{version}}}\n");
    run_with(&["import", &by_count, "--derive-ids"], line("").repeat(2)).ok();
    // Only a part of the history.
    run_with(&["import", &by_version, "--derive-ids"], line(",\"version\":2")).ok();
    let ids = |store: &str| -> Vec<String> {
        exported(store).iter().map(|line| field(line, "id").to_owned()).collect()
    };
    assert_eq!(ids(&by_version)[0], ids(&by_count)[1]);
    let args = ["import", &by_version, "--derive-ids"];
    run_with(&args, line(",\"version\":\"x\"")).fails(1, "line 1: \"version\" must be a number");
    // Without the option the version is not parsed.
    import(&by_version, line(",\"version\":\"x\"")).ok();
}

#[test]
fn interrupted_import_goes_on_with_ids_and_without() {
    let scratch = Scratch::new();
    let named = lines(0..300);
    for (name, input, rest) in [
        ("plain", plain(0..300), &[][..]),
        ("derived", plain(0..300), &["--derive-ids"]),
        ("named", named, &[]),
        ("timed", timed(0..300), &["--keep-times"]),
    ] {
        let whole = scratch.store(&format!("{name}-whole"));
        run_with(&[&["import", &whole], rest].concat(), &input).ok();
        let contents = |store: &str| -> Vec<String> {
            let lines = exported(store);
            lines.iter().map(|line| without(&without(line, "commit"), "id")).collect()
        };
        for (stored, batch) in [(0, "1000"), (1, "7"), (100, "1000"), (299, "10"), (300, "50")] {
            let store = scratch.store(&format!("{name}-{stored}"));
            let first: String = input.lines().take(stored).flat_map(|it| [it, "\n"]).collect();
            run_with(&[&["import", &store], rest].concat(), first).ok();
            let args = [&["import", &store, "--resume", "--batch", batch], rest].concat();
            let done = run_with(&args, &input).ok();
            let expected = format!("({stored} already recorded)");
            assert!(done.stdout.contains(&expected), "{name} {stored}: {done:?}");
            assert_eq!(contents(&store), contents(&whole), "{name} {stored}");
        }
    }
}

#[test]
fn resumed_import_acknowledges_what_was_stored_before() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, plain(0..4)).ok();
    let done = run_with(&["import", &store, "--resume", "--ack"], plain(0..6)).ok();
    let acks = [
        "{\"first_position\":1,\"last_position\":4,\"lines\":[1,4]}",
        "{\"first_position\":5,\"last_position\":6,\"lines\":[5,6]}",
    ];
    assert_eq!(done.lines(), acks);
}

#[test]
fn resumed_import_of_another_input_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, plain(0..9)).ok();
    let other = plain(0..3) + &plain(0..3).replace("\"T\"", "\"U\"");
    let resume = ["import", &store, "--resume"];
    run_with(&resume, &other).fails(1, "line 4: stream \"p-0\" has another event at version 2");
    assert_eq!(count(&store), 9);
    // A commit of which a part is stored is none of an earlier import.
    let of_commit = plain(0..12).replace('}', ",\"commit\":1}");
    run_with(&resume, &of_commit).fails(1, "lines 1 to 12: only a part of the commit is stored");
    // A commit that is stored as a whole is recognised.
    let store = scratch.store("commits");
    import(&store, &of_commit).ok();
    let done = run_with(&["import", &store, "--resume"], &of_commit).ok();
    assert!(done.stdout.contains("(12 already recorded), nothing changed"), "{done:?}");
}

#[test]
fn kept_times_are_those_of_the_past_that_can_be_read() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    run_with(&["import", &store, "--keep-times"], timed(0..100)).ok();
    let as_of = |time: &str| run(&["read", &store, "--as-of", time]).ok().lines().len();
    assert_eq!(as_of("2020-01-01T00:00:09Z"), 10);
    assert_eq!(as_of("2020-01-01T00:01:00Z"), 61);
    assert_eq!(as_of("2019-12-31"), 0);
    assert_eq!(as_of("2020-01-02"), 100);
    // An export has them, and an import of it everything.
    let copy = scratch.store("copy");
    let out = run(&["export", &store]).ok().stdout;
    run_with(&["import", &copy, "--keep-times"], &out).ok();
    assert_eq!(run(&["export", &copy]).ok().stdout, out);
    run(&["verify", &copy]).ok();
    // And it can be repeated, also after newer events.
    run(&["append", &copy, "now", "T"]).ok();
    let again = run_with(&["import", &copy, "--keep-times"], &out).ok();
    assert!(again.stdout.contains("(100 already recorded), nothing changed"), "{again:?}");
}

#[test]
fn time_that_goes_back_or_lies_ahead_is_refused_with_its_line() {
    let scratch = Scratch::new();
    let times = ["2020-01-01T00:00:05Z", "2020-01-01T00:00:05Z", "2020-01-01T00:00:04Z"];
    let back: String = (0..).zip(times).map(|(n, time)| timed_line(n, time)).collect();
    let store = scratch.store("back");
    let done = run_with(&["import", &store, "--keep-times"], &back);
    let done =
        done.fails(1, "line 3: the time of recording, 2020-01-01T00:00:04.000000Z, is before");
    assert!(done.stderr.contains("2020-01-01T00:00:05.000000Z"), "{done:?}");
    assert_eq!(count(&store), 2);
    let skipped = scratch.store("skipped");
    run_with(&["import", &skipped, "--keep-times", "--skip-bad"], &back).ok();
    assert_eq!(count(&skipped), 2);

    let store = scratch.store("ahead");
    let ahead = timed(0..2) + &timed_line(2, "2199-01-01T00:00:00Z");
    run_with(&["import", &store, "--keep-times"], ahead).fails(1, "line 3: the time of recording");

    let store = scratch.store("missing");
    run_with(&["import", &store, "--keep-times"], timed(0..1) + &plain(1..2))
        .fails(1, "line 2: the time of recording is missing");
    run_with(&["import", &store, "--keep-times"], timed_line(1, "noon")).fails(1, "\"noon\"");
    let of_commit = timed(1..3).replace('}', ",\"commit\":1}");
    run_with(&["import", &store, "--keep-times"], of_commit)
        .fails(1, "lines 1 to 2: the lines of one commit have different times");
    // Without the option the times are not checked.
    import(&store, back + &timed_line(5, "noon")).ok();
}

#[test]
fn times_of_cloud_events_can_be_kept() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let line = |n: u64, time: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"source\":\"/s\",\"type\":\"T\"{time}}}\n",
            id(n)
        )
    };
    let args = ["import", &store, "--format", "cloudevents", "--keep-times"];
    let input = line(1, ",\"time\":\"2020-05-01T00:00:00Z\"");
    run_with(&args, &input).ok();
    run_with(&args, line(2, "")).fails(1, "line 1: the time of recording is missing");
    assert_eq!(run(&["read", &store, "--as-of", "2020-05-02"]).ok().lines().len(), 1);
    let again = run_with(&[&args[..], &["--resume", "--derive-ids"]].concat(), &input).ok();
    assert!(again.stdout.contains("(1 already recorded)"), "{again:?}");
}

#[test]
fn first_import_that_fails_leaves_nothing_or_a_store() {
    let scratch = Scratch::new();
    let bad_first = "{\"stream\":1}\n";
    let too_large =
        format!("{{\"stream\":\"a\",\"type\":\"T\",\"data\":\"{}\"}}\n", "x".repeat(40 << 10));
    for (name, input) in
        [("bad", bad_first.to_owned()), ("large", too_large), ("empty", String::new())]
    {
        let store = scratch.store(name);
        let done = run_with(&["import", &store, "--segment-size", "64K"], input);
        assert_eq!(done.code, i32::from(name != "empty"), "{done:?}");
        if scratch.path(name).exists() {
            assert_eq!(count(&store), 0);
            run(&["verify", &store]).ok();
        }
    }
    assert!(!scratch.path("bad").exists(), "nothing was to be stored");
    assert!(scratch.path("empty").exists(), "an import of nothing makes an empty store");
    // The lines before the fault are stored.
    let store = scratch.store("good-first");
    let input = plain(0..1) + bad_first;
    run_with(&["import", &store, "--batch", "1"], input).fails(1, "line 2");
    assert_eq!(count(&store), 1);
}

/// Runs the tool where no file may be longer than 64 KiB, as on a disk that is full.
#[cfg(unix)]
fn run_short_of_space(args: &[&str], input: &str) -> super::support::Done {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let mut child = Command::new("sh")
        .args([&["-c", script, env!("CARGO_BIN_EXE_annals")], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let fed = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    drop(fed);
    super::support::Done::of(child.wait_with_output().expect("it ends"))
}

#[cfg(unix)]
#[test]
fn store_that_cannot_be_created_leaves_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    for args in [&["import", &store][..], &["append", &store, "a", "T"]] {
        let done = run_short_of_space(args, &plain(0..1));
        assert_eq!(done.code, 1, "{args:?}: {done:?}");
        assert!(!scratch.path("s").exists(), "{args:?} leaves {:?}", std::fs::read_dir(&store));
    }
    // An existing directory stays, with its contents.
    std::fs::create_dir(&store).expect("a directory");
    assert_eq!(run_short_of_space(&["append", &store, "a", "T"], "").code, 1);
    assert!(scratch.path("s").exists());
    // With space it becomes a store.
    run(&["append", &store, "a", "T"]).ok();
    assert_eq!(count(&store), 1);
}
