//! Commits that conflict with commits still in flight: when they return, and what happens to them
//! if the earlier commits fail. The store has no threads: the caller that waits does the work.

use annals::testing::{Fault, Operation, SimStorage};
use annals::{
    Committed, Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Position, Query, Result,
    Store, Ticket, Transaction,
};

use super::support::*;

fn creates<'a>(store: &'a Store, who: &str) -> Transaction<'a> {
    let event = NewEvent::new("Created", who.to_owned()).tag("unique");
    store.transaction().append("s", ExpectedVersion::NoStream, [event])
}

/// Submits a commit that is accepted and not yet written.
fn in_flight(store: &Store) -> Ticket {
    creates(store, "first").submit().unwrap()
}

/// Commits that conflict with the one in flight, each for another reason.
fn losers(store: &Store) -> Vec<Transaction<'_>> {
    let other = || NewEvent::new("Other", "");
    vec![
        creates(store, "second"),
        store
            .transaction()
            .append("t", ExpectedVersion::Any, [other()])
            .fail_if(Query::tagged(["unique"]).after(Position::START)),
        store
            .transaction()
            .append("t", ExpectedVersion::Any, [other()])
            .fail_if_exists(Query::tagged(["unique"])),
        store.transaction().check("s", ExpectedVersion::NoStream),
    ]
}

/// The result of each commit of [`losers`], each on a store of its own that has one commit in
/// flight; `prepare` is called before.
fn answers(prepare: impl Fn(&SimStorage, &Store)) -> Vec<(Result<Committed>, Store, Ticket)> {
    (0..4)
        .map(|number| {
            let sim = SimStorage::new(1);
            let store = open(&sim).unwrap();
            let ticket = in_flight(&store);
            prepare(&sim, &store);
            let answer = losers(&store).swap_remove(number).commit();
            (answer, store, ticket)
        })
        .collect()
}

#[test]
fn conflict_with_a_commit_in_flight_is_returned_once_that_is_visible() {
    for (answer, store, ticket) in answers(|_, store| assert_eq!(store.head(), Position::START)) {
        let Err(Error::Conflict { failed, visible_at }) = answer else { panic!("{answer:?}") };
        assert_eq!((failed.len(), visible_at), (1, Position::new(1)));
        assert_eq!(store.head(), visible_at, "{failed:?}");
        assert_eq!(store.stream_head("s").unwrap().unwrap().version, 1);
        ticket.wait().unwrap();
    }
}

#[test]
fn submitted_conflict_is_returned_at_once_with_the_position_to_wait_for() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    let ticket = in_flight(&store);
    for loser in losers(&store) {
        let writes = sim.stats().writes;
        let lost = loser.submit();
        let Err(Error::Conflict { visible_at, .. }) = lost else { panic!("{lost:?}") };
        assert_eq!(visible_at, Position::new(1));
        assert_eq!((store.head(), sim.stats().writes), (Position::START, writes));
    }
    ticket.wait().unwrap();
    assert_eq!(store.head(), Position::new(1));
}

#[test]
fn retry_of_a_submitted_conflict_waits_for_the_winner() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    let _in_flight = in_flight(&store);
    let mut calls = 0;
    let done = store.retry(2, |store| {
        calls += 1;
        let head = store.stream_head("s")?;
        let expected = ExpectedVersion::Exact(head.map_or(0, |head| head.version));
        let ticket =
            store.transaction().append("s", expected, [NewEvent::new("T", "")]).submit()?;
        ticket.wait()
    });
    assert_eq!((done.unwrap().versions, calls), (vec![2], 2));
    // The number of attempts is limited.
    let mut calls = 0;
    let lost = store.retry(3, |store| {
        calls += 1;
        creates(store, "late").commit()
    });
    assert!(lost.unwrap_err().is_conflict());
    assert_eq!(calls, 3);
}

#[test]
fn commit_that_lost_to_one_refused_by_a_full_disk_is_decided_again() {
    let full = Fault::Full { operation: Operation::Write, nth: 1 };
    for (answer, store, ticket) in answers(|sim, _| sim.inject_at("log", full)) {
        let done = answer.unwrap_or_else(|error| panic!("nothing is in its way: {error:?}"));
        assert!(matches!(ticket.wait(), Err(Error::DiskFull { .. })));
        assert_eq!(store.head(), done.last_position);
        assert!(store.read_all().into_iter().all(|event| event.unwrap().data() != b"first"));
    }
}

#[test]
fn commit_that_lost_to_one_of_unknown_outcome_fails_as_writer_poisoned() {
    let broken = Fault::Fail { operation: Operation::Sync, nth: 1 };
    for (answer, _, ticket) in answers(|sim, _| sim.inject_at("log", broken)) {
        assert!(matches!(answer, Err(Error::WriterPoisoned { .. })), "{answer:?}");
        assert!(matches!(ticket.wait(), Err(Error::OutcomeUnknown { .. })));
    }
}

/// The winner is written and not synced: the conflict syncs it.
#[test]
fn conflict_with_a_buffered_commit_syncs_that_commit() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    creates(&store, "first").durability(Durability::BUFFERED).commit().unwrap();
    assert_eq!(store.head(), Position::START);
    assert!(creates(&store, "second").commit().unwrap_err().is_conflict());
    assert_eq!(store.head(), Position::new(1));
}

#[test]
fn conflict_about_a_cursor_in_flight_is_returned_once_the_cursor_is_visible() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, 100);
    let ticket = store.transaction().cursor("c", 2).submit().unwrap();
    assert_eq!(store.cursors().get("c").unwrap(), None);
    let lost = store.cursors().advance("c", 1).unwrap_err();
    let at = Position::new(2);
    let check = FailedCheck::CursorNotForward { name: "c".into(), at, to: Position::new(1) };
    assert_eq!(lost.failed_checks(), [check]);
    assert_eq!(store.cursors().get("c").unwrap(), Some(at));
    ticket.wait().unwrap();
    // The same by `retry`, after a submission whose conflict was returned at once.
    let ticket = store.transaction().cursor("c", 3).submit().unwrap();
    let mut seen = Vec::new();
    let done = store.retry(2, |store| {
        seen.push(store.cursors().get("c")?.map(Position::get));
        store.transaction().cursor_from("c", Some(at), 3).submit()?.wait()
    });
    assert!(done.unwrap_err().is_conflict());
    assert_eq!(seen, [Some(2), Some(3)]);
    ticket.wait().unwrap();
}
