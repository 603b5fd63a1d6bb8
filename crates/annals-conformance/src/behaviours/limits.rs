//! Bad input and sizes: typed errors, and nothing is written.

use annals_es::{AppendError, Commit, EventStore, Expected, NewEvent, StoreError};

use crate::Backend;
use crate::support::{append, behaviours, commit, count, event, open, stream, version};

behaviours! { "limits", EventStore:
    large_event_is_refused, large_commit_is_refused, many_events_in_a_commit_are_recorded,
    empty_commit_is_refused, stream_without_a_name_is_refused, long_stream_name_is_refused,
    longest_stream_name_is_accepted, nul_is_kept_or_refused, refused_commit_leaves_nothing,
}

fn assert_too_large<T: std::fmt::Debug>(done: &Result<T, AppendError>) {
    assert!(
        matches!(done, Err(AppendError::TooLarge { size, max, what, .. }) if size > max && !what.is_empty()),
        "{done:?}"
    );
}

fn large_event_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let large = NewEvent::new("Large", vec![0; 80 << 20]);
    assert_too_large(&commit(&store, Commit::to("a-1", Expected::Any, [large])));
    assert_eq!(count(&store, "a-1"), 0);
    append(&store, "a-1", [event("A")]);
}

fn large_commit_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let events = (0..20).map(|_| NewEvent::new("Large", vec![0; 15 << 20]));
    assert_too_large(&commit(&store, Commit::to("a-1", Expected::Any, events)));
    assert_eq!(count(&store, "a-1"), 0);
}

fn many_events_in_a_commit_are_recorded<B: Backend>(backend: &B) {
    const EVENTS: usize = 5000;
    let store = open(backend);
    let done = append(&store, "a-1", (0..EVENTS).map(|_| event("A")));
    assert_eq!(done.versions[0].get(), EVENTS as u64);
    let read = stream(&store, "a-1");
    assert_eq!(read.len(), EVENTS);
    assert_eq!(read[EVENTS - 1].position(), done.last_position);
}

fn empty_commit_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let done = commit(&store, Commit::from_parts(annals_es::CommitParts::default()));
    assert!(matches!(done, Err(AppendError::Empty)), "{done:?}");
}

fn is_invalid<T>(done: &Result<T, AppendError>) -> bool {
    matches!(
        done,
        Err(AppendError::Store(StoreError::InvalidArgument { .. }) | AppendError::TooLarge { .. })
    )
}

fn stream_without_a_name_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let done = commit(&store, Commit::to("", Expected::Any, [event("A")]));
    assert!(is_invalid(&done), "{done:?}");
}

fn long_stream_name_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    let done = commit(&store, Commit::to("a".repeat(70_000), Expected::Any, [event("A")]));
    assert!(is_invalid(&done), "{done:?}");
}

fn longest_stream_name_is_accepted<B: Backend>(backend: &B) {
    let store = open(backend);
    // No two bytes repeat: an index cannot compress it.
    let name: String =
        (0..1024_u32).map(|it| char::from(b'!' + (it * it * 31 % 89) as u8)).collect();
    append(&store, &name, [event("A")]);
    assert_eq!(version(&store, &name).get(), 1);
    assert_eq!(stream(&store, &name)[0].stream(), name);
}

fn nul_is_kept_or_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    for (name, new) in
        [("a-\0", event("A")), ("a-1", NewEvent::new("A\0", "")), ("a-2", event("A").tag("t\0"))]
    {
        let expected = new.clone();
        match commit(&store, Commit::to(name, Expected::Any, [new])) {
            Ok(_) => {
                let read = stream(&store, name);
                assert_eq!(read[0].event_type(), expected.event_type);
                assert_eq!(read[0].tags().collect::<Vec<_>>(), expected.tags);
            }
            done => assert!(is_invalid(&done), "{done:?}"),
        }
    }
    append(&store, "a-3", [event("A")]);
}

fn refused_commit_leaves_nothing<B: Backend>(backend: &B) {
    let store = open(backend);
    let events = [event("A"), NewEvent::new("Large", vec![0; 80 << 20]), event("B")];
    assert_too_large(&commit(&store, Commit::to("a-1", Expected::Any, events)));
    let done = append(&store, "a-1", [event("C")]);
    assert_eq!(done.versions[0].get(), 1);
}
