//! Handles of progress: what counts as handled, and waits for it.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use annals::{
    Error, Query,
    subscription::{JoinedProgress, MessageKind, Progress, Subscription},
};
use futures::StreamExt;
use futures::executor::block_on;

use super::shared::WakeCount;
use super::support::{LONG, Place, append, options};

/// Long enough for a wait that ends too early to be noticed.
const SHORT: Duration = Duration::from_millis(20);

fn handled(progress: &Progress) -> u64 {
    progress.handled().get()
}

/// A consumer thread that handles one message for each permit, and then asks for the next one.
fn consumer(mut subscription: Subscription) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (permit, permits) = mpsc::channel();
    let thread = thread::spawn(move || {
        while let Some(Ok(_message)) = subscription.next() {
            if permits.recv().is_err() {
                return;
            }
        }
    });
    (permit, thread)
}

/// Starts a wait without a limit, whose result is received if it is woken: one with a deadline has the
/// same result when nothing wakes it.
fn in_thread<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (result, results) = mpsc::channel();
    thread::spawn(move || result.send(wait()));
    results
}

fn assert_ended(result: &annals::Result<bool>, expected: u64) {
    match result {
        Err(Error::SubscriptionEnded { handled, .. }) => assert_eq!(handled.get(), expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn message_is_handled_when_the_next_one_is_asked_for() {
    let place = Place::new();
    let store = place.open();
    append(&store, 20);
    let mut subscription = store.subscribe().after(3).batch_size(4).start().unwrap();
    let progress = subscription.progress();
    assert_eq!((handled(&progress), progress.scanned_through().get()), (3, 3));
    let mut previous = 3;
    for end in [7, 11, 15, 19, 20] {
        let message = subscription.try_next().unwrap().unwrap();
        assert_eq!(message.scanned_through.get(), end);
        assert_eq!(progress.scanned_through().get(), end);
        assert_eq!(handled(&progress), previous, "it is not handled yet");
        previous = end;
        assert!(!progress.wait_for(end, Duration::ZERO).unwrap());
    }
    let message = subscription.next_timeout(Duration::ZERO).unwrap().unwrap();
    assert!(message.is_caught_up());
    assert_eq!(handled(&progress), 20);
    // Without a message there is nothing to handle.
    append(&store, 1);
    assert!(subscription.try_next().unwrap().is_some());
    assert_eq!(handled(&progress), 20);
    assert!(subscription.next_timeout(Duration::ZERO).unwrap().is_none());
    assert_eq!(handled(&progress), 21);
    assert_eq!(format!("{progress:?}").matches("21").count(), 2, "{progress:?}");
}

/// A subscription without handles reports nothing, and its next handle has all of it.
#[test]
fn late_handle_has_the_progress_of_messages_before_it() {
    let place = Place::new();
    let store = place.open();
    append(&store, 20);
    let mut subscription = store.subscribe().batch_size(5).start().unwrap();
    for (handled_through, scanned_through) in [(0, 5), (5, 10), (10, 15), (15, 20), (20, 20)] {
        subscription.next().unwrap().unwrap();
        let progress = subscription.progress();
        assert_eq!(handled(&progress), handled_through);
        assert_eq!(progress.scanned_through().get(), scanned_through);
        assert_eq!(progress.wait_for(1, Duration::ZERO).unwrap(), handled_through > 0);
    }
    subscription.stop_handle().stop();
    assert!(subscription.next().is_none());
    assert!(subscription.progress().is_ended());
    // Confirmations outlast the handle that made them.
    let subscribe = store.subscribe().batch_size(5).manual_progress();
    let mut subscription = subscribe.start().unwrap();
    subscription.next().unwrap().unwrap();
    subscription.progress().advance(5).unwrap();
    subscription.next().unwrap().unwrap();
    assert_eq!(handled(&subscription.progress()), 5);
    // An event that is being handled when the handle is made.
    let mut events = store.subscribe().start().unwrap().events();
    assert_eq!(events.nth(6).unwrap().unwrap().position().get(), 7);
    assert_eq!(handled(&events.progress()), 6);
}

#[test]
fn event_is_handled_when_the_next_one_is_asked_for() {
    let place = Place::new();
    let store = place.open();
    append(&store, 20);
    let events = store.subscribe().matching(Query::stream("account-2")).start().unwrap().events();
    let progress = events.progress();
    let mut previous = 0;
    for event in events.take(2) {
        let position = event.unwrap().position().get();
        assert!(handled(&progress) >= previous && handled(&progress) < position);
        previous = position;
    }
    assert!(previous > 2);
}

#[test]
fn positions_that_do_not_match_are_handled_when_a_waiting_consumer_has_scanned_them() {
    let place = Place::new();
    let store = place.open();
    let start = || store.subscribe().matching(Query::tagged(["wanted"])).start().unwrap();
    let mut subscription = start();
    let progress = subscription.progress();
    for round in 1..=3 {
        append(&store, 30);
        while subscription.try_next().unwrap().is_some() {}
        // No message has reported it: `progress_every` is larger.
        assert_eq!(handled(&progress), round * 30);
        assert_eq!(progress.lag(), 0);
    }
    // A stream that yields while it scans, and whole commits.
    let mut stream = start().into_stream();
    let progress = stream.progress();
    assert!(block_on(stream.next()).unwrap().unwrap().is_caught_up());
    assert_eq!(handled(&progress), 90);
}

#[test]
fn whole_commits_and_changes_are_handled_like_other_messages() {
    let place = Place::new();
    let store = place.open();
    append(&store, 40);
    let mut commits = store.subscribe().whole_commits().batch_size(1).start().unwrap();
    let progress = commits.progress();
    let mut last = 0;
    while let Some(message) = commits.try_next().unwrap() {
        assert_eq!(handled(&progress), last);
        last = message.scanned_through.get();
    }
    assert_eq!((last, handled(&progress)), (40, 40));
    store.archive("account-1").unwrap();
    append(&store, 1);
    let mut changes = store.subscribe().after(39).include_metadata().start().unwrap();
    let progress = changes.progress();
    let kinds: Vec<_> = (0..3).map(|_| changes.next().unwrap().unwrap().kind).collect();
    assert!(matches!(kinds[1], MessageKind::StreamChanged(_)), "{kinds:?}");
    assert_eq!(handled(&progress), 40, "event 41 is not handled");
}

#[test]
fn joined_progress_is_that_of_the_slowest_consumer() {
    let place = Place::new();
    let store = place.open();
    append(&store, 2);
    let start = || {
        let mut subscription = store.subscribe().from_now().start().unwrap();
        assert!(subscription.next().unwrap().unwrap().is_caught_up());
        subscription
    };
    let subscriptions = [start(), start(), start()];
    let joined = JoinedProgress::new(subscriptions.iter().map(Subscription::progress));
    assert_eq!(joined.handled().get(), 2);
    let consumers = subscriptions.map(consumer);
    append(&store, 1);
    for (index, (permit, _)) in consumers.iter().enumerate() {
        assert!(!joined.wait_for(3, SHORT).unwrap(), "only {index} consumers have handled it");
        assert_eq!(joined.handled().get(), 2);
        permit.send(()).unwrap();
        assert!(joined.parts()[index].wait_for(3, LONG).unwrap());
    }
    assert!(joined.wait_for(3, Duration::ZERO).unwrap());
    assert_eq!((joined.handled().get(), joined.lag()), (3, 0));
    // A wait that has begun is woken, also that of a task.
    let waiting = joined.clone();
    let waits = thread::spawn(move || waiting.wait_for(4, LONG));
    let task = joined.wait_for_async(4);
    let tasks = thread::spawn(|| block_on(task));
    append(&store, 1);
    for (permit, _) in consumers.iter().rev() {
        assert!(joined.handled().get() < 4 && !waits.is_finished() && !tasks.is_finished());
        permit.send(()).unwrap();
    }
    assert!(waits.join().unwrap().unwrap());
    tasks.join().unwrap().unwrap();
    store.close().unwrap();
    for (permit, thread) in consumers {
        drop(permit);
        thread.join().unwrap();
    }
    let none = JoinedProgress::new([]);
    assert_eq!((none.handled().get(), none.lag()), (u64::MAX, 0));
    assert!(none.wait_for(u64::MAX, Duration::ZERO).unwrap());
    block_on(none.wait_for_async(1)).unwrap();
}

/// A way to end a subscription.
type End<'a> = &'a (dyn Fn(Subscription) + Sync);

#[test]
fn wait_for_a_subscription_that_has_ended_is_an_error() {
    let place = Place::new();
    let store = place.open();
    append(&store, 2);
    let handle_first = |subscription: &mut Subscription| {
        let message = subscription.next().unwrap().unwrap();
        assert_eq!(message.scanned_through.get(), 1);
    };
    let dropped: End<'_> = &|subscription| drop(subscription);
    let stopped: End<'_> = &|mut subscription| {
        subscription.stop_handle().stop();
        assert!(subscription.next().is_none());
        // It ends for its handles, though it is kept.
        std::mem::forget(subscription);
    };
    let panicked: End<'_> = &|subscription| {
        let panic = || {
            let _subscription = subscription;
            std::panic::resume_unwind(Box::new("a consumer that panics"));
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).unwrap_err();
    };
    for (end, reached) in [(dropped, 0), (stopped, 1), (panicked, 0)] {
        let start = || store.subscribe().batch_size(1).start().unwrap();
        let mut subscription = start();
        handle_first(&mut subscription);
        let progress = subscription.progress();
        let other = start();
        let joined = JoinedProgress::new([other.progress(), progress.clone()]);
        let waiting = progress.clone();
        let waits = in_thread(move || waiting.wait_for(2, Duration::MAX));
        let task = progress.wait_for_async(2);
        let tasks = in_thread(move || block_on(task).map(|()| true));
        // The one before it does not reach the position.
        let task = joined.wait_for_async(2);
        let joined_tasks = in_thread(move || block_on(task).map(|()| true));
        assert!(!progress.wait_for(2, SHORT).unwrap() && !progress.is_ended());
        assert!(!joined.wait_for(2, SHORT).unwrap());
        end(subscription);
        for waits in [waits, tasks, joined_tasks] {
            assert_ended(&waits.recv_timeout(LONG).expect("it is woken"), reached);
        }
        assert!(progress.is_ended());
        assert_ended(&progress.wait_for(2, Duration::ZERO), reached);
        assert!(progress.wait_for(reached, Duration::ZERO).unwrap(), "that is handled");
        assert_ended(&joined.wait_for(2, Duration::MAX), reached);
        assert!(joined.wait_for(0, Duration::ZERO).unwrap());
    }
}

#[test]
fn close_of_the_store_ends_progress_after_the_last_handled_message() {
    let place = Place::new();
    let store = place.open();
    append(&store, 2);
    let subscription = store.subscribe().start().unwrap();
    let progress = subscription.progress();
    let consumer = thread::spawn(move || subscription.map(Result::err).collect::<Vec<_>>());
    assert!(progress.wait_for(2, LONG).unwrap());
    let waiting = progress.clone();
    let waits = in_thread(move || waiting.wait_for(3, Duration::MAX));
    store.close().unwrap();
    assert!(matches!(consumer.join().unwrap().last(), Some(Some(Error::Closed))));
    assert_ended(&waits.recv_timeout(LONG).expect("it is woken"), 2);
    // The handle outlives the store.
    assert_eq!((progress.lag(), handled(&progress)), (0, 2));
}

#[test]
fn manual_progress_is_raised_by_confirmations_alone() {
    let place = Place::new();
    let store = place.open();
    append(&store, 10);
    let matching = Query::stream("account-0"); // one event in ten
    let subscribe = store.subscribe().matching(matching).manual_progress();
    let mut subscription = subscribe.start().unwrap();
    let progress = subscription.progress();
    let message = subscription.next().unwrap().unwrap();
    let own = message.events()[0].position().get();
    assert_eq!((own, message.scanned_through.get()), (10, 10));
    append(&store, 9);
    while subscription.try_next().unwrap().is_some() {}
    assert_eq!((handled(&progress), progress.scanned_through().get()), (0, 19));
    for ahead in [20, u64::MAX] {
        let refused = progress.advance(ahead);
        assert!(matches!(refused, Err(Error::InvalidArgument { what: "position", .. })));
    }
    progress.advance(4).unwrap();
    progress.advance(2).unwrap();
    assert_eq!(handled(&progress), 4);
    // Nothing after event 10 matches: the rest is handled with it.
    progress.advance(own).unwrap();
    assert_eq!(handled(&progress), 19);
    // And what is scanned later, as long as nothing is delivered.
    append(&store, 1);
    let message = subscription.try_next().unwrap().unwrap();
    assert_eq!(message.events().len(), 1);
    assert_eq!((handled(&progress), progress.is_ended()), (19, false));
    drop(subscription);
    progress.advance(20).unwrap();
    assert!(progress.wait_for(20, Duration::ZERO).unwrap());
}

#[test]
fn waiter_for_a_distant_position_is_woken_once() {
    let place = Place::new();
    let store = place.open();
    append(&store, 200);
    let mut subscription = store.subscribe().batch_size(1).start().unwrap();
    let progress = subscription.progress();
    let (near, far) = (Arc::new(WakeCount::default()), Arc::new(WakeCount::default()));
    let mut waits = [(&near, 20), (&far, 150)].map(|(count, position)| {
        (Waker::from(Arc::clone(count)), Box::pin(progress.wait_for_async(position)))
    });
    for (waker, wait) in &mut waits {
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    let mut woken = [0, 0];
    for _ in 0..=200 {
        subscription.try_next().unwrap().unwrap();
        for (index, (waker, wait)) in waits.iter_mut().enumerate() {
            let count = [&near, &far][index].get();
            if std::mem::replace(&mut woken[index], count) < count
                && let Poll::Ready(done) = wait.as_mut().poll(&mut Context::from_waker(waker))
            {
                done.unwrap();
                assert_eq!(handled(&progress), [20, 150][index]);
                // Polled no more.
                woken[index] = usize::MAX;
            }
        }
    }
    // The announcement for the near position wakes both.
    assert_eq!([&near, &far].map(|count| count.get()), [1, 2]);
}

#[test]
fn dropped_wait_leaves_no_waiter() {
    let place = Place::new();
    let store = place.open();
    append(&store, 2);
    let mut subscription = store.subscribe().batch_size(1).start().unwrap();
    let count = Arc::new(WakeCount::default());
    {
        let mut wait = pin!(subscription.progress().wait_for_async(1));
        let waker = Waker::from(Arc::clone(&count));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    while subscription.try_next().unwrap().is_some() {}
    assert_eq!(count.get(), 0);
}

#[test]
fn progress_is_awaited_in_a_follower() {
    let place = Place::new();
    let writer = place.open();
    append(&writer, 2);
    for background in [true, false] {
        let reader = options().read_only(true).background(background).open(place.path()).unwrap();
        let subscription = reader.subscribe().start().unwrap();
        let progress = subscription.progress();
        let consumer = thread::spawn(move || subscription.events().for_each(drop));
        append(&writer, 3);
        assert!(progress.wait_for(writer.head(), LONG).unwrap());
        reader.close().unwrap();
        consumer.join().unwrap();
    }
}
