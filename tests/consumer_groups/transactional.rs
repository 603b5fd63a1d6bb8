//! Groups whose handlers write in the commit that moves the cursor: each event has its effect once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use annals::consumer_group::{ConsumerGroup, Delivery, RunningGroup};
use annals::testing::{Crash, Keep, SimStorage};
use annals::{
    Durability, Error, ExpectedRecord, ExpectedVersion, FailedCheck, NewEvent, Position, Query,
    Store, Transaction,
};

use super::shared::{ROOT, simulated};
use super::stopping::wait_until;
use super::support::{LONG, Place, append, filled, group, hash, quick};

fn happened(store: &Store) -> ConsumerGroup {
    group(store).matching(Query::types(["Happened"]))
}

/// Records the handling of the event in one stream for all.
fn noted<'a>(delivery: Delivery<'a>, transaction: Transaction<'a>) -> Transaction<'a> {
    let note = NewEvent::new("Noted", delivery.event().position().to_string());
    transaction.append("notes", ExpectedVersion::Any, [note])
}

fn started(group: ConsumerGroup) -> RunningGroup {
    group.start_transactional(|delivery, to| Ok::<_, String>(noted(delivery, to))).unwrap()
}

/// The positions of the handled events, in the order of the commits.
fn notes(store: &Store) -> Vec<u64> {
    let number = |data: &[u8]| std::str::from_utf8(data).unwrap().parse().unwrap();
    store.read_stream("notes").into_iter().map(|event| number(event.unwrap().data())).collect()
}

/// The positions of the events to handle.
fn selected(store: &Store) -> Vec<u64> {
    let read = store.read_all().matching(Query::types(["Happened"])).start().unwrap();
    read.map(|event| event.unwrap().position().get()).collect()
}

#[test]
fn effects_are_committed_once_and_in_the_order_of_positions() {
    let place = Place::new();
    let store = filled(&place, 150, 23);
    let attempts = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&attempts);
    let running = happened(&store)
        .start_transactional(move |delivery, transaction| {
            counter.fetch_add(1, Ordering::SeqCst);
            let position = delivery.event().position().get();
            let number = hash(position * 31 + u64::from(delivery.attempt()));
            thread::sleep(Duration::from_micros(number % 700));
            if number.is_multiple_of(5) && delivery.attempt() < 3 {
                return Err("not now");
            }
            Ok(noted(delivery, transaction))
        })
        .unwrap();
    append(&store, 100, 17);
    let last = *selected(&store).last().unwrap();
    assert!(running.wait_for(last, LONG), "{:?}", running.stop());
    let stats = running.stats();
    assert_eq!((stats.handled, stats.parked, stats.in_flight), (250, 0, 0));
    assert_eq!(attempts.load(Ordering::SeqCst), stats.handled + stats.failed_attempts);
    running.stop().unwrap();
    assert_eq!(notes(&store), selected(&store));
}

#[test]
fn cursor_moves_in_the_commit_of_the_effect() {
    let place = Place::new();
    let store = filled(&place, 40, 5);
    let never = Duration::from_secs(100_000);
    let running = started(happened(&store).store_progress_every(u64::MAX, never));
    assert!(running.wait_for(40, LONG));
    running.abort();
    assert!(store.cursors().get("g").unwrap().is_some_and(|cursor| cursor.get() >= 40));
    let running = started(happened(&store));
    assert!(running.wait_for(store.head(), LONG));
    running.stop().unwrap();
    assert_eq!(notes(&store), (1..=40).collect::<Vec<_>>());
}

/// The disk fails at any of its operations, at which the group is in the middle of its work; then the
/// power is lost. The next group handles exactly the events whose effects were lost.
#[test]
fn each_event_has_its_effect_once_across_power_loss() {
    let open = |sim: &SimStorage| simulated(sim).durability(Durability::Sync).open(ROOT);
    let base = SimStorage::new(3);
    let store = open(&base).unwrap();
    append(&store, 24, 7);
    store.close().unwrap();
    let mut cut_short = 0;
    for step in (0..90).step_by(3) {
        for keep in [Keep::Nothing, Keep::Everything, Keep::InOrder] {
            let sim = base.fork();
            let mut handled = 0;
            let store = open(&sim).unwrap();
            sim.fail_after_ops(step);
            if let Ok(running) = happened(&store)
                .workers(3)
                .start_transactional(|delivery, to| Ok::<_, String>(noted(delivery, to)))
            {
                wait_until("it ends", || !running.is_running() || running.progress().get() >= 24);
                handled = running.stats().handled;
                drop(running);
            }
            sim.crash(Crash::new(step).keep(keep));
            drop(store);
            let store = open(&sim).unwrap();
            let kept = notes(&store);
            assert!(kept.len() as u64 >= handled, "step {step}: {handled} acknowledged, {kept:?}");
            cut_short += u64::from((1..24).contains(&kept.len()));
            let cursor = store.cursors().get("g").unwrap().map_or(0, Position::get);
            assert_eq!(kept.last().copied().unwrap_or(0), cursor.min(24), "step {step}");
            let running = started(happened(&store).workers(3));
            assert!(running.wait_for(24, LONG), "step {step}: {:?}", running.stop());
            running.stop().unwrap();
            assert_eq!(notes(&store), (1..=24).collect::<Vec<_>>(), "step {step}, {keep:?}");
        }
    }
    assert!(cut_short > 10, "{cut_short} lives ended in the middle");
}

#[test]
fn conflict_with_the_groups_own_commits_is_repeated_and_not_counted() {
    let place = Place::new();
    let store = filled(&place, 200, 40);
    let source = store.clone();
    let running = happened(&store)
        .retry(quick(1))
        .start_transactional(move |_, transaction| {
            // All events change one record, each from the value it has read.
            let known = source.records().get("sum").map_err(|error| error.to_string())?;
            let (value, expected) = match &known {
                None => (0, ExpectedRecord::NoRecord),
                Some(record) => {
                    let text = std::str::from_utf8(&record.value).unwrap();
                    (text.parse::<u64>().unwrap(), ExpectedRecord::Exact(record.version))
                }
            };
            Ok::<_, String>(transaction.put("sum", (value + 1).to_string(), expected))
        })
        .unwrap();
    assert!(running.wait_for(200, LONG));
    let stats = running.stats();
    assert_eq!((stats.handled, stats.failed_attempts, stats.parked), (200, 0, 0));
    running.stop().unwrap();
    assert_eq!(&store.records().get("sum").unwrap().unwrap().value[..], b"200");
}

#[test]
fn event_with_a_refused_commit_is_parked_and_replayed_with_its_effect() {
    let place = Place::new();
    let store = filled(&place, 30, 6);
    let heals = Arc::new(AtomicBool::new(false));
    let healed = Arc::clone(&heals);
    let running = happened(&store)
        .start_transactional(move |delivery, transaction| {
            let transaction = noted(delivery, transaction);
            match delivery.event().position().get() {
                _ if healed.load(Ordering::SeqCst) => Ok(transaction),
                7 => Ok(transaction.check("nothing", ExpectedVersion::Exact(3))),
                11 => Ok(transaction.append("", ExpectedVersion::Any, [NewEvent::new("E", "")])),
                13 => panic!("no"),
                17 => Err("no"),
                _ => Ok(transaction),
            }
        })
        .unwrap();
    assert!(running.wait_for(30, LONG), "{:?}", running.stop());
    assert_eq!((running.stats().handled, running.stats().parked), (26, 4));
    let parked: Vec<u64> =
        happened(&store).parked().unwrap().iter().map(|it| it.event.position().get()).collect();
    assert_eq!(parked, [7, 11, 13, 17]);
    assert_eq!(notes(&store).len(), 26);
    heals.store(true, Ordering::SeqCst);
    assert_eq!(running.replay_parked().unwrap().handled, 4);
    running.stop().unwrap();
    assert!(happened(&store).parked().unwrap().is_empty());
    let mut replayed = notes(&store).split_off(26);
    replayed.sort_unstable();
    assert_eq!(replayed, parked);
}

#[test]
fn stopped_group_has_committed_the_effects_up_to_its_progress() {
    let place = Place::new();
    let store = filled(&place, 8, 8);
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let begun = Arc::new(AtomicU64::new(0));
    let begins = Arc::clone(&begun);
    let running = happened(&store)
        .start_transactional(move |delivery, transaction| {
            if delivery.event().position().get() == 1 {
                // Without the first, nothing can be committed.
                begins.fetch_add(100, Ordering::SeqCst);
                let _ = wait.lock().unwrap().recv();
            } else {
                begins.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, String>(noted(delivery, transaction))
        })
        .unwrap();
    wait_until("others wait for the first", || begun.load(Ordering::SeqCst) >= 102);
    let stopping = thread::spawn(move || running.stop());
    thread::sleep(Duration::from_millis(20));
    drop(release);
    let progress = stopping.join().unwrap().unwrap();
    let kept = notes(&store);
    assert!(!kept.is_empty() && kept.len() as u64 == progress.get().min(8), "{kept:?}, {progress}");
    let running = started(happened(&store));
    assert!(running.wait_for(8, LONG));
    running.stop().unwrap();
    assert_eq!(notes(&store), (1..=8).collect::<Vec<_>>());
}

#[test]
fn two_groups_of_one_name_have_each_effect_once() {
    let place = Place::new();
    let store = filled(&place, 60, 6);
    let (first, second) = (started(happened(&store)), started(happened(&store)));
    wait_until("one has ended", || !first.is_running() || !second.is_running());
    let (ended, other) = if first.is_running() { (second, first) } else { (first, second) };
    let told = ended.stop();
    drop(other);
    let is_expected = told.as_ref().is_err_and(|error: &Error| {
        matches!(error.failed_checks(), [FailedCheck::WrongCursor { .. }])
    });
    assert!(is_expected, "{told:?}");
    let running = started(happened(&store));
    assert!(running.wait_for(60, LONG));
    running.stop().unwrap();
    assert_eq!(notes(&store), (1..=60).collect::<Vec<_>>());
}
