//! Whole commits: no message ends within one, whatever is selected and wherever reading is paused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use annals::testing::{Fault, Operation, SimStorage};
use annals::{
    Error, ExpectedVersion, NewEvent, Options, Position, Query, Store,
    subscription::{Message, Subscription, SubscriptionStream},
};
use futures::Stream as _;
use proptest::prelude::*;

use super::support::{Filter, LONG, Place, event, expected, options};

/// A commit as a message shows it: first and last position, and the delivered ones.
type Shown = (u64, u64, Vec<u64>);

fn commit(store: &Store, events: u64) {
    let (mut transaction, next) = (store.transaction(), store.head().get() + 1);
    for number in next..next + events {
        let (stream, event) = event(number);
        transaction = transaction.append(stream, ExpectedVersion::Any, [event]);
    }
    transaction.commit().unwrap();
}

fn shown(message: &Message) -> Vec<Shown> {
    let mut shown = Vec::new();
    for commit in message.commits() {
        for event in commit {
            assert_eq!(event.commit(), commit.first_position());
            assert_eq!(event.commit_end(), commit.last_position());
            assert_eq!(event.recorded_at(), commit.recorded_at());
        }
        let positions: Vec<u64> = commit.into_iter().map(|it| it.position().get()).collect();
        let [first, last] = [commit.first_position(), commit.last_position()].map(Position::get);
        assert_eq!(commit.is_complete(), positions.len() as u64 == last - first + 1);
        shown.push((first, last, positions));
    }
    shown
}

/// The commits whose last positions are given, with the matching events after `after`.
fn due(store: &Store, ends: &[u64], after: u64, filter: &Filter) -> Vec<Shown> {
    let positions = expected(store, after, filter);
    let mut first = 1;
    let mut due = Vec::new();
    for &last in ends {
        let matching = positions.iter().filter(|it| (first..=last).contains(*it)).copied();
        due.push((first, last, matching.collect::<Vec<_>>()));
        first = last + 1;
    }
    due.retain(|(_, _, positions)| !positions.is_empty());
    due
}

fn filters() -> impl Strategy<Value = Filter> {
    let types = proptest::collection::vec(0..3_usize, 0..3);
    let (tag, stream) = (proptest::option::of(0..12_u64), proptest::option::of(0..6_u64));
    (types, tag, stream).prop_map(|(types, tag, stream)| Filter {
        types,
        tag,
        stream,
        ..Filter::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whole_commits_are_delivered_once_and_never_split(
        sizes in proptest::collection::vec(1..24_u64, 1..40),
        filter in proptest::option::of(filters()),
        batch in prop_oneof![1..12_usize, Just(256)],
        start in 0..40_u64,
        resumed in any::<bool>(),
        as_stream in any::<bool>(),
    ) {
        let storage = Arc::new(SimStorage::new(1));
        let store = options().storage(storage).background(false).open("/store").unwrap();
        commit(&store, start.max(1));
        let begin = |after: u64| {
            let subscribe = store.subscribe().after(after).batch_size(batch).whole_commits();
            match &filter {
                Some(filter) => subscribe.matching(filter.query()).start().unwrap(),
                None => subscribe.start().unwrap(),
            }
        };
        let (mut subscription, mut seen, mut progress) = (begin(start / 2), Vec::new(), start / 2);
        let mut take = |message: &Message| {
            let commits = shown(message);
            // The last commit of a message is the first that fills it.
            let before: usize = commits.iter().rev().skip(1).map(|(_, _, events)| events.len()).sum();
            assert!(before < batch, "{before} events before the last commit, {batch} are enough");
            if let Some((_, last, _)) = commits.last() {
                assert!(message.scanned_through.get() >= *last, "{message:?}");
            }
            assert!(message.scanned_through.get() >= progress);
            progress = message.scanned_through.get();
            seen.extend(commits);
            progress
        };
        let mut ends = vec![store.head().get()];
        for size in sizes {
            commit(&store, size);
            ends.push(store.head().get());
            if let Some(message) = subscription.try_next().unwrap() {
                let progress = take(&message);
                if resumed {
                    subscription = begin(progress);
                }
            }
        }
        if as_stream {
            let mut stream = subscription.into_stream();
            poll_all(&mut stream, store.head(), |message| {
                take(message);
            });
        } else {
            while let Some(message) = subscription.try_next().unwrap() {
                take(&message);
            }
            prop_assert_eq!(subscription.scanned_through(), store.head());
        }
        let filter = filter.unwrap_or_default();
        prop_assert_eq!(seen, due(&store, &ends, start / 2, &filter));
    }
}

/// Takes messages until everything is scanned; returns the number of polls without one.
fn poll_all(
    stream: &mut SubscriptionStream,
    head: Position,
    mut take: impl FnMut(&Message),
) -> usize {
    let (mut pending, began) = (0, Instant::now());
    while stream.scanned_through() < head {
        match Pin::new(&mut *stream).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(message))) => take(&message),
            Poll::Pending => {
                pending += 1;
                thread::yield_now();
            }
            Poll::Ready(other) => panic!("{other:?}"),
        }
        assert!(began.elapsed() < LONG, "it has stopped");
    }
    pending
}

#[test]
fn commit_larger_than_a_poll_is_one_message_of_a_stream() {
    const EVENTS: u64 = 3_000;
    let place = Place::new();
    let store = Options::new().segment_size(16 << 20).open(place.path()).unwrap();
    let events =
        |count: u64| (0..count).map(|number| NewEvent::new(["A", "B"][(number % 2) as usize], ""));
    for count in [3, EVENTS, 3] {
        store.append("s", ExpectedVersion::Any, events(count)).unwrap();
    }
    for (query, part) in [(None, 1), (Some(Query::types(["A", "C"])), 2)] {
        let mut subscribe = store.subscribe().whole_commits().batch_size(1);
        if let Some(query) = query {
            subscribe = subscribe.matching(query);
        }
        let mut sizes = Vec::new();
        let mut stream = subscribe.start().unwrap().into_stream();
        let pending = poll_all(&mut stream, store.head(), |message| {
            sizes.extend(message.commits().map(|commit| commit.events().len() as u64));
        });
        assert_eq!(sizes, [3_u64.div_ceil(part), EVENTS / part, 3_u64.div_ceil(part)]);
        assert!(pending >= 3, "other tasks ran {pending} times while {EVENTS} events were read");
    }
}

#[test]
fn subscription_that_begins_within_a_commit_delivers_its_rest() {
    let place = Place::new();
    let store = place.open();
    commit(&store, 5);
    commit(&store, 2);
    let mut subscription =
        store.subscribe().after(3).whole_commits().batch_size(1).start().unwrap();
    let message = subscription.next().unwrap().unwrap();
    assert_eq!(shown(&message), [(1, 5, vec![4, 5])]);
    assert!(!message.commits().next().unwrap().is_complete());
    assert_eq!(message.scanned_through.get(), 5);
    let message = subscription.next().unwrap().unwrap();
    assert_eq!(shown(&message), [(6, 7, vec![6, 7])]);
    assert!(message.commits().next().unwrap().is_complete());
}

#[test]
fn failed_read_within_a_commit_does_not_split_it() {
    let storage = SimStorage::new(7);
    let open = || {
        let storage = Arc::new(storage.clone());
        options().storage(storage).background(false).open("/store").unwrap()
    };
    let store = open();
    let mut ends = Vec::new();
    for size in (1..=12).cycle().take(60) {
        commit(&store, size);
        ends.push(store.head().get());
    }
    drop(store);
    let filter = Filter { types: vec![1], ..Filter::default() };
    let (mut errors, mut late) = (0, 0);
    for nth in 1..40 {
        // What was read once is read from memory later.
        let store = open();
        let subscribe = store.subscribe().batch_size(30).matching(filter.query());
        let mut subscription: Subscription = subscribe.whole_commits().start().unwrap();
        storage.inject_at(".seg", Fault::Fail { operation: Operation::Read, nth });
        let mut seen = Vec::new();
        loop {
            match subscription.try_next() {
                Ok(Some(message)) => seen.extend(shown(&message)),
                Ok(None) => break,
                Err(Error::Io { .. }) => {
                    errors += 1;
                    late += usize::from(!seen.is_empty());
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        storage.clear_faults();
        assert_eq!(seen, due(&store, &ends, 0, &filter), "fault at read {nth}");
    }
    assert!(errors > 5 && late > 2, "{errors} of the faults were met, {late} after a message");
}
