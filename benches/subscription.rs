//! Subscriptions beside what they are measured against: catching up beside a forward scan of the
//! same events, a wake-up beside a hand-over between two threads, an append with a thousand
//! sleepers beside one with none.
//!
//! `cargo bench --bench subscription`. The store is in the page cache, and was verified by a first
//! scan. What a wake-up costs from the moment an event is visible is "append to wake-up" less
//! "append, nobody waits".

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use annals::{Event, ExpectedVersion, NewEvent, Query, Store, Subscribe};
use common::{Input, buffered, config, directory};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 200_000;
/// How long a thread is given to fall asleep.
const ASLEEP: Duration = Duration::from_micros(100);

fn fill() -> (Store, tempfile::TempDir) {
    let dir = directory();
    let open = || buffered().segment_size(16 << 20).open(dir.path().join("store")).expect("open");
    let (store, mut input) = (open(), Input::new(7));
    for i in 0..EVENTS {
        let event = input.event().tag(format!("owner:{}", i % 500));
        store.append(input.stream(), ExpectedVersion::Any, [event]).expect("append");
    }
    // Closing waits for the segments that are still being sealed.
    store.close().expect("close");
    (open(), dir)
}

fn bytes(events: &[Event]) -> usize {
    events.iter().map(|event| event.data().len()).sum()
}

/// Messages until it has caught up; returns how many bytes of data there were.
fn catch_up(subscribe: Subscribe) -> usize {
    let mut total = 0;
    for message in subscribe.start().expect("start") {
        let message = message.expect("a message");
        if message.is_caught_up() {
            break;
        }
        total += bytes(message.events());
    }
    total
}

fn catching_up(criterion: &mut Criterion) {
    let (store, _dir) = fill();
    let mut group = criterion.benchmark_group("catch up with 200,000 events");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("forward scan, borrowed", |bencher| {
        bencher.iter(|| {
            let mut bytes = 0;
            store.read_all().for_each(|event| bytes += event.data().len()).expect("scan");
            bytes
        });
    });
    group.bench_function("forward scan, owned", |bencher| {
        let len = |event: annals::Result<Event>| event.expect("an event").data().len();
        bencher.iter(|| store.read_all().into_iter().map(len).sum::<usize>());
    });
    for batch in [32, 256, 1024] {
        group.bench_function(format!("subscription, batches of {batch}"), |bencher| {
            bencher.iter(|| catch_up(store.subscribe().batch_size(batch)));
        });
    }
    group.bench_function("subscription, one by one", |bencher| {
        bencher.iter(|| {
            let events = store.subscribe().start().expect("start").events();
            let len = |event: annals::Result<Event>| event.expect("an event").data().len();
            events.take(usize::try_from(EVENTS).expect("it fits")).map(len).sum::<usize>()
        });
    });
    group.bench_function("subscription, 1 of 500 matches", |bencher| {
        bencher.iter(|| catch_up(store.subscribe().matching(Query::tagged(["owner:7"]))));
    });
    group.finish();
}

/// The time from before `cause` in one thread to the moment `wait` returned in another.
fn latency<T>(
    rounds: u64,
    mut cause: impl FnMut(),
    told: &mpsc::Receiver<(Instant, T)>,
) -> Duration {
    (0..rounds)
        .map(|_| {
            thread::sleep(ASLEEP);
            let began = Instant::now();
            cause();
            told.recv().expect("told").0 - began
        })
        .sum()
}

fn waking_up(criterion: &mut Criterion) {
    let dir = directory();
    let store = buffered().open(dir.path().join("store")).expect("open");
    let append = || {
        let event = NewEvent::new("Happened", "");
        store.append("s", ExpectedVersion::Any, [event]).expect("append");
    };
    let mut group = criterion.benchmark_group("wake up");
    let (tell, told) = mpsc::channel();

    let (send, receive) = mpsc::channel();
    let tell_of_channel = tell.clone();
    let receiver = thread::spawn(move || {
        while let Ok(()) = receive.recv() {
            tell_of_channel.send((Instant::now(), ())).expect("tell");
        }
    });
    group.bench_function("hand-over through a channel", |bencher| {
        bencher.iter_custom(|rounds| latency(rounds, || send.send(()).expect("send"), &told));
    });
    drop(send);
    receiver.join().expect("it has ended");

    group.bench_function("append, nobody waits", |bencher| {
        bencher.iter_custom(|rounds| {
            let timed = || {
                thread::sleep(ASLEEP);
                let began = Instant::now();
                append();
                began.elapsed()
            };
            (0..rounds).map(|_| timed()).sum()
        });
    });

    let mut subscription = store.subscribe().from_now().start().expect("start");
    assert!(subscription.next().expect("open").expect("a message").is_caught_up());
    let stop = subscription.stop_handle();
    let subscriber = thread::spawn(move || {
        for message in subscription {
            let at = Instant::now();
            assert_eq!(message.expect("a message").events().len(), 1);
            tell.send((at, ())).expect("tell");
        }
    });
    group.bench_function("append to wake-up", |bencher| {
        bencher.iter_custom(|rounds| latency(rounds, append, &told));
    });
    stop.stop();
    subscriber.join().expect("it has ended");
    group.finish();
}

/// What an append costs its caller while others sleep.
fn sleepers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append beside sleepers");
    for count in [0, 1, 1000] {
        let dir = directory();
        let store = buffered().open(dir.path().join("store")).expect("open");
        let consumers: Vec<_> = (0..count)
            .map(|_| {
                let subscription = store.subscribe().from_now().start().expect("start");
                let stop = subscription.stop_handle();
                let consumer = thread::Builder::new().stack_size(128 << 10);
                (consumer.spawn(move || subscription.count()).expect("spawn"), stop)
            })
            .collect();
        group.bench_function(format!("{count} subscriptions"), |bencher| {
            bencher.iter_custom(|rounds| {
                let timed = || {
                    // All of them are asleep again.
                    thread::sleep(ASLEEP + Duration::from_micros(50) * count);
                    let event = NewEvent::new("Happened", "");
                    let began = Instant::now();
                    store.append("s", ExpectedVersion::Any, [event]).expect("append");
                    began.elapsed()
                };
                (0..rounds).map(|_| timed()).sum()
            });
        });
        for (consumer, stop) in consumers {
            stop.stop();
            consumer.join().expect("it has ended");
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = config();
    targets = catching_up, waking_up, sleepers
}
criterion_main!(benches);
