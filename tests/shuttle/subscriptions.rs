//! Subscriptions: no event is missed, repeated or delivered too early, and every wait is woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::subscription::{JoinedProgress, SubscriptionStream};
use annals::testing::SimStorage;
use annals::{
    Error, ExpectedVersion, Query, Result, Store,
    subscription::{Message, MessageKind, Subscription},
};
use shuttle::{future, thread};

use super::support::*;

/// Almost a quarter of a segment: three such commits fill one.
const LARGE: usize = 7_500;

/// The state of a consumer of every event.
#[derive(Default)]
struct Consumer {
    seen: u64,
}

impl Consumer {
    fn take(&mut self, message: &Message) {
        for event in message.events() {
            self.seen += 1;
            assert_eq!(event.position().get(), self.seen);
        }
        assert_eq!(message.scanned_through.get(), self.seen);
    }

    /// Follows up to a position, which must be reached.
    fn follow(&mut self, subscription: &mut Subscription, upto: u64) {
        while self.seen < upto {
            self.take(&subscription.next().unwrap().unwrap());
        }
    }
}

fn next_of(stream: &mut SubscriptionStream) -> Option<Result<Message>> {
    use futures::StreamExt;
    future::block_on(stream.next())
}

fn writer(store: &Store, name: &'static str, commits: u64, size: usize) -> thread::JoinHandle<()> {
    let store = store.clone();
    thread::spawn(move || {
        for commit in 1..commits {
            assert_eq!(append(&store, name, size).unwrap().version, commit * 2);
        }
        // No thread waits for the last commit.
        let events = [event(size), event(size)];
        let ticket = store.transaction().append(name, ExpectedVersion::Any, events).submit();
        drop(ticket.unwrap());
    })
}

/// What two consumers have handled is awaited by a thread and a task, while they handle messages and
/// after one of them has ended.
#[test]
fn joined_progress_is_awaited_by_threads_and_tasks() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        // The last events of a stream that is not followed are reported without a timeout.
        let start = |stream| {
            store.subscribe().matching(Query::stream(stream)).progress_every(1).start().unwrap()
        };
        let subscriptions = [start("a"), start("b")];
        let progress = subscriptions.each_ref().map(Subscription::progress);
        let joined = JoinedProgress::new(progress.clone());
        let seen = Arc::new(AtomicU64::new(0));
        let consumers = subscriptions.map(|mut subscription| {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                while subscription.scanned_through().get() < 4 {
                    let Some(message) = subscription.next_timeout(FOR_EVER).unwrap() else {
                        return;
                    };
                    seen.fetch_add(message.events().len() as u64, Ordering::SeqCst);
                }
                // Asks once more, which handles the last message.
                subscription.try_next().unwrap();
            })
        });
        let waits = {
            let (joined, seen) = (joined.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                assert!(joined.wait_for(4, FOR_EVER).unwrap());
                assert_eq!(seen.load(Ordering::SeqCst), 4);
            })
        };
        let task = {
            let task = joined.wait_for_async(2);
            thread::spawn(move || future::block_on(task).unwrap())
        };
        let ended = {
            let progress = progress[0].clone();
            thread::spawn(move || progress.wait_for(9, FOR_EVER).unwrap_err())
        };
        for stream in ["a", "b"] {
            append(&store, stream, 10).unwrap();
        }
        for thread in consumers.into_iter().chain([waits, task]) {
            thread.join().unwrap();
        }
        assert!(matches!(ended.join().unwrap(), Error::SubscriptionEnded { .. }));
        assert!(joined.handled().get() >= 4);
    });
}

#[test]
fn subscriptions_of_threads_and_tasks_see_every_event() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let thread = |batch_size: usize| {
            let (store, sim) = (store.clone(), sim.clone());
            thread::spawn(move || {
                let mut subscription = store.subscribe().batch_size(batch_size).start().unwrap();
                let mut consumer = Consumer::default();
                consumer.follow(&mut subscription, 3);
                assert!(after_power_loss(&sim).head().get() >= consumer.seen);
                consumer.follow(&mut subscription, 8);
            })
        };
        let task = {
            let store = store.clone();
            thread::spawn(move || {
                let subscribe = store.subscribe().matching(Query::stream("a")).whole_commits();
                let mut stream = subscribe.batch_size(1).start().unwrap().into_stream();
                let mut version = 0;
                while version < 4 {
                    let message = next_of(&mut stream).unwrap().unwrap();
                    assert!(message.commits().all(|commit| commit.is_complete()));
                    for event in message.events() {
                        version += 1;
                        assert_eq!((event.stream(), event.version()), ("a", version));
                    }
                }
            })
        };
        let threads = [thread(256), thread(1), task];
        let writers = [writer(&store, "a", 2, 10), writer(&store, "b", 2, 10)];
        for thread in writers.into_iter().chain(threads) {
            thread.join().unwrap();
        }
    });
}

/// Follows a subscription that is not stopped up to the close of its store.
fn until_the_close(mut next: impl FnMut() -> Option<Result<Message>>) -> u64 {
    let mut consumer = Consumer::default();
    loop {
        match next().expect("the close is told") {
            Ok(message) => consumer.take(&message),
            Err(Error::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(next().is_none());
    consumer.seen
}

/// Four subscriptions sleep; some are stopped or dropped during the commit that wakes them all.
#[test]
fn stopped_and_dropped_subscriptions_do_not_affect_others() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let subscribe = || store.subscribe().start().unwrap();
        let stopped = [subscribe(), subscribe()];
        let stops = stopped.each_ref().map(Subscription::stop_handle);
        let stopped = stopped.map(|subscription| {
            thread::spawn(move || {
                let mut consumer = Consumer::default();
                subscription.for_each(|message| consumer.take(&message.unwrap()));
            })
        });
        let mut dropped = subscribe();
        let dropped = thread::spawn(move || Consumer::default().follow(&mut dropped, 1));
        let staying = [subscribe(), subscribe()].map(|mut subscription| {
            thread::spawn(move || Consumer::default().follow(&mut subscription, 4))
        });
        let writer = writer(&store, "a", 2, 10);
        stops.iter().for_each(annals::subscription::StopHandle::stop);
        let threads = stopped.into_iter().chain([dropped, writer]).chain(staying);
        threads.for_each(|thread| thread.join().unwrap());
        store.close().unwrap();
    });
}

#[test]
fn subscriptions_end_with_the_store() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let mut subscription = store.subscribe().start().unwrap();
        let thread = thread::spawn(move || until_the_close(|| subscription.next()));
        let mut stream = store.subscribe().start().unwrap().into_stream();
        let task = thread::spawn(move || until_the_close(|| next_of(&mut stream)));
        let appender = {
            let store = store.clone();
            thread::spawn(move || unless_closed(append(&store, "a", 10)).is_some())
        };
        store.close().unwrap();
        let seen = [thread, task].map(|it| it.join().unwrap());
        let written = if appender.join().unwrap() { 2 } else { 0 };
        assert!(seen.iter().all(|seen| *seen <= written), "{seen:?} of {written}");
    });
}

/// The subscription reads segments that become full and sealed meanwhile, and reports that it has
/// caught up.
#[test]
fn subscription_that_fell_behind_catches_up() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        let writers = [writer(&store, "a", 4, LARGE), writer(&store, "b", 4, LARGE)];
        let slow = {
            let store = store.clone();
            thread::spawn(move || {
                let mut subscription = store.subscribe().batch_size(1).start().unwrap();
                let mut consumer = Consumer::default();
                let mut caught_up = false;
                while consumer.seen < 16 || !caught_up {
                    let head = store.head();
                    let message = subscription.next().unwrap().unwrap();
                    consumer.take(&message);
                    caught_up = matches!(message.kind, MessageKind::CaughtUp);
                    assert!(!caught_up || message.scanned_through >= head);
                }
            })
        };
        for thread in writers.into_iter().chain([slow]) {
            thread.join().unwrap();
        }
        assert!(store.stats().segments > 1);
        store.close().unwrap();
    });
}
