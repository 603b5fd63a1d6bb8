//! How long tasks keep their executor: the longest poll of a task that works with a store, and the longest
//! gap between two ticks of a timer on the same thread.
//!
//! ```sh
//! cargo run --release --features async --example async_gaps
//! ```
//!
//! The timer is due every millisecond; its gaps include what the system takes to schedule the thread. Each
//! line is one kind of work, by the calls for tasks and, where there is one, by the call that blocks. The last
//! handle of each store is dropped outside the measurement: dropping it closes the store, which blocks.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use annals::{ExpectedVersion, NewEvent, Options, Query, Store};
use futures::StreamExt;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;

type Failed = Box<dyn std::error::Error>;

const EVENTS: u64 = 300_000;

/// Runs a task beside a timer, and prints the longest poll and the longest time in which the timer had no turn.
fn measure<T>(name: &str, work: impl Future<Output = T> + 'static) -> Result<T, Failed>
where
    T: 'static,
{
    let mut pool = LocalPool::new();
    let (gap, ended) = (Rc::new(Cell::new(Duration::ZERO)), Rc::new(Cell::new(false)));
    let (timer, due) = mpsc::channel::<Waker>();
    let clock = std::thread::spawn(move || {
        for waker in due {
            std::thread::sleep(Duration::from_millis(1));
            waker.wake();
        }
    });
    let (longest, over) = (Rc::clone(&gap), Rc::clone(&ended));
    pool.spawner().spawn_local(async move {
        let mut last = Instant::now();
        while !over.get() {
            let mut waited = false;
            poll_fn(|context| {
                if std::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                let _ = timer.send(context.waker().clone());
                Poll::Pending
            })
            .await;
            longest.set(longest.get().max(last.elapsed()));
            last = Instant::now();
        }
    })?;
    let began = Instant::now();
    let mut longest_poll = Duration::ZERO;
    let slowest = &mut longest_poll;
    let mut work = Box::pin(work);
    let done = pool.run_until(async move {
        let done = poll_fn(|context| {
            let began = Instant::now();
            let polled = work.as_mut().poll(context);
            *slowest = (*slowest).max(began.elapsed());
            polled
        })
        .await;
        // The timer's last turn is measured too.
        let mut turns = 0;
        poll_fn(|context| {
            turns += 1;
            context.waker().wake_by_ref();
            if turns > 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        done
    });
    let took = began.elapsed();
    ended.set(true);
    pool.run();
    drop(clock);
    println!(
        "{name:<32} {longest_poll:>9.1?} longest poll, {:>9.1?} longest gap, {took:>9.1?} in all",
        gap.get()
    );
    Ok(done)
}

fn event(number: u64) -> NewEvent {
    NewEvent::new("Happened", vec![7; 200]).tag(format!("number:{}", number % 1000))
}

fn fill(store: &Store) -> annals::Result<()> {
    for batch in 0..EVENTS / 1000 {
        let events = (0..1000).map(|number| event(batch * 1000 + number));
        store.append("filled", ExpectedVersion::Any, events)?;
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("ledger");
    let open = || Options::new().max_pending_bytes(4 << 20).open(&path);
    fill(&open()?)?;

    for (name, blocks) in
        [("submit at the limit, blocking", true), ("submit_async at the limit", false)]
    {
        let kept = open()?;
        let store = kept.clone();
        let done = measure(name, async move {
            let mut tickets = Vec::new();
            for number in 0..200 {
                let large = NewEvent::new("Large", vec![7; 1 << 20]).tag(format!("n:{number}"));
                let transaction = store.transaction().append("l", ExpectedVersion::Any, [large]);
                tickets.push(if blocks {
                    transaction.submit()?
                } else {
                    transaction.submit_async().await?
                });
            }
            for ticket in tickets {
                ticket.await?;
            }
            Ok::<(), annals::Error>(())
        });
        done??;
        drop(kept);
    }

    for (name, blocks) in
        [("first boundary, blocking", true), ("first boundary, submit_async", false)]
    {
        let kept = open()?;
        let store = kept.clone();
        let done = measure(name, async move {
            let commit = store
                .transaction()
                .append("b", ExpectedVersion::Any, [event(0)])
                .fail_if_exists(Query::tagged(["number:7", "never"]));
            let ticket = if blocks { commit.submit()? } else { commit.submit_async().await? };
            ticket.await.map(drop)
        });
        done??;
        drop(kept);
    }

    for (name, query) in
        [("stream that catches up", None), ("filtered stream", Some(Query::tagged(["number:7"])))]
    {
        let kept = open()?;
        let (store, head) = (kept.clone(), kept.head());
        let done = measure(name, async move {
            let mut subscribe = store.subscribe();
            if let Some(query) = query {
                subscribe = subscribe.matching(query);
            }
            let mut stream = subscribe.start()?.into_stream();
            while let Some(message) = stream.next().await {
                if message?.scanned_through >= head {
                    break;
                }
            }
            Ok::<(), annals::Error>(())
        });
        done??;
        drop(kept);
    }

    for (name, blocks) in [("close, blocking", true), ("close_async", false)] {
        let store = open()?;
        fill(&store)?;
        let done =
            measure(
                name,
                async move { if blocks { store.close() } else { store.close_async().await } },
            );
        done??;
    }
    Ok(())
}
