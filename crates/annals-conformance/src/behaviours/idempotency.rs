//! Event ids: a repeated commit is not recorded again, and an id means one event for ever.

use annals_es::{AppendError, Commit, ContentType, EventStore, Expected, NewEvent, StoreError};
use uuid::Uuid;

use crate::Backend;
use crate::support::{append, behaviours, clients, commit, count, event, exact, open, reopen};

behaviours! { "idempotency", EventStore:
    repeated_commit_returns_first_result, repeated_commit_ignores_expectations,
    repeated_commit_is_recognized_after_reopening, simultaneous_repetitions_are_recorded_once,
    id_with_other_contents_is_refused, id_in_another_stream_is_refused,
    ids_in_another_order_are_refused, known_and_new_ids_together_are_refused,
    id_that_occurs_twice_is_refused, nil_id_is_refused, id_of_a_lost_commit_is_free,
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn repeated_commit_returns_first_result<B: Backend>(backend: &B) {
    let store = open(backend);
    let new = Commit::to("a-1", Expected::NoStream, [event("A").id(id(1)), event("B").id(id(2))]);
    let first = commit(&store, new.clone()).expect("it is new");
    append(&store, "a-1", [event("C")]);
    let repeated = commit(&store, new).expect("it is recorded");
    assert!(repeated.already_recorded);
    assert_eq!(repeated.versions, first.versions);
    assert_eq!(repeated.first_position, first.first_position);
    assert_eq!(repeated.last_position, first.last_position);
    assert_eq!(repeated.recorded_at, first.recorded_at);
    assert_eq!(count(&store, "a-1"), 3);
}

fn repeated_commit_ignores_expectations<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").id(id(1))]);
    for expected in [Expected::NoStream, exact(0), exact(7), Expected::StreamExists, Expected::Any]
    {
        let done = commit(&store, Commit::to("a-1", expected, [event("A").id(id(1))]));
        assert!(done.expect("it is recorded").already_recorded, "{expected}");
    }
    assert_eq!(count(&store, "a-1"), 1);
}

fn repeated_commit_is_recognized_after_reopening<B: Backend>(backend: &B) {
    let store = open(backend);
    let new = [event("A").id(id(1)).tag("t").metadata("{}"), event("B").id(id(2))];
    let first = append(&store, "a-1", new.clone());
    for _ in 0..20 {
        append(&store, "a-2", [event("Other")]);
    }
    let store = reopen(backend, store);
    let repeated = append(&store, "a-1", new);
    assert!(repeated.already_recorded);
    assert_eq!(repeated.last_position, first.last_position);
    assert_eq!(count(&store, "a-1"), 2);
}

fn simultaneous_repetitions_are_recorded_once<B: Backend>(backend: &B) {
    let store = open(backend);
    for round in 1..=5 {
        let done = clients(6, |_| {
            append(&store, "a-1", [event("A").id(id(2 * round)), event("B").id(id(2 * round + 1))])
        });
        assert_eq!(done.iter().filter(|it| !it.already_recorded).count(), 1);
        assert!(done.iter().all(|it| it.last_position == done[0].last_position));
        assert!(done.iter().all(|it| it.versions == done[0].versions));
    }
    assert_eq!(count(&store, "a-1"), 10);
}

fn assert_reused<T: std::fmt::Debug>(done: &Result<T, AppendError>, ids: &[Uuid]) {
    assert!(matches!(done, Err(AppendError::IdReused { id }) if ids.contains(id)), "{done:?}");
}

fn id_with_other_contents_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let first = || NewEvent::new("A", "data").id(id(1)).tag("t").metadata("{}");
    append(&store, "a-1", [first()]);
    for other in [
        NewEvent::new("Other", "data").id(id(1)).tag("t").metadata("{}"),
        NewEvent::new("A", "other").id(id(1)).tag("t").metadata("{}"),
        NewEvent::new("A", "data").id(id(1)).metadata("{}"),
        first().tag("more"),
        first().metadata("[]"),
        first().schema_version(2),
        first().content_type(ContentType::Json),
    ] {
        let done = commit(&store, Commit::to("a-1", Expected::Any, [other]));
        assert_reused(&done, &[id(1)]);
    }
    assert!(append(&store, "a-1", [first()]).already_recorded);
    assert_eq!(count(&store, "a-1"), 1);
}

fn id_in_another_stream_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").id(id(1))]);
    let done = commit(&store, Commit::to("a-2", Expected::Any, [event("A").id(id(1))]));
    assert_reused(&done, &[id(1)]);
    assert_eq!((count(&store, "a-1"), count(&store, "a-2")), (1, 0));
}

fn ids_in_another_order_are_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").id(id(1)), event("B").id(id(2))]);
    let swapped = [event("B").id(id(2)), event("A").id(id(1))];
    let done = commit(&store, Commit::to("a-1", Expected::Any, swapped));
    assert_reused(&done, &[id(1), id(2)]);
    assert_eq!(count(&store, "a-1"), 2);
}

fn known_and_new_ids_together_are_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").id(id(1)), event("B").id(id(2))]);
    for events in [
        vec![event("A").id(id(1)), event("C").id(id(3))],
        vec![event("C").id(id(3)), event("A").id(id(1))],
        vec![event("A").id(id(1)), event("B").id(id(2)), event("C").id(id(3))],
        vec![event("A").id(id(1)), event("C")],
    ] {
        let done = commit(&store, Commit::to("a-1", Expected::Any, events));
        assert_reused(&done, &[id(1), id(2)]);
    }
    assert_eq!(count(&store, "a-1"), 2);
    assert!(!append(&store, "a-1", [event("C").id(id(3))]).already_recorded);
}

fn id_that_occurs_twice_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let twice = [event("C").id(id(3)), event("D").id(id(3))];
    let done = commit(&store, Commit::to("a-1", Expected::Any, twice));
    assert!(matches!(done, Err(AppendError::DuplicateId { id: it }) if it == id(3)), "{done:?}");
    assert_eq!(count(&store, "a-1"), 0);
}

fn nil_id_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let nil = Commit::to("a-1", Expected::Any, [event("A").id(Uuid::nil())]);
    let done = commit(&store, nil);
    let is_refused = matches!(&done, Err(AppendError::Store(StoreError::InvalidArgument { .. })));
    assert!(is_refused, "{done:?}");
    assert_eq!(count(&store, "a-1"), 0);
}

fn id_of_a_lost_commit_is_free<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let lost = Commit::to("a-1", Expected::NoStream, [event("B").id(id(1))]);
    assert!(commit(&store, lost).is_err());
    let other = append(&store, "a-2", [event("C").id(id(1))]);
    assert!(!other.already_recorded);
}
