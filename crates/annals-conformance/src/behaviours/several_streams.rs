//! Commits to several streams.

use annals_es::{
    AppendError, Commit, Expected, FailedCheck, RecordedEvent, SeveralStreams, Version,
};
use uuid::Uuid;

use crate::Backend;
use crate::support::{
    append, behaviours, clients, commit, count, event, exact, failed_checks, open, stream, version,
};

behaviours! { "several_streams", SeveralStreams:
    several_streams_are_all_or_nothing, positions_follow_the_order_of_streams,
    stream_may_occur_twice_in_a_commit, check_without_events_writes_nothing,
    check_of_another_stream_fails_the_commit, repeated_commit_of_several_streams,
    opposite_orders_do_not_block, money_is_neither_made_nor_lost,
}

fn several_streams_are_all_or_nothing<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    let transfer = |expected| {
        Commit::to("a-1", Expected::Any, [event("Debited")]).and(
            "a-2",
            expected,
            [event("Credited")],
        )
    };
    let done = commit(&store, transfer(Expected::NoStream)).expect("both are new");
    assert_eq!(done.versions, [Version::new(1), Version::new(1)]);
    let lost = commit(&store, transfer(Expected::NoStream));
    let (expected, actual) = (Expected::NoStream, Version::new(1));
    let stream = "a-2".into();
    assert_eq!(failed_checks(lost), [FailedCheck::Version { stream, expected, actual }]);
    assert_eq!((count(&store, "a-1"), count(&store, "a-2")), (1, 1));
}

fn positions_follow_the_order_of_streams<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    let new = Commit::to("b-1", Expected::Any, ["A", "B"].map(event))
        .and("a-1", Expected::Any, [event("C")])
        .and("c-1", Expected::Any, ["D", "E"].map(event));
    let done = commit(&store, new).expect("all are new");
    let of = |name| stream(&store, name).iter().map(RecordedEvent::position).collect::<Vec<_>>();
    let all = [of("b-1"), of("a-1"), of("c-1")].concat();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    assert_eq!((all[0], all[4]), (done.first_position, done.last_position));
    assert!(stream(&store, "a-1").iter().all(|it| it.commit() == done.first_position));
}

fn stream_may_occur_twice_in_a_commit<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    let new = Commit::to("a-1", exact(0), [event("A")]).and("a-1", exact(1), [event("B")]);
    let done = commit(&store, new).expect("each sees the one before");
    assert_eq!(done.versions, [Version::new(1), Version::new(2)]);
    assert_eq!(count(&store, "a-1"), 2);
}

fn check_without_events_writes_nothing<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let check = |expected| Commit::to("a-1", expected, []).check("a-2", Expected::NoStream);
    let done = commit(&store, check(Expected::StreamExists)).expect("it holds");
    assert_eq!(done.versions, [Version::new(1), Version::NONE]);
    assert_eq!(failed_checks(commit(&store, check(Expected::NoStream))).len(), 1);
    assert_eq!((count(&store, "a-1"), count(&store, "a-2")), (1, 0));
}

fn check_of_another_stream_fails_the_commit<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    append(&store, "rates", [event("A")]);
    let pay = || Commit::to("a-1", Expected::Any, [event("Paid")]).check("rates", exact(1));
    commit(&store, pay()).expect("the rates are as they were");
    append(&store, "rates", [event("B")]);
    assert_eq!(failed_checks(commit(&store, pay())).len(), 1);
    assert_eq!(count(&store, "a-1"), 1);
}

fn repeated_commit_of_several_streams<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    let [a, b] = [1, 2].map(Uuid::from_u128);
    let new = Commit::to("a-1", Expected::NoStream, [event("A").id(a)])
        .and("a-2", Expected::NoStream, [event("B").id(b)])
        .check("a-3", Expected::NoStream);
    let first = commit(&store, new.clone()).expect("it is new");
    append(&store, "a-1", [event("C")]);
    append(&store, "a-3", [event("C")]);
    let repeated = commit(&store, new).expect("it is recorded");
    assert!(repeated.already_recorded);
    assert_eq!(repeated.versions[..2], first.versions[..2]);
    let moved = commit(&store, Commit::to("a-2", Expected::Any, [event("A").id(a)]));
    assert!(matches!(moved, Err(AppendError::IdReused { id }) if id == a), "{moved:?}");
}

fn opposite_orders_do_not_block<B: Backend<Store: SeveralStreams>>(backend: &B) {
    const COMMITS: u64 = 25;
    let store = open(backend);
    clients(4, |client| {
        let (one, two) = if client % 2 == 0 { ("a-1", "a-2") } else { ("a-2", "a-1") };
        for _ in 0..COMMITS {
            let new = Commit::to(one, Expected::Any, [event("A")]);
            commit(&store, new.and(two, Expected::Any, [event("B")])).expect("it is recorded");
        }
    });
    assert_eq!(version(&store, "a-1").get(), 4 * COMMITS);
    assert_eq!(version(&store, "a-2").get(), 4 * COMMITS);
}

/// Transfers between accounts by optimistic concurrency keep the number of debits and credits equal.
fn money_is_neither_made_nor_lost<B: Backend<Store: SeveralStreams>>(backend: &B) {
    let store = open(backend);
    let done = clients(4, |client| {
        let mut done = 0_usize;
        for number in 0..20 {
            let from = format!("a-{}", (client + number) % 3);
            let to = format!("a-{}", (client + number + 1) % 3);
            let at = |name: &str| Expected::Exact(version(&store, name));
            let transfer = Commit::to(from.as_str(), at(&from), [event("Debited")]).and(
                to.as_str(),
                at(&to),
                [event("Credited")],
            );
            match commit(&store, transfer) {
                Ok(_) => done += 1,
                Err(AppendError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done
    });
    let all: Vec<_> = (0..3).flat_map(|it| stream(&store, &format!("a-{it}"))).collect();
    let number = |name| all.iter().filter(|it| it.event_type() == name).count();
    let done = done.iter().sum::<usize>();
    assert!(done > 0);
    assert_eq!((number("Debited"), number("Credited")), (done, done));
}
