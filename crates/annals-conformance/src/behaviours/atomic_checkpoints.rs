//! Checkpoints that move with a commit.

use annals_es::blocking::block_on;
use annals_es::{AtomicCheckpoints, Commit, Expected, FailedCheck, OrderedStore, Position};
use uuid::Uuid;

use crate::Backend;
use crate::support::{
    append_visibly, behaviours, clients, commit, count, event, failed_checks, open, settle,
};

behaviours! { "atomic_checkpoints", AtomicCheckpoints:
    checkpoint_moves_with_a_commit, checkpoint_admits_one_of_two_consumers,
    progress_needs_no_events, repeated_commit_keeps_a_checkpoint,
    consumers_of_a_name_handle_each_event_once,
}

fn checkpoint<S: OrderedStore>(store: &S) -> Option<Position> {
    block_on(store.checkpoint("saga")).expect("no error")
}

fn checkpoint_moves_with_a_commit<B: Backend<Store: AtomicCheckpoints>>(backend: &B) {
    let store = open(backend);
    let handled = append_visibly(&store, "a-1", [event("A")]).last_position;
    let react = |expected| {
        commit(&store, Commit::to("b-1", expected, [event("B")]).checkpoint("saga", handled))
    };
    assert_eq!(failed_checks(react(Expected::StreamExists)).len(), 1);
    assert_eq!((checkpoint(&store), count(&store, "b-1")), (None, 0));
    react(Expected::NoStream).expect("it holds");
    assert_eq!((checkpoint(&store), count(&store, "b-1")), (Some(handled), 1));
}

fn checkpoint_admits_one_of_two_consumers<B: Backend<Store: AtomicCheckpoints>>(backend: &B) {
    let store = open(backend);
    let handled = append_visibly(&store, "a-1", [event("A")]).last_position;
    let react = || {
        let new = Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", handled);
        commit(&store, new)
    };
    react().expect("the first consumer");
    let failed = failed_checks(react());
    let name = "saga".to_owned();
    let expected = FailedCheck::CheckpointNotForward { name, at: handled, to: handled };
    assert_eq!(failed, [expected]);
    assert_eq!(count(&store, "b-1"), 1);
}

fn progress_needs_no_events<B: Backend<Store: AtomicCheckpoints>>(backend: &B) {
    let store = open(backend);
    let handled = append_visibly(&store, "a-1", [event("A")]).last_position;
    let done = commit(&store, Commit::progress("saga", handled)).expect("it moves forward");
    assert!(done.versions.is_empty());
    assert_eq!(checkpoint(&store), Some(handled));
    assert_eq!(failed_checks(commit(&store, Commit::progress("saga", handled))).len(), 1);
}

fn repeated_commit_keeps_a_checkpoint<B: Backend<Store: AtomicCheckpoints>>(backend: &B) {
    let store = open(backend);
    let handled = append_visibly(&store, "a-1", [event("A")]).last_position;
    let new = Commit::to("b-1", Expected::NoStream, [event("B").id(Uuid::from_u128(1))])
        .checkpoint("saga", handled);
    let first = commit(&store, new.clone()).expect("it is new");
    settle(&store, &first);
    commit(&store, Commit::progress("saga", first.last_position)).expect("it moves on");
    let repeated = commit(&store, new).expect("it is recorded");
    assert!(repeated.already_recorded);
    assert_eq!(checkpoint(&store), Some(first.last_position));
}

fn consumers_of_a_name_handle_each_event_once<B: Backend<Store: AtomicCheckpoints>>(backend: &B) {
    let store = open(backend);
    let places: Vec<Position> =
        (0..15).map(|_| append_visibly(&store, "a-1", [event("A")]).last_position).collect();
    let handled = clients(3, |_| {
        let react = |to: &&Position| {
            let new = Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", **to);
            commit(&store, new).is_ok()
        };
        places.iter().filter(react).count()
    });
    let handled: usize = handled.iter().sum();
    assert!(handled > 0 && handled <= 15);
    assert_eq!(count(&store, "b-1"), handled);
    assert_eq!(checkpoint(&store), places.last().copied());
}
