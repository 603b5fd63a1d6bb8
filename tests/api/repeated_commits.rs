//! Transactions whose events are recorded already: their other operations are still applied.

use std::time::Duration;

use annals::{
    Applied, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Position, Query, Store,
    StreamMetadata, Transaction, Uuid,
    snapshot::{Mark, Snapshot},
};

fn event(number: u128) -> NewEvent {
    NewEvent::new("T", "x").id(Uuid::from_u128(number))
}

fn step(store: &Store, number: u64) -> Transaction<'_> {
    store
        .transaction()
        .append("s", ExpectedVersion::Exact(number - 1), [event(number.into())])
        .check("other", ExpectedVersion::Exact(0))
        .fail_if(Query::types(["T"]).after(number - 1))
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store
        .append("source", ExpectedVersion::NoStream, (0..5).map(|_| NewEvent::new("S", "")))
        .unwrap();
    (dir, store)
}

#[test]
fn repeated_pipeline_moves_its_cursor_again_after_a_reset() {
    let (_dir, store) = store();
    let run = |submit: bool| {
        let mut answers = Vec::new();
        for number in 1..=3_u64 {
            let commit = store
                .transaction()
                .append("s", ExpectedVersion::Exact(number - 1), [event(number.into())])
                .cursor("c", number);
            answers.push(if submit {
                commit.submit().unwrap().wait().unwrap()
            } else {
                commit.commit().unwrap()
            });
        }
        answers
    };
    let first = run(false);
    assert!(first.iter().all(|done| !done.already_recorded && done.applied.is_empty()));
    for submit in [false, true] {
        store.cursors().reset("c", Position::START).unwrap();
        for (again, first) in run(submit).iter().zip(&first) {
            assert!(again.already_recorded);
            assert_eq!(again.first_position, first.first_position);
            assert_eq!(again.recorded_at, first.recorded_at);
            assert_eq!(again.versions, first.versions);
            let [Applied::CursorSet { name, .. }] = &again.applied[..] else { panic!("{again:?}") };
            assert_eq!(name, "c");
        }
        assert_eq!(store.cursors().get("c").unwrap(), Some(Position::new(3)));
    }
    // A cursor that is already further stays where it is, and nothing is written.
    store.cursors().advance("c", 5).unwrap();
    let before = store.stats().commits;
    assert!(run(false).iter().all(|done| done.already_recorded && done.applied.is_empty()));
    assert_eq!(store.cursors().get("c").unwrap(), Some(Position::new(5)));
    assert_eq!(store.stats().commits, before);
}

#[test]
fn repeated_commit_applies_each_operation_that_is_not_in_effect() {
    let (dir, store) = store();
    let commit = |store: &Store| {
        store
            .transaction()
            .append("s", ExpectedVersion::NoStream, [event(1), event(2)])
            .reset_cursor("reset", 2)
            .delete_cursor("gone")
            .cursor_from("from", None, 3)
            .truncate_before("s", 2)
            .archive("source")
            .stream_metadata("s", StreamMetadata::new().max_count(1))
            .snapshot(Snapshot::new("s", 2, "state"))
            .commit()
    };
    store.cursors().advance("gone", 1).unwrap();
    assert!(!commit(&store).unwrap().already_recorded);
    let again = commit(&store).unwrap();
    assert!(again.already_recorded && again.applied.is_empty(), "{again:?}");

    store.cursors().reset("reset", 0).unwrap();
    store.cursors().advance("gone", 1).unwrap();
    store.cursors().delete("from").unwrap();
    store.truncate_before("s", 1).unwrap();
    store.unarchive("source").unwrap();
    store.set_stream_metadata("s", StreamMetadata::new()).unwrap();
    assert!(store.snapshots().delete("s").unwrap());
    let again = commit(&store).unwrap();
    let stream = |stream: &str| Applied::StreamChanged { stream: stream.into() };
    let expected = [
        Applied::CursorSet { name: "reset".into(), position: Position::new(2) },
        Applied::CursorDeleted { name: "gone".into() },
        Applied::CursorSet { name: "from".into(), position: Position::new(3) },
        stream("s"),
        stream("source"),
        stream("s"),
        Applied::Snapshot { key: "s".into(), mark: 2 },
    ];
    assert_eq!(again.applied, expected);
    let check = |store: &Store| {
        let cursors: Vec<_> = store.cursors().list().unwrap();
        let cursors: Vec<_> = cursors.iter().map(|c| (&*c.name, c.position.get())).collect();
        assert_eq!(cursors, [("from", 3), ("reset", 2)]);
        let info = store.stream_info("s").unwrap().unwrap();
        assert_eq!((info.first_version, info.metadata.max_count), (2, Some(1)));
        assert!(store.stream_info("source").unwrap().unwrap().archived);
        let snapshot = store.snapshots().load("s").unwrap().unwrap();
        assert_eq!(snapshot.mark(), Mark::Version(2));
    };
    check(&store);
    store.close().unwrap();
    let store = Options::new().open(dir.path()).unwrap();
    check(&store);
    assert!(commit(&store).unwrap().applied.is_empty());
}

#[test]
fn repeated_commit_repeats_no_check_and_unhides_nothing() {
    let (_dir, store) = store();
    let commit = || step(&store, 1).truncate_before("source", 2).reset_cursor("c", 1).commit();
    commit().unwrap();
    // Neither the check nor the boundary would pass now.
    store.append("other", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    store.truncate_before("source", 4).unwrap();
    store.cursors().advance("c", 4).unwrap();
    let again = commit().unwrap();
    assert!(again.already_recorded && again.applied.is_empty(), "{again:?}");
    assert_eq!(store.stream_info("source").unwrap().unwrap().first_version, 4);
    assert_eq!(store.cursors().get("c").unwrap(), Some(Position::new(4)));
}

#[test]
fn repeated_commit_reports_every_operation_that_cannot_be_applied() {
    let (_dir, store) = store();
    step(&store, 1).commit().unwrap();
    store.cursors().advance("c", 2).unwrap();
    let before = store.stats().commits;
    let refused = step(&store, 1)
        .cursor("d", 3)
        .cursor("ahead", 100)
        .cursor_from("c", Some(Position::new(1)), 3)
        .archive("nosuch")
        .truncate_before("s", 9)
        .snapshot(Snapshot::new("s", 7, ""))
        .commit();
    let Err(Error::Conflict { failed, .. }) = refused else { panic!("{refused:?}") };
    assert!(matches!(failed[0], FailedCheck::CursorAhead { .. }), "{failed:?}");
    assert!(matches!(failed[1], FailedCheck::WrongCursor { .. }), "{failed:?}");
    assert!(matches!(failed[2], FailedCheck::UnknownStream { .. }), "{failed:?}");
    assert!(matches!(failed[3], FailedCheck::TruncateAhead { .. }), "{failed:?}");
    assert!(matches!(failed[4], FailedCheck::SnapshotAhead { .. }), "{failed:?}");
    assert_eq!(failed.len(), 5);
    // None of the other operations was applied.
    assert_eq!(store.cursors().get("d").unwrap(), None);
    assert_eq!(store.stats().commits, before);
}

#[test]
fn repeated_commit_sees_changes_in_flight() {
    let (_dir, store) = store();
    let commit = || step(&store, 1).cursor("c", 3).archive("source");
    let first = commit().submit().unwrap();
    let second = commit().submit().unwrap();
    assert!(second.committed().already_recorded && second.committed().applied.is_empty());
    let undone = store.transaction().unarchive("source").submit().unwrap();
    let third = commit().submit().unwrap();
    assert_eq!(third.committed().applied, [Applied::StreamChanged { stream: "source".into() }]);
    for ticket in [first, second, undone, third] {
        ticket.wait().unwrap();
    }
    assert!(store.stream_info("source").unwrap().unwrap().archived);
    // Changes that cancel each other are not written.
    let back_and_forth = commit().unarchive("source").archive("source").submit().unwrap();
    assert!(back_and_forth.committed().applied.is_empty());
    back_and_forth.wait().unwrap();
    assert!(store.wait_for(Position::new(6), Duration::from_secs(30)).unwrap());
}
