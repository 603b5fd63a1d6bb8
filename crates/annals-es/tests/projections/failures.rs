//! Handlers that fail, panic or never answer, and targets that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals_es::projection::{
    ErrorPolicy, FailureCause, Memory, Opened, Progress, ProjectionId, Runner, State, Target,
    TargetError, WaitError,
};
use annals_es::{NewEvent, OrderedStore, Position};

use crate::support::{
    AsyncLog, Fault, Handled, Log, append, append_each, each_once, parked, policy, wait,
};

crate::for_each_store! {
    failed_event_is_retried_and_handled_once,
    projection_pauses_at_the_event_after_its_retries,
    panic_is_isolated_and_reported_with_the_event,
    failure_of_one_projection_does_not_stop_the_other,
    handler_that_never_answers_is_cancelled,
    event_that_cannot_be_read_is_parked,
    failed_commits_are_repeated,
    failed_opening_is_repeated,
    target_that_another_runner_moved_fails_the_projection,
}

fn failed_event_is_retried_and_handled_once<S: OrderedStore>(store: &S) {
    append_each(store, 1..=20);
    let faults = [Fault::Error, Fault::Panic, Fault::Error];
    let log = Log::new("log").fail(7, faults).fail(8, faults);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 3);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(20))).expect("the last retry succeeds");
    wait(handle.wait_until_live()).expect("it catches up");
    assert_eq!(*view.read_blocking(), each_once(20));
    assert!(handle.status().error.is_none());
    assert_eq!(handle.status().events, 20);
    thread.stop().expect("it stops");
}

fn projection_pauses_at_the_event_after_its_retries<S: OrderedStore>(store: &S) {
    append_each(store, 1..=9);
    let log = Log::new("log").fail(5, [Fault::Error; 4]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 2);
    let handle = runner.add_with(log.clone(), memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let error = match wait(handle.wait_for(Position::new(9))) {
        Err(WaitError::Paused { at, error: Some(error), .. }) => {
            assert_eq!(at.get(), 4);
            error
        }
        other => panic!("expected a pause, found {other:?}"),
    };
    assert_eq!(error.attempts, 3);
    assert_eq!(
        error.to_string(),
        "projection log@1 failed at event \"Added\", version 5 of stream \"log-1\" (position 5): \
         the handler refuses"
    );
    // What was handled before is there, and a wait for it succeeds.
    wait(handle.wait_for(Position::new(4))).expect("it is there");
    assert_eq!(*view.read_blocking(), each_once(4));

    // The attempts begin anew: the fourth fault is the first of them, and the fifth attempt succeeds.
    wait(handle.resume());
    wait(handle.wait_for(Position::new(9))).expect("it goes on");
    assert_eq!(*view.read_blocking(), each_once(9));
    thread.stop().expect("it stops");
}

fn panic_is_isolated_and_reported_with_the_event<S: OrderedStore>(store: &S) {
    append_each(store, 1..=3);
    let log = Log::new("log").fail(2, [Fault::Panic]);
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 0);
    let handle = runner.add_with(log, Memory::new(Vec::new()), options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let Err(WaitError::Paused { error: Some(error), .. }) = wait(handle.wait_for(Position::new(3)))
    else {
        panic!("it pauses");
    };
    assert!(matches!(&error.cause, FailureCause::Panic { message } if message.contains("panics")));
    let event = error.event.as_ref().expect("the event");
    assert_eq!((event.position.get(), event.stream.as_str()), (2, "log-1"));
    wait(handle.resume());
    wait(handle.wait_for(Position::new(3))).expect("it goes on");
    thread.stop().expect("it stops");
}

fn failure_of_one_projection_does_not_stop_the_other<S: OrderedStore>(store: &S) {
    append_each(store, 1..=5);
    let mut runner = Runner::new(store.clone());
    let good = Memory::new(Vec::new());
    let view = good.view();
    let bad = Log::new("bad").fail(2, [Fault::Panic; 100]);
    let long = policy(ErrorPolicy::pause().backoff(Duration::from_secs(3600), Duration::MAX), 9);
    let long = long.on_error(
        ErrorPolicy::pause().backoff(Duration::from_secs(3600), Duration::from_secs(7200)),
    );
    let bad = runner.add_with(bad, Memory::new(Vec::new()), long).expect("it fits");
    let good = runner.add(Log::new("good"), good).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(good.wait_for(append_each(store, 6..=9))).expect("it is not held up");
    assert_eq!(*view.read_blocking(), each_once(9));
    assert_eq!(bad.status().state, State::Retrying);
    assert_eq!(bad.status().position.get(), 1);
    // A stop does not wait for the retry.
    thread.stop().expect("it stops");
}

fn handler_that_never_answers_is_cancelled<S: OrderedStore>(store: &S) {
    append_each(store, 1..=3);
    let log = AsyncLog(Log::new("log").fail(2, [Fault::Hang, Fault::Hang]));
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 1).timeout(Duration::from_millis(5));
    let handle = runner.add_async_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let Err(WaitError::Paused { error: Some(error), .. }) = wait(handle.wait_for(Position::new(3)))
    else {
        panic!("it pauses");
    };
    assert!(matches!(error.cause, FailureCause::Timeout { .. }), "{error}");
    assert_eq!(error.attempts, 2);
    wait(handle.resume());
    wait(handle.wait_for(Position::new(3))).expect("it goes on");
    assert_eq!(*view.read_blocking(), each_once(3));
    thread.stop().expect("it stops");
}

fn event_that_cannot_be_read_is_parked<S: OrderedStore>(store: &S) {
    append(store, "log-1", [NewEvent::new("Added", "no JSON")]);
    append_each(store, [2]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::park(), 0);
    let handle = runner.add_with(Log::new("log"), memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(2))).expect("it goes on");
    assert_eq!(parked(&handle), [1]);
    assert_eq!(*view.read_blocking(), [(2, 2)]);
    thread.stop().expect("it stops");
}

/// A target whose operations fail for a number of times.
struct Faulty {
    inner: Memory<Handled>,
    opens: u32,
    /// Commits fail before they have an effect.
    commits: Arc<AtomicU32>,
    moved: bool,
}

impl Faulty {
    fn take(count: &AtomicU32) -> Result<(), TargetError> {
        let failed =
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1));
        if failed.is_ok() { Err(TargetError::failed("no space")) } else { Ok(()) }
    }
}

impl<S: OrderedStore> Target<S> for Faulty {
    type Model = Handled;

    async fn open(&mut self, store: &S, id: &ProjectionId) -> Result<Opened, TargetError> {
        if let Some(left) = self.opens.checked_sub(1) {
            self.opens = left;
            return Err(TargetError::failed("not yet"));
        }
        self.inner.open(store, id).await
    }

    async fn begin(&mut self) -> Result<&mut Handled, TargetError> {
        Target::<S>::begin(&mut self.inner).await
    }

    async fn commit(&mut self, store: &S, progress: Progress<'_>) -> Result<(), TargetError> {
        if progress.position > Position::START {
            if self.moved {
                let (expected, found) = (progress.position, Position::new(77));
                return Err(TargetError::Moved { expected, found });
            }
            Self::take(&self.commits)?;
        }
        self.inner.commit(store, progress).await
    }

    async fn rollback(&mut self, store: &S) -> Result<Position, TargetError> {
        self.inner.rollback(store).await
    }

    async fn reset(&mut self) -> Result<&mut Handled, TargetError> {
        Target::<S>::reset(&mut self.inner).await
    }
}

fn failed_commits_are_repeated<S: OrderedStore>(store: &S) {
    append_each(store, 1..=40);
    let inner = Memory::new(Vec::new());
    let view = inner.view();
    let commits = Arc::new(AtomicU32::new(0));
    let target = Faulty { inner, opens: 0, commits: Arc::clone(&commits), moved: false };
    let mut runner = Runner::new(store.clone()).batch_size(7);
    let options = policy(ErrorPolicy::park(), u32::MAX);
    let handle = runner.add_with(Log::new("log"), target, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(40))).expect("it catches up");
    // Between two batches, in the middle of restoring the state, and several in a row.
    for failures in 1..=5 {
        commits.store(failures, Ordering::Relaxed);
        let last = 40 + u64::from(failures);
        wait(handle.wait_for(append_each(store, [last]))).expect("it is repeated");
        assert_eq!(*view.read_blocking(), each_once(last));
    }
    // A failure that is not the event's never parks it.
    assert!(parked(&handle).is_empty());
    thread.stop().expect("it stops");
}

fn failed_opening_is_repeated<S: OrderedStore>(store: &S) {
    append_each(store, 1..=4);
    for (opens, retries, opened) in [(3, 3, true), (3, 2, false)] {
        let inner = Memory::new(Vec::new());
        let target = Faulty { inner, opens, commits: Arc::default(), moved: false };
        let mut runner = Runner::new(store.clone());
        let options = policy(ErrorPolicy::pause(), retries);
        let handle = runner.add_with(Log::new("log"), target, options).expect("it fits");
        let thread = runner.spawn_thread().expect("a thread");
        let waited = wait(handle.wait_for(Position::new(4)));
        assert_eq!(waited.is_ok(), opened, "{waited:?}");
        if !opened {
            wait(handle.resume());
            wait(handle.wait_for(Position::new(4))).expect("it is opened");
        }
        thread.stop().expect("it stops");
    }
}

fn target_that_another_runner_moved_fails_the_projection<S: OrderedStore>(store: &S) {
    append_each(store, 1..=4);
    let inner = Memory::new(Vec::new());
    let target = Faulty { inner, opens: 0, commits: Arc::default(), moved: true };
    let mut runner = Runner::new(store.clone());
    let handle = runner.add(Log::new("log"), target).expect("it fits");
    let mut thread = runner.spawn_thread().expect("a thread");
    let waited = wait(handle.wait_for(Position::new(4)));
    let Err(WaitError::Failed(error)) = waited else { panic!("it fails, found {waited:?}") };
    assert!(matches!(error.cause, FailureCause::Target(TargetError::Moved { .. })), "{error}");
    assert_eq!(handle.status().state, State::Failed);
    thread.join().expect("nothing is left to run");
}
