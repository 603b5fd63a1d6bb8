//! Reads of tasks: a thread of the store reads ahead while others append, and wakes the task.

use annals::testing::SimStorage;
use annals::{Error, EventStream, ExpectedRecord, ExpectedVersion, Position, Query, Store};
use futures::StreamExt;
use shuttle::{future, thread};

use super::support::*;

/// More than the first batch of a read, so that one batch is read ahead of the task.
const FILLED: usize = 100;

fn filled(sim: &SimStorage) -> Store {
    let store = open(sim);
    store.append("filled", ExpectedVersion::Any, vec![event(10); FILLED]).unwrap();
    store
}

/// Reads a stream to its end; asserts that it returns the events after `after` up to its head, each once.
/// Returns the head.
async fn read_through(mut stream: EventStream, after: u64) -> annals::Result<u64> {
    let mut last = after;
    while let Some(event) = stream.next().await {
        last += 1;
        assert_eq!(event?.position().get(), last);
    }
    let head = stream.head().unwrap().get();
    assert_eq!(last, head.max(after), "it has ended before its head");
    assert!(stream.next().await.is_none());
    Ok(last)
}

/// Each read ends at the head at which it began, and the next one goes on from there.
#[test]
fn reads_of_tasks_return_every_event_once_during_appends() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = filled(&sim);
        let total = FILLED as u64 + 8;
        let writer = |name: &'static str| {
            let store = store.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    append(&store, name, 7_500).unwrap();
                }
            })
        };
        let writers = [writer("a"), writer("b")];
        let task = |begin: u64| {
            let store = store.clone();
            let read = async move {
                let mut seen = begin;
                while seen < total {
                    let stream = store.read_all().after(seen).into_stream();
                    seen = read_through(stream, seen).await.unwrap();
                    store.wait_for_async(Position::new((seen + 1).min(total))).await.unwrap();
                }
            };
            thread::spawn(move || future::block_on(read))
        };
        let tasks = [task(0), task(FILLED as u64 - 10)];
        for thread in writers.into_iter().chain(tasks) {
            thread.join().unwrap();
        }
        store.close().unwrap();
    });
}

/// A read that is dropped in the middle, beside one of a stream and one with a filter.
#[test]
fn dropped_read_of_a_task_does_not_affect_others() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = filled(&sim);
        let read = |mut stream: EventStream, count: usize| {
            let read = async move {
                for _ in 0..count {
                    stream.next().await.unwrap().unwrap();
                }
                if count == FILLED {
                    assert!(stream.next().await.is_none());
                }
            };
            thread::spawn(move || future::block_on(read))
        };
        let reads = [
            read(store.read_all().into_stream(), 1),
            read(store.read_stream("filled").into_stream(), FILLED),
            read(store.read_all().matching(Query::stream("filled")).into_stream(), FILLED),
        ];
        append(&store, "a", 10).unwrap();
        for thread in reads {
            thread.join().unwrap();
        }
        store.close().unwrap();
    });
}

#[test]
fn reads_of_tasks_end_with_the_store() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = filled(&sim);
        let (all, records) = (store.read_all().into_stream(), store.records().clone());
        let events = thread::spawn(move || {
            unless_closed(future::block_on(read_through(all, 0))).is_none_or(|n| n >= FILLED as u64)
        });
        let records = thread::spawn(move || {
            let put = future::block_on(records.put_async("r", "1", ExpectedRecord::Any));
            let put = unless_closed(put).is_some();
            let mut list = records.list().into_stream();
            match future::block_on(list.next()) {
                None => !put,
                Some(Ok(record)) => record.version == 1,
                Some(Err(Error::Closed)) => true,
                Some(Err(error)) => panic!("{error:?}"),
            }
        });
        store.close().unwrap();
        assert!(events.join().unwrap() && records.join().unwrap());
    });
}
