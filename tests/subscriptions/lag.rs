//! Lag and rate of a subscription, under a simulated clock.

use std::thread;

use annals::testing::SimStorage;
use annals::{ExpectedVersion, NewEvent, Query, Store};

use super::shared::{ROOT, simulated};

#[test]
fn lag_and_rate_follow_the_clock_of_the_storage() {
    let sim = SimStorage::new(1);
    let store = simulated(&sim).open(ROOT).unwrap();
    let fill = |store: &Store, count: u64| {
        for number in 0..count {
            let stream = ["a", "b", "c", "d"][(number % 4) as usize];
            store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
        }
    };
    fill(&store, 400);
    let second = || sim.advance_clock(1_000_000);
    let subscribe = store.subscribe().matching(Query::stream("a")).batch_size(10);
    let mut subscription = subscribe.start().unwrap();
    let progress = subscription.progress();
    // Another thread reads it.
    let read = || {
        let progress = progress.clone();
        let read = move || (progress.lag(), progress.rate());
        let (lag, rate) = thread::spawn(read).join().unwrap();
        // The clock steps by a microsecond when it is read.
        let rounded = |rate: f64| (rate * 100.0).round() / 100.0;
        (lag, rounded(rate.events_per_second), rounded(rate.positions_per_second))
    };
    assert_eq!(read(), (400, 0.0, 0.0));
    let message = subscription.next().unwrap().unwrap();
    let scanned = message.scanned_through.get();
    assert_eq!(message.events().len(), 10);
    assert!((37..=40).contains(&scanned));
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let positions = scanned as f64;
    assert_eq!(read(), (400 - scanned, 10.0, positions));
    second();
    second();
    assert_eq!(read(), (400 - scanned, 5.0, positions / 2.0));
    while !subscription.next().unwrap().unwrap().is_caught_up() {}
    assert_eq!(read(), (0, 50.0, 200.0));
    for _ in 0..7 {
        second();
    }
    assert_eq!(read(), (0, 11.11, 44.44));
    for _ in 0..5 {
        second();
    }
    assert_eq!(read(), (0, 0.0, 0.0));
    // What is appended is lag at once, and scanned positions without a match are none.
    store.append("b", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    assert_eq!(read().0, 1);
    assert!(subscription.try_next().unwrap().is_none());
    let (lag, events, positions) = read();
    assert_eq!((lag, events), (0, 0.0));
    assert!(positions > 0.0);
}
