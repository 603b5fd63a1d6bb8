//! Subscriptions as streams: woken when there is news.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use annals::{
    Durability, Error, ExpectedVersion, NewEvent, Options, Query, Store,
    subscription::{Message, SubscriptionStream},
};
use futures::executor::{LocalPool, block_on};
use futures::stream::FusedStream;
use futures::task::LocalSpawnExt;
use futures::{Stream, StreamExt};

use super::shared::WakeCount;
use super::support::{LONG, Place, append, options};

impl WakeCount {
    fn wait(&self, least: usize) {
        let began = Instant::now();
        while self.get() < least {
            assert!(began.elapsed() < LONG, "nobody was woken");
            thread::yield_now();
        }
    }
}

fn poll(it: &mut SubscriptionStream, waker: &Waker) -> Poll<Option<annals::Result<Message>>> {
    Pin::new(it).poll_next(&mut Context::from_waker(waker))
}

fn caught_up(store: &Store) -> SubscriptionStream {
    let mut subscription = store.subscribe().from_now().start().unwrap().into_stream();
    let waker = Waker::from(Arc::new(WakeCount::default()));
    let Poll::Ready(Some(Ok(message))) = poll(&mut subscription, &waker) else { panic!() };
    assert!(message.is_caught_up());
    subscription
}

#[test]
fn waker_of_a_pending_stream_is_woken_once() {
    let place = Place::new();
    let store = place.open();
    let mut subscription = caught_up(&store);
    let (first, second) = (Arc::new(WakeCount::default()), Arc::new(WakeCount::default()));
    let (waker, other) = (Waker::from(Arc::clone(&first)), Waker::from(Arc::clone(&second)));
    for _ in 0..3 {
        assert!(poll(&mut subscription, &waker).is_pending());
    }
    assert!(poll(&mut subscription, &other).is_pending());
    append(&store, 1);
    second.wait(1);
    append(&store, 1);
    assert_eq!((first.get(), second.get()), (0, 1), "the last waker counts, and it counts once");
    let Poll::Ready(Some(Ok(message))) = poll(&mut subscription, &waker) else { panic!() };
    assert_eq!(message.events().len(), 2);
    assert!(poll(&mut subscription, &waker).is_pending());
    subscription.stop_handle().stop();
    assert_eq!(first.get(), 1);
    assert!(!subscription.is_terminated());
    assert!(matches!(poll(&mut subscription, &waker), Poll::Ready(None)));
    assert!(subscription.is_terminated());
}

#[test]
fn dropped_stream_is_not_woken_and_a_pending_one_ends_with_the_store() {
    let place = Place::new();
    let store = place.open();
    let (mut dropped, mut kept) = (caught_up(&store), caught_up(&store));
    let counts: [Arc<WakeCount>; 2] = Default::default();
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    assert!(poll(&mut dropped, &wakers[0]).is_pending());
    assert!(poll(&mut kept, &wakers[1]).is_pending());
    drop(dropped);
    store.close().unwrap();
    assert_eq!(counts.each_ref().map(|count| count.get()), [0, 1]);
    assert!(matches!(poll(&mut kept, &wakers[1]), Poll::Ready(Some(Err(Error::Closed)))));
    assert!(matches!(poll(&mut kept, &wakers[1]), Poll::Ready(None)));
}

/// One event at a time, each appended when the task is about to wait: a lost wake-up would leave it
/// waiting for ever.
#[test]
fn stream_loses_no_wake_up() {
    const ROUNDS: usize = 20_000;
    let place = Place::new();
    // A later sync would wake the task as well.
    let interval = Duration::from_secs(3600);
    let store = options().durability(Durability::Buffered { interval }).open(place.path()).unwrap();
    let mut stream = caught_up(&store);
    let turn = Arc::new(WakeCount::default());
    let told = Arc::clone(&turn);
    let consumer = thread::spawn(move || {
        block_on(async {
            for round in 1..=ROUNDS {
                told.0.store(round, Ordering::SeqCst);
                for _ in 0..round % 997 {
                    std::hint::spin_loop();
                }
                let message = stream.next().await.unwrap().unwrap();
                assert_eq!(message.scanned_through.get(), round as u64);
            }
        });
    });
    for round in 1..=ROUNDS {
        turn.wait(round);
        append(&store, 1);
    }
    consumer.join().unwrap();
}

#[test]
fn thousand_streams_on_one_thread_see_every_event() {
    let place = Place::new();
    let store = place.open();
    let mut pool = LocalPool::new();
    let handles: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = store.subscribe().start().unwrap().into_stream();
            let consume = async move {
                let mut last = 0;
                while last < 30 {
                    let message = stream.next().await.unwrap().unwrap();
                    last = message.scanned_through.get();
                }
                last
            };
            pool.spawner().spawn_local_with_handle(consume).unwrap()
        })
        .collect();
    let writer = thread::spawn(move || {
        for _ in 0..30 {
            append(&store, 1);
            thread::sleep(Duration::from_millis(1));
        }
        store
    });
    for handle in handles {
        assert!(pool.run_until(handle) >= 30);
    }
    drop(writer.join().unwrap());
}

#[test]
fn stream_of_a_follower_is_woken_by_its_writer() {
    let place = Place::new();
    let writer = place.open();
    let reader = options().read_only(true).open(place.path()).unwrap();
    let mut stream = reader.subscribe().start().unwrap().into_stream();
    let appends = thread::spawn(move || {
        for _ in 0..20 {
            append(&writer, 3);
            thread::sleep(Duration::from_millis(2));
        }
        writer
    });
    block_on(async {
        let mut last = 0;
        while last < 60 {
            last = stream.next().await.unwrap().unwrap().scanned_through.get();
        }
    });
    drop(appends.join().unwrap());
}

/// The bytes read by one poll are bounded: of large events it returns a few.
#[test]
fn poll_of_large_events_reads_about_a_mebibyte() {
    const EVENTS: u64 = 40;
    let place = Place::new();
    let store = Options::new().segment_size(16 << 20).open(place.path()).unwrap();
    for _ in 0..EVENTS {
        let large = NewEvent::new("Large", vec![7; 400 << 10]);
        store.append("large", ExpectedVersion::Any, [large]).unwrap();
    }
    store.close().unwrap();
    let store = Store::open(place.path()).unwrap();
    let waker = Waker::from(Arc::new(WakeCount::default()));
    for query in [None, Some(Query::types(["Large", "Small"])), Some(Query::types(["Small"]))] {
        let mut subscribe = store.subscribe();
        if let Some(query) = query {
            subscribe = subscribe.matching(query);
        }
        let mut stream = subscribe.start().unwrap().into_stream();
        let (mut before, began) = (0, Instant::now());
        while before < EVENTS {
            let polled = poll(&mut stream, &waker);
            let scanned = stream.scanned_through().get();
            // The index may exclude a whole segment.
            if let Poll::Ready(Some(Ok(message))) = &polled {
                assert!(message.events().len() <= 3, "{message:?}");
                assert!(
                    message.events().is_empty() || scanned - before <= 3,
                    "{before} to {scanned}"
                );
            }
            before = scanned;
            assert!(began.elapsed() < LONG);
        }
    }
}
