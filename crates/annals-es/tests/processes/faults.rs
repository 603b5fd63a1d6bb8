//! Reactions that fail: what is recorded, what is parked, and how the process goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use annals_es::blocking::block_on;
use annals_es::process::{ErrorPolicy, ProcessError, ReactionError, RunError, Runner};

use super::booking::Booking;
use super::{Full, clock, reserve, runner, types};

/// No delays, and the outcome of the first attempt.
fn at_once(policy: ErrorPolicy) -> ErrorPolicy {
    policy.retries(0)
}

/// A program in which the fault is corrected.
fn corrected<S: Full>(store: &S) -> Runner<Booking<S>, S> {
    let mut booking = Booking::new(store);
    booking.fails = false;
    Runner::new(store.clone(), booking).expect("schemas that fit").clock(clock())
}

fn of_event(error: RunError) -> ProcessError {
    match error {
        RunError::Process(error) => error,
        other => panic!("another error: {other}"),
    }
}

pub(crate) fn refusal_without_answer<S: Full>(store: &S) {
    let reserved = reserve(store, "1", "unanswered");
    reserve(store, "2", "ann");
    let retries = ErrorPolicy::pause().retries(2).backoff(Duration::ZERO, Duration::ZERO);
    let mut runner = runner(store, &clock()).on_error(retries);
    let error = of_event(block_on(runner.catch_up()).expect_err("a refusal"));
    assert_eq!((error.process, error.position), ("booking", reserved));
    assert_eq!((error.stream.as_str(), error.event_type.as_str()), ("seat-1", "SeatReserved"));
    let ReactionError::Refused { stream, source } = &*error.cause else { panic!("{error}") };
    assert_eq!(
        (stream.as_str(), source.to_string().as_str()),
        ("seat-none", "the seat is not reserved")
    );
    for stream in ["booking-1", "payment-1", "booking-2", "parked-booking"] {
        assert_eq!(types(store, stream), [""; 0], "nothing is recorded: {stream}");
    }
    block_on(corrected(store).catch_up()).expect("a run");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"]);
    assert_eq!(types(store, "payment-2"), ["PaymentRequested"]);
}

pub(crate) fn stopped<S: Full>(store: &S) {
    reserve(store, "1", "unanswered");
    let an_hour = Duration::from_secs(3600);
    let booking = Booking::new(store);
    let begun = Arc::clone(&booking.begun);
    let runner = Runner::new(store.clone(), booking).expect("schemas that fit");
    let mut runner = runner.on_error(ErrorPolicy::pause().retries(3).backoff(an_hour, an_hour));
    let handle = runner.handle();
    let ended = thread::scope(|scope| {
        let running = scope.spawn(move || block_on(runner.run()));
        while begun.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        handle.stop();
        running.join().expect("no panic")
    });
    of_event(ended.expect_err("the first attempt has failed"));
    assert_eq!(begun.load(Ordering::Relaxed), 1, "there was no other");
    assert_eq!(types(store, "booking-1"), [""; 0]);
}

pub(crate) fn parked<S: Full>(store: &S) {
    let positions = ["1", "2"].map(|seat| reserve(store, seat, "unanswered"));
    reserve(store, "3", "ann");
    let mut runner = runner(store, &clock()).on_error(at_once(ErrorPolicy::park().most_parked(2)));
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(types(store, "payment-3"), ["PaymentRequested"], "the process goes on");
    let parked = block_on(runner.parked()).expect("a list");
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), positions);
    assert_eq!(parked[0].attempts, 1);
    assert!(parked[0].error.contains("the seat is not reserved"), "{}", parked[0].error);

    // It fails again, and stays.
    let error = block_on(runner.replay(positions[0])).expect_err("a refusal");
    assert!(matches!(error, ReactionError::Refused { .. }), "{error}");
    let corrected = corrected(store);
    block_on(corrected.replay(positions[0])).expect("a replay");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"]);
    let again = block_on(corrected.replay(positions[0])).expect_err("it is parked no more");
    assert!(matches!(again, ReactionError::NotParked), "{again}");

    // No more than two are parked.
    reserve(store, "4", "unanswered");
    reserve(store, "5", "unanswered");
    let error = of_event(block_on(runner.catch_up()).expect_err("too many are parked"));
    assert_eq!(error.stream.as_str(), "seat-5");
    block_on(corrected.discard(positions[1])).expect("a discard");
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(block_on(runner.parked()).expect("a list").len(), 2);
    assert_eq!(types(store, "payment-2"), [""; 0]);
    let expected = ["event-parked", "event-parked", "event-replayed", "event-parked"];
    assert_eq!(types(store, "parked-booking")[..4], expected);
}

pub(crate) fn parked_deadline<S: Full>(store: &S) {
    let clock = clock();
    reserve(store, "1", "late fault");
    let mut runner = runner(store, &clock).on_error(at_once(ErrorPolicy::park()));
    block_on(runner.catch_up()).expect("a run");
    clock.advance(Duration::from_secs(5));
    block_on(runner.catch_up()).expect("a run");
    let parked = block_on(runner.parked()).expect("a list");
    assert_eq!(parked.len(), 1);
    assert_eq!(types(store, "booking-1").last().map(String::as_str), Some("deadline-passed"));
    assert_eq!(runner.open_deadlines(), 1, "that of the payment");
    block_on(corrected(store).replay(parked[0].position)).expect("a replay");
    assert_eq!(types(store, "booking-1").last().map(String::as_str), Some("BookingRefused"));
    assert_eq!(block_on(runner.parked()).expect("a list"), []);
}

pub(crate) fn panic<S: Full>(store: &S) {
    reserve(store, "1", "panic");
    let mut runner = runner(store, &clock()).on_error(at_once(ErrorPolicy::pause()));
    let error = of_event(block_on(runner.catch_up()).expect_err("a panic"));
    let text = error.to_string();
    assert!(text.contains("it panicked: a reaction to 1"), "{text}");
    block_on(corrected(store).catch_up()).expect("a run");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"]);
}

/// The checkpoint is set back, as after the loss of a checkpoint that is kept elsewhere.
pub(crate) fn repeated<S: Full>(store: &S) {
    reserve(store, "1", "ann");
    block_on(runner(store, &clock()).catch_up()).expect("a run");
    let before = types(store, "booking-1");
    block_on(store.reset_checkpoint("booking", annals_es::Position::START)).expect("a reset");
    let mut again = runner(store, &clock()).on_error(at_once(ErrorPolicy::pause()));
    let outcome = block_on(again.catch_up());
    assert_eq!(types(store, "booking-1"), before, "{outcome:?}");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"], "{outcome:?}");
}
