//! Metadata changes, delivered in order with the events to subscriptions that ask for them.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use annals::testing::SimStorage;
use annals::{
    Durability, ExpectedVersion, NewEvent, Options, Query, Store, StreamChangeKind, StreamMetadata,
    subscription::{Message, MessageKind, Subscribe, Subscription},
};

use super::support::{LONG, Place, append, options};

/// The order that a message reports: positions, and changes with the positions that they follow.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Event(u64),
    Change(String, StreamChangeKind, u64),
}

fn told(message: Message, into: &mut Vec<Told>) {
    match message.kind {
        MessageKind::Events(events) => {
            into.extend(events.iter().map(|event| Told::Event(event.position().get())));
        }
        MessageKind::StreamChanged(changes) => {
            assert!(!changes.is_empty());
            for change in changes {
                assert_eq!(change.after, message.scanned_through);
                into.push(Told::Change(change.stream, change.change, change.after.get()));
            }
        }
        _ => {}
    }
}

fn take_all(subscription: &mut Subscription) -> Vec<Told> {
    let mut all = Vec::new();
    while let Some(message) = subscription.try_next().unwrap() {
        told(message, &mut all);
    }
    all
}

fn all_of(subscribe: Subscribe) -> Vec<Told> {
    take_all(&mut subscribe.start().unwrap())
}

fn one(store: &Store, stream: &str) {
    store.append(stream, ExpectedVersion::Any, [NewEvent::new("Opened", "")]).unwrap();
}

fn change(stream: &str, kind: StreamChangeKind, after: u64) -> Told {
    Told::Change(stream.into(), kind, after)
}

use StreamChangeKind::{Archived, Metadata, TruncatedBefore, Unarchived};

/// Three events, with changes of every kind around them.
fn fill(store: &Store) -> Vec<Told> {
    let limits = StreamMetadata::new().max_count(7);
    one(store, "a-1");
    one(store, "a-1");
    store.truncate_before("a-1", 1).unwrap();
    store.cursors().advance("c", 1).unwrap();
    store.set_stream_metadata("a-1", limits).unwrap();
    let event = NewEvent::new("Opened", "");
    let transaction = store.transaction().append("b-1", ExpectedVersion::Any, [event]);
    transaction.archive("b-1").stream_metadata("a-1", limits).commit().unwrap();
    store.unarchive("b-1").unwrap();
    vec![
        Told::Event(1),
        Told::Event(2),
        change("a-1", TruncatedBefore(1), 2),
        change("a-1", Metadata(limits), 2),
        Told::Event(3),
        change("b-1", Archived, 3),
        change("a-1", Metadata(limits), 3),
        change("b-1", Unarchived, 3),
    ]
}

#[test]
fn metadata_changes_are_delivered_in_order_also_after_reopening() {
    let place = Place::new();
    let store = place.open();
    let expected = fill(&store);
    assert_eq!(all_of(store.subscribe().include_metadata()), expected);
    assert_eq!(all_of(store.subscribe().include_metadata().batch_size(1)), expected);
    store.close().unwrap();
    let store = place.open();
    assert_eq!(all_of(store.subscribe().include_metadata()), expected);
    // A change that follows the start position is delivered.
    for (after, skipped) in [(1, 1), (2, 2), (3, 5)] {
        let told = all_of(store.subscribe().after(after).include_metadata());
        assert_eq!(told, expected[skipped..], "after {after}");
    }
    assert!(store.subscribe().after(4).include_metadata().start().is_err());
    assert_eq!(all_of(store.subscribe().from_now().include_metadata()), []);
}

#[test]
fn metadata_changes_are_delivered_only_if_asked_for() {
    let place = Place::new();
    let store = place.open();
    fill(&store);
    let mut subscription = store.subscribe().start().unwrap();
    assert_eq!(take_all(&mut subscription), [1, 2, 3].map(Told::Event));
    store.archive("a-1").unwrap();
    assert!(subscription.try_next().unwrap().is_none());
    assert!(subscription.next_timeout(Duration::from_millis(30)).unwrap().is_none());
}

#[test]
fn metadata_changes_are_filtered_by_the_streams_of_the_query() {
    let place = Place::new();
    let store = place.open();
    fill(&store);
    let told = |query| all_of(store.subscribe().matching(query).include_metadata());
    let of_b = [Told::Event(3), change("b-1", Archived, 3), change("b-1", Unarchived, 3)];
    assert_eq!(told(Query::stream("b-1")), of_b);
    assert_eq!(told(Query::category("b")), of_b);
    assert_eq!(told(Query::category("c")), []);
    // A query that names no stream excludes none.
    assert_eq!(told(Query::types(["Other"])).len(), 5);
}

#[test]
fn metadata_change_without_an_event_wakes_the_subscription() {
    for durability in [Durability::Sync, Durability::BUFFERED] {
        let place = Place::new();
        let store = options().durability(durability).open(place.path()).unwrap();
        fill(&store);
        let mut subscription = store.subscribe().from_now().include_metadata().start().unwrap();
        assert!(subscription.next().unwrap().unwrap().is_caught_up());
        let begun = Instant::now();
        let waits = thread::spawn(move || {
            let mut all = Vec::new();
            while all.len() < 2 {
                let message = subscription.next_timeout(LONG).unwrap();
                told(message.expect("it is woken"), &mut all);
            }
            all
        });
        // A cursor is not delivered.
        thread::sleep(Duration::from_millis(20));
        store.cursors().advance("c", 2).unwrap();
        store.archive("a-1").unwrap();
        thread::sleep(Duration::from_millis(20));
        store.unarchive("a-1").unwrap();
        let expected = [change("a-1", Archived, 3), change("a-1", Unarchived, 3)];
        assert_eq!(waits.join().unwrap(), expected);
        assert!(begun.elapsed() < LONG, "its time ran out");
    }
}

#[test]
fn subscription_to_metadata_loses_no_wake_up() {
    let place = Place::new();
    let store = place.open();
    one(&store, "a-1");
    let mut subscription = store.subscribe().from_now().include_metadata().start().unwrap();
    let (tell, is_told) = mpsc::channel();
    let waits = thread::spawn(move || {
        let mut all = Vec::new();
        while all.len() < 1000 {
            let before = all.len();
            told(subscription.next().unwrap().unwrap(), &mut all);
            if all.len() > before {
                tell.send(()).unwrap();
            }
        }
    });
    for round in 0..1000 {
        store.truncate_before("a-1", round % 2).unwrap();
        // The consumer is about to wait again when the next change is committed.
        is_told.recv_timeout(LONG).expect("it is woken");
    }
    waits.join().unwrap();
}

#[test]
fn metadata_changes_keep_their_order_through_rollovers_and_for_a_slow_consumer() {
    let place = Place::new();
    let store = place.open();
    let mut live = store.subscribe().include_metadata().batch_size(7).start().unwrap();
    let (mut expected, mut seen) = (Vec::new(), Vec::new());
    for round in 1..=40u64 {
        let before = store.head().get();
        append(&store, 150);
        expected.extend((before + 1..=store.head().get()).map(Told::Event));
        store.truncate_before("account-0", round % 3).unwrap();
        let kind = TruncatedBefore(round % 3);
        expected.push(change("account-0", kind, store.head().get()));
        if round % 4 == 0 {
            seen.extend(take_all(&mut live));
        }
    }
    assert!(store.stats().segments > 3, "there are rollovers");
    assert_eq!(seen, expected);
    let all = |store: &Store| all_of(store.subscribe().include_hidden().include_metadata());
    assert_eq!(all(&store), expected);
    store.close().unwrap();
    let store = place.open();
    assert_eq!(all(&store), expected);
    // A window without changes, and a query whose index excludes whole segments.
    let rare = store.subscribe().matching(Query::stream("account-0").after(5_999));
    let changes = all_of(rare.include_metadata());
    let is_event = |told: &Told| matches!(told, Told::Event(_));
    assert_eq!(changes.iter().filter(|told| !is_event(told)).count(), 40);
}

#[test]
fn metadata_changes_are_not_delivered_before_they_are_durable() {
    let storage = SimStorage::new(11);
    let options = Options::new().storage(Arc::new(storage)).background(false);
    let store = options.open("/store").unwrap();
    one(&store, "a-1");
    let mut subscription = store.subscribe().include_metadata().start().unwrap();
    assert_eq!(take_all(&mut subscription), [Told::Event(1)]);
    let buffered = store.transaction().archive("a-1").durability(Durability::BUFFERED);
    buffered.commit().unwrap();
    assert_eq!(take_all(&mut subscription), []);
    assert_eq!(all_of(store.subscribe().include_metadata()), [Told::Event(1)]);
    store.sync().unwrap();
    assert_eq!(take_all(&mut subscription), [change("a-1", Archived, 1)]);
}

#[test]
fn metadata_changes_of_a_syncing_writer_reach_a_follower_without_an_event() {
    let place = Place::new();
    let options = options().durability(Durability::Sync);
    let writer = options.clone().open(place.path()).unwrap();
    one(&writer, "a-1");
    let reader = options.read_only(true).open(place.path()).unwrap();
    let mut subscription = reader.subscribe().include_metadata().start().unwrap();
    assert_eq!(take_all(&mut subscription), [Told::Event(1)]);
    writer.archive("a-1").unwrap();
    assert_eq!(take_all(&mut subscription), [change("a-1", Archived, 1)]);
    one(&writer, "b-1");
    assert_eq!(take_all(&mut subscription), [Told::Event(2)]);
}

#[test]
fn metadata_change_of_a_buffered_writer_wakes_a_follower() {
    let place = Place::new();
    let writer = place.open();
    one(&writer, "a-1");
    let reader = options().read_only(true).open(place.path()).unwrap();
    let mut subscription = reader.subscribe().include_metadata().start().unwrap();
    assert_eq!(take_all(&mut subscription), [Told::Event(1)]);
    let begun = Instant::now();
    let waits = thread::spawn(move || subscription.next_timeout(LONG).unwrap());
    thread::sleep(Duration::from_millis(20));
    writer.archive("a-1").unwrap();
    let mut all = Vec::new();
    told(waits.join().unwrap().expect("it is woken"), &mut all);
    assert_eq!(all, [change("a-1", Archived, 1)]);
    assert!(begun.elapsed() < LONG, "its time ran out");
}
