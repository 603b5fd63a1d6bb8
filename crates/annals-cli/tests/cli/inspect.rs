//! `streams`, `stats`, `verify`, and directories that are no stores.

use std::path::{Path, PathBuf};

use super::support::{Scratch, files, import, line, lines, run, run_with};

#[test]
fn streams_are_listed_by_name() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..16)).ok();
    let out = run(&["streams", &store, "--format", "ndjson"]).ok();
    assert_eq!(out.lines().len(), 7);
    assert_eq!(out.lines()[0], "{\"stream\":\"s-0\",\"version\":3,\"last_position\":15}");
    let out = run(&["streams", &store, "--prefix", "s-6"]).ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["2", "14", "s-6"]);
    assert_eq!(run(&["streams", &store, "--prefix", "x"]).ok().stdout, "");
}

#[test]
fn stats_are_figures() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..16)).ok();
    let out = run(&["stats", &store, "--format", "json"]).ok();
    let stats: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    for (key, expected) in [("events", 16), ("streams", 7), ("commits", 1), ("head", 16)] {
        assert_eq!(stats[key], expected, "{key}: {out:?}");
    }
    assert!(stats["bytes"].as_u64().unwrap() > 16 * 30, "{out:?}");
    for key in ["created_at", "last_recorded_at", "store_id"] {
        assert!(stats[key].is_string(), "{key}: {out:?}");
    }
    let text = run(&["stats", &store]).ok().stdout;
    assert!(text.contains("events           16\n") && text.contains("created "), "{text}");

    run(&["import", &scratch.store("empty")]).ok();
    let out = run(&["stats", &scratch.store("empty"), "--format", "json"]).ok();
    assert!(out.stdout.contains("\"last_recorded_at\":null"), "{out:?}");
}

#[test]
fn a_sound_store_verifies() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..100)).ok();
    let before = files(&scratch.path("s"));
    let out = run(&["verify", &store]).ok();
    assert!(out.stdout.starts_with("no fault found: 100 events in 1 commits"), "{out:?}");
    assert_eq!(run(&["verify", &store, "--quiet"]).ok().stdout, "");
    assert_eq!(files(&scratch.path("s")), before, "nothing was touched");
}

/// The segment that holds `needle`, and where.
fn find(store: &Path, needle: &[u8]) -> (PathBuf, usize) {
    files(&store.join("log"))
        .into_iter()
        .find_map(|(path, bytes)| {
            let at = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((path, at))
        })
        .expect("the log holds it")
}

#[test]
fn a_flipped_byte_is_named_with_file_and_offset() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..100)).ok();
    let marked = "{\"stream\":\"s-1\",\"type\":\"T\",\"data\":\"needle-in-the-hay\"}";
    import(&store, marked).ok();
    import(&store, line(200)).ok();
    let (segment, offset) = find(&scratch.path("s"), b"needle-in-the-hay");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[offset + 4] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();

    let done = run(&["verify", &store]);
    assert_eq!(done.code, 1, "{done:?}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    let fault = done.stdout.lines().find(|line| line.contains(name)).expect("the segment is named");
    let named: usize =
        fault.split(" offset ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(named <= offset + 4 && named + 1024 > offset, "{fault}: the byte is at {offset}");
    assert!(done.stdout.contains("found: "), "{done:?}");
}

#[test]
fn what_is_no_store_is_named_and_not_touched() {
    let scratch = Scratch::new();
    let foreign = scratch.path("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "Dear reader").unwrap();
    let empty = scratch.path("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(scratch.path("file"), "").unwrap();

    for name in ["foreign", "empty", "file", "missing"] {
        let store = scratch.store(name);
        for args in [
            &["read", &store][..],
            &["export", &store],
            &["tail", &store, "--follow"],
            &["streams", &store],
            &["stats", &store],
            &["verify", &store],
        ] {
            run(args).fails(1, name);
        }
    }
    let store = scratch.store("foreign");
    import(&store, line(1)).fails(1, "is not a store");
    run(&["append", &store, "a", "T"]).fails(1, "is not a store");
    assert!(import(&scratch.store("file"), line(1)).code == 1);
    assert_eq!(files(&foreign), [(foreign.join("letter.txt"), b"Dear reader".to_vec())]);
    assert_eq!(files(&empty), []);
    assert!(!scratch.path("missing").exists());
}

#[test]
fn compacting_merges_index_files_and_changes_no_event() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..100)).ok();
    let before = run(&["read", &store]).ok().stdout;
    let out = run(&["compact", &store]).ok();
    assert!(out.stdout.contains("0 index files merged into 0"), "{out:?}");
    assert_eq!(run(&["compact", &store, "--quiet"]).ok().stdout, "");
    assert_eq!(run(&["read", &store]).ok().stdout, before);
    // Where there are some.
    let small = scratch.store("small");
    run_with(&["import", "--segment-size", "64K", "--batch", "10", &small], lines(0..3_000)).ok();
    let figure = |name: &str| {
        let stats = run(&["stats", &small, "--format", "json"]).ok().stdout;
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        stats[name].as_u64().unwrap()
    };
    let before = run(&["read", &small]).ok().stdout;
    let files = figure("index_files");
    assert!(files > 1, "{files} index files");
    let out = run(&["compact", &small]).ok();
    let expected = format!("{files} index files merged into 1");
    assert!(out.stdout.contains(&expected), "{expected}: {out:?}");
    assert_eq!((figure("index_files"), figure("level_files")), (1, 1));
    assert_eq!(run(&["read", &small]).ok().stdout, before);
    run(&["verify", &small]).ok();
    let missing = scratch.store("missing");
    assert!(!run(&["compact", &missing]).stderr.is_empty());
    assert!(!Path::new(&missing).exists());
}

#[test]
fn damage_names_the_next_command() {
    let scratch = Scratch::new();
    let store = scratch.store("with space");
    import(&store, lines(0..100)).ok();
    let (segment, offset) = find(&scratch.path("with space"), b"s-1");
    let sound = std::fs::read(&segment).unwrap();
    let mut bytes = sound.clone();
    bytes[offset] ^= 0x10;
    std::fs::write(&segment, &bytes).unwrap();
    let name = format!("{store:?}");
    let verified = run(&["verify", &store]).fails(1, "annals: next: ");
    assert!(verified.stderr.contains(&format!("annals repair {name} --to NEWDIR")), "{verified:?}");
    let read = run(&["read", &store]).fails(1, &format!("annals: next: annals verify {name}"));
    assert!(read.stderr.contains(&format!("annals: next: annals repair {name}")), "{read:?}");
    assert!(!read.stderr.contains("annals::"), "no names of calls: {read:?}");
    std::fs::write(&segment, &sound).unwrap();

    // A damaged derived file is no reason for a repair.
    let checkpoints = files(&scratch.path("with space").join("checkpoints"));
    let (path, mut bytes) = checkpoints.into_iter().next().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let verified = run(&["verify", &store]).fails(1, "annals: next: the log is intact");
    assert!(!verified.stderr.contains("repair"), "{verified:?}");
}

#[test]
fn segments_are_counted_alike_by_stats_and_verify() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    for events in [10, 700, 1_500] {
        run_with(&["import", "--segment-size", "64K", &store], lines(0..events)).ok();
        let stats = run(&["stats", &store, "--format", "json"]).ok().stdout;
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        let verified = run(&["verify", &store]).ok().stdout;
        let counted = format!(" {} segments", stats["segments"]);
        assert!(verified.contains(&counted), "{counted}: {verified}");
    }
}

#[test]
fn segment_size_is_remembered_between_commands() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    run(&["import", "--segment-size", "64K", &store]).ok();
    import(&store, lines(0..3_000)).ok();
    let newest = files(&scratch.path("s").join("log")).into_iter().next_back().unwrap().1;
    assert_eq!(newest.len(), 64 << 10);
}
