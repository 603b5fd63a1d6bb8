//! Snapshots: saved, loaded, skipped if damaged, refused if ahead of the stream.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;

use annals::snapshot::Snapshot;
use annals::{
    Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Position, snapshot::Mark,
};

#[test]
fn newest_intact_snapshot_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::BUFFERED).open(dir.path()).unwrap();
    let events = (0..5).map(|_| NewEvent::new("T", "x"));
    store.append("account-1", ExpectedVersion::Any, events).unwrap();
    let snapshots = store.snapshots();
    assert_eq!(snapshots.load("account-1").unwrap(), None);

    for version in 1..=4_u64 {
        let snapshot =
            Snapshot::new("account-1", version, version.to_string()).with_schema_version(3);
        snapshots.save(&snapshot).unwrap();
    }
    let newest = snapshots.load("account-1").unwrap().unwrap();
    assert_eq!((newest.mark(), newest.state()), (Mark::Version(4), &b"4"[..]));
    assert_eq!(newest.schema_version(), 3);
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
fn damaged_snapshot_is_skipped_and_noted() {
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

#[test]
fn snapshot_in_a_transaction_appears_with_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    for background in [true, false] {
        let store = Options::new().background(background).open(dir.path()).unwrap();
        let version = store.stream_head("s").unwrap().map_or(0, |head| head.version);
        let with = |mark: u64| {
            store
                .transaction()
                .append("s", ExpectedVersion::Exact(version), [NewEvent::new("T", "x")])
                .snapshot(Snapshot::new("s", mark, "state"))
        };
        let ahead = with(version + 2).commit();
        let Err(Error::Conflict { failed, .. }) = ahead else { panic!("{ahead:?}") };
        let (key, mark, reached) = ("s".to_owned(), version + 2, version + 1);
        assert_eq!(failed, [FailedCheck::SnapshotAhead { key, mark, reached }]);
        with(version + 1).commit().unwrap();
        let loaded = store.snapshots().load("s").unwrap().unwrap();
        assert_eq!(loaded.mark(), Mark::Version(version + 1));
        // A refused commit saves no snapshot.
        assert!(with(1).commit().is_err());
        assert_eq!(store.snapshots().list("").unwrap().len() as u64, version + 1);
        store.close().unwrap();
    }
}

#[test]
fn snapshot_of_a_dropped_ticket_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().snapshots_kept(100).open(dir.path()).unwrap();
    for version in 1..=50_u64 {
        let ticket = store
            .transaction()
            .append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")])
            .snapshot(Snapshot::new("s", version, "state"))
            .submit()
            .unwrap();
        drop(ticket);
    }
    store.close().unwrap();
    let store = Options::new().read_only(true).open(dir.path()).unwrap();
    let mut marks: Vec<_> =
        store.snapshots().list("s").unwrap().into_iter().map(|found| found.mark).collect();
    marks.sort_unstable();
    assert_eq!(marks, (1..=50).map(Mark::Version).collect::<Vec<_>>());
    assert!(store.snapshots().list("t").unwrap().is_empty());
}
