//! Subscriptions compared with a plain read and a naive filter, over random lives of a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals::testing::SimStorage;
use annals::{Query, Store, subscription::Subscription};
use proptest::prelude::*;

use super::support::{Filter, Place, Seen, append, expected, options};

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Take(usize),
    TakeAll,
    Reopen,
    Resubscribe,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40_u64).prop_map(Step::Append),
        4 => (1..6_usize).prop_map(Step::Take),
        2 => Just(Step::TakeAll),
        1 => Just(Step::Reopen),
        1 => Just(Step::Resubscribe),
    ];
    proptest::collection::vec(step, 1..40)
}

fn filters() -> impl Strategy<Value = Filter> {
    let types = proptest::collection::vec(0..3_usize, 0..3);
    let tag = proptest::option::of(0..12_u64);
    let category = proptest::option::of(0..2_usize);
    let stream = proptest::option::of(0..6_u64);
    let after = proptest::option::of(0..400_u64);
    (types, tag, category, stream, after).prop_map(|(types, tag, category, stream, after)| Filter {
        types,
        tag,
        category,
        stream,
        after,
    })
}

fn subscribe(store: &Store, after: u64, query: Option<Query>, batch: usize) -> Subscription {
    let subscribe = store.subscribe().after(after).batch_size(batch);
    match query {
        Some(query) => subscribe.matching(query).start().unwrap(),
        None => subscribe.start().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn subscription_delivers_every_event_once_in_order(
        steps in steps(),
        filter in proptest::option::of(filters()),
        batch in prop_oneof![1..8_usize, Just(256)],
        start in 0..50_u64,
    ) {
        let storage = Arc::new(SimStorage::new(1));
        let open = || {
            let storage = Arc::new(storage.process());
            options().storage(storage).background(false).open("/store").unwrap()
        };
        let mut store = open();
        append(&store, start.max(1));
        let query = filter.as_ref().map(Filter::query);
        let begin = |store: &Store, after| subscribe(store, after, query.clone(), batch);
        let mut subscription = begin(&store, start);
        let mut seen = Seen { scanned_through: start, ..Seen::default() };
        for step in steps {
            match step {
                Step::Append(count) => append(&store, count),
                Step::Take(messages) => {
                    for _ in 0..messages {
                        if let Some(message) = subscription.try_next().unwrap() {
                            seen.take(&message, store.head());
                        }
                    }
                }
                Step::TakeAll => seen.take_all(&mut subscription, &store),
                Step::Reopen => {
                    store.close().unwrap();
                    let closed = subscription.try_next();
                    prop_assert!(matches!(closed, Err(annals::Error::Closed)));
                    prop_assert!(subscription.is_ended());
                    store = open();
                    subscription = begin(&store, seen.scanned_through);
                }
                Step::Resubscribe => subscription = begin(&store, seen.scanned_through),
            }
            // The reported position may be stored: no event up to it is missing.
            let mut due = expected(&store, start, &filter.clone().unwrap_or_default());
            due.retain(|&position| position <= seen.scanned_through);
            prop_assert_eq!(&seen.positions, &due);
        }
        seen.take_all(&mut subscription, &store);
        let due = expected(&store, start, &filter.unwrap_or_default());
        prop_assert_eq!(seen.positions, due);
        prop_assert_eq!(subscription.scanned_through(), store.head().max(start.into()));
        prop_assert!(seen.caught_up > 0);
    }
}

#[test]
fn subscription_during_appends_and_rollovers_delivers_every_event_once() {
    let place = Place::new();
    let store = place.open();
    append(&store, 500);
    let filters = [
        Filter::default(),
        Filter { types: vec![0, 2], ..Filter::default() },
        Filter { tag: Some(3), category: Some(0), ..Filter::default() },
        Filter { stream: Some(2), ..Filter::default() },
        Filter { tag: Some(99), ..Filter::default() },
    ];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let consumers: Vec<_> = filters
            .iter()
            .enumerate()
            .map(|(i, filter)| {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    let mut subscription = subscribe(store, 0, Some(filter.query()), 1 + i * 7);
                    let mut seen = Seen::default();
                    loop {
                        let was_done = done.load(Ordering::SeqCst);
                        let timeout = std::time::Duration::from_millis(5);
                        match subscription.next_timeout(timeout).unwrap() {
                            Some(message) => seen.take(&message, store.head()),
                            None if was_done => return (seen, subscription.scanned_through()),
                            None => {}
                        }
                    }
                })
            })
            .collect();
        for round in 0..300_u64 {
            append(&store, 1 + round % 9);
        }
        done.store(true, Ordering::SeqCst);
        for (consumer, filter) in consumers.into_iter().zip(&filters) {
            let (seen, scanned_through) = consumer.join().unwrap();
            assert_eq!(seen.positions, expected(&store, 0, filter), "{filter:?}");
            assert_eq!(scanned_through, store.head());
            assert!(seen.caught_up >= 1);
        }
    });
    assert!(store.stats().segments > 5, "{:?}", store.stats());
}

#[test]
fn caught_up_is_reported_once_and_again_after_falling_behind() {
    let place = Place::new();
    let store = place.open();
    let mut subscription = store.subscribe().batch_size(10).start().unwrap();
    let mut told = || {
        let mut told = Vec::new();
        while let Some(message) = subscription.try_next().unwrap() {
            told.push(if message.is_caught_up() { 0 } else { message.events().len() });
        }
        told
    };
    assert_eq!(told(), [0], "an empty store is caught up with");
    assert_eq!(told(), [0; 0], "and that is told once");
    append(&store, 10);
    assert_eq!(told(), [10], "nothing was left behind");
    append(&store, 21);
    assert_eq!(told(), [10, 10, 1, 0], "it had fallen behind");
    append(&store, 3);
    assert_eq!(told(), [3]);
}

#[test]
fn progress_is_reported_where_nothing_matches() {
    let place = Place::new();
    let store = place.open();
    // More than three of the largest gaps.
    let total = 6 * Subscription::PROGRESS_EVERY;
    let plain = || annals::NewEvent::new("T", "");
    for _ in 0..total / 256 {
        store.append("s", annals::ExpectedVersion::Any, (0..256).map(|_| plain())).unwrap();
    }
    // One matching event, far after the others.
    store.append("s", annals::ExpectedVersion::Any, [plain().tag("wanted")]).unwrap();
    let by_type = annals::QueryItem::new().types(["T"]).tag("wanted");
    for query in [Query::tagged(["wanted"]), by_type.into()] {
        let mut subscription = store.subscribe().matching(query).start().unwrap();
        let mut seen = Seen::default();
        let mut gaps = Vec::new();
        while let Some(message) = subscription.try_next().unwrap() {
            gaps.push(message.scanned_through.get() - seen.scanned_through);
            seen.take(&message, store.head());
        }
        assert_eq!(seen.positions, [total + 1]);
        assert!(seen.progress >= 3, "{gaps:?}");
        assert_eq!(seen.scanned_through, total + 1);
        // A sealed segment may be skipped at once.
        let largest = gaps.iter().max().unwrap();
        assert!(*largest <= 2 * Subscription::PROGRESS_EVERY, "{gaps:?}");
    }
    // Progress at the head: without a match, but not for each event.
    let query = Query::tagged(["unknown"]);
    let mut subscription = store.subscribe().matching(query).from_now().start().unwrap();
    let head = store.head().get();
    let mut seen = Seen { scanned_through: head, ..Seen::default() };
    seen.take_all(&mut subscription, &store);
    for _ in 0..total / 64 {
        store.append("s", annals::ExpectedVersion::Any, (0..64).map(|_| plain())).unwrap();
        seen.take_all(&mut subscription, &store);
        let open = store.head().get() - seen.scanned_through;
        assert!(open < Subscription::PROGRESS_EVERY, "{open} events without a word");
        assert_eq!(subscription.scanned_through(), store.head());
    }
    // A slow machine reports more, once per second.
    assert!(seen.progress >= 6 && seen.caught_up == 1, "{seen:?}");
}
