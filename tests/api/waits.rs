//! Waits for a stream's version.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use annals::{Durability, Error, ExpectedVersion, NewEvent, Store};

use super::shared::{LONG, Place, WakeCount, small_segments};

fn append(store: &Store, stream: &str, events: u64) {
    let events = (0..events).map(|_| NewEvent::new("Happened", ""));
    store.append(stream, ExpectedVersion::Any, events).unwrap();
}

fn wait(store: &Store, version: u64, timeout: Duration) -> annals::Result<bool> {
    store.wait_for_version("account-1", version, timeout)
}

#[test]
fn each_version_is_awaited_until_it_is_visible() {
    let place = Place::new();
    let store = small_segments().open(place.path()).unwrap();
    append(&store, "account-10", 3);
    assert!(wait(&store, 0, Duration::ZERO).unwrap(), "version 0 is there without a stream");
    for version in [1, 2, u64::MAX] {
        assert!(!wait(&store, version, Duration::ZERO).unwrap(), "{version}");
        assert!(!wait(&store, version, Duration::from_millis(1)).unwrap(), "{version}");
    }
    thread::scope(|scope| {
        for version in 1..=12 {
            let store = &store;
            scope.spawn(move || {
                assert!(wait(store, version, LONG).unwrap());
                assert!(store.stream_head("account-1").unwrap().unwrap().version >= version);
            });
        }
        for _ in 0..4 {
            append(&store, "account-10", 2);
            append(&store, "account-1", 3);
        }
    });
    assert!(wait(&store, 12, Duration::ZERO).unwrap());
    assert!(!wait(&store, 13, Duration::ZERO).unwrap());
    // Hidden events count.
    store.truncate_before("account-1", 13).unwrap();
    assert!(wait(&store, 12, Duration::ZERO).unwrap());
}

#[test]
fn version_that_is_not_durable_is_awaited_until_it_is() {
    let place = Place::new();
    let store = small_segments().background(false).open(place.path()).unwrap();
    append(&store, "account-1", 1);
    let commit = store.transaction().durability(Durability::BUFFERED);
    commit.append("account-1", ExpectedVersion::Any, [NewEvent::new("T", "")]).commit().unwrap();
    assert!(!wait(&store, 2, Duration::ZERO).unwrap());
    store.sync().unwrap();
    assert!(wait(&store, 2, Duration::ZERO).unwrap());
}

#[test]
fn version_is_awaited_beside_a_writer_with_and_without_threads() {
    let place = Place::new();
    let writer = small_segments().open(place.path()).unwrap();
    append(&writer, "other", 1);
    for (round, background) in [true, false].into_iter().enumerate() {
        let options = small_segments().read_only(true).background(background);
        let reader = options.open(place.path()).unwrap();
        let version = round as u64 * 2 + 2;
        assert!(!wait(&reader, version, Duration::from_millis(1)).unwrap());
        thread::scope(|scope| {
            let waits = scope.spawn(|| wait(&reader, version, LONG));
            let task = reader.wait_for_version_async("account-1", version);
            let tasks = scope.spawn(|| futures::executor::block_on(task));
            for _ in 0..2 {
                append(&writer, "other", 3);
                append(&writer, "account-1", 1);
            }
            assert!(waits.join().unwrap().unwrap());
            tasks.join().unwrap().unwrap();
        });
        assert_eq!(reader.stream_head("account-1").unwrap().unwrap().version, version);
    }
}

#[test]
fn wait_for_a_version_ends_when_the_store_is_closed() {
    let place = Place::new();
    let store = small_segments().open(place.path()).unwrap();
    let waiting = store.clone();
    let waiter = thread::spawn(move || wait(&waiting, 1, Duration::MAX));
    let task = store.wait_for_version_async("account-1", 1);
    let task = thread::spawn(|| futures::executor::block_on(task));
    thread::sleep(Duration::from_millis(30));
    let closed = store.clone();
    store.close().unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(Error::Closed)));
    assert!(matches!(task.join().unwrap(), Err(Error::Closed)));
    assert!(matches!(wait(&closed, 0, Duration::ZERO), Err(Error::Closed)));
}

#[test]
fn task_that_waits_for_a_version_is_polled_only_after_an_announcement() {
    let place = Place::new();
    let store = small_segments().open(place.path()).unwrap();
    let count = Arc::new(WakeCount::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut task = Box::pin(store.wait_for_version_async("account-1", 3));
    // Polls as often as the task is woken, until it has waited for a while without being woken.
    let mut polls = 0;
    let mut settle = || {
        let (mut seen, mut quiet) = (usize::MAX, Instant::now());
        while quiet.elapsed() < Duration::from_millis(50) {
            let woken = count.get();
            if woken != seen {
                (seen, quiet) = (woken, Instant::now());
                polls += 1;
                assert!(polls < 1_000, "the task never rests");
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    return Poll::Ready(polls);
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        Poll::Pending
    };
    assert!(settle().is_pending());
    for _ in 0..3 {
        append(&store, "other", 1);
        assert!(settle().is_pending());
    }
    append(&store, "account-1", 3);
    let Poll::Ready(polls) = settle() else { panic!("the task is not woken") };
    // At most one poll for each of four announcements and each look-up that follows, and five calls.
    assert!(polls <= 16, "{polls} polls");
}
