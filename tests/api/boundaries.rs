//! Boundaries: commits that fail if a query matches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use annals::testing::SimStorage;

use annals::{
    Durability, Error, ExpectedVersion, FailedCheck, NewEvent, Options, Query, QueryItem,
};
use annals::{Position, Store};

fn registered(name: &str) -> NewEvent {
    NewEvent::new("Registered", name.to_owned()).tag(format!("username:{name}"))
}

fn failures(result: Result<annals::Committed, Error>) -> Vec<FailedCheck> {
    match result {
        Err(Error::Conflict { failed, .. }) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn boundary_checks_only_events_after_its_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append("user-1", ExpectedVersion::Any, [registered("ann")]).unwrap();
    store.append("user-2", ExpectedVersion::Any, [registered("bob")]).unwrap();
    let ann = || Query::tagged(["username:ann"]);
    let with = |query: Query| {
        let event = registered("ann");
        store.transaction().append("user-3", ExpectedVersion::Any, [event]).fail_if(query).commit()
    };
    let position = Position::new(1);
    assert_eq!(failures(with(ann())), [FailedCheck::AppendConditionFailed { query: 0, position }]);
    assert_eq!(store.head(), Position::new(2));
    with(ann().after(1)).unwrap();
    assert_eq!(
        failures(with(ann().after(1))),
        [FailedCheck::AppendConditionFailed { query: 0, position: Position::new(3) }]
    );
    // No event can lie after the largest position.
    with(ann().after(u64::MAX)).unwrap();
    with(QueryItem::new().after(u64::MAX).tag("username:ann").into()).unwrap();
    // A query without items matches no event.
    with(Query::none()).unwrap();
}

#[test]
fn newest_match_is_expected_at_one_position_exactly() {
    let sim = SimStorage::new(1);
    let options = Options::new().storage(Arc::new(sim.process())).background(false);
    let store = options.open("/store").unwrap();
    let ann = || Query::tagged(["username:ann"]);
    let with = |query: Query, position: u64| {
        let transaction = store.transaction().expect_newest(query, position);
        transaction.append("user-1", ExpectedVersion::Any, [registered("ann")]).commit()
    };
    let moved = |expected: u64, actual: u64| {
        let position = |at: u64| (at > 0).then(|| Position::new(at));
        let (expected, actual) = (position(expected), position(actual));
        [FailedCheck::NewestMatchMoved { query: 0, expected, actual }]
    };
    assert_eq!(failures(with(ann(), 1)), moved(1, 0));
    assert_eq!(failures(with(ann(), u64::MAX)), moved(u64::MAX, 0));
    with(ann(), 0).unwrap();
    store.append("user-2", ExpectedVersion::Any, [registered("bob")]).unwrap();
    // Neither older nor newer than the match, nor an event that does not match.
    for wrong in [0, 2, 3, u64::MAX] {
        assert_eq!(failures(with(ann(), wrong)), moved(wrong, 1));
    }
    with(ann(), 1).unwrap();
    assert_eq!(failures(with(ann(), 1)), moved(1, 3));
    // An item matches only after its own position.
    assert_eq!(failures(with(ann().after(3), 3)), moved(3, 0));
    with(ann().after(2), 3).unwrap();
    with(Query::none(), 0).unwrap();
    assert_eq!(failures(with(Query::none(), 5)), moved(5, 0));
    let either = ann().union(Query::tagged(["username:bob"])).union(ann());
    assert_eq!(either.items().len(), 2);
    with(either.clone(), 5).unwrap();
    assert_eq!(failures(with(either, 2)), moved(2, 6));
    // A match that is accepted and not written yet counts.
    let bob = registered("bob");
    let _ticket =
        store.transaction().append("user-2", ExpectedVersion::Any, [bob]).submit().unwrap();
    let bob = || Query::tagged(["username:bob"]);
    let check = |position: u64| store.transaction().expect_newest(bob(), position).commit();
    assert_eq!(failures(check(2)), moved(2, 7));
    check(7).unwrap();
    // A hidden match counts.
    store.transaction().archive("user-2").commit().unwrap();
    check(7).unwrap();
    assert_eq!(
        failures(check(2))[0].to_string(),
        "query 0: the newest match is at position 7, expected at position 2"
    );
    assert_eq!(
        moved(0, 7)[0].to_string(),
        "query 0: the newest match is at position 7, expected none"
    );
}

#[test]
fn two_commits_that_expect_the_same_newest_match_have_one_winner() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let won: Vec<AtomicU64> = (0..40).map(|_| AtomicU64::new(0)).collect();
    let barrier = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for won in &won {
                    barrier.wait();
                    let newest = store.read_all().backwards().limit(1).into_iter().next();
                    let newest = newest.map_or(0, |event| event.unwrap().position().get());
                    barrier.wait();
                    let done = store
                        .transaction()
                        .append("counter", ExpectedVersion::Any, [NewEvent::new("T", "").tag("c")])
                        .expect_newest(Query::tagged(["c"]), newest)
                        .commit();
                    match done {
                        Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
            });
        }
    });
    assert!(won.iter().all(|won| won.load(Ordering::Relaxed) == 1), "{won:?}");
}

#[test]
fn every_failed_boundary_is_reported_with_its_index_and_every_failed_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.append("user-1", ExpectedVersion::Any, [registered("ann")]).unwrap();
    let failed = failures(
        store
            .transaction()
            .append("user-1", ExpectedVersion::NoStream, [registered("x")])
            .fail_if(Query::types(["Closed"]))
            .fail_if(QueryItem::new().category("user").tag("username:ann").into())
            .fail_if_exists(Query::tagged(["username:ann"]).after(99))
            .cursor("c", 7)
            .commit(),
    );
    let position = Position::new(1);
    assert_eq!(
        failed,
        [
            FailedCheck::AppendConditionFailed { query: 1, position },
            FailedCheck::AlreadyExists { query: 2, position },
            FailedCheck::WrongExpectedVersion {
                index: 0,
                stream: "user-1".into(),
                expected: ExpectedVersion::NoStream,
                actual: 1
            },
            FailedCheck::CursorAhead {
                name: "c".into(),
                to: Position::new(7),
                head: Position::new(1)
            },
        ]
    );
}

#[test]
fn repeated_commit_does_not_fail_its_own_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let id = annals::Uuid::from_u128(7);
    let commit = || {
        let event = registered("ann").id(id);
        store
            .transaction()
            .append("user-1", ExpectedVersion::NoStream, [event])
            .fail_if_exists(Query::tagged(["username:ann"]))
            .commit()
            .unwrap()
    };
    assert!(!commit().already_recorded);
    assert!(commit().already_recorded);
}

#[test]
fn boundary_sees_submitted_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let submit = |name: &str| {
        store
            .transaction()
            .append("user", ExpectedVersion::Any, [registered(name)])
            .fail_if_exists(Query::tagged([format!("username:{name}")]))
            .submit()
    };
    let tickets: Vec<_> = (0..300).map(|i| submit(&i.to_string()).unwrap()).collect();
    for i in 0..300 {
        let again = submit(&i.to_string());
        assert!(matches!(again, Err(Error::Conflict { .. })), "{i}: {again:?}");
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

/// Many threads claim the same names; each name is given to exactly one, across rollovers.
#[test]
fn one_of_racing_commits_with_a_boundary_wins() {
    for durability in [Durability::Sync, Durability::BUFFERED] {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().durability(durability).segment_size(64 << 10);
        let store = options.open(dir.path()).unwrap();
        let (threads, names) = (8, 150);
        let barrier = Barrier::new(threads);
        let wins: usize = thread::scope(|scope| {
            let run = |thread: usize| {
                let (store, barrier) = (&store, &barrier);
                move || {
                    barrier.wait();
                    let claim = |name: usize| {
                        let tag = format!("username:{name}");
                        let event = NewEvent::new("Registered", vec![0; 200]).tag(tag.clone());
                        store
                            .transaction()
                            .append(format!("user-{thread}"), ExpectedVersion::Any, [event])
                            .fail_if_exists(Query::tagged([tag]))
                            .commit()
                            .is_ok()
                    };
                    (0..names).filter(|&name| claim((name + thread) % names)).count()
                }
            };
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(wins, names);
        let mut claimed: Vec<String> = store
            .read_all()
            .into_iter()
            .map(|event| event.unwrap().tags().next().unwrap().to_owned())
            .collect();
        claimed.sort_unstable();
        claimed.dedup();
        assert_eq!(claimed.len(), names);
    }
}

/// Compares queries with a scan of every event, in sealed, full and active segments.
#[test]
fn boundary_queries_match_as_a_scan_in_every_segment_state() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().segment_size(64 << 10).open(dir.path()).unwrap();
    for i in 0..900_u32 {
        let event = NewEvent::new(format!("T{}", i % 7), vec![0; 100])
            .tag(format!("rare:{}", i / 10))
            .tag(if i % 2 == 0 { "even" } else { "odd" });
        let stream = format!("s{}-{}", i % 3, i % 11);
        store.append(stream, ExpectedVersion::Any, [event]).unwrap();
        if i % 50 == 17 {
            check_queries(&store, i);
        }
    }
}

fn check_queries(store: &Store, i: u32) {
    let rare = format!("rare:{}", i / 20);
    let queries = [
        Query::tagged(["even", "odd"]),
        Query::tagged([rare.as_str(), "odd"]),
        Query::types(["T1", "T3", "none"]).or(QueryItem::new().tag(&rare)),
        QueryItem::new().category("s1").types(["T2"]).after(u64::from(i / 2)).into(),
        QueryItem::new().stream("s0-0").tag("even").into(),
        Query::stream("s2-5"),
        QueryItem::new().after(u64::from(i) - 3).into(),
    ];
    for query in queries {
        let found = |backwards: bool| -> Vec<u64> {
            let read = store.read_all().matching(query.clone());
            let read = if backwards { read.backwards() } else { read };
            read.into_iter().map(|event| event.unwrap().position().get()).collect()
        };
        let walked: Vec<u64> = store
            .read_all()
            .into_iter()
            .map(Result::unwrap)
            .filter(|event| event.matches(&query))
            .map(|event| event.position().get())
            .collect();
        assert_eq!(found(false), walked, "{query:?} at {i}");
        let newest = store.transaction().fail_if(query.clone()).commit();
        match walked.last() {
            None => assert!(newest.is_ok(), "{query:?}"),
            Some(&last) => {
                let position = Position::new(last);
                assert_eq!(
                    failures(newest),
                    [FailedCheck::AppendConditionFailed { query: 0, position }]
                );
            }
        }
        assert_eq!(found(true), walked.into_iter().rev().collect::<Vec<_>>(), "{query:?} at {i}");
    }
}

/// The length of a stream in an unsealed segment is counted only up to a limit.
#[test]
fn query_of_a_long_stream_in_the_active_segment_finds_every_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let tag = |i: u64| if i.is_multiple_of(400) { "rare" } else { "often" };
    for from in [1, 1_401] {
        let events = (from..from + 1_400).map(|i| NewEvent::new("T", "").tag(tag(i)));
        store.append("long-1", ExpectedVersion::Any, events).unwrap();
    }
    let others = (0..50).map(|_| NewEvent::new("T", "").tag("rare").tag("often"));
    store.append("short-1", ExpectedVersion::Any, others).unwrap();
    let long = || QueryItem::new().stream("long-1");
    let items = [long(), long().tag("often"), long().tag("rare"), long().after(1_500)];
    let expected: [Vec<u64>; 4] = [
        (1..=2_800).collect(),
        (1..=2_800).filter(|&i| tag(i) == "often").collect(),
        (400..=2_800).step_by(400).collect(),
        (1_501..=2_800).collect(),
    ];
    for (item, expected) in items.into_iter().zip(expected) {
        let read = store.read_all().matching(item.clone().into());
        let found: Vec<u64> =
            read.into_iter().map(|event| event.unwrap().position().get()).collect();
        assert!(found == expected, "{item:?}: {} of {}", found.len(), expected.len());
    }
}
