//! The end of a subscription, and how a waiting one learns of it.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use annals::{
    Error, ExpectedVersion, NewEvent, Position, Query, Store,
    subscription::{MessageKind, Subscription},
};

use super::support::{LONG, Place, append};

/// Runs `consume` in a thread that is known to be about to wait.
fn blocked<T: Send + 'static>(
    mut subscription: Subscription,
    consume: impl FnOnce(Subscription) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let (tell, ready) = mpsc::channel();
    let thread = thread::spawn(move || {
        while subscription.try_next().unwrap().is_some() {}
        tell.send(()).unwrap();
        consume(subscription)
    });
    ready.recv().unwrap();
    thread::sleep(Duration::from_millis(30));
    thread
}

fn joined<T>(thread: thread::JoinHandle<T>) -> T {
    let began = Instant::now();
    while !thread.is_finished() {
        assert!(began.elapsed() < LONG, "it still waits");
        thread::sleep(Duration::from_millis(1));
    }
    thread.join().unwrap()
}

fn store(place: &Place) -> Store {
    let store = place.open();
    append(&store, 3);
    store
}

#[test]
fn stop_wakes_a_waiting_subscription() {
    let place = Place::new();
    let store = store(&place);
    let subscription = store.subscribe().start().unwrap();
    let stop = subscription.stop_handle();
    let waiting = blocked(subscription, |mut it| (it.next().is_none(), it.next().is_none(), it));
    stop.stop();
    let (first, second, mut subscription) = joined(waiting);
    assert!(first && second);
    append(&store, 1);
    assert!(subscription.try_next().unwrap().is_none(), "it has ended for good");
    assert!(subscription.next_timeout(LONG).unwrap().is_none());
    assert!(subscription.is_ended());
    // A stop before the first message, and repeated stops.
    let mut subscription = store.subscribe().start().unwrap();
    let stop = subscription.stop_handle();
    stop.stop();
    stop.clone().stop();
    assert!(subscription.next().is_none());
    drop(subscription);
    stop.stop();
}

#[test]
fn stop_during_delivery_ends_the_subscription_at_the_next_message() {
    let place = Place::new();
    let store = store(&place);
    let mut subscription = store.subscribe().batch_size(1).start().unwrap();
    assert!(matches!(subscription.next().unwrap().unwrap().kind, MessageKind::Events(_)));
    subscription.stop_handle().stop();
    assert!(subscription.next().is_none());
}

#[test]
fn close_of_the_store_is_one_error_and_then_the_end() {
    let place = Place::new();
    for by_drop in [false, true] {
        let store = store(&place);
        let subscription = store.subscribe().start().unwrap();
        let timed = store.subscribe().start().unwrap();
        let events = store.subscribe().from_now().start().unwrap();
        let waiting = blocked(subscription, |mut it| (it.next(), it.next().is_none()));
        let timed = blocked(timed, |mut it| (it.next_timeout(Duration::MAX), it.next().is_none()));
        let events = blocked(events, |it| it.events().collect::<Vec<_>>());
        // A clone keeps the store open.
        let waits = (!by_drop).then(|| {
            let store = store.clone();
            thread::spawn(move || store.wait_for(Position::new(1_000_000), Duration::MAX))
        });
        if by_drop {
            drop(store);
        } else {
            store.close().unwrap();
        }
        let (first, ended) = joined(waiting);
        assert!(matches!(first, Some(Err(Error::Closed))) && ended, "{first:?}");
        let (first, ended) = joined(timed);
        assert!(matches!(first, Err(Error::Closed)) && ended, "{first:?}");
        let all = joined(events);
        assert!(matches!(all.as_slice(), [Err(Error::Closed)]), "{all:?}");
        if let Some(waits) = waits {
            assert!(matches!(joined(waits), Err(Error::Closed)));
        }
    }
}

#[test]
fn subscription_of_a_closed_store_is_refused() {
    let place = Place::new();
    let store = place.open();
    let again = store.clone();
    store.close().unwrap();
    assert!(matches!(again.subscribe().start(), Err(Error::Closed)));
    assert!(matches!(again.subscribe().from_now().start(), Err(Error::Closed)));
}

#[test]
fn wait_without_an_event_ends_at_its_timeout() {
    let place = Place::new();
    let store = store(&place);
    let mut subscription = store.subscribe().from_now().start().unwrap();
    assert!(subscription.next_timeout(Duration::ZERO).unwrap().unwrap().is_caught_up());
    for timeout in [Duration::ZERO, Duration::from_millis(20)] {
        let began = Instant::now();
        assert!(subscription.next_timeout(timeout).unwrap().is_none());
        assert!(began.elapsed() >= timeout);
        let began = Instant::now();
        assert!(!store.wait_for(Position::new(100), timeout).unwrap());
        assert!(began.elapsed() >= timeout);
    }
    append(&store, 1);
    let message = subscription.next_timeout(Duration::MAX).unwrap().unwrap();
    assert_eq!(message.events().len(), 1);
    assert!(store.wait_for(Position::new(4), Duration::MAX).unwrap());
    assert!(store.wait_for(Position::START, Duration::ZERO).unwrap());
}

#[test]
fn subscription_begins_at_the_head_and_not_after_it() {
    let place = Place::new();
    let store = store(&place);
    let head = store.head().get();
    let mut subscription = store.subscribe().after(head).start().unwrap();
    let first = subscription.next().unwrap().unwrap();
    assert!(first.is_caught_up());
    assert_eq!(first.scanned_through.get(), head);
    append(&store, 1);
    let message = subscription.next().unwrap().unwrap();
    assert_eq!(message.events()[0].position().get(), head + 1);
    for after in [head + 2, u64::MAX] {
        let refused = store.subscribe().after(after).start().map(drop);
        assert!(matches!(refused, Err(Error::PositionAhead { .. })), "{refused:?}");
    }
}

#[test]
fn batch_size_out_of_range_is_refused() {
    let place = Place::new();
    let store = place.open();
    for size in [0, 65_537, usize::MAX] {
        let refused = store.subscribe().batch_size(size).start();
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
    }
    assert!(store.subscribe().batch_size(65_536).start().is_ok());
}

#[test]
fn dropped_subscription_does_not_affect_others() {
    let place = Place::new();
    let store = store(&place);
    let mut all: Vec<_> = (0..50).map(|_| store.subscribe().from_now().start().unwrap()).collect();
    for subscription in &mut all {
        assert!(subscription.next().unwrap().unwrap().is_caught_up());
        // Leaves its entry on the list of waiting threads.
        assert!(subscription.next_timeout(Duration::from_millis(1)).unwrap().is_none());
    }
    let mut index = 0;
    all.retain(|_| {
        index += 1;
        index % 3 == 0
    });
    let left: Vec<_> = all.into_iter().map(|it| blocked(it, |mut it| it.next())).collect();
    append(&store, 1);
    for waiting in left {
        assert_eq!(joined(waiting).unwrap().unwrap().events().len(), 1);
    }
}

#[test]
fn unsynced_events_are_delivered_if_asked_for() {
    let place = Place::new();
    let store = annals::Options::new().open(place.path()).unwrap();
    let buffered = annals::Durability::Buffered { interval: Duration::from_secs(3600) };
    let mut durable = store.subscribe().start().unwrap();
    let mut early = store.subscribe().include_unsynced().start().unwrap();
    assert!(early.next().unwrap().unwrap().is_caught_up());
    let waiting = blocked(early, |mut it| it.next().unwrap().unwrap());
    let event = annals::NewEvent::new("T", "");
    let transaction = store.transaction().append("s", annals::ExpectedVersion::Any, [event]);
    transaction.durability(buffered).commit().unwrap();
    assert_eq!(joined(waiting).events().len(), 1);
    assert!(durable.next().unwrap().unwrap().is_caught_up());
    assert!(durable.try_next().unwrap().is_none());
    let waiting = blocked(durable, |mut it| it.next().unwrap().unwrap());
    store.sync().unwrap();
    assert_eq!(joined(waiting).events().len(), 1);
}

/// For events that do not match, progress is reported while the consumer waits, and without a wait
/// on request.
#[test]
fn waiting_filtered_subscription_reports_progress_without_a_match() {
    let place = Place::new();
    let store = store(&place);
    let wanted = || store.subscribe().matching(Query::tagged(["wanted"]));
    let (mut patient, mut eager) =
        (wanted().start().unwrap(), wanted().progress_every(1).start().unwrap());
    for subscription in [&mut patient, &mut eager] {
        while !subscription.next().unwrap().unwrap().is_caught_up() {}
    }
    for _ in 0..2 {
        let other = [NewEvent::new("Other", "")];
        let position = store.append("s", ExpectedVersion::Any, other).unwrap().last_position;
        let now = eager.try_next().unwrap().expect("it has something to tell");
        let later = patient.next_timeout(LONG).unwrap().expect("it tells after a while");
        for message in [now, later] {
            assert!(matches!(message.kind, MessageKind::Progress), "{message:?}");
            assert_eq!(message.scanned_through, position);
        }
        assert!(eager.try_next().unwrap().is_none(), "it is told once");
    }
}

#[test]
fn events_iterator_reports_its_scanned_position() {
    let place = Place::new();
    let store = store(&place);
    let mut events = store.subscribe().start().unwrap().events();
    for position in 1..=3 {
        assert_eq!(events.next().unwrap().unwrap().position().get(), position);
        assert_eq!(events.scanned_through().get(), position);
    }
}
