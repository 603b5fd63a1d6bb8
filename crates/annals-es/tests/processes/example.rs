//! The example about seats: what it prints, and payments that come too late.

use std::time::Duration;

use annals_es::testing::{Effect, given_process};

use crate::seat_payments::{
    self,
    seats::{BookingEvent, Bookings, PaymentEvent, SeatEvent},
};

fn reserved_by(customer: &str) -> SeatEvent {
    SeatEvent::Reserved { customer: customer.into() }
}

fn begun_by(customer: &str) -> BookingEvent {
    BookingEvent::Begun { customer: customer.into() }
}

fn of_seat(event: fn(String) -> PaymentEvent) -> PaymentEvent {
    event("1".into())
}

#[test]
fn payment_after_the_deadline_is_refunded_and_the_next_customer_keeps_the_seat() {
    let requested = of_seat(|seat| PaymentEvent::Requested { seat });
    let settled = of_seat(|seat| PaymentEvent::Settled { seat });
    let deadline = |seconds| Effect::deadline("booking-1", "1", Duration::from_secs(seconds));
    let cancelled = BookingEvent::Cancelled { why: "not paid in time".into() };
    given_process(|store| Bookings::new(store).expect("schemas that fit"))
        .when("seat-1", &reserved_by("ann"))
        .then([
            Effect::event("booking-1", &begun_by("ann")),
            deadline(600),
            Effect::event("payments-ann", &requested),
        ])
        .when_time_passes(Duration::from_secs(600))
        .then([
            Effect::passed("booking-1", "1"),
            Effect::event("booking-1", &cancelled),
            Effect::event("seat-1", &SeatEvent::Released),
            Effect::event("payments-ann", &of_seat(|seat| PaymentEvent::Withdrawn { seat })),
        ])
        .when("seat-1", &reserved_by("bob"))
        .then([
            Effect::event("booking-1", &begun_by("bob")),
            deadline(1200),
            Effect::event("payments-bob", &requested),
        ])
        .when("payments-ann", &settled)
        .then([
            Effect::event("payments-ann", &of_seat(|seat| PaymentEvent::Refunded { seat })),
            Effect::event(
                "booking-1",
                &BookingEvent::LatePaymentRefunded { customer: "ann".into() },
            ),
        ])
        .when("payments-bob", &settled)
        .then([
            Effect::cancelled("booking-1", "1"),
            Effect::event("booking-1", &BookingEvent::Paid),
            Effect::event("seat-1", &SeatEvent::Confirmed),
        ]);
}

#[test]
fn example_prints_what_came_of_each_booking() {
    let mut out = Vec::new();
    seat_payments::run(&mut out).expect("the example runs");
    let out = String::from_utf8(out).expect("text");
    let of = |stream: &str| -> Vec<String> {
        let columns = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = columns.filter(|columns| columns.get(1) == Some(&stream));
        own.map(|columns| columns[2..].join(" ")).collect()
    };
    assert_eq!(of("seat-1"), ["SeatReserved", "SeatConfirmed 23"], "{out}");
    assert_eq!(of("seat-2"), ["SeatReserved", "SeatReleased 24"], "{out}");
    assert_eq!(of("seat-3"), ["SeatReserved", "SeatReleased 13"], "at its deadline:\n{out}");
    assert_eq!(of("payments-cid")[1..], ["PaymentWithdrawn 13"], "{out}");
    assert_eq!(of("booking-5")[3..], ["BookingCancelled 5"], "{out}");
    let first = "after the payments, 1 deadline is open\n\
        cid wants to pay after the deadline: there is nothing to pay\n";
    assert!(out.starts_with(first), "{out}");
}
