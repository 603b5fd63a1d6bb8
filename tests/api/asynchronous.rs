//! Async calls: what one poll may do, counted on a simulated disk by the polling thread.

mod reads;
mod records;
mod snapshots;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Context;

use annals::testing::{Call, Hook, HookedStorage, Operation, SimStorage};
use annals::{
    Durability, Error, ExpectedRecord, ExpectedVersion, NewEvent, Options, Position, Query, Store,
    Transaction,
    subscription::{MessageKind, Subscription},
};
use futures::{Stream, StreamExt};

use super::shared::ROOT;

thread_local! {
    /// Operations of this thread on the disk: reads of files, and all slower ones.
    static READS: Cell<u64> = const { Cell::new(0) };
    static SLOW: Cell<u64> = const { Cell::new(0) };
}

fn count(counter: &'static std::thread::LocalKey<Cell<u64>>) {
    counter.set(counter.get() + 1);
}

/// A hook of a disk: counts operations by thread, and blocks writes to the log while its gate is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }
}

impl Hook for Gate {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        match call.operation {
            Operation::Read => count(&READS),
            Operation::Map => {}
            // The length of an open file is not counted.
            Operation::Stat if call.handle.is_some() => {}
            _ => count(&SLOW),
        }
        if call.operation == Operation::Write && call.is_segment() {
            let mut shut = self.shut.lock().unwrap();
            while *shut {
                shut = self.changed.wait(shut).unwrap();
            }
        }
        Ok(())
    }
}

type Disk = HookedStorage<Gate>;

/// The disk of one process.
fn disk(sim: &SimStorage) -> Disk {
    HookedStorage::new(sim.process(), Gate::default())
}

/// What polling a task took of its executor.
#[derive(Debug, Default)]
struct Taken {
    polls: u64,
    /// The largest number of reads in one poll.
    reads: u64,
    slow: u64,
}

/// Runs a task in this thread. Calls `meanwhile` after the first poll that is pending.
fn run<F: Future>(future: F, meanwhile: impl FnOnce()) -> (F::Output, Taken) {
    let mut future = pin!(future);
    let mut taken = Taken::default();
    let poll = |context: &mut Context<'_>| {
        let (reads, slow) = (READS.get(), SLOW.get());
        let polled = future.as_mut().poll(context);
        taken.polls += 1;
        taken.reads = taken.reads.max(READS.get() - reads);
        taken.slow = taken.slow.max(SLOW.get() - slow);
        polled
    };
    let output = super::support::run(poll, meanwhile);
    (output, taken)
}

/// Runs a task, and asserts that no poll does anything slow.
fn block_on<F: Future>(future: F) -> F::Output {
    let (output, taken) = run(future, || {});
    assert_eq!(taken.slow, 0, "{taken:?}");
    output
}

fn options(disk: &Disk) -> Options {
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    options.storage(Arc::new(disk.clone()))
}

fn happened(len: usize) -> NewEvent {
    NewEvent::new("Happened", vec![7; len])
}

fn append<'a>(store: &'a Store, stream: &str, len: usize) -> Transaction<'a> {
    store.transaction().append(stream, ExpectedVersion::Any, [happened(len)])
}

/// Appends this number of events in commits of 100.
fn fill(store: &Store, events: u64) {
    for _ in 0..events / 100 {
        let events = (0..100).map(|_| happened(10));
        store.append("filled", ExpectedVersion::Any, events).unwrap();
    }
}

#[test]
fn async_calls_return_what_their_blocking_forms_return() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    block_on(async {
        let done = store.append_async("s", ExpectedVersion::NoStream, [happened(1)]);
        assert_eq!(done.await.unwrap().version, 1);
        let conflict = store.append_async("s", ExpectedVersion::NoStream, [happened(1)]);
        assert_eq!(conflict.await.unwrap_err().actual_version(), Some(1));
        let nothing = store.append_async("s", ExpectedVersion::Any, []);
        assert!(matches!(nothing.await, Err(Error::EmptyCommit)));
        let done = append(&store, "s", 10).commit_async().await.unwrap();
        assert_eq!(done.versions, [2]);
        let ticket = append(&store, "s", 10).submit_async().await.unwrap();
        let last = ticket.await.unwrap().last_position;
        store.wait_for_async(last).await.unwrap();
        assert_eq!(store.head(), last);
        let buffered = append(&store, "s", 10).durability(Durability::BUFFERED);
        buffered.commit_async().await.unwrap();
        store.sync_async().await.unwrap();
        assert_eq!(store.head(), Position::new(4));
        store.clone().close_async().await.unwrap();
        let closed = append(&store, "s", 10).commit_async().await;
        assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
        assert!(matches!(store.wait_for_async(9.into()).await, Err(Error::Closed)));
        assert!(matches!(store.sync_async().await, Err(Error::Closed)));
    });
    // The lock is free once the future is ready.
    let store = options(&disk).open(ROOT).unwrap();
    assert_eq!(store.head(), Position::new(4));
}

#[test]
fn submit_at_the_limit_of_pending_bytes_leaves_the_executor_free() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).max_pending_bytes(2_000).open(ROOT).unwrap();
    // The session has begun, so that the next commits wait for nothing but room.
    append(&store, "s", 10).commit().unwrap();
    disk.hook().shut(true);
    let mut tickets = Vec::new();
    for _ in 0..8 {
        let submit = append(&store, "s", 500).submit_async();
        // If it has to wait, it must be pending and leave the thread free: only this thread opens
        // the gate.
        tickets.push(block_on_opening(&disk, submit).unwrap());
    }
    disk.hook().shut(false);
    for (ticket, version) in tickets.into_iter().zip(2..) {
        assert_eq!(block_on(ticket).unwrap().versions, [version]);
    }
}

/// Runs a task; opens the gate if it has to wait, and shuts the gate again.
fn block_on_opening<F: Future>(disk: &Disk, future: F) -> F::Output {
    let (output, taken) = run(future, || disk.hook().shut(false));
    assert_eq!(taken.slow, 0, "{taken:?}");
    disk.hook().shut(true);
    output
}

#[test]
fn first_boundary_of_a_session_is_prepared_by_a_thread_of_the_store() {
    let disk = disk(&SimStorage::new(1));
    let options = || Options::new().storage(Arc::new(disk.clone()));
    let store = options().open(ROOT).unwrap();
    fill(&store, 5_000);
    store.close().unwrap();
    let store = options().open(ROOT).unwrap();
    let head = store.head();
    let commit = append(&store, "s", 1).fail_if(Query::types(["Other"]).after(head));
    let (done, taken) = run(commit.commit_async(), || {});
    done.unwrap();
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    // A boundary that has to look at old events, and one that fails.
    let unique = append(&store, "s", 1).fail_if_exists(Query::types(["Other"]));
    let (done, taken) = run(unique.commit_async(), || {});
    done.unwrap();
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    let exists = append(&store, "s", 1).fail_if_exists(Query::types(["Happened"]));
    let (lost, taken) = run(exists.commit_async(), || {});
    assert!(lost.unwrap_err().is_conflict());
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
}

#[test]
fn rollover_is_waited_for_and_not_done_by_the_executor() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    for version in 1..40 {
        let done = block_on(append(&store, "s", 9_000).commit_async()).unwrap();
        assert_eq!(done.versions, [version]);
    }
    assert!(store.stats().segments > 3);
    block_on(store.close_async()).unwrap();
}

#[test]
fn conflict_of_a_task_is_returned_once_the_winner_is_visible() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    append(&store, "s", 10).commit().unwrap();
    let create = || store.transaction().append("t", ExpectedVersion::NoStream, [happened(1)]);
    disk.hook().shut(true);
    let first = create().submit().unwrap();
    // Returned at once, with the position to wait for.
    let lost = block_on(create().submit_async()).unwrap_err();
    assert!(matches!(lost, Error::Conflict { visible_at, .. } if visible_at == Position::new(2)));
    assert_eq!(store.head(), Position::new(1));
    let lost = block_on_opening(&disk, create().commit_async()).unwrap_err();
    assert!(lost.is_conflict());
    assert_eq!(store.head(), Position::new(2));
    disk.hook().shut(false);
    block_on(first).unwrap();
    // `retry_async` waits for the commit that caused the conflict.
    disk.hook().shut(true);
    let _second = append(&store, "t", 1).submit().unwrap();
    let mut calls = 0;
    let done = store.retry_async(2, |store| {
        calls += 1;
        let version = store.stream_head("t").unwrap().map_or(0, |head| head.version);
        let expected = ExpectedVersion::Exact(version);
        async move {
            let transaction = store.transaction().append("t", expected, [happened(1)]);
            transaction.submit_async().await?.await
        }
    });
    let (done, _) = run(done, || disk.hook().shut(false));
    assert_eq!((done.unwrap().versions, calls), (vec![3], 2));
}

/// Reads a stream of messages up to a scanned position; returns the number of events.
fn collect(
    mut stream: impl Stream<Item = annals::Result<annals::subscription::Message>> + Unpin,
    upto: u64,
) -> (u64, Taken) {
    let (events, taken) = run(
        async move {
            let mut events = 0;
            loop {
                let message = stream.next().await.unwrap().unwrap();
                if let MessageKind::Events(batch) = &message.kind {
                    assert!(batch.len() <= 512, "{} events in a message", batch.len());
                    events += batch.len() as u64;
                }
                if message.scanned_through.get() >= upto {
                    return events;
                }
            }
        },
        || {},
    );
    (events, taken)
}

#[test]
fn stream_that_catches_up_lets_other_tasks_run() {
    const EVENTS: u64 = 20_000;
    let disk = disk(&SimStorage::new(1));
    let options = || Options::new().segment_size(1 << 20).storage(Arc::new(disk.clone()));
    let store = options().open(ROOT).unwrap();
    fill(&store, EVENTS);
    store.close().unwrap();
    let store = options().open(ROOT).unwrap();
    // The largest permitted batch does not keep the executor busy either.
    let stream = store.subscribe().batch_size(65_536).start().unwrap().into_stream();
    let (events, taken) = collect(stream, EVENTS);
    assert_eq!(events, EVENTS);
    // A turn ends after 1,024 positions, or with the message that goes beyond.
    assert!(taken.polls > EVENTS / 2_048, "{taken:?}");
    assert!(taken.reads < 200, "{taken:?}");
    // If nothing matches, the scan is still done in turns, even without an index that excludes
    // segments.
    let none = Query::types(["Happened"]).items()[0].clone().tag("unknown");
    let stream = store.subscribe().matching(none.into()).start().unwrap().into_stream();
    let (events, taken) = collect(stream, EVENTS);
    assert_eq!(events, 0);
    assert!(taken.reads < 200, "{taken:?}");
    drop(store);
}

#[test]
fn cursors_of_a_task_are_moved_and_refused_as_in_their_blocking_forms() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    fill(&store, 100);
    let cursors = store.cursors();
    let at = |position| Some(Position::new(position));
    block_on(async {
        cursors.advance_async("c", 5).await.unwrap();
        let back = cursors.advance_async("c", 5).await;
        assert!(back.unwrap_err().is_conflict());
        cursors.compare_and_set_async("c", at(5), 7).await.unwrap();
        let wrong = cursors.compare_and_set_async("c", at(5), 8).await;
        assert!(wrong.unwrap_err().is_conflict());
        assert_eq!(cursors.get("c").unwrap(), at(7));
        cursors.reset_async("c", 2).await.unwrap();
        assert_eq!(cursors.get("c").unwrap(), at(2));
        cursors.delete_async("c").await.unwrap();
        assert_eq!(cursors.get("c").unwrap(), None);
        assert!(cursors.delete_async("c").await.unwrap_err().is_conflict());
    });
}

/// The check of a boundary that begins in a sealed segment reads files, however few events it examines.
#[test]
fn boundary_in_a_sealed_segment_is_checked_by_a_thread_of_the_store() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    let event = || happened(7_000).tag("t");
    for _ in 0..12 {
        store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    }
    store.close().unwrap();
    let store = options(&disk).open(ROOT).unwrap();
    // The first boundary of a session is prepared by a thread in any case.
    let first = append(&store, "s", 1).fail_if(Query::tagged(["new"]).after(store.head()));
    block_on(first.commit_async()).unwrap();
    let boundary = append(&store, "s", 1).fail_if(Query::tagged(["unknown"]).after(1));
    let (done, taken) = run(boundary.commit_async(), || {});
    done.unwrap();
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
}

/// The head of one stream is in an index file that was read before, that of the other in a block of the
/// checkpoint that was not.
#[test]
fn heads_that_an_append_needs_are_read_by_a_thread_of_the_store() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    store.append("old", ExpectedVersion::Any, [happened(7_000)]).unwrap();
    let segments = store.stats().segments;
    while store.stats().segments == segments {
        store.append("filler", ExpectedVersion::Any, [happened(7_000)]).unwrap();
    }
    for number in 0..200 {
        let stream = format!("late-{number:0>80}");
        store.append(&stream, ExpectedVersion::Any, [happened(10)]).unwrap();
    }
    store.close().unwrap();
    for transactional in [false, true] {
        let store = options(&disk).open(ROOT).unwrap();
        block_on(append(&store, "filler", 1).commit_async()).unwrap();
        assert_eq!(store.stream_head("old").unwrap().unwrap().version, 1);
        let (old, late) = (ExpectedVersion::Exact(2), format!("late-{:0>80}", 77));
        let mut both = store.transaction().append("old", old, [happened(10)]);
        both = both.append(&late, ExpectedVersion::Exact(2), [happened(10)]);
        if transactional {
            both = both.check_record("unknown", ExpectedRecord::NoRecord);
        }
        let (done, taken) = run(both.commit_async(), || {});
        assert_eq!(done.unwrap_err().failed_checks().len(), 2);
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        store.close().unwrap();
    }
}

#[test]
fn filtered_stream_has_the_active_segment_indexed_by_a_thread_of_the_store() {
    const EVENTS: u64 = 20_000;
    let disk = disk(&SimStorage::new(1));
    let store = Options::new().storage(Arc::new(disk.clone())).open(ROOT).unwrap();
    fill(&store, EVENTS);
    let unknown = Query::tagged(["unknown"]);
    let stream = store.subscribe().matching(unknown).start().unwrap().into_stream();
    let (events, taken) = collect(stream, EVENTS);
    assert_eq!(events, 0);
    assert!(taken.polls > 1, "the index was made within the first poll");
    assert!(taken.reads < 200, "{taken:?}");
}

#[test]
fn stream_that_waits_for_work_of_a_thread_is_ended_by_a_stop() {
    let disk = disk(&SimStorage::new(1));
    let store = Options::new().storage(Arc::new(disk.clone())).open(ROOT).unwrap();
    fill(&store, 5_000);
    let subscription: Subscription =
        store.subscribe().matching(Query::tagged(["unknown"])).start().unwrap();
    let stop = subscription.stop_handle();
    let mut stream = subscription.into_stream();
    let ((), _) = run(
        async move {
            while let Some(message) = stream.next().await {
                message.unwrap();
            }
        },
        || stop.stop(),
    );
}

#[test]
fn wait_of_a_reader_leaves_following_to_a_thread_of_the_store() {
    let sim = SimStorage::new(1);
    let writer = disk(&sim);
    let store = options(&writer).open(ROOT).unwrap();
    fill(&store, 1_000);
    let reader = options(&disk(&sim)).read_only(true).open(ROOT).unwrap();
    let waiting = reader.wait_for_async(Position::new(1_100));
    let appended = std::thread::spawn(move || {
        fill(&store, 100);
        store
    });
    let (there, taken) = run(waiting, || {});
    there.unwrap();
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    assert_eq!(reader.head(), Position::new(1_100));
    let stream = reader.subscribe().start().unwrap().into_stream();
    let (events, taken) = collect(stream, 1_100);
    assert_eq!((events, taken.slow), (1_100, 0), "{taken:?}");
    drop(appended.join().unwrap());
}
