//! Tests of [`OrderedStore`]: all streams, subscriptions, checkpoints.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "each is named for what it tests")]

use std::thread;
use std::time::Duration;

use super::{append, collect, event, failed_checks, types};
use crate::blocking::{block_on, block_on_timeout, iter};
use crate::store::{
    FailedCheck, Message, OrderedStore, Position, Query, QueryItem, ReadAll, StoreError, Subscribe,
    Timestamp,
};

const LONG: Duration = Duration::from_secs(60);

fn head<S: OrderedStore>(store: &S) -> Position {
    block_on(store.head()).expect("the head")
}

pub fn all_streams_are_read_in_order<S: OrderedStore, G>((store, _guard): (S, G)) {
    assert_eq!(head(&store), Position::START);
    let first = append(&store, "a-1", [event("A")]);
    let second = append(&store, "b-1", [event("B"), event("C")]);
    let third = append(&store, "a-1", [event("D")]);
    let read = |read| types(store.read_all(read));
    assert_eq!(read(ReadAll::new()), ["A", "B", "C", "D"]);
    assert_eq!(read(ReadAll::new().after(first.last_position)), ["B", "C", "D"]);
    let middle = ReadAll::new().after(first.last_position).up_to(second.last_position);
    assert_eq!(read(middle.clone()), ["B", "C"]);
    assert_eq!(read(middle.backwards()), ["C", "B"]);
    assert_eq!(read(ReadAll::new().backwards().limit(1)), ["D"]);
    assert!(read(ReadAll::new().after(third.last_position)).is_empty());
    assert_eq!(head(&store), third.last_position);
    let all = collect(store.read_all(ReadAll::new()));
    let commits: Vec<_> = all.iter().map(|it| (it.commit(), it.is_last_in_commit())).collect();
    let (one, two, three) = (first.first_position, second.first_position, third.first_position);
    assert_eq!(commits, [(one, true), (two, false), (two, true), (three, true)]);
}

pub fn query_selects_events<S: OrderedStore, G>((store, _guard): (S, G)) {
    append(
        &store,
        "account-1",
        [event("Opened").tag("owner:1"), event("Deposited").tag("owner:1")],
    );
    append(&store, "account-2", [event("Opened").tag("owner:2").tag("vip")]);
    append(&store, "audit", [event("Checked").tag("owner:1").tag("vip")]);
    let numbers = |query: Query| -> Vec<usize> {
        let all = collect(store.read_all(ReadAll::new()));
        let selected = collect(store.read_all(ReadAll::matching(query.clone())));
        let found: Vec<usize> = (0..all.len())
            .filter(|&number| selected.iter().any(|it| it.id() == all[number].id()))
            .collect();
        let by_definition: Vec<usize> =
            (0..all.len()).filter(|&number| query.matches(&all[number])).collect();
        assert_eq!((&found, selected.len()), (&by_definition, by_definition.len()));
        found
    };
    assert_eq!(numbers(Query::all()), [0, 1, 2, 3]);
    assert!(numbers(Query::none()).is_empty());
    assert_eq!(numbers(Query::types(["Opened", "Checked"])), [0, 2, 3]);
    assert_eq!(numbers(Query::tagged(["vip"])), [2, 3]);
    assert_eq!(numbers(Query::tagged(["vip", "owner:1"])), [3]);
    assert_eq!(numbers(Query::stream("account-1")), [0, 1]);
    assert_eq!(numbers(Query::category("account")), [0, 1, 2]);
    assert_eq!(numbers(Query::category("audit")), [3]);
    let opened = QueryItem::new().types(["Opened"]).tag("owner:1");
    assert_eq!(numbers(Query::from(opened.clone())), [0]);
    assert_eq!(numbers(Query::from(opened).or(QueryItem::new().stream("audit"))), [0, 3]);
    assert!(numbers(Query::types(["Unknown"])).is_empty());
}

pub fn time_gives_a_position<S: OrderedStore, G>((store, _guard): (S, G)) {
    let first = append(&store, "a-1", [event("A")]);
    thread::sleep(Duration::from_millis(2));
    let second = append(&store, "a-1", [event("B")]);
    let at = |time| block_on(store.position_at(time)).expect("a position");
    assert_eq!(at(Timestamp::from_micros(0)), Position::START);
    assert_eq!(at(second.recorded_at), second.last_position);
    assert_eq!(at(Timestamp::from_micros(u64::MAX)), second.last_position);
    if first.recorded_at < second.recorded_at {
        assert_eq!(at(first.recorded_at), first.last_position);
    }
}

pub fn checkpoint_moves_forward<S: OrderedStore, G>((store, _guard): (S, G)) {
    let first = append(&store, "a-1", [event("A")]).last_position;
    let second = append(&store, "a-1", [event("B")]).last_position;
    let checkpoint = || block_on(store.checkpoint("view")).expect("no error");
    assert_eq!(checkpoint(), None);
    block_on(store.save_checkpoint("view", second)).expect("it moves forward");
    assert_eq!(checkpoint(), Some(second));
    for to in [first, second] {
        let failed = failed_checks(block_on(store.save_checkpoint("view", to)));
        let name = "view".to_owned();
        assert_eq!(failed, [FailedCheck::CheckpointNotForward { name, at: second, to }]);
    }
    block_on(store.reset_checkpoint("view", first)).expect("a reset may move backward");
    assert_eq!(checkpoint(), Some(first));
    let ahead = Position::new(second.get() + 1);
    assert!(block_on(store.save_checkpoint("view", ahead)).is_err());
    assert!(block_on(store.reset_checkpoint("view", ahead)).is_err());
    assert_eq!(checkpoint(), Some(first));
    assert_eq!(block_on(store.checkpoint("other")).expect("no error"), None);
}

pub fn checkpoint_token_is_verified<S: OrderedStore, G>((store, _guard): (S, G)) {
    let position = append(&store, "a-1", [event("A")]).last_position;
    let token = block_on(store.checkpoint_token(position)).expect("a token");
    assert_eq!(block_on(store.verify_token(&token)).expect("it is of this store"), position);
    assert!(block_on(store.verify_token("no token")).is_err());
}

pub fn wait_ends_when_visible<S: OrderedStore, G>((store, _guard): (S, G)) {
    let first = append(&store, "a-1", [event("A")]).last_position;
    block_on(store.wait_for(first)).expect("it is visible");
    let second = Position::new(first.get() + 1);
    assert!(block_on_timeout(store.wait_for(second), Duration::from_millis(5)).is_none());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on_timeout(store.wait_for(second), LONG));
        append(&store, "a-1", [event("B")]);
        waiting.join().expect("no panic").expect("in time").expect("it is visible");
    });
}

pub fn subscription_catches_up_and_follows<S: OrderedStore, G>((store, _guard): (S, G)) {
    const LIVE: usize = 50;
    let before = append(&store, "a-1", [event("A")]);
    append(&store, "a-1", [event("B")]);
    let (mut found, mut caught_up) = (Vec::new(), false);
    thread::scope(|scope| {
        let mut messages = iter(store.subscribe(Subscribe::after(before.last_position)));
        while !caught_up {
            let message = messages.next().expect("it goes on").expect("no error");
            caught_up = message.caught_up;
            found.extend(message.events);
        }
        assert_eq!(found.len(), 1);
        scope.spawn(|| (0..LIVE).for_each(|_| drop(append(&store, "a-2", [event("C")]))));
        while found.len() < LIVE + 1 {
            let message = messages.next().expect("it goes on").expect("no error");
            if let Some(last) = message.events.last() {
                assert!(last.position() <= message.scanned_through);
            }
            found.extend(message.events);
        }
    });
    let all = collect(store.read_all(ReadAll::new().after(before.last_position)));
    let positions = |events: &[crate::RecordedEvent]| -> Vec<Position> {
        events.iter().map(crate::RecordedEvent::position).collect()
    };
    assert_eq!(positions(&found), positions(&all));
}

pub fn filtered_subscription_reports_progress<S: OrderedStore, G>((store, _guard): (S, G)) {
    append(&store, "a-1", [event("A"), event("B")]);
    append(&store, "a-1", [event("B")]);
    let subscribe = Subscribe::after(Position::START).matching(Query::types(["A"]));
    let mut found = Vec::new();
    for message in iter(store.subscribe(subscribe)) {
        let message = message.expect("no error");
        found.extend(message.events.iter().map(|it| it.event_type().to_owned()));
        if message.caught_up {
            assert_eq!(message.scanned_through, head(&store));
            break;
        }
    }
    assert_eq!(found, ["A"]);
}

pub fn prompt_progress_is_reported_without_a_match<S: OrderedStore, G>((store, _guard): (S, G)) {
    let subscribe = Subscribe::after(Position::START).matching(Query::types(["A"]));
    let mut messages = iter(store.subscribe(subscribe.prompt_progress()));
    let mut scanned =
        || messages.next().expect("it does not end").expect("no error").scanned_through;
    assert_eq!(scanned(), Position::START);
    for _ in 0..3 {
        let last = append(&store, "a-1", [event("B")]).last_position;
        while scanned() < last {}
    }
}

pub fn subscription_ahead_of_head_is_refused<S: OrderedStore, G>((store, _guard): (S, G)) {
    let last = append(&store, "a-1", [event("A")]).last_position;
    let ahead = Position::new(last.get() + 1);
    let mut messages = iter(store.subscribe(Subscribe::after(ahead)));
    let first = messages.next().expect("the error is an item");
    assert!(
        matches!(first, Err(StoreError::PositionAhead { position, head }) if (position, head) == (ahead, last)),
        "{first:?}"
    );
    assert!(messages.next().is_none());
}

pub fn subscription_delivers_whole_commits<S: OrderedStore, G>((store, _guard): (S, G)) {
    for _ in 0..3 {
        append(&store, "a-1", ["A", "B", "C"].map(event));
    }
    for batch_size in [0, 2] {
        let subscribe = Subscribe::after(Position::START).batch_size(batch_size);
        assert_whole_commits(iter(store.subscribe(subscribe)));
    }
}

/// Requires nine events in commits of three, one commit per message.
fn assert_whole_commits(messages: impl Iterator<Item = Result<Message, StoreError>>) {
    let mut found = 0;
    for message in messages {
        let message = message.expect("no error");
        if let Some(last) = message.events.last() {
            assert!(last.is_last_in_commit());
            assert_eq!(message.events.len(), 3);
        }
        found += message.events.len();
        if message.caught_up {
            break;
        }
    }
    assert_eq!(found, 9);
}
