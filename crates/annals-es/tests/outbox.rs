//! The outbox: order, repetition, faults, bounds.

#![allow(missing_docs)]

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::outbox::{ErrorPolicy, Outbox, OutboxError, SendError, Sink};
use annals_es::{
    AtomicCheckpoints, Commit, Expected, MemoryStore, NewEvent, Position, Query, ReadStream,
    RecordedEvent,
};

/// What an event of a type meets at the receiver.
const REFUSED: &str = "Refused";
const NEVER: &str = "Never";
const PANICS: &str = "Panics";

#[derive(Debug, Default)]
struct Receiver {
    /// Streams and versions, as they arrived.
    got: Mutex<Vec<(String, u64)>>,
    attempts: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// Attempts that fail before events of the type [`REFUSED`] are taken.
    refusals: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Receiving(Arc<Receiver>);

impl Sink for Receiving {
    type Error = &'static str;

    async fn send(&self, event: &RecordedEvent) -> Result<(), &'static str> {
        let receiver = &*self.0;
        receiver.attempts.fetch_add(1, Ordering::Relaxed);
        let at_once = receiver.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        receiver.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        // Some events take longer than later ones of other streams.
        for _ in 0..event.position().get() * 7 % 5 {
            yield_now().await;
        }
        receiver.at_once.fetch_sub(1, Ordering::Relaxed);
        match event.event_type() {
            NEVER => std::future::pending().await,
            PANICS => panic!("no event like this"),
            REFUSED => {
                let left = |left: usize| left.checked_sub(1);
                let refusals = &receiver.refusals;
                if refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
                    return Err("refused");
                }
            }
            _ => {}
        }
        let sent = (event.stream().to_owned(), event.version().get());
        receiver.got.lock().expect("no panic").push(sent);
        Ok(())
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Receiving {
    fn refusing(attempts: usize) -> Self {
        let receiving = Self::default();
        receiving.0.refusals.store(attempts, Ordering::Relaxed);
        receiving
    }

    fn got(&self) -> Vec<(String, u64)> {
        self.0.got.lock().expect("no panic").clone()
    }

    /// The first arrival of each version, by stream, which has to be in order.
    fn firsts(&self) -> HashMap<String, Vec<u64>> {
        let mut seen = HashSet::new();
        let mut firsts: HashMap<String, Vec<u64>> = HashMap::new();
        for (stream, version) in self.got() {
            if seen.insert((stream.clone(), version)) {
                firsts.entry(stream).or_default().push(version);
            }
        }
        firsts
    }
}

fn append<S: AtomicCheckpoints>(store: &S, stream: &str, event_type: &'static str) -> Position {
    let commit = Commit::to(stream, Expected::Any, [NewEvent::new(event_type, "")]);
    block_on(store.append(commit)).expect("an append").last_position
}

fn outbox<S: AtomicCheckpoints>(store: &S, sink: &Receiving) -> Outbox<S, Receiving> {
    Outbox::new(store.clone(), "mail", sink.clone()).expect("schemas that fit")
}

fn checkpoint<S: AtomicCheckpoints>(store: &S) -> Option<Position> {
    block_on(store.checkpoint("mail")).expect("a read")
}

fn no_delay(policy: ErrorPolicy) -> ErrorPolicy {
    policy.backoff(Duration::ZERO, Duration::ZERO)
}

macro_rules! with_each_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&annals_es::MemoryStore::new()); })*
        }
        mod annals_store {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::new(store));
            })*
        }
    };
}

with_each_store!(
    events_are_sent_in_the_order_of_each_stream,
    run_that_is_dropped_is_continued,
    event_that_is_refused_holds_up_its_stream_alone,
    parked_event_is_passed_replayed_and_discarded,
    run_follows_new_events_until_it_is_stopped,
    second_runner_finds_out,
);

fn events_are_sent_in_the_order_of_each_stream<S: AtomicCheckpoints>(store: &S) {
    for number in 0..600 {
        append(store, &format!("s-{}", number * 5 % 17), "T");
        append(store, "other-1", "Other");
    }
    let sink = Receiving::default();
    let outbox = outbox(store, &sink).matching(Query::category("s")).at_once(4);
    block_on({ outbox }.most_unsent(50).send_all()).expect("a run");
    assert_eq!(sink.got().len(), 600, "each once");
    assert_eq!(sink.0.most_at_once.load(Ordering::Relaxed), 4);
    for (stream, versions) in sink.firsts() {
        let count = u64::try_from(versions.len()).expect("a small number");
        assert_eq!(versions, (1..=count).collect::<Vec<_>>(), "{stream}");
    }
    assert_eq!(checkpoint(store), Some(Position::new(1200)));
}

fn run_that_is_dropped_is_continued<S: AtomicCheckpoints>(store: &S) {
    const EVENTS: usize = 450;
    for number in 0..EVENTS {
        append(store, &format!("s-{}", number % 7), "T");
    }
    let sink = Receiving::default();
    let mut polls = 0;
    while checkpoint(store) < Some(Position::new(EVENTS as u64)) {
        polls += 97;
        let mut outbox = outbox(store, &sink);
        let mut run = pin!(outbox.send_all());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if run.as_mut().poll(&mut context).is_ready() {
                break;
            }
            thread::yield_now();
        }
    }
    for (stream, versions) in sink.firsts() {
        let count = u64::try_from(versions.len()).expect("a small number");
        assert_eq!(versions, (1..=count).collect::<Vec<_>>(), "{stream}");
    }
    assert_eq!(sink.firsts().values().map(Vec::len).sum::<usize>(), EVENTS);
    assert!(sink.got().len() > EVENTS, "some were sent again");
}

fn event_that_is_refused_holds_up_its_stream_alone<S: AtomicCheckpoints>(store: &S) {
    let refused = append(store, "a-1", REFUSED);
    append(store, "a-1", "T");
    append(store, "b-1", "T");
    let sink = Receiving::refusing(4);
    let policy = no_delay(ErrorPolicy::pause()).retries(2);
    let mut outbox = outbox(store, &sink).on_error(policy);
    let error = block_on(outbox.send_all()).expect_err("three refusals");
    let OutboxError::Send { position, cause: SendError::Sink(cause), .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*position, cause.to_string().as_str()), (refused, "refused"));
    assert_eq!(sink.got(), [("b-1".to_owned(), 1)]);
    assert_eq!(checkpoint(store), None, "nothing is passed");
    block_on(outbox.send_all()).expect("the second attempt succeeds");
    assert_eq!(sink.firsts()["a-1"], [1, 2]);
    assert_eq!(checkpoint(store), Some(Position::new(3)));
}

fn parked_event_is_passed_replayed_and_discarded<S: AtomicCheckpoints>(store: &S) {
    let refused = [append(store, "a-1", REFUSED), append(store, "b-1", PANICS)];
    append(store, "a-1", "T");
    let sink = Receiving::refusing(3);
    let policy = no_delay(ErrorPolicy::park()).retries(1).most_parked(2);
    let mut outbox = outbox(store, &sink).on_error(policy).matching(Query::all());
    block_on(outbox.send_all()).expect("a run");
    // The events about parked ones are sent too: the query says so.
    assert_eq!(sink.got()[0], ("a-1".to_owned(), 2));
    let parked = block_on(outbox.parked()).expect("a list");
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), refused);
    assert!(parked.iter().all(|it| it.attempts == 2), "{parked:?}");
    assert!(parked[1].error.contains("panicked: no event like this"), "{parked:?}");

    let error = block_on(outbox.replay(refused[0])).expect_err("the last refusal");
    assert!(matches!(error, OutboxError::Send { .. }), "{error}");
    block_on(outbox.replay(refused[0])).expect("it is taken now");
    block_on(outbox.discard(refused[1])).expect("a discard");
    assert_eq!(block_on(outbox.parked()).expect("a list"), []);
    let again = block_on(outbox.replay(refused[0])).expect_err("it is parked no more");
    assert!(matches!(again, OutboxError::NotParked { .. }), "{again}");
    assert!(sink.got().contains(&("a-1".to_owned(), 1)));
    let noted = iter(store.read_stream(ReadStream::of("parked-mail")));
    let noted: Vec<_> = noted.map(|it| it.expect("a read").event_type().to_owned()).collect();
    let expected = ["event-parked", "event-parked", "event-replayed", "event-discarded"];
    assert_eq!(noted, expected);
}

fn run_follows_new_events_until_it_is_stopped<S: AtomicCheckpoints>(store: &S) {
    let sink = Receiving::default();
    append(store, "a-1", "T");
    block_on(outbox(store, &sink).skip_to_head()).expect("a skip");
    let mut outbox = outbox(store, &sink);
    let handle = outbox.handle();
    thread::scope(|scope| {
        // As an executor with several threads requires it.
        fn sendable<T: Send>(future: T) -> T {
            future
        }
        let running = scope.spawn(move || block_on(sendable(outbox.run())));
        for _ in 0..5 {
            let appended = append(store, "a-1", "T");
            assert!(block_on(handle.wait_for(appended)));
        }
        handle.stop();
        running.join().expect("no panic").expect("a run");
    });
    assert_eq!(sink.firsts()["a-1"], [2, 3, 4, 5, 6]);
    assert_eq!(checkpoint(store), Some(Position::new(6)));
}

fn second_runner_finds_out<S: AtomicCheckpoints>(store: &S) {
    let sink = Receiving::default();
    append(store, "a-1", "T");
    let mut first = outbox(store, &sink);
    let mut second = outbox(store, &sink);
    let mut late = pin!(first.send_all());
    // It has read its place, and sends.
    assert!(late.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    block_on(second.send_all()).expect("a run");
    let error = block_on(late).expect_err("the other one is ahead");
    assert!(matches!(&error, OutboxError::OtherRunner { outbox } if outbox == "mail"), "{error}");
}

#[test]
fn unsent_events_are_bounded_and_other_streams_go_on() {
    let store = MemoryStore::new();
    append(&store, "a-1", NEVER);
    for number in 0..30 {
        append(&store, if number % 3 == 0 { "a-1" } else { "b-1" }, "T");
    }
    let sink = Receiving::default();
    let mut outbox = outbox(&store, &sink).most_unsent(5);
    {
        let mut run = pin!(outbox.send_all());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1000 {
            assert!(run.as_mut().poll(&mut context).is_pending());
        }
    }
    // The first event of the stream and four later ones fill the memory: no event of the other is read.
    assert_eq!(sink.firsts(), HashMap::from([("b-1".to_owned(), (1..=6).collect())]));
    assert_eq!(checkpoint(&store), None);

    let mut outbox =
        outbox.timeout(Duration::from_millis(1)).on_error(ErrorPolicy::park().retries(0));
    block_on(outbox.send_all()).expect("the event is parked");
    let parked = block_on(outbox.parked()).expect("a list");
    assert!(parked[0].error.contains("did not answer within 1ms"), "{parked:?}");
    assert_eq!(sink.firsts()["a-1"], (2..=11).collect::<Vec<_>>());
}
