//! Submitted commits: waited for, awaited, dropped.

use std::time::Duration;

use annals::{
    Durability, Error, ExpectedVersion, NewEvent, Position, Store, Ticket,
    snapshot::{Mark, Snapshot},
};

use super::support::block_on;

const HOUR: Duration = Duration::from_secs(3600);

fn submit(store: &Store, version: u64) -> Ticket {
    let expected = ExpectedVersion::Exact(version);
    store.transaction().append("s", expected, [NewEvent::new("T", "x")]).submit().unwrap()
}

#[test]
fn ticket_can_be_awaited_while_no_other_call_drives_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let tickets: Vec<_> = (0..100).map(|version| submit(&store, version)).collect();
    for (ticket, expected) in tickets.into_iter().zip(1..) {
        assert_eq!(block_on(ticket).unwrap().versions, [expected]);
        assert!(store.head() >= Position::new(expected));
    }
}

#[test]
fn submission_that_writes_nothing_is_done_and_delays_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for number in 1..=40_u64 {
        let durability = if number % 2 == 0 {
            Durability::Sync
        } else {
            Durability::Buffered { interval: HOUR }
        };
        let append = || {
            let event = NewEvent::new("T", "x").id(annals::Uuid::from_u128(number.into()));
            store.transaction().append("s", ExpectedVersion::Any, [event])
        };
        let first = append().durability(durability).submit().unwrap();
        // While the first submission is in flight, and once it is durable.
        let again = append().submit().unwrap();
        let question = store.transaction().check("s", ExpectedVersion::StreamExists);
        let question = question.submit().unwrap();
        for ticket in [again, question, first] {
            block_on(ticket).unwrap();
        }
        assert!(block_on(append().submit().unwrap()).unwrap().already_recorded);
        assert_eq!(store.head(), Position::new(number));
    }
}

#[test]
fn awaited_commit_has_its_snapshot_when_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for version in 1..=200_u64 {
        let event = NewEvent::new("T", "x").id(annals::Uuid::from_u128(version.into()));
        let commit = || {
            let transaction = store.transaction();
            let append = transaction.append("s", ExpectedVersion::Any, [event.clone()]);
            append.snapshot(Snapshot::new("s", version, "state")).submit().unwrap()
        };
        block_on(commit()).unwrap();
        let found = || store.snapshots().load("s").unwrap().map(|it| it.mark());
        assert_eq!(found(), Some(Mark::Version(version)));
        if version % 10 == 0 {
            // A repeated commit saves its snapshot again before it is done.
            store.snapshots().delete("s").unwrap();
            let done = block_on(commit()).unwrap();
            assert_eq!((done.already_recorded, done.applied.len()), (true, 1));
            assert_eq!(found(), Some(Mark::Version(version)));
        }
    }
}

#[test]
fn ticket_of_a_closed_store_is_done_with_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let commit = store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]);
    let ticket = commit.snapshot(Snapshot::new("s", 1, "state")).submit().unwrap();
    store.close().unwrap();
    block_on(ticket).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.snapshots().load("s").unwrap().is_some());
}

#[test]
fn dropped_ticket_does_not_affect_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    drop(submit(&store, 0));
    assert!(store.wait_for(Position::new(1), Duration::from_secs(30)).unwrap());
    let ticket = submit(&store, 1);
    drop(store);
    assert_eq!(ticket.wait().unwrap().last_position, Position::new(2));
    assert_eq!(Store::open(dir.path()).unwrap().head(), Position::new(2));
}

#[test]
fn conflict_with_a_commit_in_flight_is_returned_by_submit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = submit(&store, 0);
    let second = store
        .transaction()
        .append("s", ExpectedVersion::Exact(0), [NewEvent::new("T", "x")])
        .submit();
    assert!(matches!(second, Err(Error::Conflict { .. })));
    first.wait().unwrap();
}

#[test]
fn buffered_commit_of_a_synced_store_becomes_visible_when_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let buffered = Durability::Buffered { interval: Duration::from_secs(3600) };
    let append = store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")]);
    append.durability(buffered).commit().unwrap();
    assert_eq!(store.head(), Position::START);
    assert_eq!(store.read_all().into_iter().count(), 0);
    assert_eq!(store.stream_head("s").unwrap(), None);
    assert_eq!(store.streams().into_iter().count(), 0);
    assert_eq!(store.read_all().include_unsynced().into_iter().count(), 1);
    store.sync().unwrap();
    assert_eq!(store.read_all().into_iter().count(), 1);
    assert_eq!(store.streams().into_iter().count(), 1);
}
