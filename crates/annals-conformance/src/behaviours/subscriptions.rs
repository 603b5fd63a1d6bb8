//! Subscriptions: first what is recorded, then what is appended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{OrderedStore, Position, Query, RecordedEvent, StoreError, Subscribe, next};

use crate::Backend;
use crate::support::{
    LONG, append, append_visibly, behaviours, clients, event, everything, head, messages, open,
    positions, reopen, until_caught_up,
};

behaviours! { "subscriptions", OrderedStore:
    subscription_catches_up_and_follows, subscription_begins_after_a_position,
    subscription_reports_once_that_it_caught_up, subscription_selects_events,
    filtered_subscription_reports_progress, prompt_progress_is_reported_without_a_match,
    subscription_ahead_of_head_is_refused, subscription_delivers_whole_commits,
    subscription_resumes_from_any_message, subscriptions_see_the_same,
    subscription_follows_many_writers, subscription_waits_without_events,
    dropped_subscription_does_no_harm, large_history_is_delivered_in_order,
    subscription_goes_on_after_reopening,
}

fn subscription_catches_up_and_follows<B: Backend<Store: OrderedStore>>(backend: &B) {
    const LIVE: usize = 50;
    let store = open(backend);
    let before = append(&store, "a-1", [event("A")]);
    append_visibly(&store, "a-1", [event("B")]);
    let (mut found, mut caught_up) = (Vec::new(), false);
    thread::scope(|scope| {
        let mut messages = messages(&store, Subscribe::after(before.last_position));
        while !caught_up {
            let message = messages.next().expect("it goes on");
            caught_up = message.caught_up;
            found.extend(message.events);
        }
        assert_eq!(found.len(), 1);
        scope.spawn(|| (0..LIVE).for_each(|_| drop(append(&store, "a-2", [event("C")]))));
        while found.len() < LIVE + 1 {
            let message = messages.next().expect("it goes on");
            if let Some(last) = message.events.last() {
                assert!(last.position() <= message.scanned_through);
            }
            found.extend(message.events);
        }
    });
    let all = everything(&store);
    assert_eq!(positions(&found), positions(&all[1..]));
}

fn subscription_begins_after_a_position<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for _ in 0..10 {
        append_visibly(&store, "a-1", [event("A")]);
    }
    let all = positions(&everything(&store));
    for (number, after) in all.iter().enumerate() {
        let found = until_caught_up(&store, Subscribe::after(*after));
        assert_eq!(positions(&found), all[number + 1..]);
    }
}

fn subscription_reports_once_that_it_caught_up<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    append_visibly(&store, "a-1", [event("A")]);
    let mut messages = messages(&store, Subscribe::after(Position::START));
    while !messages.next().expect("it goes on").caught_up {}
    let last = append(&store, "a-1", [event("B")]).last_position;
    let message = messages.next().expect("it goes on");
    assert_eq!(positions(&message.events), [last]);
}

fn subscription_selects_events<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for number in 0..20 {
        let tagged =
            event(if number % 2 == 0 { "A" } else { "B" }).tag(format!("n:{}", number % 5));
        append_visibly(&store, &format!("s{}-1", number % 3), [tagged]);
    }
    let all = everything(&store);
    for query in [
        Query::types(["A"]),
        Query::tagged(["n:3"]),
        Query::category("s1"),
        Query::stream("s2-1"),
        Query::types(["B"]).and_tag("n:1"),
        Query::none(),
    ] {
        let subscribe = Subscribe::after(Position::START).matching(query.clone());
        let expected: Vec<_> = all.iter().filter(|it| query.matches(it)).cloned().collect();
        let found = until_caught_up(&store, subscribe);
        assert_eq!(positions(&found), positions(&expected), "{query:?}");
    }
}

fn filtered_subscription_reports_progress<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    append(&store, "a-1", [event("A"), event("B")]);
    append_visibly(&store, "a-1", [event("B")]);
    let subscribe = Subscribe::after(Position::START).matching(Query::types(["A"]));
    let mut found = Vec::new();
    for message in messages(&store, subscribe) {
        found.extend(message.events.iter().map(|it| it.event_type().to_owned()));
        if message.caught_up {
            assert_eq!(message.scanned_through, head(&store));
            break;
        }
    }
    assert_eq!(found, ["A"]);
}

fn prompt_progress_is_reported_without_a_match<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let subscribe = Subscribe::after(Position::START).matching(Query::types(["A"]));
    let mut messages = messages(&store, subscribe.prompt_progress());
    let mut scanned = || messages.next().expect("it does not end").scanned_through;
    assert_eq!(scanned(), Position::START);
    for _ in 0..3 {
        let last = append(&store, "a-1", [event("B")]).last_position;
        while scanned() < last {}
    }
}

fn subscription_ahead_of_head_is_refused<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let last = append_visibly(&store, "a-1", [event("A")]).last_position;
    let ahead = Position::new(last.get() + 1);
    let mut messages = iter(store.subscribe(Subscribe::after(ahead)));
    let first = messages.next().expect("the error is an item");
    assert!(
        matches!(first, Err(StoreError::PositionAhead { position, head }) if (position, head) == (ahead, last)),
        "{first:?}"
    );
    assert!(messages.next().is_none());
}

fn subscription_delivers_whole_commits<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for _ in 0..3 {
        append_visibly(&store, "a-1", ["A", "B", "C"].map(event));
    }
    for batch_size in [0, 2] {
        let mut found = 0;
        for message in messages(&store, Subscribe::after(Position::START).batch_size(batch_size)) {
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
}

fn subscription_resumes_from_any_message<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for number in 0..20 {
        append_visibly(&store, "a-1", [event(if number % 4 == 0 { "A" } else { "B" })]);
    }
    let query = || Query::types(["A"]);
    let (mut found, mut after) = (Vec::new(), Position::START);
    // Each subscription is given up after its first message.
    for _ in 0..200 {
        let subscribe = Subscribe::after(after).matching(query()).batch_size(1);
        let message = messages(&store, subscribe).next().expect("a message");
        assert!(message.scanned_through >= after);
        after = message.scanned_through;
        found.extend(message.events);
        if message.caught_up {
            break;
        }
    }
    assert_eq!(after, head(&store));
    let expected: Vec<RecordedEvent> =
        everything(&store).into_iter().filter(|it| query().matches(it)).collect();
    assert_eq!(positions(&found), positions(&expected));
}

fn subscriptions_see_the_same<B: Backend<Store: OrderedStore>>(backend: &B) {
    const EVENTS: usize = 60;
    let store = open(backend);
    let found = clients(4, |client| {
        if client == 0 {
            for number in 0..EVENTS {
                append(&store, &format!("a-{}", number % 3), [event("A")]);
            }
            return Vec::new();
        }
        let mut found = Vec::new();
        for message in messages(&store, Subscribe::after(Position::START)) {
            found.extend(positions(&message.events));
            if found.len() >= EVENTS {
                break;
            }
        }
        found
    });
    let all = positions(&everything(&store));
    assert!(found[1..].iter().all(|it| *it == all));
}

fn subscription_follows_many_writers<B: Backend<Store: OrderedStore>>(backend: &B) {
    const WRITERS: usize = 5;
    const COMMITS: usize = 40;
    let store = open(backend);
    let found = clients(WRITERS + 1, |client| {
        if client < WRITERS {
            for number in 0..COMMITS {
                append(&store, &format!("a-{client}"), (0..=number % 3).map(|_| event("A")));
            }
            return Vec::new();
        }
        let expected = WRITERS * (0..COMMITS).map(|it| it % 3 + 1).sum::<usize>();
        let (mut found, mut scanned) = (Vec::new(), Position::START);
        for message in messages(&store, Subscribe::after(Position::START).batch_size(8)) {
            assert!(message.scanned_through >= scanned);
            scanned = message.scanned_through;
            found.extend(positions(&message.events));
            if found.len() >= expected {
                break;
            }
        }
        found
    });
    assert_eq!(found[WRITERS], positions(&everything(&store)));
}

fn subscription_waits_without_events<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let mut subscription = store.subscribe(Subscribe::after(Position::START));
    let first = block_on(next(&mut subscription)).expect("a message").expect("no error");
    assert!(first.caught_up && first.events.is_empty());
    let waited = block_on_timeout(next(&mut subscription), std::time::Duration::from_millis(20));
    assert!(waited.is_none(), "{waited:?}");
    let last = append(&store, "a-1", [event("A")]).last_position;
    let message = block_on_timeout(next(&mut subscription), LONG).expect("in time");
    let message = message.expect("a message").expect("no error");
    assert_eq!(positions(&message.events), [last]);
}

fn dropped_subscription_does_no_harm<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    let stop = AtomicBool::new(false);
    clients(2, |client| {
        if client == 0 {
            (0..50).for_each(|_| drop(append(&store, "a-1", [event("A")])));
            stop.store(true, Ordering::Relaxed);
            return;
        }
        while !stop.load(Ordering::Relaxed) {
            let mut messages = messages(&store, Subscribe::after(Position::START));
            messages.next().expect("a message");
        }
    });
    append_visibly(&store, "a-1", [event("B")]);
    assert_eq!(until_caught_up(&store, Subscribe::after(Position::START)).len(), 51);
}

fn large_history_is_delivered_in_order<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    for number in 0..8 {
        append_visibly(&store, &format!("a-{number}"), (0..500).map(|_| event("A")));
    }
    let large = annals_es::NewEvent::new("Large", vec![1; 2 << 20]);
    for _ in 0..6 {
        append_visibly(&store, "large", [large.clone(), event("A")]);
    }
    let found = until_caught_up(&store, Subscribe::after(Position::START));
    assert_eq!(found.len(), 4012);
    assert_eq!(positions(&found), positions(&everything(&store)));
}

fn subscription_goes_on_after_reopening<B: Backend<Store: OrderedStore>>(backend: &B) {
    let store = open(backend);
    append_visibly(&store, "a-1", ["A", "B"].map(event));
    let first = until_caught_up(&store, Subscribe::after(Position::START));
    let at = first.last().expect("events").position();
    block_on(store.save_checkpoint("view", at)).expect("it moves forward");
    append_visibly(&store, "a-1", [event("C")]);
    let store = reopen(backend, store);
    let after = block_on(store.checkpoint("view")).expect("no error").expect("it is saved");
    let found = until_caught_up(&store, Subscribe::after(after));
    assert_eq!(found.iter().map(RecordedEvent::event_type).collect::<Vec<_>>(), ["C"]);
}
