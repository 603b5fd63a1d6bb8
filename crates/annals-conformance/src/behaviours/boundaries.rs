//! Commits that fail if a query matches an event after a position.

use annals_es::blocking::block_on;
use annals_es::{
    AppendError, Boundaries, Commit, CommitParts, Expected, FailedCheck, OrderedStore, Position,
    Query, QueryItem, ReadAll,
};

use crate::Backend;
use crate::support::{
    append, append_visibly, behaviours, clients, collect, commit, count, event, everything,
    failed_checks, head, open,
};

behaviours! { "boundaries", Boundaries:
    boundary_fails_on_a_later_match, boundary_ignores_its_own_events, boundary_admits_one_of_many,
    boundary_needs_all_tags_and_any_type, boundary_items_are_alternatives,
    boundary_of_a_stream_or_category, boundary_after_the_head_holds,
    boundary_without_items_holds, boundary_of_everything, boundary_alone_is_a_question,
    boundary_and_version_are_both_checked, disjoint_boundaries_all_succeed,
    decisions_are_serial,
}

fn boundary(index: usize, position: Position) -> FailedCheck {
    FailedCheck::Boundary { index, position }
}

fn boundary_fails_on_a_later_match<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let seat = |number: u32| Query::tagged([format!("seat:{number}")]);
    let first = append(&store, "a-1", [event("Reserved").tag("seat:1")]).last_position;
    let second = append(&store, "a-2", [event("Reserved").tag("seat:2")]).last_position;
    let reserve = |one_after, two_after| {
        let new = Commit::to("a-3", Expected::Any, [event("Reserved")]);
        commit(&store, new.fail_if(seat(1), one_after).fail_if(seat(2), two_after))
    };
    let start = Position::START;
    assert_eq!(failed_checks(reserve(start, start)), [boundary(0, first), boundary(1, second)]);
    assert_eq!(failed_checks(reserve(first, first)), [boundary(1, second)]);
    assert_eq!(count(&store, "a-3"), 0);
    reserve(first, second).expect("nothing matches after these positions");
    let new = Commit::to("a-3", Expected::Any, [event("Reserved")]).fail_if_exists(seat(2));
    assert_eq!(failed_checks(commit(&store, new)), [boundary(0, second)]);
}

fn boundary_ignores_its_own_events<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let register = || {
        let registered = event("Registered").tag("name:ann");
        let new = Commit::to("user-1", Expected::Any, [registered]);
        commit(&store, new.fail_if_exists(Query::tagged(["name:ann"])))
    };
    register().expect("the name is free");
    assert_eq!(failed_checks(register()).len(), 1);
}

fn boundary_admits_one_of_many<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let succeeded = clients(8, |number| {
        let reserved = [event("Reserved").tag("seat:1")];
        let new = Commit::to(format!("seat-{number}"), Expected::NoStream, reserved);
        match commit(&store, new.fail_if_exists(Query::tagged(["seat:1"]))) {
            Ok(_) => true,
            Err(AppendError::Conflict(_)) => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(succeeded.iter().filter(|it| **it).count(), 1);
}

/// Whether a commit with a boundary over everything so far is refused.
fn fails<S: Boundaries>(store: &S, query: Query) -> bool {
    let new = Commit::to("probe", Expected::Any, []).fail_if_exists(query);
    match commit(store, new) {
        Ok(_) => false,
        Err(AppendError::Conflict(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

fn boundary_needs_all_tags_and_any_type<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").tag("x").tag("y"), event("B").tag("x")]);
    let item = QueryItem::new;
    assert!(fails(&store, Query::tagged(["x", "y"])));
    assert!(!fails(&store, Query::tagged(["x", "z"])));
    assert!(fails(&store, item().types(["C", "B"]).tag("x").into()));
    assert!(!fails(&store, item().types(["B"]).tags(["x", "y"]).into()));
    assert!(fails(&store, item().types(["B", "A"]).tags(["x", "y"]).into()));
    assert!(!fails(&store, item().types(["C"]).tag("x").into()));
}

fn boundary_items_are_alternatives<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").tag("x")]);
    let last = append(&store, "a-1", [event("B").tag("y")]).last_position;
    let either = Query::tagged(["x"]).or(QueryItem::new().types(["B"]));
    let new = Commit::to("probe", Expected::Any, []).fail_if_exists(either);
    assert_eq!(failed_checks(commit(&store, new)), [boundary(0, last)]);
    assert!(!fails(&store, Query::tagged(["z"]).or(QueryItem::new().types(["C"]))));
}

fn boundary_of_a_stream_or_category<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A").tag("x")]);
    assert!(fails(&store, Query::stream("a-1")));
    assert!(!fails(&store, Query::stream("a-2")));
    assert!(fails(&store, Query::category("a")));
    assert!(!fails(&store, Query::category("b")));
    assert!(fails(&store, QueryItem::new().category("a").tag("x").types(["A"]).into()));
    assert!(!fails(&store, QueryItem::new().category("a").tag("y").into()));
}

fn boundary_after_the_head_holds<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let at = append_visibly(&store, "a-1", [event("A").tag("x")]).last_position;
    let new = Commit::to("a-1", Expected::Any, [event("A").tag("x")]);
    commit(&store, new.fail_if(Query::tagged(["x"]), at)).expect("nothing is after the head");
}

fn boundary_without_items_holds<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A")]);
    assert!(!fails(&store, Query::none()));
}

fn boundary_of_everything<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    assert!(!fails(&store, Query::all()));
    append(&store, "a-1", [event("A")]);
    assert!(fails(&store, Query::all()));
}

fn boundary_alone_is_a_question<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let question = || {
        let empty = Commit::from_parts(CommitParts::default());
        commit(&store, empty.fail_if_exists(Query::tagged(["x"])))
    };
    assert!(question().expect("it holds").versions.is_empty());
    append(&store, "a-1", [event("A").tag("x")]);
    assert_eq!(failed_checks(question()).len(), 1);
    assert_eq!(everything(&store).len(), 1);
}

fn boundary_and_version_are_both_checked<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    let at = append_visibly(&store, "a-1", [event("A").tag("x")]).last_position;
    let new = |expected, after| {
        Commit::to("a-1", expected, [event("B")]).fail_if(Query::tagged(["x"]), after)
    };
    assert!(!failed_checks(commit(&store, new(Expected::NoStream, at))).is_empty());
    assert!(
        !failed_checks(commit(&store, new(Expected::StreamExists, Position::START))).is_empty()
    );
    commit(&store, new(Expected::StreamExists, at)).expect("both hold");
    assert_eq!(count(&store, "a-1"), 2);
}

fn disjoint_boundaries_all_succeed<B: Backend<Store: Boundaries>>(backend: &B) {
    let store = open(backend);
    clients(6, |client| {
        for number in 0..5 {
            let tag = format!("seat:{client}-{number}");
            let reserved = event("Reserved").tag(tag.clone());
            let new = Commit::to(format!("seat-{client}"), Expected::Any, [reserved]);
            commit(&store, new.fail_if_exists(Query::tagged([tag]))).expect("the seat is free");
        }
    });
    assert_eq!(everything_settled(&store), 30);
}

fn everything_settled<S: OrderedStore>(store: &S) -> usize {
    let last = (0..6).flat_map(|it| crate::support::stream(store, &format!("seat-{it}")));
    let last = last.map(|it| it.position()).max().expect("events");
    block_on(store.wait_for(last)).expect("it becomes visible");
    everything(store).len()
}

/// Clients read the events of a query, decide from their number, and append under a boundary at the head they read.
/// No more are recorded than the rule allows, and the rule is used up.
fn decisions_are_serial<B: Backend<Store: Boundaries>>(backend: &B) {
    const SEATS: usize = 10;
    let store = open(backend);
    let query = || Query::tagged(["course:1"]);
    clients(5, |client| {
        for attempt in 0.. {
            assert!(attempt < 500, "no progress is made");
            let at = head(&store);
            let taken = collect(store.read_all(ReadAll::matching(query()).up_to(at))).len();
            if taken >= SEATS {
                return;
            }
            let enrolled = event("Enrolled").tag("course:1");
            let new = Commit::to(format!("student-{client}"), Expected::Any, [enrolled]);
            match commit(&store, new.fail_if(query(), at)) {
                Ok(_) | Err(AppendError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(collect(store.read_all(ReadAll::matching(query()))).len(), SEATS);
}
