//! What an event keeps: its envelope and its bytes.

use std::collections::HashSet;

use annals_es::{ContentType, EventStore, NewEvent, RecordedEvent};
use bytes::Bytes;
use uuid::Uuid;

use crate::Backend;
use crate::support::{append, behaviours, count, event, open, reopen, stream};

behaviours! { "events", EventStore:
    event_keeps_its_parts, event_keeps_its_parts_after_reopening, every_byte_is_kept,
    empty_data_is_kept, large_data_is_kept, metadata_is_kept_as_written, names_may_be_unicode,
    tags_keep_their_order, generated_ids_differ, time_does_not_go_back,
    events_of_a_commit_share_its_time,
}

fn full(id: Uuid) -> NewEvent {
    NewEvent::new("Deposited", r#"{"amount":5}"#)
        .id(id)
        .schema_version(3)
        .content_type(ContentType::Json)
        .metadata(r#"{"user":"ann"}"#)
        .tag("account:1")
        .tag("owner:ann")
}

fn assert_is_full(event: &RecordedEvent, id: Uuid) {
    assert_eq!((event.id(), event.event_type(), event.schema_version()), (id, "Deposited", 3));
    assert_eq!((event.data(), event.content_type()), (&br#"{"amount":5}"#[..], ContentType::Json));
    assert_eq!(event.data_bytes(), event.data());
    assert_eq!(event.metadata(), br#"{"user":"ann"}"#);
    assert_eq!(event.tags().collect::<Vec<_>>(), ["account:1", "owner:ann"]);
}

fn event_keeps_its_parts<B: Backend>(backend: &B) {
    let store = open(backend);
    let id = Uuid::from_u128(0xabcd);
    let bare = NewEvent::new("Closed", Bytes::from_static(&[0, 255, 7])).schema_version(0);
    let done = append(&store, "a-1", [full(id), bare]);
    let read = stream(&store, "a-1");
    let [full, bare] = &read[..] else { panic!("{read:?}") };
    assert_is_full(full, id);
    assert_eq!((bare.data(), bare.content_type()), (&[0, 255, 7][..], ContentType::Binary));
    assert_eq!((bare.schema_version(), bare.metadata().len()), (0, 0));
    assert_eq!(bare.tags().count(), 0);
    assert_ne!(bare.id(), id);
    for event in [full, bare] {
        assert_eq!((event.stream(), event.recorded_at()), ("a-1", done.recorded_at));
        assert_eq!(event.commit(), done.first_position);
        assert_eq!(event.is_last_in_commit(), event.version().get() == 2);
    }
}

fn event_keeps_its_parts_after_reopening<B: Backend>(backend: &B) {
    let store = open(backend);
    let id = Uuid::from_u128(0xabcd);
    let done = append(&store, "a-1", [full(id)]);
    let store = reopen(backend, store);
    let read = stream(&store, "a-1");
    assert_is_full(&read[0], id);
    assert_eq!(read[0].recorded_at(), done.recorded_at);
    assert_eq!(read[0].position(), done.last_position);
}

fn every_byte_is_kept<B: Backend>(backend: &B) {
    let store = open(backend);
    let bytes: Vec<u8> = (0..=255).collect();
    append(&store, "a-1", [NewEvent::new("Bytes", bytes.clone())]);
    assert_eq!(stream(&store, "a-1")[0].data(), bytes);
}

fn empty_data_is_kept<B: Backend>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [NewEvent::new("Empty", ""), event("A")]);
    let read = stream(&store, "a-1");
    assert_eq!((read[0].data().len(), read[0].metadata().len()), (0, 0));
    assert_eq!(read[1].data(), b"A");
}

fn large_data_is_kept<B: Backend>(backend: &B) {
    let store = open(backend);
    let mut state = 1_u32;
    // No compression shortens it.
    let random = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let data: Vec<u8> = (0..1_000_000).map(random).collect();
    append(&store, "a-1", [NewEvent::new("Large", data.clone()), event("A")]);
    let read = stream(&store, "a-1");
    assert!(read[0].data() == data, "the data differs");
    assert_eq!(read[1].event_type(), "A");
}

fn metadata_is_kept_as_written<B: Backend>(backend: &B) {
    let store = open(backend);
    let metadata = "{ \"b\" : 1.0,\n\"a\":[ ] , \"b\":2, \"text\": \"\\u0000 ä\" }";
    append(&store, "a-1", [event("A").metadata(metadata)]);
    assert_eq!(stream(&store, "a-1")[0].metadata(), metadata.as_bytes());
}

fn names_may_be_unicode<B: Backend>(backend: &B) {
    let store = open(backend);
    let name = "konto-Zoë/🦀 'x'\"\\%_";
    let new = NewEvent::new("Eröffnet 'x'", "").tag("straße:Ü 'x'\"{},\\").tag("🦀");
    append(&store, name, [new]);
    let read = stream(&store, name);
    assert_eq!((read[0].stream(), read[0].event_type()), (name, "Eröffnet 'x'"));
    assert_eq!(read[0].tags().collect::<Vec<_>>(), ["straße:Ü 'x'\"{},\\", "🦀"]);
    assert_eq!(count(&store, "konto-Zoe/🦀 'x'\"\\%_"), 0);
}

fn tags_keep_their_order<B: Backend>(backend: &B) {
    let store = open(backend);
    let tags = ["z", "a", "m:2", "m:10"];
    append(&store, "a-1", [tags.into_iter().fold(event("A"), NewEvent::tag)]);
    assert_eq!(stream(&store, "a-1")[0].tags().collect::<Vec<_>>(), tags);
}

fn generated_ids_differ<B: Backend>(backend: &B) {
    let store = open(backend);
    clients_append(&store);
    let store = reopen(backend, store);
    append(&store, "a-1", ["A", "B"].map(event));
    let mut ids = HashSet::new();
    for name in ["a-0", "a-1", "a-2"] {
        for event in stream(&store, name) {
            assert!(!event.id().is_nil());
            assert!(ids.insert(event.id()), "{:?} twice", event.id());
        }
    }
    assert_eq!(ids.len(), 62);
}

fn clients_append<S: EventStore>(store: &S) {
    crate::support::clients(3, |client| {
        for _ in 0..10 {
            append(store, &format!("a-{client}"), ["A", "B"].map(event));
        }
    });
}

fn time_does_not_go_back<B: Backend>(backend: &B) {
    let store = open(backend);
    let mut last = append(&store, "a-1", [event("A")]).recorded_at;
    assert!(last.as_micros() > 0);
    for number in 0..20 {
        let at = append(&store, &format!("a-{}", number % 3), [event("A")]).recorded_at;
        assert!(at >= last);
        last = at;
    }
}

fn events_of_a_commit_share_its_time<B: Backend>(backend: &B) {
    let store = open(backend);
    let done = append(&store, "a-1", (0..50).map(|_| event("A")));
    let read = stream(&store, "a-1");
    assert!(read.iter().all(|it| it.recorded_at() == done.recorded_at));
    assert!(read.iter().all(|it| it.commit() == done.first_position));
    let lasts: Vec<bool> = read.iter().map(RecordedEvent::is_last_in_commit).collect();
    assert_eq!(lasts.iter().filter(|last| **last).count(), 1);
    assert!(lasts[49]);
}
