//! Dense positions: 1, 2, 3 and so on, in the order of commits.

use annals_es::OrderedStore;

use crate::Backend;
use crate::support::{append, behaviours, clients, commit, event, everything, exact, open, reopen};

behaviours! { "positions", OrderedStore:
    positions_have_no_gaps, positions_have_no_gaps_beside_conflicts,
    positions_go_on_after_reopening,
}

fn assert_dense<S: OrderedStore>(store: &S, events: u64) {
    let positions: Vec<u64> = everything(store).iter().map(|it| it.position().get()).collect();
    assert_eq!(positions, (1..=events).collect::<Vec<u64>>());
    assert_eq!(crate::support::head(store).get(), events);
}

fn positions_have_no_gaps<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    clients(5, |client| {
        for number in 0..20 {
            let events = (0..=(client + number) % 3).map(|_| event("A"));
            let done = append(&store, &format!("a-{client}"), events);
            let span = done.last_position.get() - done.first_position.get();
            assert_eq!(span, ((client + number) % 3) as u64);
        }
    });
    let events = (0..5).flat_map(|c| (0..20).map(move |n| (c + n) % 3 + 1)).sum();
    assert_dense(&store, events);
}

fn positions_have_no_gaps_beside_conflicts<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let done = clients(4, |_| {
        let appended =
            |it| commit(&store, annals_es::Commit::to("a-1", exact(it), [event("A")])).is_ok();
        (0..30).filter(|it| appended(*it)).count() as u64
    });
    assert_dense(&store, done.iter().sum());
}

fn positions_go_on_after_reopening<B: Backend<Store: OrderedStore>>(backend: &B) {
    let mut store = open(backend);
    for _ in 0..3 {
        append(&store, "a-1", ["A", "B"].map(event));
        store = reopen(backend, store);
    }
    assert_dense(&store, 6);
}
