//! A database of factstr-sqlite, copied in two parts.

use std::sync::{Arc, Mutex};

use annals_factstr::factstr::{
    DurableStream, EventFilter, EventQuery, EventStore, EventStoreError, HandleStream, NewEvent,
    StreamHandlerError,
};
use annals_factstr::{FactStore, copy};
use factstr_sqlite::SqliteStore;
use serde_json::{Value, json};

/// Rooms that are booked; each booking is one commit of one to three facts.
fn write(store: &SqliteStore, bookings: std::ops::Range<u64>) {
    for n in bookings {
        let room = json!({ "room": n % 9, "price": 0.1 + n as f64, "note": "tab\t\u{1f600}" });
        let booked = NewEvent::new("booked", room.clone());
        let context = of_room(&json!({ "room": n % 9, "night": n }));
        store.append_if(vec![booked], &context, None).unwrap();
        let parts = (0..n % 3).map(|part| {
            NewEvent::new("paid", json!({ "room": n % 9, "night": n, "part": [part, null] }))
        });
        let parts: Vec<_> = parts.collect();
        if !parts.is_empty() {
            store.append(parts).unwrap();
        }
    }
}

fn of_room(predicate: &Value) -> EventQuery {
    let filter = EventFilter::default().with_payload_predicates([predicate.clone()]);
    EventQuery::all().with_filters([filter])
}

type Commits = Arc<Mutex<Vec<Vec<u64>>>>;

/// A handler that records its commits, and fails after `limit`.
fn recorder(commits: &Commits, limit: usize) -> HandleStream {
    let commits = Arc::clone(commits);
    HandleStream::new(move |commit| {
        let mut commits = commits.lock().unwrap();
        let is_full = commits.len() == limit;
        if !is_full {
            commits.push(commit.iter().map(|it| it.sequence_number).collect());
        }
        async move { if is_full { Err(StreamHandlerError::new("full")) } else { Ok(()) } }
    })
}

fn is_same(source: &SqliteStore, target: &FactStore) {
    let one = json!({ "room": 4 });
    let paid = EventQuery::all().with_filters([EventFilter::for_event_types(["paid"])]);
    for query in [EventQuery::all(), paid, of_room(&one), of_room(&json!({ "part": [1, null] }))] {
        let [mut expected, found] =
            [source.query(&query), target.query(&query)].map(Result::unwrap);
        // The time is that of the commit, in microseconds.
        for (expected, found) in expected.event_records.iter_mut().zip(&found.event_records) {
            let difference = expected.occurred_at - found.occurred_at;
            assert!(difference.whole_microseconds().abs() < 1_000, "{difference}");
            expected.occurred_at = found.occurred_at;
        }
        assert_eq!(expected, found);
    }
}

#[test]
fn database_of_factstr_sqlite_is_the_same_in_annals() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("facts.sqlite"), dir.path().join("target"));
    let mut copied = 0;
    for bookings in [0..50, 50..120] {
        write(&SqliteStore::open(&source).unwrap(), bookings);
        let sqlite = SqliteStore::open(&source).unwrap();
        let store = FactStore::open(&target).unwrap();
        copied += copy(&sqlite, &store).unwrap();
        is_same(&sqlite, &store);
        assert_eq!(copied, store.store().head().get());
    }
    assert!(copied > 200, "{copied}");

    // A durable stream that SQLite had delivered in part goes on; the commits are those of SQLite.
    let (all, first, rest) = (Commits::default(), Commits::default(), Commits::default());
    let sqlite = SqliteStore::open(&source).unwrap();
    let stream = |name: &str| DurableStream::new(name);
    sqlite.stream_all_durable(&stream("all"), recorder(&all, usize::MAX)).unwrap();
    assert!(sqlite.stream_all_durable(&stream("readers"), recorder(&first, 60)).is_err());
    let reached = *first.lock().unwrap().last().unwrap().last().unwrap();
    let store = FactStore::open(&target).unwrap();
    store.store().cursors().reset("factstr/readers", reached).unwrap();
    let _stream =
        store.stream_all_durable(&stream("readers"), recorder(&rest, usize::MAX)).unwrap();
    let both = [first.lock().unwrap().clone(), rest.lock().unwrap().clone()].concat();
    assert_eq!(both, *all.lock().unwrap());

    // The program goes on: the versions of contexts are valid.
    let room = of_room(&json!({ "room": 3 }));
    let version = sqlite.query(&room).unwrap().current_context_version;
    let fact = || vec![NewEvent::new("freed", json!({ "room": 3 }))];
    store.append_if(fact(), &room, version).unwrap();
    let late = store.append_if(fact(), &room, version);
    assert!(matches!(late, Err(EventStoreError::ConditionalAppendConflict { .. })));
}
