//! Events whose handler always fails: parked, inspected, replayed, discarded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::{
    ExpectedVersion, NewEvent, Position, Store,
    consumer_group::{ConsumerGroup, Replayed},
};

use super::support::{Handled, LONG, Place, filled, group};

fn replayed(it: Replayed) -> (u64, u64) {
    (it.handled, it.failed)
}

/// Fails for every event whose data is 3 or 13, while the flag is set.
fn start(
    group: ConsumerGroup,
    fails: &Arc<AtomicBool>,
    handled: &Handled,
) -> annals::consumer_group::RunningGroup {
    let (fails, handled) = (Arc::clone(fails), handled.clone());
    group
        .start(move |delivery| {
            let poisoned = matches!(delivery.event().data(), b"3" | b"13");
            if poisoned && fails.load(Ordering::SeqCst) {
                return Err(format!("attempt {} of {}", delivery.attempt(), delivery.event().id()));
            }
            handled.note(delivery);
            Ok(())
        })
        .unwrap()
}

fn parked(store: &Store) -> Vec<(u64, u32)> {
    let parked = group(store).parked().unwrap();
    parked.iter().map(|it| (it.event.position().get(), it.attempts)).collect()
}

#[test]
fn poisoned_event_is_parked_and_its_stream_goes_on() {
    let place = Place::new();
    let mut store = filled(&place, 50, 5);
    let (fails, handled) = (Arc::new(AtomicBool::new(true)), Handled::default());
    let running = start(group(&store), &fails, &handled);
    assert!(running.wait_for(50, LONG));
    assert_eq!(running.stats().parked, 2);
    assert_eq!(running.stats().failed_attempts, 6);
    running.stop().unwrap();
    assert_eq!(handled.positions().len(), 48);
    assert_eq!(handled.by_stream()["s-3"], [2, 4, 5, 6, 7, 8, 9, 10]);

    // The parked event is durable, with everything needed to find the cause.
    store.close().unwrap();
    store = place.open();
    let all = group(&store).parked().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].event.position().get(), all[0].event.data()), (4, &b"3"[..]));
    assert_eq!(
        (all[0].attempts, &all[0].error),
        (3, &format!("attempt 3 of {}", all[0].event.id()))
    );
    assert!(all[0].parked_at >= all[0].event.recorded_at());
    assert!(ConsumerGroup::new(&store, "other").parked().unwrap().is_empty());

    // The event that records the parking is not delivered to other groups.
    let (other, seen) = (ConsumerGroup::new(&store, "other"), Handled::default());
    let running = start(other, &Arc::new(AtomicBool::new(false)), &seen);
    assert!(running.wait_for(store.head(), LONG));
    running.stop().unwrap();
    assert_eq!(seen.positions(), (1..=50).collect::<Vec<_>>());
}

#[test]
fn parked_event_can_be_replayed_or_discarded() {
    let place = Place::new();
    let store = filled(&place, 50, 5);
    let (fails, handled) = (Arc::new(AtomicBool::new(true)), Handled::default());
    let running = start(group(&store), &fails, &handled);
    assert!(running.wait_for(50, LONG));
    assert_eq!(parked(&store), [(4, 3), (14, 3)]);
    assert_eq!(replayed(running.replay_parked().unwrap()), (0, 2), "it fails again");
    assert_eq!(parked(&store), [(4, 3), (14, 3)]);
    assert!(group(&store).discard_parked(14).unwrap());
    assert!(!group(&store).discard_parked(14).unwrap());
    assert!(!group(&store).discard_parked(1).unwrap());
    assert_eq!(parked(&store), [(4, 3)]);
    handled.take();
    fails.store(false, Ordering::SeqCst);
    assert_eq!(replayed(running.replay_parked().unwrap()), (1, 0));
    assert_eq!(handled.positions(), [4]);
    assert!(parked(&store).is_empty());
    assert_eq!(replayed(running.replay_parked().unwrap()), (0, 0));
    assert_eq!(store.read_stream("$parked-g").into_iter().count(), 0, "nobody needs the notes");
    assert!(store.read_stream("$parked-g").include_hidden().into_iter().count() >= 4);

    // An event that fails later is parked again.
    fails.store(true, Ordering::SeqCst);
    let again = NewEvent::new("Happened", "3");
    let done = store.append("s-1", ExpectedVersion::Any, [again]).unwrap();
    assert!(running.wait_for(done.last_position, LONG));
    assert_eq!(parked(&store), [(done.last_position.get(), 3)]);
    running.stop().unwrap();
}

#[test]
fn cursor_moves_in_the_commit_that_parks_an_event() {
    let place = Place::new();
    let store = filled(&place, 4, 4);
    let never = Duration::from_secs(100_000);
    let (fails, handled) = (Arc::new(AtomicBool::new(true)), Handled::default());
    // With one worker, every earlier event is handled by then.
    let group = group(&store).workers(1).store_progress_every(u64::MAX, never);
    let running = start(group, &fails, &handled);
    assert!(running.wait_for(4, LONG));
    assert_eq!(running.stats().stored, Position::new(4));
    running.abort();
    assert_eq!(store.cursors().get("g").unwrap(), Some(Position::new(4)));
    assert_eq!(parked(&store), [(4, 3)]);
}

#[test]
fn long_error_of_a_parked_event_is_cut_at_a_character_boundary() {
    let place = Place::new();
    let store = filled(&place, 1, 1);
    for (name, error) in [("a", "é".repeat(4000)), ("b", "x".repeat(4096)), ("c", String::new())] {
        let text = error.clone();
        let group = ConsumerGroup::new(&store, name).retry(super::support::quick(1));
        let running = group.clone().start(move |_| Err(text.clone())).unwrap();
        assert!(running.wait_for(1, LONG));
        running.stop().unwrap();
        let parked = group.parked().unwrap();
        let kept = &parked[0].error;
        if name == "a" {
            assert!(kept.len() <= 4096 && kept.ends_with(" […]") && kept.starts_with("éé"));
        } else {
            assert_eq!(*kept, error);
        }
    }
}

#[test]
fn panic_of_a_handler_is_a_failed_attempt() {
    let place = Place::new();
    let store = filled(&place, 20, 4);
    let handled = Handled::default();
    let log = handled.clone();
    let running = group(&store)
        .workers(1)
        .start(move |delivery| {
            let attempt = delivery.attempt();
            match delivery.event().position().get() {
                3 => panic!("attempt {attempt}"),
                5 => std::panic::panic_any(7),
                8 if attempt == 1 => panic!("once"),
                _ => log.note(delivery),
            }
            Ok::<(), String>(())
        })
        .unwrap();
    assert!(running.wait_for(20, LONG));
    running.stop().unwrap();
    assert_eq!(handled.len(), 18);
    let errors: Vec<String> =
        group(&store).parked().unwrap().into_iter().map(|it| it.error).collect();
    assert_eq!(errors, ["the handler panicked: attempt 3", "the handler panicked: "]);
}
