//! Handlers that return a future.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use annals::consumer_group::{ConsumerGroup, Delivery};
use annals::testing::{Crash, Keep, SimStorage};
use annals::{
    Durability, ExpectedRecord, ExpectedVersion, NewEvent, Position, Query, Store, Transaction,
};
use futures::channel::oneshot;

use super::shared::{ROOT, simulated};
use super::stopping::wait_until;
use super::support::{Handled, LONG, Place, append, filled, group, quick};

/// Is pending once, and woken by another thread, or before the poll returns.
async fn yielded(by_thread: bool) {
    let mut is_first = true;
    poll_fn(move |context| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        if by_thread {
            thread::spawn(move || {
                thread::sleep(Duration::from_micros(300));
                waker.wake();
            });
        } else {
            waker.wake();
            // A park within the poll takes the thread's token.
            thread::park_timeout(Duration::from_millis(1));
        }
        Poll::Pending
    })
    .await;
}

#[test]
fn async_handlers_are_awaited_and_keep_the_order_of_streams() {
    let place = Place::new();
    let store = filled(&place, 120, 11);
    let (handled, target) = (Handled::default(), store.clone());
    let log = handled.clone();
    let running = group(&store)
        .matching(Query::types(["Happened"]))
        .start_async(async move |delivery| {
            let position = delivery.event().position().get();
            yielded(position.is_multiple_of(2)).await;
            assert!(position != 33, "no");
            if position.is_multiple_of(7) && delivery.attempt() == 1 {
                return Err("not now".to_owned());
            }
            let note = NewEvent::new("Noted", position.to_string());
            let done = target.append_async("notes", ExpectedVersion::Any, [note]).await;
            done.map_err(|error| error.to_string())?;
            log.note(delivery);
            Ok(())
        })
        .unwrap();
    assert!(running.wait_for(120, LONG));
    let stats = running.stats();
    assert_eq!((stats.handled, stats.parked, stats.failed_attempts), (119, 1, 17 + 3));
    running.stop().unwrap();
    assert_eq!(store.stream_head("notes").unwrap().unwrap().version, 119);
    for (stream, versions) in handled.by_stream() {
        assert!(versions.is_sorted(), "{stream}: {versions:?}");
    }
}

#[test]
fn stop_waits_for_futures_that_have_begun() {
    let place = Place::new();
    let store = filled(&place, 60, 60);
    let (begun, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let running = group(&store)
        .start_async(async move |_| {
            begins.fetch_add(1, Ordering::SeqCst);
            yielded(true).await;
            ends.fetch_add(1, Ordering::SeqCst);
            Ok::<(), String>(())
        })
        .unwrap();
    wait_until("a future begins", || begun.load(Ordering::SeqCst) > 0);
    let progress = running.stop().unwrap().get();
    assert_eq!(begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
    assert!(progress <= ended.load(Ordering::SeqCst));
}

/// Waits until the other half of the channel is used or dropped, which happens in another thread.
async fn opened(gate: &Mutex<Option<oneshot::Receiver<()>>>) {
    let gate = gate.lock().unwrap().take();
    if let Some(gate) = gate {
        let _ = gate.await;
    }
}

fn noted<'a>(delivery: Delivery<'a>, transaction: Transaction<'a>) -> Transaction<'a> {
    let note = NewEvent::new("Noted", delivery.event().position().to_string());
    transaction.append("notes", ExpectedVersion::Any, [note])
}

fn happened(store: &Store) -> ConsumerGroup {
    group(store).matching(Query::types(["Happened"]))
}

/// The positions of the events whose effects are committed, in the order of the commits.
fn notes(store: &Store) -> Vec<u64> {
    let number = |data: &[u8]| std::str::from_utf8(data).unwrap().parse().unwrap();
    store.read_stream("notes").into_iter().map(|event| number(event.unwrap().data())).collect()
}

fn finish(store: &Store, last: u64) {
    let running = happened(store)
        .start_transactional_async(async |delivery, to| Ok::<_, String>(noted(delivery, to)))
        .unwrap();
    assert!(running.wait_for(last, LONG));
    running.stop().unwrap();
}

#[test]
fn transactions_of_async_handlers_are_committed_once_and_in_the_order_of_positions() {
    let place = Place::new();
    let store = filled(&place, 120, 11);
    let never = Duration::from_secs(100_000);
    let running = happened(&store)
        .store_progress_every(u64::MAX, never)
        .start_transactional_async(async |delivery, transaction| {
            let position = delivery.event().position().get();
            // The first of eight is the last that is ready.
            yielded(position % 8 == 1).await;
            assert!(position != 33, "no");
            let transaction = noted(delivery, transaction);
            yielded(false).await;
            if position.is_multiple_of(7) && delivery.attempt() == 1 {
                return Err("not now");
            }
            Ok(transaction)
        })
        .unwrap();
    assert!(running.wait_for(120, LONG));
    let stats = running.stats();
    assert_eq!((stats.handled, stats.parked, stats.failed_attempts), (119, 1, 17 + 3));
    running.abort();
    assert_eq!(notes(&store), (1..=120).filter(|it| *it != 33).collect::<Vec<_>>());
    let cursor = store.cursors().get("g").unwrap();
    assert!(
        cursor.is_some_and(|it| it.get() >= 120),
        "the cursor moves with the effects: {cursor:?}"
    );
}

/// Every future changes one record from the value that it read before it waited.
#[test]
fn conflict_of_a_future_with_the_groups_own_commits_is_repeated_and_not_counted() {
    let place = Place::new();
    let store = filled(&place, 100, 40);
    let (source, calls) = (store.clone(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&calls);
    let running = happened(&store)
        .retry(quick(1))
        .start_transactional_async(async move |delivery, transaction| {
            let known = source.records().get("sum").map_err(|error| error.to_string())?;
            counter.fetch_add(1, Ordering::SeqCst);
            while delivery.event().position().get() == 1 && counter.load(Ordering::SeqCst) == 1 {
                yielded(true).await;
            }
            let (sum, expected) = known.map_or((0, ExpectedRecord::NoRecord), |record| {
                let sum = std::str::from_utf8(&record.value).unwrap().parse::<u64>().unwrap();
                (sum, ExpectedRecord::Exact(record.version))
            });
            Ok::<_, String>(transaction.put("sum", (sum + 1).to_string(), expected))
        })
        .unwrap();
    assert!(running.wait_for(100, LONG));
    let stats = running.stats();
    assert_eq!((stats.handled, stats.failed_attempts, stats.parked), (100, 0, 0));
    running.stop().unwrap();
    assert!(
        calls.load(Ordering::SeqCst) > 100,
        "one has read before the first commit, and has a conflict"
    );
    assert_eq!(&store.records().get("sum").unwrap().unwrap().value[..], b"100");
}

#[test]
fn nothing_of_a_future_is_committed_after_abort() {
    let place = Place::new();
    let store = filled(&place, 6, 6);
    let (open, gate) = oneshot::channel();
    let (begun, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let gate = Mutex::new(Some(gate));
    let running = happened(&store)
        .workers(1)
        .start_transactional_async(async move |delivery, transaction| {
            let transaction = noted(delivery, transaction);
            if begins.fetch_add(1, Ordering::SeqCst) == 2 {
                opened(&gate).await;
                ends.store(true, Ordering::SeqCst);
            }
            Ok::<_, String>(transaction)
        })
        .unwrap();
    wait_until("the third future waits", || begun.load(Ordering::SeqCst) == 3);
    running.abort();
    open.send(()).unwrap();
    wait_until("the future is ready", || ended.load(Ordering::SeqCst));
    // The commit would follow at once.
    thread::sleep(Duration::from_millis(30));
    assert_eq!(notes(&store), [1, 2]);
    assert_eq!(store.cursors().get("g").unwrap(), Some(Position::new(2)));
    finish(&store, 6);
    assert_eq!(notes(&store), (1..=6).collect::<Vec<_>>());
    assert_eq!(begun.load(Ordering::SeqCst), 3, "the aborted group handles nothing more");
}

#[test]
fn stop_waits_for_the_future_whose_turn_it_is_and_commits_no_later_one() {
    let place = Place::new();
    let store = filled(&place, 8, 8);
    let (open, gate) = oneshot::channel();
    let ready = Arc::new(AtomicU64::new(0));
    let first = Arc::new(AtomicBool::new(false));
    let (readies, begins) = (Arc::clone(&ready), Arc::clone(&first));
    let gate = Mutex::new(Some(gate));
    let running = happened(&store)
        .start_transactional_async(async move |delivery, transaction| {
            if delivery.event().position().get() == 1 {
                begins.store(true, Ordering::SeqCst);
                opened(&gate).await;
            }
            readies.fetch_add(1, Ordering::SeqCst);
            Ok::<_, String>(noted(delivery, transaction))
        })
        .unwrap();
    wait_until("a later future is ready", || ready.load(Ordering::SeqCst) > 0);
    wait_until("the first one waits", || first.load(Ordering::SeqCst));
    assert_eq!((notes(&store), running.progress()), (vec![], Position::START));
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        open.send(()).unwrap();
    });
    let stored = running.stop().unwrap().get();
    opener.join().unwrap();
    let kept = notes(&store);
    assert_eq!(kept.first(), Some(&1), "{kept:?}");
    assert_eq!(stored, kept.len() as u64);
    finish(&store, 8);
    assert_eq!(notes(&store), (1..=8).collect::<Vec<_>>());
}

/// The power is lost after any operation of the disk, with futures that wait between the two writes of
/// their transactions.
#[test]
fn async_handlers_have_each_effect_once_across_power_loss() {
    let open = |sim: &SimStorage| simulated(sim).durability(Durability::Sync).open(ROOT);
    let base = SimStorage::new(5);
    let store = open(&base).unwrap();
    append(&store, 12, 5);
    store.close().unwrap();
    let mut cut_short = 0;
    for step in (0..60).step_by(4) {
        let sim = base.fork();
        let store = open(&sim).unwrap();
        sim.fail_after_ops(step);
        let started =
            happened(&store).workers(3).start_transactional_async(async |delivery, transaction| {
                let transaction = noted(delivery, transaction);
                yielded(false).await;
                Ok::<_, String>(transaction.put("last", "", ExpectedRecord::Any))
            });
        if let Ok(running) = started {
            wait_until("it ends", || !running.is_running() || running.progress().get() >= 12);
        }
        sim.crash(Crash::new(step).keep(Keep::InOrder));
        drop(store);
        let store = open(&sim).unwrap();
        let kept = notes(&store);
        cut_short += u64::from((1..12).contains(&kept.len()));
        let cursor = store.cursors().get("g").unwrap().map_or(0, Position::get);
        assert_eq!(kept.last().copied().unwrap_or(0), cursor.min(12), "step {step}");
        let puts = store.records().get("last").unwrap().map_or(0, |record| record.version);
        assert_eq!(puts, kept.len() as u64, "step {step}: an effect is whole");
        finish(&store, 12);
        assert_eq!(notes(&store), (1..=12).collect::<Vec<_>>(), "step {step}");
    }
    assert!(cut_short > 3, "{cut_short} lives ended in the middle");
}
