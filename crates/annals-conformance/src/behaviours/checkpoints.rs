//! Checkpoints: the positions of consumers by name.

use annals_es::blocking::block_on;
use annals_es::{FailedCheck, OrderedStore, Position};

use crate::Backend;
use crate::support::{append_visibly, behaviours, clients, event, failed_checks, open, reopen};

behaviours! { "checkpoints", OrderedStore:
    checkpoint_moves_forward, checkpoint_is_reset_backwards, checkpoint_after_the_head_is_refused,
    checkpoints_have_names, checkpoint_is_kept_after_reopening,
    checkpoint_is_won_by_one_of_many,
}

fn checkpoint<S: OrderedStore>(store: &S, name: &str) -> Option<Position> {
    block_on(store.checkpoint(name)).expect("no error")
}

fn two<S: OrderedStore>(store: &S) -> [Position; 2] {
    [(); 2].map(|()| append_visibly(store, "a-1", [event("A")]).last_position)
}

fn checkpoint_moves_forward<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [first, second] = two(&store);
    assert_eq!(checkpoint(&store, "view"), None);
    block_on(store.save_checkpoint("view", first)).expect("it moves forward");
    block_on(store.save_checkpoint("view", second)).expect("it moves forward");
    assert_eq!(checkpoint(&store, "view"), Some(second));
    for to in [first, second] {
        let failed = failed_checks(block_on(store.save_checkpoint("view", to)));
        let name = "view".to_owned();
        assert_eq!(failed, [FailedCheck::CheckpointNotForward { name, at: second, to }]);
    }
}

fn checkpoint_is_reset_backwards<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [first, second] = two(&store);
    block_on(store.save_checkpoint("view", second)).expect("it moves forward");
    for to in [first, second, Position::START] {
        block_on(store.reset_checkpoint("view", to)).expect("a reset may move backward");
        assert_eq!(checkpoint(&store, "view"), Some(to));
    }
    block_on(store.reset_checkpoint("new", first)).expect("it need not exist");
    assert_eq!(checkpoint(&store, "new"), Some(first));
}

fn checkpoint_after_the_head_is_refused<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [_, second] = two(&store);
    let ahead = Position::new(second.get() + 1);
    assert!(block_on(store.save_checkpoint("view", ahead)).is_err());
    assert!(block_on(store.reset_checkpoint("view", ahead)).is_err());
    assert!(block_on(store.reset_checkpoint("view", Position::MAX)).is_err());
    assert_eq!(checkpoint(&store, "view"), None);
}

fn checkpoints_have_names<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [first, second] = two(&store);
    let names = ["view", "View", "view 2", "größe/🦀", "a'b\"c"];
    for (number, name) in names.iter().enumerate() {
        let to = if number % 2 == 0 { first } else { second };
        block_on(store.save_checkpoint(name, to)).expect("it moves forward");
    }
    for (number, name) in names.iter().enumerate() {
        let to = if number % 2 == 0 { first } else { second };
        assert_eq!(checkpoint(&store, name), Some(to), "{name}");
    }
    assert_eq!(checkpoint(&store, "other"), None);
}

fn checkpoint_is_kept_after_reopening<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [first, second] = two(&store);
    block_on(store.save_checkpoint("view", first)).expect("it moves forward");
    block_on(store.save_checkpoint("other", second)).expect("it moves forward");
    let store = reopen(backend, store);
    assert_eq!(checkpoint(&store, "view"), Some(first));
    assert_eq!(checkpoint(&store, "other"), Some(second));
}

fn checkpoint_is_won_by_one_of_many<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let [first, second] = two(&store);
    for to in [first, second] {
        let won = clients(5, |_| block_on(store.save_checkpoint("view", to)).is_ok());
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    }
}
