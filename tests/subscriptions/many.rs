//! A thousand subscriptions at once, and slow ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Query};

use super::support::{LONG, Place, append, options};

const SUBSCRIPTIONS: u64 = 1000;

#[test]
fn thousand_blocking_subscriptions_see_every_event() {
    let place = Place::new();
    let store = place.open();
    let (commits, taken) = (20, AtomicU64::new(0));
    thread::scope(|scope| {
        for i in 0..SUBSCRIPTIONS {
            let query = if i % 2 == 0 { Query::all() } else { Query::types(["Opened", "Closed"]) };
            let mut events = store.subscribe().matching(query).start().unwrap().events();
            let taken = &taken;
            let consume = move || {
                let mut last = 0;
                while last < commits {
                    last = events.next().unwrap().unwrap().position().get();
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            };
            thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, consume).unwrap();
        }
        for round in 1..=commits {
            let event_type = if round % 4 == 0 { "Opened" } else { "Changed" };
            let done = store.append("s", ExpectedVersion::Any, [NewEvent::new(event_type, "")]);
            assert_eq!(done.unwrap().last_position.get(), round);
        }
    });
    let all = SUBSCRIPTIONS / 2 * commits;
    assert_eq!(taken.load(Ordering::SeqCst), all + SUBSCRIPTIONS / 2 * commits / 4);
}

#[test]
fn thousand_idle_subscriptions_continue_where_they_were_left() {
    let place = Place::new();
    let store = place.open();
    let mut all: Vec<_> =
        (0..SUBSCRIPTIONS).map(|_| store.subscribe().batch_size(50).start().unwrap()).collect();
    for _ in 0..40 {
        append(&store, 25);
    }
    // Each continues where it was left: no event was buffered for it.
    for (i, subscription) in all.iter_mut().enumerate() {
        let mut count = 0;
        while count < 1000 {
            let next = subscription.next_timeout(LONG).unwrap();
            count += next.unwrap().events().len();
        }
        assert_eq!(count, 1000, "subscription {i}");
    }
}

/// One event at a time, each appended when the subscriber is about to sleep: a lost wake-up would
/// never be made up for.
#[test]
fn blocking_subscription_loses_no_wake_up() {
    const ROUNDS: u64 = 20_000;
    let place = Place::new();
    // A later sync would wake the subscriber as well.
    let interval = Duration::from_secs(3600);
    let store = options().durability(Durability::Buffered { interval }).open(place.path()).unwrap();
    let turn = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut subscription = store.subscribe().from_now().start().unwrap();
            assert!(subscription.next().unwrap().unwrap().is_caught_up());
            for round in 1..=ROUNDS {
                turn.store(round, Ordering::SeqCst);
                // A varying delay, so that the append comes before the subscriber looks, while it
                // falls asleep, or when it sleeps.
                for _ in 0..round % 997 {
                    std::hint::spin_loop();
                }
                let began = Instant::now();
                let message = subscription.next_timeout(LONG).unwrap().unwrap();
                assert!(began.elapsed() < LONG, "it slept over event {round}");
                assert_eq!(message.scanned_through.get(), round);
            }
        });
        for round in 1..=ROUNDS {
            while turn.load(Ordering::SeqCst) < round {
                std::hint::spin_loop();
            }
            store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
        }
    });
}
