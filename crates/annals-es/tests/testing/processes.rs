//! The checks of processes.

use std::time::Duration;

use annals_es::MemoryStore;
use annals_es::process::ReactionError;
use annals_es::testing::{Effect, GivenProcess, given_process};

use crate::booking::{Booking, BookingEvent, PaymentEvent, SeatEvent};
use crate::fails_with;

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn reserved(customer: &str) -> SeatEvent {
    SeatEvent::Reserved { customer: customer.into() }
}

fn begun() -> BookingEvent {
    BookingEvent::Begun { seat: "1".into() }
}

fn booking() -> GivenProcess<Booking<MemoryStore>> {
    given_process(Booking::new)
}

#[test]
fn reaction_and_accepted_commands_are_compared() {
    booking()
        .when("seat-1", &reserved("ann"))
        .then([
            Effect::event("payment-1", &PaymentEvent::Requested),
            Effect::event("booking-1", &begun()),
            Effect::deadline("booking-1", "payment", TEN_MINUTES),
        ])
        .when("payment-1", &PaymentEvent::Settled)
        .then([
            Effect::cancelled("booking-1", "payment"),
            Effect::event("booking-1", &BookingEvent::Paid),
            Effect::event("seat-1", &SeatEvent::Confirmed),
        ])
        .when_time_passes(2 * TEN_MINUTES)
        .then_nothing();
}

#[test]
fn deadline_passes_when_the_clock_is_moved() {
    let open = booking()
        .and_in("seat-1", [reserved("ann")])
        .when_time_passes(Duration::from_secs(599))
        .then_nothing();
    assert_eq!(open.store().events().len(), 4);
    open.when_time_passes(Duration::from_secs(1)).then([
        Effect::passed("booking-1", "payment"),
        Effect::event("booking-1", &BookingEvent::Expired),
        Effect::event("seat-1", &SeatEvent::Released),
    ]);
}

#[test]
fn refused_command_is_compensated() {
    booking().when("seat-1", &reserved("poor")).then([
        Effect::event("booking-1", &begun()),
        Effect::event("booking-1", &BookingEvent::Refused),
        Effect::event("seat-1", &SeatEvent::Released),
    ]);
}

#[test]
fn failure_of_a_reaction_is_checked() {
    booking()
        .when("seat-1", &reserved("unanswered"))
        .then_failed(|error| matches!(error, ReactionError::Refused { .. }));
    booking()
        .when("seat-1", &reserved("panic"))
        .then_failed(|error| matches!(error, ReactionError::Panic(_)));
}

#[test]
fn process_check_that_fails_shows_both_sides() {
    let came = "came:\n  \
        booking-1: BookingBegun {\"seat\":\"1\"}\n  \
        booking-1: deadline \"payment\" is set to 600s after the begin\n  \
        payment-1: PaymentRequested";
    let expected = "expected:\n  \
        booking-1: deadline \"payment\" is cancelled\n  \
        booking-1: deadline \"payment\" has passed\n";
    fails_with(&["the process had other effects", expected, came], || {
        let effects =
            [Effect::cancelled("booking-1", "payment"), Effect::passed("booking-1", "payment")];
        booking().when("seat-1", &reserved("ann")).then(effects);
    });
    // The order within a stream, the time of a deadline and the data of an event count.
    let right = || {
        let deadline = Effect::deadline("booking-1", "payment", TEN_MINUTES);
        let request = Effect::event("payment-1", &PaymentEvent::Requested);
        [Effect::event("booking-1", &begun()), deadline, request]
    };
    booking().when("seat-1", &reserved("ann")).then(right());
    let other_seat = BookingEvent::Begun { seat: "2".into() };
    for wrong in 0..3 {
        fails_with(&["other effects"], || {
            let mut effects = right();
            match wrong {
                0 => effects.swap(0, 1),
                1 => effects[1] = Effect::deadline("booking-1", "payment", 2 * TEN_MINUTES),
                _ => effects[0] = Effect::event("booking-1", &other_seat),
            }
            booking().when("seat-1", &reserved("ann")).then(effects);
        });
    }
    fails_with(&["expected:\n  nothing\ncame:\n  booking-1"], || {
        booking().when("seat-1", &reserved("ann")).then_nothing();
    });
    fails_with(&["the process has reacted:\n  booking-1"], || {
        booking().when("seat-1", &reserved("ann")).then_failed(|_| true);
    });
    fails_with(&["the process cannot react: ", "it panicked", "expected:\n  nothing"], || {
        booking().when("seat-1", &reserved("panic")).then_nothing();
    });
    fails_with(&["another error: ", "it panicked"], || {
        booking().when("seat-1", &reserved("panic")).then_failed(|_| false);
    });
    fails_with(&["cannot react to a given event: ", "it panicked"], || {
        booking().and_in("seat-1", [reserved("panic")]);
    });
}
