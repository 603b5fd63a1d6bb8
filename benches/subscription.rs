//! Subscriptions beside their reference: catching up beside a forward scan of the same events, a
//! wake-up beside a hand-over between two threads, an append with a thousand sleepers beside one
//! without.
//!
//! `cargo bench --bench subscription`. The store is in the page cache, and was verified by a first
//! scan. The cost of a wake-up from the moment an event is visible is "append to wake-up" less
//! "append, nobody waits".

#![allow(missing_docs, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]
#![allow(clippy::print_stdout, reason = "this is what it is for")]

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use annals::{Event, ExpectedVersion, NewEvent, Query, Store, subscription::Subscribe};
use common::{Input, buffered, config, directory};
use criterion::{Criterion, Throughput, criterion_group};

const EVENTS: u64 = 200_000;
const WAKE_UPS: usize = 5_000;
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
    group.bench_function("subscription, whole commits", |bencher| {
        bencher.iter(|| catch_up(store.subscribe().whole_commits()));
    });
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
fn latency(mut cause: impl FnMut(), told: &mpsc::Receiver<Instant>) -> Duration {
    thread::sleep(ASLEEP);
    let began = Instant::now();
    cause();
    told.recv().expect("told") - began
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// In turn, round by round, so that whatever else the machine does weighs on all alike.
fn waking_up() {
    let dir = directory();
    let store = buffered().open(dir.path().join("store")).expect("open");
    let quiet = buffered().open(dir.path().join("quiet")).expect("open");
    let append = |store: &Store| {
        let event = NewEvent::new("Happened", "");
        store.append("s", ExpectedVersion::Any, [event]).expect("append");
    };
    let (tell, told) = mpsc::channel();
    let (send, receive) = mpsc::channel();
    let tell_of_channel = tell.clone();
    let receiver = thread::spawn(move || {
        while let Ok(()) = receive.recv() {
            tell_of_channel.send(Instant::now()).expect("tell");
        }
    });
    let mut subscription = store.subscribe().from_now().start().expect("start");
    assert!(subscription.next().expect("open").expect("a message").is_caught_up());
    let stop = subscription.stop_handle();
    let subscriber = thread::spawn(move || {
        for message in subscription {
            let at = Instant::now();
            assert_eq!(message.expect("a message").events().len(), 1);
            tell.send(at).expect("tell");
        }
    });
    let (mut handed, mut alone, mut woken) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..WAKE_UPS {
        handed.push(latency(|| send.send(()).expect("send"), &told));
        thread::sleep(ASLEEP);
        let began = Instant::now();
        append(&quiet);
        alone.push(began.elapsed());
        woken.push(latency(|| append(&store), &told));
    }
    drop(send);
    receiver.join().expect("it has ended");
    stop.stop();
    subscriber.join().expect("it has ended");
    let [handed, alone, woken] = [handed, alone, woken].map(|mut times| median(&mut times));
    let wake_up = woken.saturating_sub(alone);
    println!("| wake up, medians of {WAKE_UPS} | |\n|---|---|");
    println!("| hand-over through a channel | {handed:.1?} |");
    println!("| append, nobody waits | {alone:.1?} |");
    println!("| append to wake-up | {woken:.1?} |");
    let ratio = wake_up.as_secs_f64() / handed.as_secs_f64();
    println!("| wake-up alone, against the hand-over | {wake_up:.1?}, {ratio:.2} |");
}

/// The cost of an append to its caller while other threads sleep.
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
    targets = catching_up, sleepers
}

fn main() {
    waking_up();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
