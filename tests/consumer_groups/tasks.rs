//! Handlers that return a future.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use annals::{ExpectedVersion, NewEvent, Query};

use super::support::{Handled, LONG, Place, filled, group};

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
    super::stopping::wait_until("a future begins", || begun.load(Ordering::SeqCst) > 0);
    let progress = running.stop().unwrap().get();
    assert_eq!(begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
    assert!(progress <= ended.load(Ordering::SeqCst));
}
