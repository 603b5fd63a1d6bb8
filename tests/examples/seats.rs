//! The conference: no overbooking by concurrent bookings, seats returned once, and reads of the
//! past.

use annals::{Position, Store};

use crate::conference_seats::{Bookings, Conference, Refused, run, rush};
use crate::printed;

fn conference(dir: &tempfile::TempDir, seats: u64) -> Conference {
    let conference = Conference::new(&Store::open(dir.path().join("store")).unwrap(), "annalcon");
    conference.offer(seats).unwrap();
    conference
}

#[test]
fn seats_example_books_a_conference_to_the_last_seat() {
    let out = printed(run);
    for line in [
        "10 of 20 seats are left; a hundred threads want one each",
        "10 of them got one, 0 left",
        "carol: only 0 seats are left",
        "ann's payment failed; 1 booking is cancelled",
        "asked again, the policy cancels 0",
        "carol has a seat now, 7 are left",
        "  booking-1  0 seats  cancelled  ann",
        "  booking-2  2 seats  paid       bob",
        "  booking-3  1 seats  reserved   carol",
        "   16  booking-1  ReservationCancelled {\"seats\":8}",
        "seats left before the rush: 10",
        "seats left when booking-1 was made: 12",
        "seats left when booking-3 was made: 7",
    ] {
        assert!(out.lines().any(|it| it == line), "{line:?} is not in\n{out}");
    }
}

#[test]
fn hundred_racing_threads_never_overbook() {
    for seats in [0, 1, 7] {
        let dir = tempfile::tempdir().unwrap();
        let conference = conference(&dir, seats);
        assert_eq!(rush(&conference, 100) as u64, seats);
        let (left, head) = conference.left_now().unwrap();
        assert_eq!((left, head.get()), (0, 1 + seats));
        // A sum below zero at any moment would have overflowed.
        for position in 1..=head.get() {
            let (left, _) = conference.left(Position::new(position)).unwrap();
            assert_eq!(left, seats + 1 - position);
        }
    }
}

#[test]
fn bookings_of_two_conferences_are_independent() {
    let dir = tempfile::tempdir().unwrap();
    let one = conference(&dir, 2);
    let other = Conference::new(&one.store, "other");
    other.offer(1).unwrap();
    one.reserve(1, "ann", 2).unwrap();
    assert_eq!(other.left_now().unwrap().0, 1);
    assert!(matches!(one.reserve(2, "bob", 1), Err(Refused::SoldOut { left: 0 })));
    other.reserve(2, "bob", 1).unwrap();
    // The number of a booking is unique.
    assert!(matches!(other.reserve(2, "bob", 0), Err(Refused::Store(_))));
}

#[test]
fn failed_payment_returns_the_seats_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let conference = conference(&dir, 5);
    for booking in 1..=3 {
        conference.reserve(booking, "ann", 1).unwrap();
        conference.pay(booking, booking == 2).unwrap();
    }
    assert_eq!(conference.compensate().unwrap(), 2);
    conference.store.close().unwrap();

    let conference = Conference::new(&Store::open(dir.path().join("store")).unwrap(), "annalcon");
    assert_eq!(conference.compensate().unwrap(), 0);
    assert_eq!(conference.left_now().unwrap().0, 4);
    let mut bookings = Bookings::default();
    bookings.refresh(&conference.store).unwrap();
    let status: Vec<_> = bookings.table.values().map(|it| it.status).collect();
    assert_eq!(status, ["cancelled", "paid", "cancelled"]);
    // The view continues where it was, and equals one built from the beginning.
    conference.reserve(4, "dan", 1).unwrap();
    bookings.refresh(&conference.store).unwrap();
    let mut anew = Bookings::default();
    anew.refresh(&conference.store).unwrap();
    assert_eq!(bookings.table, anew.table);
    assert_eq!(anew.table["booking-4"].attendee, "dan");
    assert_eq!(conference.audit_trail().count(), 1 + 3 + 3 + 2 + 1);
}
