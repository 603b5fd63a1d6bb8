//! Snapshots: kept, found, skipped when damaged, refused when ahead.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;

use annals::{Durability, Error, ExpectedVersion, Mark, NewEvent, Options, Position, Snapshot};

#[test]
fn the_newest_whole_one_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::BUFFERED).open(dir.path()).unwrap();
    let events = (0..5).map(|_| NewEvent::new("T", "x"));
    store.append("account-1", ExpectedVersion::Any, events).unwrap();
    let snapshots = store.snapshots();
    assert_eq!(snapshots.load("account-1").unwrap(), None);

    for version in 1..=4_u64 {
        let snapshot = Snapshot::new("account-1", version, version.to_string()).schema_version(3);
        snapshots.save(&snapshot).unwrap();
    }
    let newest = snapshots.load("account-1").unwrap().unwrap();
    assert_eq!((newest.mark(), newest.state()), (Mark::Version(4), &b"4"[..]));
    assert_eq!(newest.saved_schema_version(), 3);
    let older = snapshots.load_at_most("account-1", 3).unwrap().unwrap();
    assert_eq!(older.mark(), Mark::Version(3));
    assert_eq!(snapshots.load_at_most("account-1", 2).unwrap(), None, "two are kept");

    let ahead = snapshots.save(&Snapshot::new("account-1", 6, "x"));
    assert!(matches!(ahead, Err(Error::SnapshotAhead { mark: 6, reached: 5, .. })), "{ahead:?}");
    let ahead = snapshots.save(&Snapshot::new("free name", Position::new(6), "x"));
    assert!(matches!(ahead, Err(Error::SnapshotAhead { .. })));

    snapshots.save(&Snapshot::new("free name", Position::new(4), "p")).unwrap();
    assert_eq!(snapshots.load_at_most("free name", 9).unwrap(), None, "kinds are kept apart");
    let by_position = snapshots.load("free name").unwrap().unwrap();
    assert_eq!(by_position.mark(), Mark::Position(Position::new(4)));
    assert!(snapshots.delete("free name").unwrap());
    assert!(!snapshots.delete("free name").unwrap());
    assert!(snapshots.load("account-1").unwrap().is_some());
}

#[test]
fn a_damaged_one_is_skipped_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    let events = (0..2).map(|_| NewEvent::new("T", "x"));
    store.append("s", ExpectedVersion::Any, events).unwrap();
    for version in 1..=2_u64 {
        store.snapshots().save(&Snapshot::new("s", version, "state")).unwrap();
    }
    let fan_out = fs::read_dir(dir.path().join("snapshots")).unwrap().next().unwrap().unwrap();
    let mut files: Vec<_> =
        fs::read_dir(fan_out.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[70] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    assert_eq!(store.snapshots().load("s").unwrap().unwrap().mark(), Mark::Version(1));
    let report = annals::verify(dir.path(), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.notes.len()), (0, 1));
}
