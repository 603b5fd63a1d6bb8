//! Parked events: listed, replayed, discarded.

use annals_es::projection::{ErrorPolicy, Memory, ReplayError, Runner, State, WaitError};
use annals_es::{OrderedStore, Position};

use crate::support::{Fault, Log, append_each, each_once, parked, policy, wait};

crate::for_each_store! {
    failed_event_is_parked_and_later_ones_are_handled,
    parked_event_is_replayed_or_discarded,
    failed_replay_changes_nothing,
    full_list_of_parked_events_pauses,
    paused_event_is_parked_on_request,
}

fn failed_event_is_parked_and_later_ones_are_handled<S: OrderedStore>(store: &S) {
    append_each(store, 1..=30);
    // A failed transaction after a parked event must not bring the parked one back.
    let log = Log::new("log").fail(4, [Fault::Panic; 2]).fail(9, [Fault::Error; 2]);
    let log = log.fail(20, [Fault::Error]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::park(), 1);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(30))).expect("it goes on");
    let mut expected = each_once(30);
    expected.retain(|(position, _)| *position != 4 && *position != 9);
    assert_eq!(*view.read_blocking(), expected);
    let listed = handle.parked();
    assert_eq!(parked(&handle), [4, 9]);
    assert_eq!((listed[0].attempts, listed[0].version.get()), (2, 4));
    assert_eq!(listed[0].error, "the handler panicked: the handler panics");
    assert_eq!((listed[1].error.as_str(), handle.status().parked), ("the handler refuses", 2));
    thread.stop().expect("it stops");
}

fn parked_event_is_replayed_or_discarded<S: OrderedStore>(store: &S) {
    append_each(store, 1..=5);
    let log = Log::new("log").fail(2, [Fault::Error]).fail(3, [Fault::Error]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::park(), 0);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(5))).expect("it goes on");
    wait(handle.replay_parked(Position::new(2))).expect("it succeeds now");
    assert_eq!(parked(&handle), [3]);
    assert_eq!(*view.read_blocking(), [(1, 1), (4, 4), (5, 5), (2, 2)]);
    wait(handle.discard_parked(Position::new(3))).expect("it is parked");
    assert!(parked(&handle).is_empty());
    for gone in [2, 3, 1] {
        let again = wait(handle.replay_parked(Position::new(gone)));
        assert!(matches!(again, Err(ReplayError::NotParked(_))), "{again:?}");
    }
    thread.stop().expect("it stops");
    let stopped = wait(handle.discard_parked(Position::new(2)));
    assert!(matches!(stopped, Err(ReplayError::Stopped(_))), "{stopped:?}");
}

fn failed_replay_changes_nothing<S: OrderedStore>(store: &S) {
    append_each(store, 1..=3);
    let log = Log::new("log").fail(2, [Fault::Error, Fault::Panic]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::park(), 0);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    wait(handle.wait_for(Position::new(3))).expect("it goes on");
    let failed = wait(handle.replay_parked(Position::new(2)));
    let Err(ReplayError::Failed(error)) = failed else { panic!("it panics, found {failed:?}") };
    assert!(error.to_string().contains("position 2"), "{error}");
    assert_eq!(parked(&handle), [2]);
    assert_eq!(*view.read_blocking(), [(1, 1), (3, 3)]);
    wait(handle.wait_for(append_each(store, [4]))).expect("it goes on");
    assert_eq!(*view.read_blocking(), [(1, 1), (3, 3), (4, 4)]);
    thread.stop().expect("it stops");
}

fn full_list_of_parked_events_pauses<S: OrderedStore>(store: &S) {
    append_each(store, 1..=4);
    let log = Log::new("log").fail(1, [Fault::Error]).fail(3, [Fault::Error]);
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::park().most_parked(1), 0);
    let handle = runner.add_with(log, Memory::new(Vec::new()), options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    let waited = wait(handle.wait_for(Position::new(4)));
    assert!(matches!(waited, Err(WaitError::Paused { .. })), "{waited:?}");
    assert_eq!((parked(&handle), handle.status().position.get()), (vec![1], 2));
    thread.stop().expect("it stops");
}

fn paused_event_is_parked_on_request<S: OrderedStore>(store: &S) {
    append_each(store, 1..=4);
    let log = Log::new("log").fail(3, [Fault::Error]);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 0);
    let handle = runner.add_with(log, memory, options).expect("it fits");
    let thread = runner.spawn_thread().expect("a thread");
    assert!(wait(handle.wait_for(Position::new(4))).is_err());
    assert_eq!(handle.status().state, State::Paused);
    wait(handle.park_and_resume()).expect("it is parked");
    wait(handle.wait_for(Position::new(4))).expect("it goes on");
    assert_eq!((parked(&handle), view.read_blocking().len()), (vec![3], 3));
    thread.stop().expect("it stops");
}
