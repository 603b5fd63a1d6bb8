//! Snapshots: saved, loaded, skipped if damaged, refused if ahead of the stream.

#![allow(clippy::disallowed_methods, reason = "tests touch files directly")]

use std::fs;

use annals::snapshot::Snapshot;
use annals::{
    AsOf, Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Position, Timestamp,
    snapshot::Mark,
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

/// A state of the past is the newest snapshot as of then and the events between.
#[test]
fn snapshot_as_of_a_time_a_position_or_a_version_is_the_newest_covered() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().snapshots_kept(10);
    let store = options.open(dir.path()).unwrap();
    let mut commits = Vec::new();
    for number in 1..=20_u64 {
        let time = Timestamp::from_micros(1_600_000_000_000_000 + number * 1_000_000);
        let mut commit = store
            .transaction()
            .append("account-1", ExpectedVersion::Any, [NewEvent::new("Deposited", "1")])
            .append("other", ExpectedVersion::Any, [NewEvent::new("Noise", "")])
            .recorded_at(time);
        if number % 5 == 0 {
            let state = number.to_string();
            commit = commit
                .snapshot(Snapshot::new("account-1", number, state.clone()))
                .snapshot(Snapshot::new("balances", Position::new(2 * number), state));
        }
        commits.push(commit.commit().unwrap());
    }
    let snapshots = store.snapshots();
    for (number, commit) in (1_u64..).zip(&commits) {
        let covered = (number / 5 * 5 > 0).then_some(number / 5 * 5);
        let first = commit.first_position;
        for as_of in [first.into(), commit.recorded_at.into(), AsOf::Version(number)] {
            let found = snapshots.load_as_of("account-1", as_of).unwrap();
            assert_eq!(found.as_ref().map(Snapshot::mark), covered.map(Mark::Version), "{as_of:?}");
            let (mut balance, mut version) = (0, 0);
            if let (Some(found), Some(covered)) = (&found, covered) {
                balance = std::str::from_utf8(found.state()).unwrap().parse().unwrap();
                version = covered;
            }
            let after = store.read_stream("account-1").from_version(version + 1).as_of(as_of);
            let read = after.into_iter().map(Result::unwrap).count() as u64;
            assert!(read < 5, "{read} events are read after a snapshot");
            balance += read;
            assert_eq!(balance, number);
        }
        // Before the commit's last event, a snapshot of that event is not covered.
        let by_position = snapshots.load_as_of("balances", commit.last_position).unwrap();
        let mark = |number: u64| Mark::Position(Position::new(2 * number));
        assert_eq!(by_position.map(|it| it.mark()), covered.map(mark));
        let by_position = snapshots.load_as_of("balances", first).unwrap();
        let covered = ((number - 1) / 5 * 5 > 0).then_some((number - 1) / 5 * 5);
        assert_eq!(by_position.map(|it| it.mark()), covered.map(mark));
        let before = Position::new(first.get() - 1);
        let earlier = snapshots.load_as_of("account-1", before).unwrap();
        assert_eq!(earlier.map(|it| it.mark()), covered.map(Mark::Version));
    }
    let early = Timestamp::from_micros(1);
    assert_eq!(snapshots.load_as_of("account-1", early).unwrap(), None);
    assert_eq!(snapshots.load_as_of("balances", AsOf::Version(20)).unwrap(), None);
    let newest = snapshots.load_as_of("account-1", Position::new(u64::MAX)).unwrap();
    assert_eq!(newest, snapshots.load("account-1").unwrap());
    assert!(snapshots.load_as_of("", early).is_err());
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
