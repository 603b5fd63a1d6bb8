//! `repair` and `recover`: damaged stores.

use std::path::PathBuf;

use super::support::{Done, Scratch, count, exported, files, id, import, lines, run};

/// A store of small segments that was closed, with one byte flipped in the event `number`.
fn damaged(scratch: &Scratch, number: u64) -> String {
    let store = sound(scratch);
    flip(scratch, number);
    store
}

/// A store of small segments that was closed.
fn sound(scratch: &Scratch) -> String {
    let store = scratch.store("s");
    let all = lines(0..2000);
    for part in all.lines().collect::<Vec<_>>().chunks(20) {
        let input = part.join("\n");
        super::support::run_with(
            &["import", &store, "--segment-size", "64K", "--quiet"],
            input + "\n",
        )
        .ok();
    }
    store
}

/// Flips one byte in the event `number`; another name of the same file, as in a backup, keeps its contents.
fn flip(scratch: &Scratch, number: u64) {
    let needle: Vec<u8> = hex(&id(number));
    let (path, at) = find(&scratch.path("s"), &needle);
    let mut bytes = std::fs::read(&path).expect("a readable file");
    bytes[at] ^= 1;
    std::fs::remove_file(&path).expect("a removable file");
    std::fs::write(path, bytes).expect("a writable file");
}

fn hex(id: &str) -> Vec<u8> {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn find(store: &std::path::Path, needle: &[u8]) -> (PathBuf, usize) {
    let place = |(path, bytes): (PathBuf, Vec<u8>)| {
        let at = bytes.windows(needle.len()).position(|window| window == needle)?;
        Some((path, at))
    };
    files(&store.join("log")).into_iter().find_map(place).expect("the log holds it")
}

fn repair(args: &[&str]) -> Done {
    run(&[&["repair"], args].concat())
}

#[test]
fn repair_keeps_what_is_whole_and_reports_the_rest() {
    let scratch = Scratch::new();
    let store = damaged(&scratch, 105);
    let (new, before) = (scratch.store("new"), files(&scratch.path("s")));
    let done = repair(&[&store, "--to", &new]).ok();
    assert_eq!(files(&scratch.path("s")), before, "the damaged store was changed");
    // Twenty lines were a commit.
    assert!(done.stdout.contains("missing: positions 101 to 120\n"), "{done:?}");
    assert!(done.stdout.contains("positions 121 to 2000 became 101 to 1980\n"), "{done:?}");
    assert!(done.stdout.contains("20 events are missing: 1980 events in 99 commits"), "{done:?}");
    run(&["verify", &new]).ok();
    assert_eq!(count(&new), 1980);
    let report = std::fs::read(scratch.path("new").join("repair-report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["missing_events"], 20);
    assert_eq!(report["gaps"][0]["missing"]["first"], 101);
    assert_eq!(report["gaps"][0]["intact"].as_array().unwrap().len(), 19);
    assert_eq!(report["streams"].as_array().unwrap().len(), 7);
    // Missing events can be appended again from their source; the others are recognised.
    let again = import(&new, lines(0..100)).ok();
    assert!(again.stdout.contains("nothing changed"), "{again:?}");
    repair(&[&store, "--to", &new]).fails(2, "holds a store");

    let prefix = scratch.store("prefix");
    let elsewhere = scratch.store("report.json");
    let args = [&*store, "--to", &prefix, "--stop-at-damage", "--report", &elsewhere, "--quiet"];
    assert_eq!(repair(&args).ok().stdout, "");
    assert_eq!(count(&prefix), 100);
    assert!(std::fs::read_to_string(&elsewhere).unwrap().contains("\"left_out\": {"));
}

#[test]
fn intact_events_of_broken_commits_are_written_to_a_file_that_can_be_imported() {
    let scratch = Scratch::new();
    let store = damaged(&scratch, 105);
    let (new, file) = (scratch.store("new"), scratch.store("intact.ndjson"));
    let done = repair(&[&store, "--to", &new, "--salvage", &file]).ok();
    let told = format!("intact events of broken commits: 19, in {file}\n");
    assert!(done.stdout.contains(&told), "{done:?}");
    let written = std::fs::read_to_string(&file).unwrap();
    let before: Vec<String> = {
        let all = lines(0..2000);
        (100..120).filter(|&n| n != 105).map(|n| all.lines().nth(n).unwrap().to_owned()).collect()
    };
    assert_eq!(written.lines().count(), before.len());
    for (line, before) in written.lines().zip(&before) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let before: serde_json::Value = serde_json::from_str(before).unwrap();
        for key in ["stream", "type", "id", "data"] {
            assert_eq!(line[key], before[key], "{line}");
        }
        let from = &line["salvaged_from"];
        assert_eq!(
            (&line["commit"], &from["commit"], &from["events"]),
            (&101.into(), &101.into(), &20.into())
        );
        assert!(from["file"].as_str().unwrap().starts_with("log") && from["offset"].is_u64());
        assert!(from["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{from}");
        assert!(line["recorded_at"].as_str().is_some());
    }
    // What was salvaged is as `export` prints it, in the same order of keys, and can be imported.
    let first = written.lines().next().unwrap();
    let keys = r#"{"position":101,"stream":""#;
    assert!(first.starts_with(keys), "{first}");
    run(&["import", &new, &file]).ok();
    assert_eq!(count(&new), 1999);

    // Nothing is written over, and a repair that fails leaves no file.
    let again = scratch.store("again");
    repair(&[&store, "--to", &again, "--salvage", &file]).fails(2, "is not written over");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert!(!scratch.path("again").exists());
    let other = scratch.store("other.ndjson");
    repair(&[&store, "--to", &new, "--salvage", &other]).fails(2, "holds a store");
    assert!(!scratch.path("other.ndjson").exists());
    for inside in [format!("{store}/x"), format!("{again}/x")] {
        repair(&[&store, "--to", &again, "--salvage", &inside]).fails(2, "inside");
    }
    // Without the option, the report names it; with nothing to salvage, the file is empty.
    let told = repair(&[&store, "--to", &again]).ok();
    assert!(told.stdout.contains("19; --salvage FILE writes them"), "{told:?}");
    let sound = scratch.store("sound");
    repair(&[&again, "--to", &sound, "--salvage", &other]).ok();
    assert_eq!(std::fs::read(&other).unwrap(), b"");
}

#[test]
fn repair_takes_damaged_commits_and_lost_segments_from_a_backup() {
    let scratch = Scratch::new();
    let (store, backup, new) = (sound(&scratch), scratch.store("backup"), scratch.store("new"));
    let whole = exported(&store);
    run(&["backup", &store, &backup]).ok();
    let before = files(&scratch.path("backup"));
    flip(&scratch, 105);
    std::fs::remove_file(scratch.path("s").join("log/00000000000000000002.seg")).unwrap();
    let done = repair(&[&store, "--to", &new, "--from", &backup]).ok();
    assert!(done.stdout.contains("from the backup: positions 101 to 120 (log"), "{done:?}");
    assert!(done.stdout.contains("nothing is missing: 2000 events in 100 commits"), "{done:?}");
    assert_eq!(exported(&new), whole);
    assert_eq!(files(&scratch.path("backup")), before, "the backup was changed");
    let report = std::fs::read(scratch.path("new").join("repair-report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let supplied = report["supplied"].as_array().unwrap();
    assert!(
        supplied.len() == 2 && supplied.iter().all(|part| part["confirmed"] == true),
        "{report}"
    );

    let (other, third) = (scratch.store("other"), scratch.store("third"));
    import(&other, lines(0..3)).ok();
    repair(&[&store, "--to", &third, "--from", &other]).fails(2, "is not a backup of store");
    repair(&[&store, "--to", &third, "--from", &scratch.store("none")]).fails(2, "has no log");
}

#[test]
fn repair_of_a_sound_store_says_that_nothing_is_missing() {
    let scratch = Scratch::new();
    let (store, new) = (scratch.store("s"), scratch.store("new"));
    import(&store, lines(0..50)).ok();
    let done = repair(&[&store, "--to", &new]).ok();
    assert!(done.stdout.starts_with("nothing is missing: 50 events in 1 commits"), "{done:?}");
    assert_eq!(run(&["export", &new]).ok().stdout, run(&["export", &store]).ok().stdout);
    assert_eq!(exported(&new), exported(&store));
    repair(&[&store, "--to", &format!("{store}/new")]).fails(2, "damaged store");
    repair(&[&scratch.store("nowhere"), "--to", &new]).fails(1, "does not exist");
    repair(&[&store]).fails(2, "--to");
    run(&["recover", &store, "--accept-loss"]).fails(1, "no loss to accept");
    run(&["recover", &store, "--cut-after", "3"]).fails(2, "--accept-loss");
}

#[test]
fn loss_is_accepted_only_at_the_position_that_was_named() {
    let scratch = Scratch::new();
    let store = damaged(&scratch, 1999);
    for path in std::fs::read_dir(scratch.path("s").join("checkpoints")).unwrap() {
        std::fs::remove_file(path.unwrap().path()).unwrap();
    }
    let refused = run(&["append", &store, "s", "T"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let before = files(&scratch.path("s"));
    let told = run(&["recover", &store, "--accept-loss"]).fails(1, "--cut-after 1980");
    assert!(told.stdout.contains("positions 1981 to 2000 at least"), "{told:?}");
    let wrong = run(&["recover", &store, "--accept-loss", "--cut-after", "1970"]);
    wrong.fails(1, "intact up to position 1980");
    assert_eq!(files(&scratch.path("s")), before, "nothing was changed");

    let done = run(&["recover", &store, "--accept-loss", "--cut-after", "1980"]).ok();
    assert!(done.stdout.contains("the store ends at position 1980 and opens"), "{done:?}");
    assert!(!files(&scratch.path("s").join("quarantine")).is_empty());
    run(&["verify", &store]).ok();
    run(&["append", &store, "s", "T"]).ok();
    assert_eq!(count(&store), 1981);
    run(&["recover", &store, "--accept-loss"]).fails(1, "no loss to accept");
}
