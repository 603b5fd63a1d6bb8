//! Expected versions of a stream.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use annals_es::blocking::block_on;
use annals_es::{
    AppendError, Commit, EventStore, Expected, FailedCheck, ReadStream, Version, next,
};

use crate::Backend;
use crate::support::{
    append, behaviours, clients, commit, count, event, exact, failed_checks, open, reopen, version,
};

behaviours! { "expectations", EventStore:
    append_returns_places, expectation_is_checked, no_stream_admits_the_first_commit,
    conflict_has_the_actual_version, conflict_writes_nothing, versions_of_streams_are_independent,
    stream_is_created_once, expected_version_admits_one_of_many, contenders_all_succeed,
    conflict_is_returned_after_its_cause, expectation_holds_after_reopening,
    unpolled_append_does_nothing,
}

fn append_returns_places<B: Backend>(backend: &B) {
    let store = open(backend);
    let first = append(&store, "a-1", [event("A"), event("B")]);
    let second = append(&store, "a-1", [event("C")]);
    assert_eq!((&first.versions[..], first.already_recorded), (&[Version::new(2)][..], false));
    assert_eq!(second.versions, [Version::new(3)]);
    assert!(first.first_position < first.last_position);
    assert!(first.last_position < second.first_position);
    assert_eq!(second.first_position, second.last_position);
    assert!(first.recorded_at <= second.recorded_at);
    let read = crate::support::stream(&store, "a-1");
    let places: Vec<_> = read.iter().map(|it| (it.version().get(), it.position())).collect();
    let last = second.last_position;
    assert_eq!(places, [(1, first.first_position), (2, first.last_position), (3, last)]);
}

fn expectation_is_checked<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "here-1", [event("A"), event("B")]);
    for (stream, expected, holds) in [
        ("here-1", Expected::NoStream, false),
        ("here-1", exact(0), false),
        ("here-1", exact(1), false),
        ("here-1", exact(2), true),
        ("here-1", exact(2), false),
        ("here-1", Expected::StreamExists, true),
        ("gone-1", Expected::StreamExists, false),
        ("gone-1", exact(1), false),
        ("gone-1", exact(0), true),
        ("none-1", Expected::NoStream, true),
        ("none-1", Expected::Any, true),
        ("none-1", exact(u64::MAX), false),
    ] {
        let before = version(&store, stream);
        let done = commit(&store, Commit::to(stream, expected, [event("C")]));
        if holds {
            assert_eq!(done.expect("it holds").versions, [before.next()], "{stream} {expected}");
            continue;
        }
        let expected = FailedCheck::Version { stream: stream.into(), expected, actual: before };
        assert_eq!(failed_checks(done), [expected]);
        assert_eq!(count(&store, stream) as u64, before.get());
    }
}

fn no_stream_admits_the_first_commit<B: Backend>(backend: &B) {
    let store = open(backend);
    let create = || commit(&store, Commit::to("a-1", Expected::NoStream, [event("A")]));
    assert_eq!(create().expect("the stream is new").versions, [Version::new(1)]);
    assert_eq!(failed_checks(create()).len(), 1);
    append(&store, "a-1", [event("B")]);
    assert_eq!(failed_checks(create()).len(), 1);
}

fn conflict_has_the_actual_version<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", ["A", "B", "C"].map(event));
    let lost = commit(&store, Commit::to("a-1", exact(1), [event("D")]));
    let Err(AppendError::Conflict(conflict)) = lost else { panic!("{lost:?}") };
    assert_eq!(conflict.actual_version(), Some(Version::new(3)));
}

fn conflict_writes_nothing<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let lost = commit(&store, Commit::to("a-1", Expected::NoStream, ["B", "C"].map(event)));
    assert_eq!(failed_checks(lost).len(), 1);
    let done = append(&store, "a-1", [event("D")]);
    assert_eq!(done.versions, [Version::new(2)]);
    assert_eq!(count(&store, "a-1"), 2);
}

fn versions_of_streams_are_independent<B: Backend>(backend: &B) {
    let store = open(backend);
    for number in 1..=3 {
        for stream in ["a-1", "a-2", "b-1"] {
            let done = append(&store, stream, [event("A")]);
            assert_eq!(done.versions, [Version::new(number)], "{stream}");
        }
    }
}

fn stream_is_created_once<B: Backend>(backend: &B) {
    let store = open(backend);
    let created = clients(8, |_| {
        let create = Commit::to("a-1", Expected::NoStream, [event("A"), event("B")]);
        match commit(&store, create) {
            Ok(_) => true,
            Err(AppendError::Conflict(_)) => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert_eq!(count(&store, "a-1"), 2);
}

fn expected_version_admits_one_of_many<B: Backend>(backend: &B) {
    let store = open(backend);
    for round in 0..5 {
        let done = clients(6, |_| {
            let appended = commit(&store, Commit::to("a-1", exact(round), [event("A")]));
            match appended {
                Ok(done) => Some(done.versions[0]),
                Err(AppendError::Conflict(_)) => None,
                Err(error) => panic!("{error}"),
            }
        });
        let done: Vec<Version> = done.into_iter().flatten().collect();
        assert_eq!(done, [Version::new(round + 1)]);
    }
}

/// Threads that read, decide and append until they succeed. None needs more attempts than there are commits.
fn contenders_all_succeed<B: Backend>(backend: &B) {
    const CLIENTS: usize = 4;
    const COMMITS: usize = 10;
    let store = open(backend);
    clients(CLIENTS, |_| {
        let (mut attempts, mut left) = (0, COMMITS);
        while left > 0 {
            attempts += 1;
            assert!(attempts <= CLIENTS * COMMITS, "a conflict is returned before its cause");
            let expected = Expected::Exact(version(&store, "a-1"));
            match commit(&store, Commit::to("a-1", expected, [event("A")])) {
                Ok(_) => left -= 1,
                Err(AppendError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(count(&store, "a-1"), CLIENTS * COMMITS);
}

fn conflict_is_returned_after_its_cause<B: Backend>(backend: &B) {
    let store = open(backend);
    clients(4, |_| {
        for expected in 0..20 {
            let appended = commit(&store, Commit::to("a-1", exact(expected), [event("A")]));
            if let Err(AppendError::Conflict(conflict)) = appended {
                let actual = conflict.actual_version().expect("a version was not as expected");
                let read = store.read_stream(ReadStream::of("a-1").from(actual));
                assert!(!crate::support::collect(read).is_empty(), "version {actual} is not read");
            }
        }
    });
}

fn expectation_holds_after_reopening<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A"), event("B")]);
    let store = reopen(backend, store);
    let stale = commit(&store, Commit::to("a-1", exact(1), [event("C")]));
    assert_eq!(failed_checks(stale).len(), 1);
    commit(&store, Commit::to("a-1", exact(2), [event("C")])).expect("it is at version 2");
    assert_eq!(version(&store, "a-1"), Version::new(3));
}

fn unpolled_append_does_nothing<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let unpolled = store.append(Commit::to("a-1", Expected::Any, [event("A")]));
    drop(unpolled);
    let mut read = store.read_stream(ReadStream::of("a-1").limit(1));
    let mut polled = pin!(next(&mut read));
    let ready = polled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(!matches!(ready, Poll::Ready(None)));
    let version = block_on(store.stream_version(&"a-1".into())).expect("a version");
    assert_eq!(version, Version::new(1));
}
