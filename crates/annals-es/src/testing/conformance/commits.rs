//! Tests of what commits may do: several streams, boundaries, checkpoints.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "each is named for what it tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use uuid::Uuid;

use super::{append, count, event, failed_checks};
use crate::blocking::block_on;
use crate::store::{
    AppendError, AtomicCheckpoints, Boundaries, Commit, Expected, FailedCheck, Position, Query,
    SeveralStreams, Version,
};

pub fn several_streams_are_all_or_nothing<S: SeveralStreams, G>((store, _guard): (S, G)) {
    let transfer = |expected| {
        Commit::to("a-1", Expected::Any, [event("Debited")]).and(
            "a-2",
            expected,
            [event("Credited")],
        )
    };
    let done = block_on(store.append(transfer(Expected::NoStream))).expect("both are new");
    assert_eq!(done.versions, [Version::new(1), Version::new(1)]);
    assert_eq!(done.last_position.get(), done.first_position.get() + 1);
    let lost = block_on(store.append(transfer(Expected::NoStream)));
    let (expected, actual) = (Expected::NoStream, Version::new(1));
    let stream = "a-2".into();
    assert_eq!(failed_checks(lost), [FailedCheck::Version { stream, expected, actual }]);
    assert_eq!((count(&store, "a-1"), count(&store, "a-2")), (1, 1));
}

pub fn stream_may_occur_twice_in_a_commit<S: SeveralStreams, G>((store, _guard): (S, G)) {
    let exact = |version| Expected::Exact(Version::new(version));
    let commit = Commit::to("a-1", exact(0), [event("A")]).and("a-1", exact(1), [event("B")]);
    let done = block_on(store.append(commit)).expect("each sees the one before");
    assert_eq!(done.versions, [Version::new(1), Version::new(2)]);
}

pub fn check_without_events_writes_nothing<S: SeveralStreams, G>((store, _guard): (S, G)) {
    append(&store, "a-1", [event("A")]);
    let check = |expected| Commit::to("a-1", expected, []).check("a-2", Expected::NoStream);
    let done = block_on(store.append(check(Expected::StreamExists))).expect("it holds");
    assert_eq!(done.versions, [Version::new(1), Version::NONE]);
    assert_eq!(failed_checks(block_on(store.append(check(Expected::NoStream)))).len(), 1);
    assert_eq!((count(&store, "a-1"), count(&store, "a-2")), (1, 0));
}

pub fn repeated_commit_of_several_streams<S: SeveralStreams, G>((store, _guard): (S, G)) {
    let [a, b] = [1, 2].map(Uuid::from_u128);
    let commit = Commit::to("a-1", Expected::NoStream, [event("A").id(a)])
        .and("a-2", Expected::NoStream, [event("B").id(b)])
        .check("a-3", Expected::NoStream);
    let first = block_on(store.append(commit.clone())).expect("it is new");
    append(&store, "a-1", [event("C")]);
    append(&store, "a-3", [event("C")]);
    let repeated = block_on(store.append(commit)).expect("it is recorded");
    assert!(repeated.already_recorded);
    assert_eq!(repeated.versions[..2], first.versions[..2]);
    let moved = Commit::to("a-2", Expected::Any, [event("A").id(a)]);
    let moved = block_on(store.append(moved));
    assert!(matches!(moved, Err(AppendError::IdReused { id }) if id == a), "{moved:?}");
}

pub fn boundary_fails_on_a_later_match<S: Boundaries, G>((store, _guard): (S, G)) {
    let seat = |number: u32| Query::tagged([format!("seat:{number}")]);
    let first = append(&store, "a-1", [event("Reserved").tag("seat:1")]).last_position;
    let second = append(&store, "a-2", [event("Reserved").tag("seat:2")]).last_position;
    let reserve = |one_after, two_after| {
        let commit = Commit::to("a-3", Expected::Any, [event("Reserved")]);
        block_on(store.append(commit.fail_if(seat(1), one_after).fail_if(seat(2), two_after)))
    };
    let boundary = |index, position| FailedCheck::Boundary { index, position };
    let start = Position::START;
    assert_eq!(failed_checks(reserve(start, start)), [boundary(0, first), boundary(1, second)]);
    assert_eq!(failed_checks(reserve(first, first)), [boundary(1, second)]);
    assert_eq!(count(&store, "a-3"), 0);
    reserve(first, second).expect("nothing matches after these positions");
    let commit = Commit::to("a-3", Expected::Any, [event("Reserved")]).fail_if_exists(seat(2));
    assert_eq!(failed_checks(block_on(store.append(commit))), [boundary(0, second)]);
}

pub fn boundary_ignores_its_own_events<S: Boundaries, G>((store, _guard): (S, G)) {
    let name = Query::tagged(["name:ann"]);
    let register = || {
        let registered = event("Registered").tag("name:ann");
        let commit = Commit::to("user-1", Expected::Any, [registered]);
        block_on(store.append(commit.fail_if_exists(name.clone())))
    };
    register().expect("the name is free");
    assert_eq!(failed_checks(register()).len(), 1);
}

pub fn boundary_admits_one_of_many<S: Boundaries, G>((store, _guard): (S, G)) {
    let succeeded = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (store, succeeded) = (&store, &succeeded);
            scope.spawn(move || {
                let commit = Commit::to(
                    format!("seat-{number}"),
                    Expected::NoStream,
                    [event("Reserved").tag("seat:1")],
                );
                match block_on(store.append(commit.fail_if_exists(Query::tagged(["seat:1"])))) {
                    Ok(_) => drop(succeeded.fetch_add(1, Ordering::Relaxed)),
                    Err(AppendError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            });
        }
    });
    assert_eq!(succeeded.into_inner(), 1);
}

pub fn checkpoint_moves_with_a_commit<S: AtomicCheckpoints, G>((store, _guard): (S, G)) {
    let handled = append(&store, "a-1", [event("A")]).last_position;
    let react = |expected| {
        let commit = Commit::to("b-1", expected, [event("B")]).checkpoint("saga", handled);
        block_on(store.append(commit))
    };
    let checkpoint = || block_on(store.checkpoint("saga")).expect("no error");
    assert_eq!(failed_checks(react(Expected::StreamExists)).len(), 1);
    assert_eq!((checkpoint(), count(&store, "b-1")), (None, 0));
    react(Expected::NoStream).expect("it holds");
    assert_eq!((checkpoint(), count(&store, "b-1")), (Some(handled), 1));
}

pub fn checkpoint_admits_one_of_two_consumers<S: AtomicCheckpoints, G>((store, _guard): (S, G)) {
    let handled = append(&store, "a-1", [event("A")]).last_position;
    let react = || {
        let commit = Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", handled);
        block_on(store.append(commit))
    };
    react().expect("the first consumer");
    let failed = failed_checks(react());
    let name = "saga".to_owned();
    let expected = FailedCheck::CheckpointNotForward { name, at: handled, to: handled };
    assert_eq!(failed, [expected]);
    assert_eq!(count(&store, "b-1"), 1);
    let second = append(&store, "a-1", [event("A")]).last_position;
    block_on(store.append(Commit::progress("saga", second))).expect("a commit without events");
    assert_eq!(block_on(store.checkpoint("saga")).expect("no error"), Some(second));
}

pub fn repeated_commit_keeps_a_checkpoint<S: AtomicCheckpoints, G>((store, _guard): (S, G)) {
    let handled = append(&store, "a-1", [event("A")]).last_position;
    let commit = Commit::to("b-1", Expected::NoStream, [event("B").id(Uuid::from_u128(1))])
        .checkpoint("saga", handled);
    let first = block_on(store.append(commit.clone())).expect("it is new");
    block_on(store.append(Commit::progress("saga", first.last_position))).expect("it moves on");
    let repeated = block_on(store.append(commit)).expect("it is recorded");
    assert!(repeated.already_recorded);
    let checkpoint = block_on(store.checkpoint("saga")).expect("no error");
    assert_eq!(checkpoint, Some(first.last_position));
}
