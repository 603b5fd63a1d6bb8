//! Stopping, aborting and blocking of groups, and invalid settings.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use annals::{Error, FailedCheck, Options, Position, consumer_group::ConsumerGroup};

use super::support::{Handled, LONG, Place, append, filled, group};

pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("never: {what}");
}

#[test]
fn stop_waits_for_running_handlers_and_stores_their_progress() {
    let place = Place::new();
    let store = filled(&place, 200, 200);
    let (begun, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let running = group(&store)
        .start(move |_| {
            begins.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(15));
            ends.fetch_add(1, Ordering::SeqCst);
            Ok::<(), String>(())
        })
        .unwrap();
    wait_until("a handler begins", || begun.load(Ordering::SeqCst) >= 20);
    let progress = running.stop().unwrap();
    let count = ended.load(Ordering::SeqCst);
    assert_eq!(count, begun.load(Ordering::SeqCst), "none is cut off");
    assert!(count < 200, "none begins any more");
    assert!(progress.get() <= count);
    assert_eq!(store.cursors().get("g").unwrap().unwrap_or(Position::START), progress);
    thread::sleep(Duration::from_millis(30));
    assert_eq!(begun.load(Ordering::SeqCst), count);
}

#[test]
fn abort_waits_for_no_handler_and_stores_nothing() {
    let place = Place::new();
    let store = filled(&place, 10, 10);
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let running = group(&store)
        .workers(1)
        .start(move |_| {
            begins.store(true, Ordering::SeqCst);
            let _ = wait.lock().unwrap().recv();
            Ok::<(), String>(())
        })
        .unwrap();
    wait_until("a handler begins", || begun.load(Ordering::SeqCst));
    running.abort();
    drop(release);
    thread::sleep(Duration::from_millis(30));
    assert_eq!(store.cursors().get("g").unwrap(), None);
}

#[test]
fn blocked_stream_waits_and_other_streams_go_on() {
    let place = Place::new();
    let store = filled(&place, 60, 6);
    let (fails, handled) = (Arc::new(AtomicBool::new(true)), Handled::default());
    let (failing, log) = (Arc::clone(&fails), handled.clone());
    let running = group(&store)
        .workers(2)
        .block_failing_streams()
        .start(move |delivery| {
            let event = delivery.event();
            if event.stream() == "s-2" && event.version() == 3 && failing.load(Ordering::SeqCst) {
                return Err("blocked");
            }
            log.note(delivery);
            Ok(())
        })
        .unwrap();
    wait_until("all others are handled", || handled.len() == 52);
    wait_until("it was tried often", || running.stats().failed_attempts > 10);
    assert_eq!(running.progress().get(), 14, "the event before it");
    assert_eq!(handled.by_stream()["s-2"], [1, 2]);
    assert!(!running.wait_for(15, Duration::from_millis(5)));
    assert_eq!(running.stats().parked, 0);
    fails.store(false, Ordering::SeqCst);
    assert!(running.wait_for(60, LONG));
    assert_eq!(handled.by_stream()["s-2"], (1..=10).collect::<Vec<_>>());
    running.stop().unwrap();
}

#[test]
fn full_window_reads_no_further() {
    let place = Place::new();
    let store = filled(&place, 100, 100);
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let running = group(&store)
        .workers(3)
        .window(10)
        .start(move |_| {
            let _ = wait.lock().unwrap().recv();
            Ok::<(), String>(())
        })
        .unwrap();
    wait_until("the window is full", || running.stats().in_flight == 10);
    thread::sleep(Duration::from_millis(30));
    assert_eq!(running.stats().in_flight, 10);
    assert_eq!(running.progress(), Position::START);
    for _ in 0..100 {
        release.send(()).unwrap();
    }
    assert!(running.wait_for(100, LONG));
    running.stop().unwrap();
}

#[test]
fn progress_is_stored_at_intervals() {
    let place = Place::new();
    let store = filled(&place, 100, 10);
    let handler = |_: annals::consumer_group::Delivery<'_>| Ok::<(), String>(());
    let by_time = group(&store).store_progress_every(u64::MAX, Duration::from_millis(5));
    let running = by_time.start(handler).unwrap();
    wait_until("it is stored", || store.cursors().get("g").unwrap() == Some(Position::new(100)));
    running.abort();
    let never = Duration::from_secs(100_000);
    let running = group(&store).store_progress_every(30, never).start(handler).unwrap();
    for round in 1..=3_u64 {
        append(&store, 40, 3);
        wait_until("it is handled", || running.progress().get() == 100 + 40 * round);
    }
    // The last events may be handled after the last time progress was stored.
    let stored = running.stats().stored.get();
    assert!((140..=220).contains(&stored), "{stored}");
    drop(running);
}

#[test]
fn second_group_of_one_name_ends_with_an_error() {
    let place = Place::new();
    let store = filled(&place, 10, 2);
    let handler = |_: annals::consumer_group::Delivery<'_>| Ok::<(), String>(());
    let never = Duration::from_secs(100_000);
    let slow = || group(&store).store_progress_every(u64::MAX, never);
    let (first, second) = (slow().start(handler).unwrap(), slow().start(handler).unwrap());
    assert!(first.wait_for(10, LONG) && second.wait_for(10, LONG));
    first.stop().unwrap();
    let told = second.stop();
    assert!(
        matches!(&told, Err(error) if matches!(error.failed_checks(), [FailedCheck::WrongCursor { .. }])),
        "{told:?}"
    );
}

#[test]
fn close_of_the_store_ends_the_group() {
    let place = Place::new();
    let store = filled(&place, 10, 2);
    let handler = |_: annals::consumer_group::Delivery<'_>| Ok::<(), String>(());
    let running = group(&store).start(handler).unwrap();
    assert!(running.wait_for(10, LONG));
    store.close().unwrap();
    wait_until("it ends", || !running.is_running());
    assert!(!running.wait_for(11, Duration::MAX), "it does not wait for what never comes");
    assert!(matches!(running.stop(), Err(Error::Closed)));
}

#[test]
fn group_with_invalid_settings_is_refused() {
    let place = Place::new();
    let store = filled(&place, 1, 1);
    let handler = |_: annals::consumer_group::Delivery<'_>| Ok::<(), String>(());
    let named = |name: &str| ConsumerGroup::new(&store, name);
    let wrong = [
        named(""),
        named(&"n".repeat(256)),
        named("g").workers(0),
        named("g").workers(257),
        named("g").window(0),
        named("g").window(usize::MAX),
        named("g").retry(super::support::quick(0)),
    ];
    for group in wrong {
        let refused = group.start(handler);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
    let reader = Options::new().read_only(true).open(place.path()).unwrap();
    let refused = ConsumerGroup::new(&reader, "g").start(handler);
    assert!(matches!(refused, Err(Error::ReadOnly)));
    assert!(ConsumerGroup::new(&reader, "g").parked().unwrap().is_empty());
}
