//! Reads over all streams, queries, positions and times.

use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout};
use annals_es::{
    EventStore, NewEvent, OrderedStore, Position, Query, QueryItem, ReadAll, ReadStream,
    RecordedEvent, Timestamp, next,
};

use crate::Backend;
use crate::support::{
    LONG, append, append_visibly, behaviours, clients, collect, event, everything, head, open,
    positions, reopen, stream, types,
};

behaviours! { "ordered", OrderedStore:
    all_streams_are_read_in_order, all_streams_are_read_backwards, events_show_their_commits,
    read_of_all_streams_is_pinned, many_events_are_read_whole, query_selects_events,
    query_selects_in_both_directions, time_gives_a_position, wait_ends_when_visible,
    positions_grow_with_versions, reader_skips_nothing, visible_positions_do_not_change,
    head_and_order_are_kept_after_reopening, token_is_verified,
}

fn all_streams_are_read_in_order<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    assert_eq!(head(&store), Position::START);
    assert!(everything(&store).is_empty());
    let first = append(&store, "a-1", [event("A")]);
    let second = append(&store, "b-1", [event("B"), event("C")]);
    let third = append_visibly(&store, "a-1", [event("D")]);
    let read = |read| types(store.read_all(read));
    assert_eq!(read(ReadAll::new()), ["A", "B", "C", "D"]);
    assert_eq!(read(ReadAll::new().after(first.last_position)), ["B", "C", "D"]);
    let middle = ReadAll::new().after(first.last_position).up_to(second.last_position);
    assert_eq!(read(middle), ["B", "C"]);
    assert_eq!(read(ReadAll::new().limit(2)), ["A", "B"]);
    assert!(read(ReadAll::new().limit(0)).is_empty());
    assert!(read(ReadAll::new().after(third.last_position)).is_empty());
    assert!(read(ReadAll::new().after(Position::MAX)).is_empty());
    assert_eq!(head(&store), third.last_position);
}

fn all_streams_are_read_backwards<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let first = append(&store, "a-1", [event("A")]);
    let second = append(&store, "b-1", [event("B"), event("C")]);
    append_visibly(&store, "a-1", [event("D")]);
    let read = |read: ReadAll| types(store.read_all(read.backwards()));
    assert_eq!(read(ReadAll::new()), ["D", "C", "B", "A"]);
    assert_eq!(read(ReadAll::new().limit(1)), ["D"]);
    let middle = ReadAll::new().after(first.last_position).up_to(second.last_position);
    assert_eq!(read(middle), ["C", "B"]);
    assert_eq!(read(ReadAll::matching(Query::types(["A", "C"]))), ["C", "A"]);
}

fn events_show_their_commits<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let first = append(&store, "a-1", [event("A")]).first_position;
    let second = append(&store, "b-1", [event("B"), event("C")]).first_position;
    let third = append_visibly(&store, "a-1", [event("D")]).first_position;
    let all = everything(&store);
    let commits: Vec<_> = all.iter().map(|it| (it.commit(), it.is_last_in_commit())).collect();
    assert_eq!(commits, [(first, true), (second, false), (second, true), (third, true)]);
}

fn read_of_all_streams_is_pinned<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    append_visibly(&store, "a-1", [event("A"), event("B")]);
    let mut read = store.read_all(ReadAll::new());
    assert_eq!(block_on(next(&mut read)).expect("an event").expect("no error").event_type(), "A");
    append_visibly(&store, "a-1", [event("C")]);
    assert_eq!(types(read), ["B"]);
}

fn many_events_are_read_whole<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let mut places = Vec::new();
    for number in 0..30 {
        let new = |it: u32| if it.is_multiple_of(3) { event("A") } else { event("B") };
        let done = append_visibly(&store, &format!("a-{}", number % 7), (0..100).map(new));
        places.push(done.last_position);
    }
    let all = everything(&store);
    assert_eq!(all.len(), 3000);
    assert!(all.windows(2).all(|pair| pair[0].position() < pair[1].position()));
    let lasts: Vec<Position> =
        all.iter().filter(|it| it.is_last_in_commit()).map(RecordedEvent::position).collect();
    assert_eq!(lasts, places);
    let query = Query::types(["A"]);
    assert_eq!(collect(store.read_all(ReadAll::matching(query.clone()))).len(), 30 * 34);
    let mut backwards = collect(store.read_all(ReadAll::new().backwards()));
    backwards.reverse();
    assert_eq!(positions(&backwards), positions(&all));
    let limited = collect(store.read_all(ReadAll::matching(query).limit(700)));
    assert_eq!(limited.len(), 700);
}

/// The events of the queries, as the numbers of events in the order of positions.
fn fill<S: OrderedStore>(store: &S) {
    let opened = || event("Opened");
    append(store, "account-1", [opened().tag("owner:1"), event("Deposited").tag("owner:1")]);
    append(store, "account-2", [opened().tag("owner:2").tag("vip")]);
    append_visibly(store, "audit", [event("Checked").tag("owner:1").tag("vip")]);
}

fn queries() -> Vec<(Query, &'static [usize])> {
    let opened = QueryItem::new().types(["Opened"]).tag("owner:1");
    let of_account = QueryItem::new().category("account");
    vec![
        (Query::all(), &[0, 1, 2, 3]),
        (Query::none(), &[]),
        (Query::types(["Opened", "Checked"]), &[0, 2, 3]),
        (Query::tagged(["vip"]), &[2, 3]),
        (Query::tagged(["vip", "owner:1"]), &[3]),
        (Query::tagged(["vip", "vip"]), &[2, 3]),
        (Query::stream("account-1"), &[0, 1]),
        (Query::stream("account"), &[]),
        (Query::category("account"), &[0, 1, 2]),
        (Query::category("audit"), &[3]),
        (Query::from(opened.clone()), &[0]),
        (Query::from(opened.clone()).or(QueryItem::new().stream("audit")), &[0, 3]),
        (Query::from(of_account.clone().tag("vip")), &[2]),
        (Query::from(of_account.clone().types(["Opened"])), &[0, 2]),
        (Query::from(of_account.stream("audit")), &[]),
        (Query::from(opened.clone()).or(opened), &[0]),
        (Query::types(["Opened"]).or(QueryItem::new()), &[0, 1, 2, 3]),
        (Query::types(["Unknown"]), &[]),
        (Query::tagged(["owner"]), &[]),
    ]
}

fn query_selects_events<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    fill(&store);
    let all = everything(&store);
    for (query, expected) in queries() {
        let selected = collect(store.read_all(ReadAll::matching(query.clone())));
        let expected: Vec<Position> = expected.iter().map(|it| all[*it].position()).collect();
        assert_eq!(positions(&selected), expected, "{query:?}");
        let by_definition: Vec<_> = all.iter().filter(|it| query.matches(it)).cloned().collect();
        assert_eq!(positions(&by_definition), expected, "{query:?}");
    }
}

fn query_selects_in_both_directions<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    fill(&store);
    let second = everything(&store)[1].position();
    for (query, _) in queries() {
        let read = |read: ReadAll| positions(&collect(store.read_all(read)));
        let forwards = read(ReadAll::matching(query.clone()));
        let mut backwards = read(ReadAll::matching(query.clone()).backwards());
        backwards.reverse();
        assert_eq!(backwards, forwards, "{query:?}");
        let later = read(ReadAll::matching(query.clone()).after(second));
        let earlier = read(ReadAll::matching(query.clone()).up_to(second));
        assert_eq!([earlier, later].concat(), forwards, "{query:?}");
        let newest = read(ReadAll::matching(query.clone()).backwards().limit(1));
        assert_eq!(newest.first(), forwards.last(), "{query:?}");
    }
}

fn time_gives_a_position<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let first = append(&store, "a-1", [event("A")]);
    thread::sleep(Duration::from_millis(2));
    let second = append_visibly(&store, "a-1", [event("B")]);
    let at = |time| block_on(store.position_at(time)).expect("a position");
    assert_eq!(at(Timestamp::from_micros(0)), Position::START);
    assert_eq!(at(second.recorded_at), second.last_position);
    assert_eq!(at(Timestamp::from_micros(u64::MAX)), second.last_position);
    if first.recorded_at < second.recorded_at {
        assert_eq!(at(first.recorded_at), first.last_position);
        let as_of = ReadStream::of("a-1").up_to_position(at(first.recorded_at));
        assert_eq!(types(store.read_stream(as_of)), ["A"]);
    }
}

fn wait_ends_when_visible<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let first = append(&store, "a-1", [event("A")]).last_position;
    block_on(store.wait_for(first)).expect("it is visible");
    block_on(store.wait_for(Position::START)).expect("it is visible");
    let second = Position::new(first.get() + 1);
    assert!(block_on_timeout(store.wait_for(second), Duration::from_millis(5)).is_none());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on_timeout(store.wait_for(second), LONG));
        append(&store, "a-1", [event("B")]);
        waiting.join().expect("no panic").expect("in time").expect("it is visible");
    });
    assert!(head(&store) >= second);
}

fn positions_grow_with_versions<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    clients(4, |client| {
        for number in 0..25 {
            append(&store, &format!("a-{}", (client + number) % 3), ["A", "B"].map(event));
        }
    });
    for name in ["a-0", "a-1", "a-2"] {
        let read = stream(&store, name);
        assert!(read.windows(2).all(|pair| pair[0].position() < pair[1].position()), "{name}");
    }
}

/// A reader that continues after the last position it saw gets every event: what a sequence that is assigned before
/// the commit does not give.
fn reader_skips_nothing<B: Backend<Store: OrderedStore>>(backend: &B) {
    const WRITERS: usize = 6;
    const COMMITS: usize = 60;
    let store = open(backend);
    let seen = clients(WRITERS + 1, |client| {
        if client < WRITERS {
            for number in 0..COMMITS {
                // Commits of different sizes take different times.
                let events = (0..=number % 5).map(|_| event("A"));
                append(&store, &format!("a-{client}"), events);
            }
            return Vec::new();
        }
        let expected = WRITERS * COMMITS * 3;
        let (mut seen, mut after) = (Vec::new(), Position::START);
        let began = std::time::Instant::now();
        while seen.len() < expected && began.elapsed() < LONG {
            let read = collect(store.read_all(ReadAll::new().after(after)));
            after = read.last().map_or(after, RecordedEvent::position);
            seen.extend(positions(&read));
        }
        seen
    });
    let all = positions(&everything(&store));
    assert_eq!(all.len(), WRITERS * COMMITS * 3);
    assert_eq!(seen[WRITERS], all);
}

fn visible_positions_do_not_change<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    clients(4, |client| {
        if client > 0 {
            (0..40).for_each(|_| drop(append(&store, &format!("a-{client}"), [event("A")])));
            return;
        }
        let mut before: Vec<Position> = Vec::new();
        let mut last_head = Position::START;
        for _ in 0..20 {
            let at = head(&store);
            assert!(at >= last_head);
            let now = positions(&collect(store.read_all(ReadAll::new().up_to(at))));
            assert_eq!(now[..before.len()], before[..]);
            (before, last_head) = (now, at);
        }
    });
}

fn head_and_order_are_kept_after_reopening<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for number in 0..10 {
        append_visibly(&store, &format!("a-{}", number % 3), ["A", "B"].map(event));
    }
    let (at, before) = (head(&store), positions(&everything(&store)));
    let store = reopen(backend, store);
    assert_eq!((head(&store), positions(&everything(&store))), (at, before));
    let next = append(&store, "a-1", [NewEvent::new("C", "")]);
    assert!(next.first_position > at);
}

fn token_is_verified<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let position = append_visibly(&store, "a-1", [event("A")]).last_position;
    let token = block_on(store.checkpoint_token(position)).expect("a token");
    assert_eq!(block_on(store.verify_token(&token)).expect("it is of this store"), position);
    assert!(block_on(store.verify_token("no token")).is_err());
    let store = reopen(backend, store);
    assert_eq!(block_on(store.verify_token(&token)).expect("it is of this store"), position);
}
