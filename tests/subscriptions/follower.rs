//! Subscriptions of a follower: beside a writer in this process, and in another process.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use annals::{Error, Store};

use super::support::{Filter, LONG, Place, Seen, append, expected, options};

const WRITE_TO: &str = "ANNALS_TEST_CHILD_WRITES_TO";
const EVENTS: u64 = 900;

/// The child process, not a test.
#[test]
fn child_process_appends_events() {
    let Ok(path) = std::env::var(WRITE_TO) else { return };
    let store = options().open(path).unwrap();
    while store.head().get() < EVENTS {
        let left = EVENTS - store.head().get();
        append(&store, left.min(1 + left % 13));
        thread::sleep(Duration::from_millis(1));
    }
    store.close().unwrap();
}

fn follow(store: &Store, filter: &Filter) -> Seen {
    let mut subscription = store.subscribe().matching(filter.query()).start().unwrap();
    let mut seen = Seen::default();
    while subscription.scanned_through().get() < EVENTS {
        let next = subscription.next_timeout(Duration::from_millis(20)).unwrap();
        if let Some(message) = next {
            seen.take(&message, store.head());
        }
    }
    seen
}

#[test]
fn subscription_of_a_follower_sees_events_of_another_process() {
    let place = Place::new();
    place.open().close().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "follower::child_process_appends_events", "--test-threads=1"])
        .env(WRITE_TO, place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let store = options().read_only(true).open(place.path()).unwrap();
    let filters = [Filter::default(), Filter { tag: Some(5), ..Filter::default() }];
    thread::scope(|scope| {
        for filter in &filters {
            let store = &store;
            scope.spawn(move || {
                let seen = follow(store, filter);
                assert_eq!(seen.positions, expected(store, 0, filter));
                assert!(seen.caught_up > 0);
            });
        }
    });
    assert!(child.wait().unwrap().success());
}

#[test]
fn subscription_of_a_follower_is_woken_and_ended() {
    let place = Place::new();
    let writer = place.open();
    append(&writer, 2);
    let reader = options().read_only(true).open(place.path()).unwrap();
    let follow = |store: &Store| {
        let mut subscription = store.subscribe().start().unwrap();
        thread::spawn(move || {
            let mut count = 0;
            while count < 7 {
                count += subscription.next().unwrap().unwrap().events().len();
            }
            // Returned when the reader's store is closed.
            while !matches!(subscription.next(), Some(Err(Error::Closed))) {}
            assert!(subscription.next().is_none());
            count
        })
    };
    let all: Vec<_> = (0..30).map(|_| follow(&reader)).collect();
    append(&writer, 5);
    assert!(reader.wait_for(7.into(), LONG).unwrap());
    assert!(!reader.wait_for(8.into(), Duration::from_millis(20)).unwrap());
    reader.close().unwrap();
    for consumer in all {
        // The store may be closed before a consumer has seen an event.
        let _ = consumer.join();
    }
}
