//! Checkpoints that move with commits and alone: one place for each, which every handle finds.

use std::collections::BTreeMap;
use std::thread;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    AppendError, Commit, Committed, EventStore, Expected, FailedCheck, OrderedStore, Position,
    ReadAll, StoreError, Subscribe,
};
use annals_jetstream::{Error, JetStreamStore};

use crate::commits::{LONG, append, event, proxied, stream, without_an_answer};
use crate::partitions::Partitioned;
use crate::support::{Name, Tests};

pub(crate) const TESTS: Tests = &[
    ("checkpoint_is_taken_over_by_a_commit", checkpoint_is_taken_over_by_a_commit),
    ("checkpoint_moves_once_by_either_way", checkpoint_moves_once_by_either_way),
    (
        "checkpoint_that_a_commit_moves_twice_is_at_the_second_place",
        checkpoint_that_a_commit_moves_twice_is_at_the_second_place,
    ),
    (
        "lost_acknowledgement_of_a_commit_with_a_checkpoint_is_found",
        lost_acknowledgement_of_a_commit_with_a_checkpoint_is_found,
    ),
    ("lost_acknowledgement_of_progress_is_found", lost_acknowledgement_of_progress_is_found),
    ("messages_of_checkpoints_are_no_events", messages_of_checkpoints_are_no_events),
    ("stream_of_an_earlier_version_is_extended", stream_of_an_earlier_version_is_extended),
    (
        "checkpoint_in_a_commit_is_that_of_a_partition",
        checkpoint_in_a_commit_is_that_of_a_partition,
    ),
];

type Saved = Result<(), AppendError>;

fn checkpoint(store: &JetStreamStore) -> Option<Position> {
    block_on(store.checkpoint("saga")).expect("no error")
}

fn react(store: &JetStreamStore, to: Position) -> Result<Committed, AppendError> {
    block_on(store.append(Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", to)))
}

fn positions(store: &JetStreamStore, number: usize) -> Vec<Position> {
    (0..number).map(|_| append(store, "a-1", [event("A")]).last_position).collect()
}

fn is_not_forward<T: std::fmt::Debug>(done: Result<T, AppendError>) -> bool {
    let Err(AppendError::Conflict(conflict)) = done else { panic!("{done:?}") };
    matches!(conflict.failed[..], [FailedCheck::CheckpointNotForward { .. }])
}

fn checkpoint_is_taken_over_by_a_commit() {
    let name = Name::replicated();
    let (one, other) = (name.store(), name.store());
    let at = positions(&one, 5);
    block_on(one.save_checkpoint("saga", at[1])).expect("it moves forward");
    assert!(is_not_forward(react(&other, at[1])));
    // A commit that fails leaves it where it was, although it is in the stream by now.
    assert_eq!((checkpoint(&one), checkpoint(&other)), (Some(at[1]), Some(at[1])));
    react(&other, at[2]).expect("it moves forward");
    for store in [&one, &other, &name.store()] {
        assert_eq!(checkpoint(store), Some(at[2]));
        assert!(is_not_forward(block_on(store.save_checkpoint("saga", at[2]))));
    }
    block_on(one.save_checkpoint("saga", at[3])).expect("it moves forward");
    assert_eq!(checkpoint(&other), Some(at[3]));
    block_on(other.reset_checkpoint("saga", at[0])).expect("a reset may move backward");
    assert_eq!(checkpoint(&one), Some(at[0]));
    block_on(one.reset_checkpoint("saga", Position::START)).expect("a reset may move backward");
    assert!(block_on(one.reset_checkpoint("saga", Position::MAX)).is_err());
    assert_eq!(checkpoint(&other), Some(Position::START));
    react(&one, at[4]).expect("it moves forward");
    block_on(one.save_checkpoint("view", at[2])).expect("another one");
    let all = block_on(name.store().checkpoints()).expect("a list");
    let expected = [("saga".to_owned(), at[4]), ("view".to_owned(), at[2])];
    assert_eq!(all, expected);
}

/// Consumers of one name, each with a handle of its own, of which some move the checkpoint with commits and some alone.
fn checkpoint_moves_once_by_either_way() {
    let name = Name::replicated();
    let at = positions(&name.store(), 30);
    let moves: Vec<Vec<Position>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (store, at) = (name.store(), &at);
                scope.spawn(move || {
                    // Only the checkpoint keeps their commits apart.
                    let own = format!("b-{client}");
                    let move_to = |to: &&Position| -> Saved {
                        let new = Commit::to(&*own, Expected::Any, [event("B")]);
                        match client % 2 {
                            0 => block_on(store.append(new.checkpoint("saga", **to))).map(drop),
                            _ => block_on(store.save_checkpoint("saga", **to)),
                        }
                    };
                    let has_moved = |to: &&Position| match move_to(to) {
                        Ok(()) => true,
                        done => !is_not_forward(done),
                    };
                    at.iter().filter(has_moved).copied().collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    let mut by_position = BTreeMap::new();
    for to in moves.iter().flatten() {
        *by_position.entry(to).or_insert(0) += 1;
    }
    assert!(by_position.values().all(|times| *times == 1), "{by_position:?}");
    let store = name.store();
    assert_eq!(checkpoint(&store), at.last().copied());
    let reactions: Vec<usize> = moves.iter().map(Vec::len).collect();
    for (client, own) in [(0, "b-0"), (2, "b-2")] {
        assert_eq!(stream(&store, own).len(), reactions[client]);
    }
}

fn checkpoint_that_a_commit_moves_twice_is_at_the_second_place() {
    let name = Name::single();
    let store = name.store();
    let at = positions(&store, 3);
    let twice = |one, other| {
        let commit = Commit::to("b-1", Expected::Any, [event("B")]).checkpoint("saga", one);
        block_on(store.append(commit.checkpoint("saga", other)))
    };
    assert!(is_not_forward(twice(at[1], at[0])));
    twice(at[0], at[1]).expect("it moves forward");
    assert_eq!(checkpoint(&name.store()), Some(at[1]));
    react(&store, at[2]).expect("it moves forward");
}

fn lost_acknowledgement_of_a_commit_with_a_checkpoint_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let at = positions(&store, 3);
    react(&store, at[0]).expect("it moves forward");
    let done = without_an_answer(&proxy, || react(&store, at[1])).expect("it is recorded");
    let read = stream(&store, "b-1");
    assert_eq!((read.len(), read[1].position()), (2, done.last_position));
    assert!(!done.already_recorded);
    assert_eq!(checkpoint(&store), Some(at[1]));
    react(&store, at[2]).expect("it moves forward");
}

fn lost_acknowledgement_of_progress_is_found() {
    let name = Name::replicated();
    let (proxy, store) = proxied(&name, LONG);
    let at = positions(&store, 2);
    let progress = |to| block_on(store.append(Commit::progress("saga", to)));
    progress(at[0]).expect("it moves forward");
    let done = without_an_answer(&proxy, || progress(at[1])).expect("it moves forward");
    assert!(done.versions.is_empty());
    assert_eq!(checkpoint(&store), Some(at[1]));
}

fn messages_of_checkpoints_are_no_events() {
    let name = Name::single();
    let store = name.store();
    let mut at = positions(&store, 2);
    at.push(react(&store, at[0]).expect("it moves forward").last_position);
    for to in &at[1..] {
        block_on(store.append(Commit::progress("saga", *to))).expect("it moves forward");
    }
    // The last messages are those of checkpoints.
    let later = name.store();
    assert_eq!(block_on(later.head()).expect("a head"), at[2]);
    let last = iter(later.read_all(ReadAll::new())).last().expect("an event").expect("no error");
    assert_eq!(last.position(), at[2]);
    assert!(last.is_last_in_commit());
    assert_eq!(block_on(later.position_at(last.recorded_at())).expect("no error"), at[2]);
    let all = iter(later.read_all(ReadAll::new())).map(|it| it.expect("no error").position());
    assert_eq!(all.collect::<Vec<_>>(), at);
    let mut found = Vec::new();
    for message in iter(later.subscribe(Subscribe::after(Position::START))) {
        let message = message.expect("no error");
        found.extend(message.events.iter().map(annals_es::RecordedEvent::position));
        if message.caught_up {
            assert_eq!(message.scanned_through, at[2]);
            break;
        }
    }
    assert_eq!(found, at);
    let next = append(&later, "a-1", [event("A")]);
    assert!(next.last_position > at[2]);
    assert_eq!(iter(later.read_all(ReadAll::new().after(at[2]))).count(), 1);
}

fn stream_of_an_earlier_version_is_extended() {
    let name = Name::replicated();
    let store = name.store();
    let at = positions(&store, 3);
    block_on(store.save_checkpoint("saga", at[0])).expect("it moves forward");
    drop(store);
    name.change(|config| config.subjects.retain(|it| !it.contains("checkpoint")));
    let store = name.store();
    assert_eq!(checkpoint(&store), Some(at[0]));
    react(&store, at[1]).expect("it moves forward");
    assert_eq!(checkpoint(&name.store()), Some(at[1]));
}

fn checkpoint_in_a_commit_is_that_of_a_partition() {
    let name = Partitioned::new();
    let store = name.store();
    let here = store.of_category("a");
    let at = append(here, "a-1", [event("A")]).last_position;
    let commit = || Commit::to("a-2", Expected::NoStream, [event("B")]).checkpoint("saga", at);
    let parts = Commit::<JetStreamStore>::into_parts(commit());
    let refused = block_on(store.append(Commit::from_parts(parts)));
    let Err(AppendError::Store(StoreError::Backend(cause))) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(cause.downcast_ref(), Some(Error::NotOffered { .. })), "{cause:?}");
    block_on(here.append(commit())).expect("it moves forward");
    assert_eq!(checkpoint(here), Some(at));
}
