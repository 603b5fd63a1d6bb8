//! Catching up, following, stopping and waiting.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use annals_es::blocking::block_on;
use annals_es::projection::{Memory, Runner, State, WaitError};
use annals_es::{OrderedStore, Position, Query, QueryItem, encode};

use crate::support::{
    AsyncLog, Fault, Happened, Log, added, append, append_each, each_once, of_kind, policy, wait,
};

crate::for_each_store! {
    recorded_and_new_events_are_handled_once_in_order,
    only_events_of_the_query_are_handled,
    position_advances_without_events_of_the_query,
    projections_of_one_runner_have_their_own_events,
    paused_projection_gets_what_it_missed_and_the_other_nothing_twice,
    own_writes_are_read_after_a_wait,
    each_wait_ends_at_its_position,
    stop_ends_after_a_whole_batch,
    dropped_runner_ends_waits,
    closed_runner_without_handles_returns,
    large_commit_is_split_into_batches,
    asynchronous_handlers_are_called_in_order,
    run_can_be_spawned_on_an_executor_with_threads,
}

/// It fails to compile if a run is not `Send`.
fn run_can_be_spawned_on_an_executor_with_threads<S: OrderedStore>(store: &S) {
    fn spawn<F: Future<Output: Send> + Send + 'static>(run: F) -> F::Output {
        thread::spawn(|| block_on(run)).join().expect("no panic")
    }
    let mut runner = Runner::new(store.clone());
    let log = runner.add(Log::new("log"), Memory::new(Vec::new())).expect("the schemas fit");
    runner.handle().stop();
    spawn(runner.run()).expect("it stops");
    assert_eq!(log.status().state, State::Stopped);
}

fn recorded_and_new_events_are_handled_once_in_order<S: OrderedStore>(store: &S) {
    append_each(store, 1..=700);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let log = runner.add(Log::new("log"), memory).expect("the schemas fit");
    assert_eq!(log.status().state, State::Starting);
    let thread = runner.spawn_thread().expect("a thread");
    wait(log.wait_until_live()).expect("it catches up");
    let last = append_each(store, 701..=720);
    wait(log.wait_for(last)).expect("it follows");

    let handled = view.read_blocking();
    assert_eq!((*handled).clone(), each_once(720));
    assert_eq!(handled.position(), last);
    let status = log.status();
    assert_eq!((status.state, status.position, status.events), (State::Live, last, 720));
    assert_eq!((status.active, status.handling, status.parked), (true, None, 0));
    assert!(status.rate > 0.0 && status.last_recorded_at.is_some(), "{status:?}");
    assert_eq!(wait(log.lag()).expect("the store is open"), 0);
    drop(handled);
    thread.stop().expect("it stops");
    append_each(store, [721]);
    assert_eq!((log.status().state, wait(log.lag()).expect("a head")), (State::Stopped, 1));
}

fn only_events_of_the_query_are_handled<S: OrderedStore>(store: &S) {
    append(store, "log-1", [of_kind("red", 1), of_kind("blue", 2)]);
    append(store, "other-1", [of_kind("red", 3), encode(&Happened::Noted).expect("an event")]);
    append(store, "log-2", [of_kind("red", 5)]);
    let cases = [
        (Query::types(["Noted"]), vec![4]),
        (Query::tagged(["kind:red"]), vec![1, 3, 5]),
        (Query::category("log"), vec![1, 2, 5]),
        (QueryItem::new().tag("kind:red").category("log").into(), vec![1, 5]),
    ];
    // In one pass, and each alone.
    let mut together = Runner::new(store.clone());
    let mut views = Vec::new();
    for (query, expected) in cases {
        let log = Log { query: Some(query), ..Log::new("log") };
        let (first, second) = (Memory::new(Vec::new()), Memory::new(Vec::new()));
        let mut alone = Runner::new(store.clone());
        views.push((first.view(), second.view(), expected));
        let of_together = together.add(log.clone(), first).expect("it fits");
        let of_alone = alone.add(log, second).expect("it fits");
        let thread = alone.spawn_thread().expect("a thread");
        wait(of_alone.wait_for(Position::new(5))).expect("it follows");
        thread.stop().expect("it stops");
        views.last_mut().expect("just pushed").2.sort_unstable();
        assert_eq!(of_together.status().state, State::Starting);
    }
    let handle = together.handle();
    let stopper = thread::spawn(move || handle.stop());
    stopper.join().expect("no panic");
    // A runner that was asked to stop before it began stops at once, and opens nothing.
    wait(together.run()).expect("it stops");
    for (first, second, expected) in views {
        let positions: Vec<u64> = second.read_blocking().iter().map(|it| it.0).collect();
        assert_eq!(positions, expected);
        assert!(first.read_blocking().is_empty());
    }
}

fn position_advances_without_events_of_the_query<S: OrderedStore>(store: &S) {
    let log = Log { query: Some(Query::types(["Noted"])), ..Log::new("log") };
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let handle = runner.add(log, memory).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let last = append_each(store, 1..=300);
    wait(handle.wait_for(last)).expect("it advances");
    assert_eq!(handle.status().events, 0);
    assert_eq!(view.read_blocking().position(), last);
    thread.stop().expect("it stops");
}

fn projections_of_one_runner_have_their_own_events<S: OrderedStore>(store: &S) {
    append(store, "log-1", [of_kind("red", 1), of_kind("blue", 2), of_kind("red", 3)]);
    let mut runner = Runner::new(store.clone());
    let mut added = Vec::new();
    for (name, kind) in [("red", "kind:red"), ("blue", "kind:blue")] {
        let memory = Memory::new(Vec::new());
        let view = memory.view();
        let log = Log { query: Some(Query::tagged([kind])), ..Log::new(name) };
        added.push((runner.add(log, memory).expect("it fits"), view));
    }
    let thread = runner.spawn_thread().expect("a thread");
    let last = append(store, "log-1", [of_kind("blue", 4)]);
    for (handle, _) in &added {
        wait(handle.wait_for(&last)).expect("it follows");
    }
    assert_eq!(*added[0].1.read_blocking(), [(1, 1), (3, 3)]);
    assert_eq!(*added[1].1.read_blocking(), [(2, 2), (4, 4)]);
    thread.stop().expect("it stops");
}

fn paused_projection_gets_what_it_missed_and_the_other_nothing_twice<S: OrderedStore>(store: &S) {
    let mut runner = Runner::new(store.clone());
    let (first, second) = (Memory::new(Vec::new()), Memory::new(Vec::new()));
    let views = [first.view(), second.view()];
    let first = runner.add(Log::new("first"), first).expect("it fits");
    let second = runner.add(Log::new("second"), second).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(first.wait_for(append_each(store, 1..=10))).expect("it follows");
    wait(second.wait_for(Position::new(10))).expect("it follows");

    wait(second.pause());
    assert_eq!(second.status().state, State::Paused);
    let last = append_each(store, 11..=30);
    wait(first.wait_for(last)).expect("it is not held up");
    match wait(second.wait_for(last)) {
        Err(WaitError::Paused { at, error: None, .. }) => assert_eq!(at.get(), 10),
        other => panic!("expected a pause, found {other:?}"),
    }
    wait(second.resume());
    wait(second.wait_for(last)).expect("it goes on");
    let last = append_each(store, 31..=31);
    for handle in [&first, &second] {
        wait(handle.wait_for(last)).expect("it follows");
    }
    for view in views {
        assert_eq!(*view.read_blocking(), each_once(31));
    }
    thread.stop().expect("it stops");
}

fn own_writes_are_read_after_a_wait<S: OrderedStore>(store: &S) {
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let handle = runner.add(Log::new("log"), memory).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    thread::scope(|scope| {
        for writer in 0..4 {
            let (handle, view) = (handle.clone(), view.clone());
            scope.spawn(move || {
                for amount in 0..50 {
                    let done = append(store, &format!("log-{writer}"), [added(amount)]);
                    wait(handle.wait_for(&done)).expect("no wake-up is lost");
                    let position = done.last_position.get();
                    assert!(view.read_blocking().contains(&(position, amount)));
                }
            });
        }
    });
    assert_eq!(view.read_blocking().len(), 200);
    thread.stop().expect("it stops");
}

/// Progress wakes what waits for it, and only that.
fn each_wait_ends_at_its_position<S: OrderedStore>(store: &S) {
    type Wait<'a> = Pin<Box<dyn Future<Output = Result<(), WaitError>> + 'a>>;
    /// Counts how often it was called.
    struct Calls(AtomicUsize);
    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let mut runner = Runner::new(store.clone());
    let log = runner.add(Log::new("log"), Memory::new(Vec::new())).expect("the schemas fit");
    let thread = runner.spawn_thread().expect("a thread");
    wait(log.wait_until_live()).expect("it catches up");
    let mut waits: Vec<_> = [2_u64, 4, 3]
        .map(|position| (position, Arc::new(Calls(AtomicUsize::new(0)))))
        .into_iter()
        .map(|(position, calls)| {
            (calls, Box::pin(log.wait_for(Position::new(position))) as Wait<'_>)
        })
        .collect();
    let poll = |(calls, future): &mut (Arc<Calls>, Wait<'_>)| {
        let waker = Waker::from(Arc::clone(calls));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    };
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    append_each(store, [1]);
    for (index, last) in [(0, 2), (2, 3), (1, 4)] {
        append_each(store, [last]);
        let until = Instant::now() + Duration::from_secs(20);
        // What waits for more may be woken, and waits again.
        while waits[index].0.0.swap(0, Ordering::SeqCst) == 0
            || poll(&mut waits[index]).is_pending()
        {
            assert!(Instant::now() < until, "the wait for {last} is not woken");
            thread::sleep(Duration::from_millis(1));
        }
        let others: Vec<usize> =
            [0, 2, 1].into_iter().skip_while(|it| *it != index).skip(1).collect();
        for other in others {
            assert!(poll(&mut waits[other]).is_pending());
        }
    }
    thread.stop().expect("it stops");
}

fn stop_ends_after_a_whole_batch<S: OrderedStore>(store: &S) {
    append_each(store, 1..=1000);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone()).batch_size(10);
    let handle = runner.add(Log::new("log"), memory).expect("it fits");
    let other = runner.add(Log::new("other"), Memory::new(Vec::new())).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(10))).expect("it begins");
    wait(handle.stop());
    let status = handle.status();
    assert_eq!(status.state, State::Stopped);
    assert_eq!(*view.read_blocking(), each_once(status.position.get()));
    assert!(matches!(
        wait(handle.wait_for(Position::new(1001))),
        Err(WaitError::Stopped { at, .. }) if at == status.position
    ));
    wait(other.wait_for(Position::new(1000))).expect("the other one goes on");
    wait(other.stop());
    // Nothing is left to run.
    let mut thread = thread;
    thread.join().expect("it ends");
}

fn dropped_runner_ends_waits<S: OrderedStore>(store: &S) {
    let mut runner = Runner::new(store.clone());
    let handle = runner.add(Log::new("log"), Memory::new(Vec::new())).expect("it fits");
    let waiting = {
        let handle = handle.clone();
        thread::spawn(move || wait(handle.wait_for(Position::new(1))))
    };
    drop(runner);
    let ended = waiting.join().expect("no panic");
    assert!(matches!(ended, Err(WaitError::Stopped { .. })), "{ended:?}");
}

fn closed_runner_without_handles_returns<S: OrderedStore>(store: &S) {
    append_each(store, 1..=3);
    let log = Log::new("log").fail(2, [Fault::Error]);
    let mut runner = Runner::new(store.clone());
    let options = policy(annals_es::projection::ErrorPolicy::pause(), 0);
    let handle = runner.add_with(log, Memory::new(Vec::new()), options).expect("it fits");
    drop(handle);
    // It is paused at event 2, and nothing can resume it.
    wait(runner.run()).expect("it ends");
}

fn large_commit_is_split_into_batches<S: OrderedStore>(store: &S) {
    append(store, "log-1", (1..=25).map(added));
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone()).batch_size(10);
    let log = Log::new("log").fail(25, [Fault::Error]);
    let options = policy(annals_es::projection::ErrorPolicy::pause(), 0);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let waited = wait(handle.wait_for(Position::new(25)));
    assert!(matches!(waited, Err(WaitError::Paused { .. })), "{waited:?}");
    // What is before the failed event in its batch is not lost.
    assert_eq!(*view.read_blocking(), each_once(24));
    wait(handle.resume());
    wait(handle.wait_for(Position::new(25))).expect("it goes on");
    assert_eq!(*view.read_blocking(), each_once(25));
    thread.stop().expect("it stops");
}

fn asynchronous_handlers_are_called_in_order<S: OrderedStore>(store: &S) {
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let handle = runner.add_async(AsyncLog(Log::new("log")), memory).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(append_each(store, 1..=100))).expect("it follows");
    assert_eq!(*view.read_blocking(), each_once(100));
    thread.stop().expect("it stops");
}
