//! Order within a stream, and delivery of every event at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use annals::subscription::JoinedProgress;
use annals::{Error, ExpectedVersion, NewEvent, Position, Query};
use proptest::prelude::*;

use super::stopping::wait_until;
use super::support::{Handled, LONG, Place, append, filled, group, hash, quick};

#[test]
fn each_stream_is_handled_in_order_and_several_in_parallel() {
    let place = Place::new();
    let store = filled(&place, 400, 23);
    let handled = Handled::default();
    let (log, at_once, most) =
        (handled.clone(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let highest = Arc::clone(&most);
    let busy: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let group = group(&store)
        .start(move |delivery| {
            let stream = delivery.event().stream().to_owned();
            assert!(busy.lock().unwrap().insert(stream.clone()), "{stream} twice at once");
            highest.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let number =
                hash(delivery.event().position().get() * 31 + u64::from(delivery.attempt()));
            thread::sleep(Duration::from_micros(number % 700));
            at_once.fetch_sub(1, Ordering::SeqCst);
            busy.lock().unwrap().remove(&stream);
            // One in five attempts fails, and never three in a row for one event.
            if number.is_multiple_of(5) && delivery.attempt() < 3 {
                return Err("not now");
            }
            log.note(delivery);
            Ok(())
        })
        .unwrap();
    append(&store, 200, 17);
    assert!(group.wait_for(store.head(), LONG));
    let stats = group.stats();
    assert_eq!((stats.handled, stats.parked, stats.in_flight), (600, 0, 0));
    assert!(stats.failed_attempts > 20);
    assert_eq!(group.stop().unwrap(), store.head());
    assert_eq!(handled.positions(), (1..=600).collect::<Vec<_>>());
    for (stream, versions) in handled.by_stream() {
        assert!(versions.is_sorted(), "{stream}: {versions:?}");
    }
    assert!(most.load(Ordering::SeqCst) > 2, "nothing was handled at the same time");
}

#[test]
fn only_matching_events_are_handled_and_progress_covers_the_rest() {
    let place = Place::new();
    let store = filled(&place, 300, 10);
    let handled = Handled::default();
    let log = handled.clone();
    let wanted = Query::stream("s-3").or(Query::stream("s-7").items()[0].clone());
    let group = group(&store).matching(wanted).begin_after(100).start(move |delivery| {
        log.note(delivery);
        Ok::<(), String>(())
    });
    let group = group.unwrap();
    assert!(group.wait_for(store.head(), LONG));
    assert_eq!(group.stop().unwrap(), store.head());
    let expected: Vec<u64> = (101..=300).filter(|p| [3, 7].contains(&((p - 1) % 10))).collect();
    assert_eq!(handled.positions(), expected);
}

/// A group that has caught up goes on with events that do not match: its waits, its progress and
/// what it stores.
#[test]
fn progress_of_a_caught_up_group_follows_the_scanned_position() {
    let place = Place::new();
    let store = place.open();
    let of_type = |event_type: &str| {
        store.append("s", ExpectedVersion::Any, [NewEvent::new(event_type, "")]).unwrap()
    };
    let matched = of_type("A").last_position;
    let interval = Duration::from_millis(10);
    let group = group(&store).matching(Query::types(["A"])).store_progress_every(1000, interval);
    let group = group.start(|_| Ok::<(), String>(())).unwrap();
    assert!(group.wait_for(matched, LONG));
    let others = of_type("B").last_position;
    assert!(group.wait_for(others, LONG), "{:?}", group.stats());
    assert_eq!((group.progress(), group.stats().handled), (others, 1));
    // Progress is stored without any other event, and at the stop.
    wait_until("it is stored", || store.cursors().get("g").unwrap() == Some(others));
    let last = of_type("B").last_position;
    assert!(group.wait_for(last, LONG));
    assert_eq!(group.stop().unwrap(), last);
    assert_eq!(store.cursors().get("g").unwrap(), Some(last));
}

#[test]
fn progress_handle_of_a_group_is_awaited_with_that_of_a_subscription() {
    let place = Place::new();
    let store = filled(&place, 4, 4);
    let (release, permits) = mpsc::channel::<()>();
    let permits = Mutex::new(permits);
    // Of the four events, each of another stream, the second is parked.
    let group = group(&store).workers(1).retry(quick(1)).matching(Query::types(["Happened"]));
    let group = group.start(move |delivery| {
        permits.lock().unwrap().recv().map_err(|_| "stopped")?;
        if delivery.event().position().get() == 2 { Err("refused") } else { Ok(()) }
    });
    let group = group.unwrap();
    let progress = group.progress_handle();
    let mut subscription = store.subscribe().start().unwrap();
    let joined = JoinedProgress::new([progress.clone(), subscription.progress()]);
    while subscription.try_next().unwrap().is_some() {}
    for position in 1..=4 {
        assert!(!progress.wait_for(position, Duration::from_millis(10)).unwrap());
        assert!(!joined.wait_for(4, Duration::ZERO).unwrap());
        release.send(()).unwrap();
        assert!(progress.wait_for(position, LONG).unwrap());
        assert!(progress.handled() <= group.progress());
    }
    assert!(joined.wait_for(4, LONG).unwrap());
    // The note of the parked event, which is not delivered to groups.
    let head = store.head();
    assert_eq!(head.get(), 5);
    assert!(progress.wait_for(head, LONG).unwrap());
    group.stop().unwrap();
    let ended = progress.wait_for(6, LONG);
    assert!(matches!(ended, Err(Error::SubscriptionEnded { handled, .. }) if handled == head));
}

/// Aborts at random moments, again and again: the stored progress never passes an unhandled event,
/// so none is skipped.
#[test]
fn crashed_group_skips_no_event() {
    let place = Place::new();
    let mut store = filled(&place, 300, 11);
    let handled: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
    let mut lives = 0;
    loop {
        let cursor = store.cursors().get("g").unwrap().unwrap_or(Position::START).get();
        let known = handled.lock().unwrap();
        let missing = (1..=cursor).find(|position| !known.contains_key(position));
        assert_eq!(missing, None, "the cursor is at {cursor}");
        let before: u64 = known.values().sum();
        drop(known);
        if cursor == store.head().get() {
            break;
        }
        let log = Arc::clone(&handled);
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        // Enough attempts that a crashed handler parks nothing before the group ends.
        let group = group(&store)
            .retry(quick(u32::MAX))
            .store_progress_every(7, Duration::from_millis(2))
            .start(move |delivery| {
                let position = delivery.event().position().get();
                thread::sleep(Duration::from_micros(hash(position + lives) % 900));
                if is_over.load(Ordering::SeqCst) {
                    // A crash discards the handlers that are running.
                    return Err("crashed");
                }
                *log.lock().unwrap().entry(position).or_default() += 1;
                Ok(())
            })
            .unwrap();
        while handled.lock().unwrap().values().sum::<u64>() < before + 25 + lives % 13
            && group.progress() < store.head()
        {
            assert!(group.is_running(), "{:?}", group.stop());
            thread::sleep(Duration::from_micros(300));
        }
        ended.store(true, Ordering::SeqCst);
        if lives % 3 == 2 {
            group.stop().unwrap();
            store.close().unwrap();
            store = place.open();
        } else {
            drop(group);
        }
        lives += 1;
        assert!(lives < 500, "it does not get on");
    }
    assert!(lives > 3, "{lives} lives");
    let twice = handled.lock().unwrap().values().filter(|&&count| count > 1).count();
    assert!(twice > 0, "a crash that costs nothing was none");
    assert!(store.read_all().into_iter().count() as u64 == 300, "nothing was parked");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// With random outcomes, progress, reported and stored, never passes an event that is neither
    /// handled nor parked.
    #[test]
    fn progress_is_never_ahead_of_unhandled_events(seed in any::<u32>(), workers in 1..9_usize, window in 1..20_usize) {
        let place = Place::new();
        let store = filled(&place, 120, 9);
        let (begun, done) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
        let (begins, dones) = (Arc::clone(&begun), Arc::clone(&done));
        let seed = u64::from(seed);
        let group = group(&store)
            .workers(workers)
            .window(window)
            .retry(quick(2))
            .store_progress_every(1, Duration::from_millis(1))
            .start(move |delivery| {
                let position = delivery.event().position().get();
                begins.lock().unwrap().insert(position);
                let fate = hash(position ^ seed << 8);
                thread::sleep(Duration::from_micros(fate % 300));
                if fate.is_multiple_of(7) || fate % 4 == u64::from(delivery.attempt()) {
                    if delivery.attempt() == 2 {
                        // Counted as parked from here on, although the commit follows.
                        dones.lock().unwrap().insert(position);
                    }
                    return Err("no");
                }
                dones.lock().unwrap().insert(position);
                Ok(())
            })
            .unwrap();
        let mut before = 0;
        while before < 120 {
            let stored = store.cursors().get("g").unwrap().unwrap_or(Position::START).get();
            let told = group.progress().get();
            let stats = group.stats();
            let done = done.lock().unwrap();
            let last = told.max(stored).min(120);
            let missing = (1..=last).find(|position| !done.contains(position));
            prop_assert_eq!(missing, None, "told {}, stored {}", told, stored);
            prop_assert!(told >= before);
            prop_assert!(stats.in_flight <= window);
            before = told;
            drop(done);
            thread::sleep(Duration::from_micros(200));
        }
        group.stop().unwrap();
        // Exactly the events that never succeeded are parked.
        let mut parked: Vec<u64> =
            super::support::group(&store).parked().unwrap().iter().map(|p| p.event.position().get()).collect();
        parked.sort_unstable();
        let poisoned = (1..=120_u64).filter(|position| {
            let fate = hash(position ^ seed << 8);
            fate.is_multiple_of(7)
        });
        prop_assert_eq!(parked, poisoned.collect::<Vec<_>>());
        prop_assert_eq!(begun.lock().unwrap().len(), 120);
    }
}
