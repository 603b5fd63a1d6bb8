//! Processes: commands, compensation, deadlines, faults, and more than one runner.

#![allow(missing_docs)]

mod booking;
mod example;
mod faults;
#[path = "../../examples/seat_payments.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod seat_payments;

use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::process::{ProcessManager, Reaction, Runner, Trigger};
use annals_es::{
    AtomicCheckpoints, Clock, Commit, EventStore, Expected, MemoryStore, Metadata, Position, Query,
    ReadAll, ReadStream, SeveralStreams, Timestamp, encode,
};

use booking::{Booking, BookingEvent, PaymentCommand, Payments, Seat, SeatCommand, SeatEvent};

/// What the tests need of a store.
trait Full: AtomicCheckpoints + SeveralStreams {}
impl<S: AtomicCheckpoints + SeveralStreams> Full for S {}

/// Runs a test with a store in memory, and with the engine.
macro_rules! with_each_store {
    ($($test:path as $name:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[test] fn $name() { $test(&MemoryStore::new()); })*
        }
        mod annals_store {
            use super::*;
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                $test(&annals_es::AnnalsStore::new(store));
            })*
        }
    };
}

with_each_store!(
    super::paid_booking as paid_booking_is_confirmed,
    super::unpaid_booking as unpaid_booking_is_released_at_its_deadline_after_a_restart,
    super::late_runner as payment_before_the_deadline_counts_however_late_it_is_handled,
    super::refusal as refused_command_is_answered_in_the_same_commit,
    super::commands_in_turn as commands_of_one_reaction_see_each_other,
    super::contested as reaction_that_lost_to_another_commit_is_decided_again,
    super::contested_deadline as deadline_that_another_runner_let_pass_has_effect_once,
    super::two_runners as two_runners_have_each_effect_once,
    super::run_and_stop as run_follows_new_events_until_it_is_stopped,
    super::clock_of_a_run as deadline_passes_in_a_run_whose_clock_is_set,
    faults::refusal_without_answer as refusal_without_an_answer_stops_and_records_nothing,
    faults::stopped as run_that_is_stopped_does_not_wait_for_the_next_attempt,
    faults::parked as parked_event_is_replayed_or_discarded,
    faults::parked_deadline as deadline_that_fails_is_parked_and_replayed,
    faults::panic as panic_is_an_error_of_the_event,
    faults::repeated as repeated_reaction_is_recognized,
);

fn clock() -> Clock {
    // Later than the recorded times of events in the engine.
    Clock::at(Clock::system().now().plus(Duration::from_secs(1)))
}

fn runner<S: Full>(store: &S, clock: &Clock) -> Runner<Booking<S>, S> {
    let runner = Runner::new(store.clone(), Booking::new(store)).expect("schemas that fit");
    runner.clock(clock.clone())
}

/// Reserves a seat for a customer, of whom the payment knows the funds.
fn reserve<S: EventStore>(store: &S, seat: &str, customer: &str) -> Position {
    let command = SeatCommand::Reserve { customer: customer.into() };
    let done = block_on(booking::seats(store).execute(seat, &command)).expect("a free seat");
    done.position.expect("an event")
}

fn settle<S: EventStore>(store: &S, seat: &str, paid: bool) {
    let command = if paid { PaymentCommand::Settle } else { PaymentCommand::Decline };
    block_on(booking::payments(store).execute(seat, &command)).expect("an open payment");
}

fn types<S: EventStore>(store: &S, stream: &str) -> Vec<String> {
    let events = iter(store.read_stream(ReadStream::of(stream)));
    events.map(|event| event.expect("a read").event_type().to_owned()).collect()
}

fn paid_booking<S: Full>(store: &S) {
    let reserved = reserve(store, "1", "ann");
    let mut runner = runner(store, &clock());
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"]);
    assert_eq!(types(store, "booking-1"), ["BookingBegun", "deadline-set"]);
    assert_eq!(block_on(store.checkpoint("booking")).expect("a read"), Some(reserved));
    settle(store, "1", true);
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatConfirmed"]);
    assert_eq!(types(store, "booking-1")[2..], ["deadline-cancelled", "BookingPaid"]);
    assert_eq!(runner.open_deadlines(), 0);

    // What an event causes is one commit, and names its cause.
    let all: Vec<_> = iter(store.read_all(ReadAll::new())).map(|it| it.expect("a read")).collect();
    let metadata = |position: usize| Metadata::of(&all[position]).expect("metadata");
    assert_eq!(all[1].commit(), all[3].commit());
    for effect in 1..=3 {
        assert_eq!(metadata(effect).causation_id, Some(all[0].id()));
        assert_eq!(metadata(effect).correlation_id, Some(all[0].id()));
    }
    let correlated = format!("correlation:{}", all[0].id());
    assert_eq!(iter(store.read_all(ReadAll::matching(Query::tagged([correlated])))).count(), 3);

    // Nothing is left to do.
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(iter(store.read_all(ReadAll::new())).count(), 8);
}

fn unpaid_booking<S: Full>(store: &S) {
    let clock = clock();
    reserve(store, "1", "ann");
    reserve(store, "2", "bob");
    block_on(runner(store, &clock).catch_up()).expect("a run");
    settle(store, "2", true);
    let mut second = runner(store, &clock);
    block_on(second.catch_up()).expect("a run");
    assert_eq!(second.open_deadlines(), 1);
    clock.advance(Duration::from_secs(599));
    block_on(runner(store, &clock).catch_up()).expect("a run");
    assert_eq!(types(store, "seat-1"), ["SeatReserved"]);
    clock.advance(Duration::from_secs(2));
    // Two runners that know of the deadline; one lets it pass.
    block_on(runner(store, &clock).catch_up()).expect("a run");
    block_on(second.catch_up()).expect("a run");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatReleased"]);
    let expected = ["BookingBegun", "deadline-set", "deadline-passed", "BookingExpired"];
    assert_eq!(types(store, "booking-1"), expected);
    assert_eq!(types(store, "seat-2"), ["SeatReserved", "SeatConfirmed"]);
    assert_eq!(second.open_deadlines(), 0);
}

fn late_runner<S: Full>(store: &S) {
    let clock = clock();
    reserve(store, "1", "ann");
    let mut runner = runner(store, &clock);
    block_on(runner.catch_up()).expect("a run");
    settle(store, "1", true);
    clock.advance(Duration::from_secs(3600));
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatConfirmed"]);
}

fn refusal<S: Full>(store: &S) {
    let mut runner = runner(store, &clock());
    reserve(store, "1", "poor");
    block_on(runner.catch_up()).expect("a run");
    assert_eq!(types(store, "payment-1"), [""; 0], "it was refused");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatReleased"]);
    assert_eq!(types(store, "booking-1"), ["BookingBegun", "BookingRefused"]);
}

fn commands_in_turn<S: Full>(store: &S) {
    let mut runner = runner(store, &clock());
    reserve(store, "1", "twice");
    block_on(runner.catch_up()).expect("a run");
    // The second request is refused, because the first one is open, and that is answered with nothing.
    assert_eq!(types(store, "payment-1"), ["PaymentRequested", "PaymentSettled"]);
}

fn contested<S: Full>(store: &S) {
    reserve(store, "1", "ann");
    let other = store.clone();
    booking::meanwhile(move || {
        let request = PaymentCommand::Request { customer: "bob".into() };
        block_on(booking::payments(&other).execute("1", &request)).expect("it comes first");
    });
    block_on(runner(store, &clock()).catch_up()).expect("a run");
    assert_eq!(types(store, "payment-1"), ["PaymentRequested"], "that of the other");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatReleased"]);
}

fn contested_deadline<S: Full>(store: &S) {
    let clock = clock();
    reserve(store, "1", "ann");
    let mut late = runner(store, &clock);
    block_on(late.catch_up()).expect("a run");
    clock.advance(Duration::from_secs(601));
    let (other, same_clock) = (store.clone(), clock.clone());
    booking::meanwhile(move || {
        block_on(runner(&other, &same_clock).catch_up()).expect("a run");
    });
    block_on(late.catch_up()).expect("a run");
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatReleased"]);
    let expected = ["BookingBegun", "deadline-set", "deadline-passed", "BookingExpired"];
    assert_eq!(types(store, "booking-1"), expected);
}

fn two_runners<S: Full>(store: &S) {
    const SEATS: usize = 40;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut runner = runner(store, &clock());
                while block_on(store.stream_version(&format!("booking-{}", SEATS - 1).into()))
                    .expect("a read")
                    .get()
                    == 0
                {
                    block_on(runner.catch_up()).expect("a run");
                }
            });
        }
        for seat in 0..SEATS {
            reserve(store, &seat.to_string(), "ann");
        }
    });
    block_on(runner(store, &clock()).catch_up()).expect("a run");
    for seat in 0..SEATS {
        assert_eq!(types(store, &format!("payment-{seat}")), ["PaymentRequested"]);
        assert_eq!(types(store, &format!("booking-{seat}")), ["BookingBegun", "deadline-set"]);
    }
}

fn run_and_stop<S: Full>(store: &S) {
    let mut runner = runner(store, &Clock::system());
    let handle = runner.handle();
    thread::scope(|scope| {
        // As an executor with several threads requires it.
        fn sendable<T: Send>(future: T) -> T {
            future
        }
        let running = scope.spawn(move || block_on(sendable(runner.run())));
        let reserved = reserve(store, "1", "ann");
        assert!(block_on(handle.wait_for(reserved)));
        assert_eq!(types(store, "payment-1"), ["PaymentRequested"]);
        settle(store, "1", true);
        let settled = block_on(store.head()).expect("a head");
        assert!(block_on(handle.wait_for(settled)));
        handle.stop();
        running.join().expect("no panic").expect("a run");
        assert!(!block_on(handle.wait_for(Position::new(1_000_000))), "it has stopped");
    });
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatConfirmed"]);
    // The run has saved its place.
    let head = block_on(store.head()).expect("a head");
    let saved = block_on(store.checkpoint("booking")).expect("a read").expect("a checkpoint");
    assert!(saved >= Position::new(head.get() - 3), "{saved:?} of {head:?}");
}

fn clock_of_a_run<S: Full>(store: &S) {
    let clock = clock();
    let mut runner = runner(store, &clock);
    let handle = runner.handle();
    let reserved = reserve(store, "1", "ann");
    thread::scope(|scope| {
        let running = scope.spawn(move || block_on(runner.run()));
        assert!(block_on(handle.wait_for(reserved)));
        let head = block_on(store.head()).expect("a head");
        // A run that sleeps is woken by the clock: else, only after a minute.
        thread::sleep(Duration::from_millis(20));
        clock.advance(Duration::from_secs(601));
        let passed = store.wait_for(Position::new(head.get() + 1));
        let passed = block_on_timeout(passed, Duration::from_secs(30));
        handle.stop();
        passed.expect("the run sees that the clock was set").expect("a wait");
        running.join().expect("no panic").expect("a run");
    });
    assert_eq!(types(store, "seat-1"), ["SeatReserved", "SeatReleased"]);
}

#[test]
fn reaction_can_be_tested_without_a_store() {
    let store = MemoryStore::new();
    let booking = Booking::new(&store);
    let reserved = SeatEvent::Reserved { customer: "ann".into() };
    let new = encode(&reserved).expect("an event");
    block_on(store.append(Commit::to("seat-1", Expected::Any, [new]))).expect("an append");
    let recorded = store.events().remove(0);
    let mut reaction = Reaction::new(Timestamp::from_micros(5));
    let trigger = Trigger::Event {
        event: &SeatEvent::Reserved { customer: "ann".into() }.into(),
        recorded: &recorded,
    };
    booking.react(&booking::State::default(), trigger, &mut reaction);
    let sent: Vec<_> = reaction.sent::<Payments>().collect();
    assert_eq!(sent, [("1", &PaymentCommand::Request { customer: "ann".into() })]);
    assert_eq!(reaction.sent::<Seat>().count(), 0);
    assert_eq!(
        reaction.recorded().collect::<Vec<_>>(),
        [&BookingEvent::Begun { seat: "1".into() }]
    );
    let deadline = Timestamp::from_micros(5).plus(Duration::from_secs(600));
    assert_eq!(reaction.deadlines().collect::<Vec<_>>(), [("payment", deadline)]);
    assert!(!reaction.is_empty() && reaction.cancelled().next().is_none());
}
