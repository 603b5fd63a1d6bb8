//! Snapshots: states of streams, or at positions.

use annals_es::blocking::block_on;
use annals_es::{Commit, EventStore, Expected, Mark, Snapshot, Version};
use bytes::Bytes;

use crate::Backend;
use crate::support::{append, behaviours, commit, event, open, reopen};

behaviours! { "snapshots", EventStore:
    snapshot_is_found_by_mark, snapshot_of_a_newer_schema_replaces, snapshots_of_keys_are_separate,
    kinds_of_marks_are_separate, snapshot_is_saved_with_commit, snapshot_ahead_is_refused,
    snapshot_is_kept_after_reopening, large_snapshot_is_kept,
}

fn save<S: EventStore>(store: &S, snapshot: Snapshot) {
    block_on(store.save_snapshot(snapshot)).expect("it is saved");
}

fn load<S: EventStore>(store: &S, key: &str, at_most: impl Into<Mark>) -> Option<Snapshot> {
    block_on(store.load_snapshot(key, at_most.into())).expect("no error")
}

fn state<S: EventStore>(store: &S, key: &str, at_most: impl Into<Mark>) -> Option<Bytes> {
    load(store, key, at_most).map(|it| it.state)
}

fn snapshot_is_found_by_mark<B: Backend>(backend: &B) {
    let store = open(backend);
    let at = Version::new;
    append(&store, "a-1", ["A", "B", "C", "D"].map(event));
    save(&store, Snapshot::new("a-1", at(2), "two").schema_version(1));
    save(&store, Snapshot::new("a-1", at(4), "four").schema_version(1));
    assert_eq!(state(&store, "a-1", at(1)), None);
    let found = load(&store, "a-1", at(3)).expect("it is saved");
    assert_eq!((found.mark, found.schema_version), (at(2).into(), 1));
    assert_eq!((&found.key[..], &found.state[..]), ("a-1", &b"two"[..]));
    assert_eq!(state(&store, "a-1", Version::MAX), Some(Bytes::from_static(b"four")));
}

fn snapshot_of_a_newer_schema_replaces<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let of = |state: &'static str, schema| {
        Snapshot::new("a-1", Version::new(1), state).schema_version(schema)
    };
    save(&store, of("one", 1));
    save(&store, of("one", 1));
    assert!(block_on(store.save_snapshot(of("another", 1))).is_err());
    save(&store, of("one of schema 2", 2));
    let found = load(&store, "a-1", Version::MAX).expect("it is saved");
    assert_eq!((found.schema_version, &found.state[..]), (2, &b"one of schema 2"[..]));
}

fn snapshots_of_keys_are_separate<B: Backend>(backend: &B) {
    let store = open(backend);
    for name in ["a-1", "a-2"] {
        append(&store, name, [event("A")]);
        save(&store, Snapshot::new(name, Version::new(1), name));
    }
    assert_eq!(state(&store, "a-1", Version::MAX), Some(Bytes::from_static(b"a-1")));
    assert_eq!(state(&store, "a-2", Version::MAX), Some(Bytes::from_static(b"a-2")));
    assert_eq!(state(&store, "a-3", Version::MAX), None);
}

fn kinds_of_marks_are_separate<B: Backend>(backend: &B) {
    let store = open(backend);
    let at = append(&store, "a-1", [event("A")]).last_position;
    save(&store, Snapshot::new("a-1", at, "of a position"));
    assert_eq!(state(&store, "a-1", Version::MAX), None);
    save(&store, Snapshot::new("a-1", Version::new(1), "of a version"));
    assert_eq!(state(&store, "a-1", Version::MAX), Some(Bytes::from_static(b"of a version")));
    assert_eq!(state(&store, "a-1", at), Some(Bytes::from_static(b"of a position")));
}

fn snapshot_is_saved_with_commit<B: Backend>(backend: &B) {
    let store = open(backend);
    let of = |expected, at: u64| {
        let snapshot = Snapshot::new("a-1", Version::new(at), format!("{at}"));
        Commit::to("a-1", expected, [event("A")]).snapshot(snapshot)
    };
    let mark = || load(&store, "a-1", Version::MAX).map(|it| it.mark);
    commit(&store, of(Expected::NoStream, 1)).expect("the stream is new");
    assert_eq!(mark(), Some(Version::new(1).into()));
    assert!(commit(&store, of(Expected::NoStream, 2)).is_err());
    assert_eq!(mark(), Some(Version::new(1).into()));
    commit(&store, of(Expected::StreamExists, 2)).expect("the stream exists");
    assert_eq!(mark(), Some(Version::new(2).into()));
}

fn snapshot_ahead_is_refused<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let ahead = Snapshot::new("a-1", Version::new(2), "2");
    assert!(block_on(store.save_snapshot(ahead)).is_err());
    assert_eq!(state(&store, "a-1", Version::MAX), None);
}

fn snapshot_is_kept_after_reopening<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    save(&store, Snapshot::new("a-1", Version::new(1), "one").schema_version(9));
    let store = reopen(backend, store);
    let found = load(&store, "a-1", Version::MAX).expect("it is saved");
    assert_eq!((found.schema_version, &found.state[..]), (9, &b"one"[..]));
    assert!(found.saved_at.as_micros() > 0);
}

fn large_snapshot_is_kept<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    let state: Vec<u8> =
        (0..1_000_000_u32).map(|it| it.wrapping_mul(it).to_le_bytes()[1]).collect();
    save(&store, Snapshot::new("a-1", Version::new(1), state.clone()));
    let found = load(&store, "a-1", Version::MAX).expect("it is saved");
    assert!(found.state == state, "the state differs");
}
