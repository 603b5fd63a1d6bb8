//! Golden snapshots of both versions of the file, with the golden log that they belong to.
//!
//! The Python reader's modules wrote them from the specification alone: bound ones, unbound ones,
//! one that is ahead, and one of another history.

use std::fs;
use std::path::Path;

use annals::{
    Options, Position,
    snapshot::{Mark, Snapshot},
    verify,
};
use tempfile::TempDir;

use crate::support::{copy_of, golden, open, python_prints, repository};

/// The skipped files, and the reasons.
const SKIPPED: [(&str, &str); 4] = [
    ("c1f8e5881da9a6e8-p00000000000000000099.snap", "ahead"),
    ("c573b39bc29148ca-v00000000000000000001.snap", "another history"),
    ("de637ec248681ca3-v00000000000000000009.snap", "ahead"),
    ("de637fc248681e56-v00000000000000000003.snap", "another history"),
];

fn store() -> TempDir {
    with_snapshots("basic-snapshots")
}

/// The golden log with these golden snapshots.
fn with_snapshots(name: &str) -> TempDir {
    let copy = copy_of(&golden("basic"));
    let from = repository("tests/golden/v2").join(name);
    copy_snapshots(&from, &copy.path().join("snapshots"));
    copy
}

fn copy_snapshots(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_snapshots(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn golden_snapshots_of_the_log_are_loaded() {
    let copy = store();
    for read_only in [true, false] {
        let store = Options::new().read_only(read_only).open(copy.path()).unwrap();
        let load = |key: &str| {
            let found = store.snapshots().load(key).unwrap();
            found.map(|it| (it.mark(), it.schema_version(), it.state().to_vec()))
        };
        assert_eq!(load("account-1"), Some((Mark::Version(2), 1, b"balance 750".to_vec())));
        assert_eq!(load("account-2"), Some((Mark::Version(2), 0, b"unbound".to_vec())));
        let both = Mark::Position(Position::new(4));
        assert_eq!(load("balances"), Some((both, 7, b"both".to_vec())));
        assert_eq!(load("blob"), None);
        assert_eq!(store.snapshots().list("").unwrap().len(), 4);
    }
}

#[test]
fn verify_names_each_skipped_golden_snapshot() {
    let copy = store();
    let report = verify(copy.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, SKIPPED.len()), "{report:?}");
    for ((file, why), note) in SKIPPED.iter().zip(&report.notes) {
        assert!(note.contains(file) && note.contains(why), "{note}");
    }
}

#[test]
fn python_reader_judges_golden_snapshots_and_makes_the_same_tokens() {
    let copy = store();
    let printed = python_prints(&["--snapshots"], copy.path());
    let skipped: Vec<&str> = printed.lines().filter(|line| line.contains(": skipped: ")).collect();
    assert_eq!((printed.lines().count(), skipped.len()), (8, SKIPPED.len()), "{printed}");
    for ((file, _), line) in SKIPPED.iter().zip(skipped) {
        assert!(line.contains(file), "{line}");
    }
    assert!(printed.contains("account-1 at version 2, schema 1, balance 750"), "{printed}");
    let store = open(copy.path());
    for position in 0..=13_u64 {
        let token = store.checkpoint_token(position).unwrap().to_string();
        assert_eq!(python_prints(&["--token", &position.to_string()], copy.path()), token + "\n");
    }
    // A newly saved snapshot.
    let saved = Snapshot::new("account-1", 3, "state of today").with_schema_version(2);
    store.snapshots().save(&saved).unwrap();
    store.close().unwrap();
    let printed = python_prints(&["--snapshots"], copy.path());
    assert!(printed.contains("account-1 at version 3, schema 2, state of today"), "{printed}");
}

/// A level file and a pack, each with a deletion, and what they are by their files.
const PACKED: [&str; 8] = [
    "00000000000000000001-00000000000000000001.lvl, 0: balances at position 4, schema 7, both",
    ": account-1 at version 2, schema 1, balance 750",
    ": account-1 at version 1, schema 1, balance 1000",
    "00000000000000000002.pack, 64: account-2 at version 2, schema 0, packed",
    "00000000000000000002.pack, 163: balances deleted",
    ": account-1 at version 3, schema 1, newest",
    ": balances at position 5, schema 7, later",
    ": account-2 deleted",
];

#[test]
#[ignore = "writes golden files"]
fn missing_golden_packs_are_written() {
    let path = repository("tests/golden/v2/basic-packs");
    if path.exists() {
        return;
    }
    let copy = copy_of(&golden("basic"));
    let store = open(copy.path());
    let save = |snapshot: Snapshot| store.snapshots().save(&snapshot).unwrap();
    let account = |version: u64, state: &str| {
        Snapshot::new("account-1", version, state.to_owned()).with_schema_version(1)
    };
    let balances = |position: u64, state: &str| {
        Snapshot::new("balances", Position::new(position), state.to_owned()).with_schema_version(7)
    };
    save(account(1, "balance 1000"));
    save(account(2, "balance 750"));
    save(balances(4, "both"));
    store.compact().unwrap();
    save(Snapshot::new("account-2", 2, "packed"));
    store.snapshots().delete("balances").unwrap();
    save(account(3, "newest"));
    save(balances(5, "later"));
    store.snapshots().delete("account-2").unwrap();
    store.close().unwrap();
    copy_snapshots(&copy.path().join("snapshots"), &path);
}

#[test]
fn golden_packs_are_loaded_and_the_python_reader_agrees() {
    let copy = with_snapshots("basic-packs");
    let printed = python_prints(&["--snapshots"], copy.path());
    assert_eq!(printed.lines().count(), PACKED.len(), "{printed}");
    for (line, expected) in printed.lines().zip(PACKED) {
        assert!(line.ends_with(expected), "{line}");
    }
    for read_only in [true, false] {
        let store = Options::new().read_only(read_only).open(copy.path()).unwrap();
        let load = |key: &str| {
            let found = store.snapshots().load(key).unwrap();
            found.map(|it| (it.mark(), it.schema_version(), it.state().to_vec()))
        };
        assert_eq!(load("account-1"), Some((Mark::Version(3), 1, b"newest".to_vec())));
        assert_eq!(load("account-2"), None);
        let later = Mark::Position(Position::new(5));
        assert_eq!(load("balances"), Some((later, 7, b"later".to_vec())));
        let older = store.snapshots().load_at_most("balances", Position::new(4)).unwrap();
        assert_eq!(older, None);
    }
    let report = verify(copy.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 0), "{report:?}");
    // What a merge writes is as specified too.
    let store = open(copy.path());
    store.compact().unwrap();
    store.close().unwrap();
    let printed = python_prints(&["--snapshots"], copy.path());
    assert_eq!(printed.lines().count(), 3, "{printed}");
    assert!(printed.lines().all(|line| line.starts_with("00000000000000000001-")), "{printed}");
}
