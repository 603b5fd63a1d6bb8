//! Seats of a conference on the bare engine: a hundred threads book the last ones, payments fail and
//! are compensated, a view of the bookings, the audit trail, and availability at any time in the past.
//!
//! ```text
//! cargo run --example conference_seats [STORE]
//! ```
//!
//! `STORE` is the directory of a new store (default: a temporary one, removed at the end).
//!
//! A booking is a stream, `booking-7`. The number of free seats depends on all bookings, so no
//! stream's version can protect it. A boundary does: the query that counted the seats.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use annals::{
    AsOf, Event, ExpectedVersion, FailedCheck, NewEvent, Position, Query, QueryItem, Store,
    subscription::MessageKind,
};
use serde::{Deserialize, Serialize};

/// The name of the policy that gives back seats that were not paid for, and of its cursor.
const COMPENSATION: &str = "compensation";
/// How long a commit that was accepted may take to reach the disk, before it is looked for again.

#[derive(Debug, Serialize, Deserialize)]
struct Seats {
    seats: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("only {left} seats are left")]
    SoldOut { left: u64 },
    #[error(transparent)]
    Store(#[from] annals::Error),
}

/// A conference: its bookings carry its name as a tag.
#[derive(Debug, Clone)]
pub(crate) struct Conference {
    pub(crate) store: Store,
    name: String,
}

impl Conference {
    pub(crate) fn new(store: &Store, name: &str) -> Self {
        Self { store: store.clone(), name: name.into() }
    }

    fn tag(&self) -> String {
        format!("conference:{}", self.name)
    }

    /// Every fact that the number of seats left depends on, and no other.
    fn seats_facts(&self) -> Query {
        let types = ["SeatsOffered", "SeatsReserved", "ReservationCancelled"];
        QueryItem::new().types(types).tag(self.tag()).into()
    }

    pub(crate) fn offer(&self, seats: u64) -> annals::Result<()> {
        let event = NewEvent::json("SeatsOffered", &Seats { seats })?.tag(self.tag());
        self.store.append(format!("conference-{}", self.name), ExpectedVersion::Any, [event])?;
        Ok(())
    }

    /// How many seats were left at a time or position, and the position of the head of that read.
    pub(crate) fn left(&self, as_of: impl Into<AsOf>) -> annals::Result<(u64, Position)> {
        let facts = self.store.read_all().matching(self.seats_facts()).as_of(as_of).start()?;
        let head = facts.head();
        let mut left = 0;
        for event in facts {
            let event = event?;
            let Seats { seats } = event.json()?;
            match event.event_type() {
                "SeatsReserved" => left -= seats,
                _ => left += seats,
            }
        }
        Ok((left, head))
    }

    /// How many seats are left.
    pub(crate) fn left_now(&self) -> annals::Result<(u64, Position)> {
        self.left(Position::new(u64::MAX))
    }

    /// Reserves seats if enough are free. The events that were counted must not have changed when the
    /// reservation is recorded; otherwise the seats are counted again.
    pub(crate) fn reserve(&self, booking: u32, who: &str, seats: u64) -> Result<(), Refused> {
        loop {
            let (left, head) = self.left_now()?;
            if left < seats {
                return Err(Refused::SoldOut { left });
            }
            let event = NewEvent::json("SeatsReserved", &Seats { seats })?
                .tags([self.tag(), format!("attendee:{who}")]);
            let outcome = self
                .store
                .transaction()
                .append(format!("booking-{booking}"), ExpectedVersion::NoStream, [event])
                .fail_if(self.seats_facts().after(head))
                .commit();
            match outcome {
                // Another commit came first; it is visible by now, and is counted next.
                Err(conflict)
                    if matches!(
                        conflict.failed_checks(),
                        [FailedCheck::AppendConditionFailed { .. }]
                    ) => {}
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    /// Records the outcome of a payment.
    pub(crate) fn pay(&self, booking: u32, accepted: bool) -> annals::Result<()> {
        let event_type = if accepted { "PaymentAccepted" } else { "PaymentFailed" };
        let event = NewEvent::new(event_type, "").tag(self.tag());
        let stream = format!("booking-{booking}");
        self.store.append(stream, ExpectedVersion::StreamExists, [event])?;
        Ok(())
    }

    /// The policy: a payment that failed gives the seats back. Each cancellation moves the policy's
    /// cursor in the same commit, so that a restart gives nothing back twice.
    pub(crate) fn compensate(&self) -> annals::Result<u64> {
        let mut cancelled = 0;
        let failed = Query::types(["PaymentFailed"]);
        let failures = self.store.subscribe().from_cursor(COMPENSATION).matching(failed).start()?;
        for message in failures {
            let message = message?;
            if message.is_caught_up() {
                break; // A service would go on.
            }
            for failure in message.events() {
                let seats = self.seats_of(failure.stream())?;
                let event = NewEvent::json("ReservationCancelled", &Seats { seats })?
                    .tags(failure.tags())
                    .metadata(format!("payment failed at {}", failure.position()));
                self.store
                    .transaction()
                    .append(failure.stream(), ExpectedVersion::StreamExists, [event])
                    .cursor(COMPENSATION, failure.position())
                    .commit()?;
                cancelled += 1;
            }
        }
        Ok(cancelled)
    }

    fn seats_of(&self, booking: &str) -> annals::Result<u64> {
        match self.store.read_stream(booking).limit(1).into_iter().next() {
            Some(reserved) => Ok(reserved?.json::<Seats>()?.seats),
            None => Ok(0),
        }
    }

    /// Everything that ever happened here, in order.
    pub(crate) fn audit_trail(&self) -> impl Iterator<Item = annals::Result<Event>> + use<> {
        self.store.read_all().matching(Query::tagged([self.tag()])).into_iter()
    }
}

/// A booking as the organisers see it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Booking {
    pub(crate) attendee: String,
    pub(crate) seats: u64,
    pub(crate) status: &'static str,
}

/// The bookings as a table, kept by a subscription and held in memory: built anew at each start.
#[derive(Debug, Default)]
pub(crate) struct Bookings {
    pub(crate) table: BTreeMap<String, Booking>,
    through: Position,
}

impl Bookings {
    /// Applies the events since the last call.
    pub(crate) fn refresh(&mut self, store: &Store) -> annals::Result<()> {
        let bookings = Query::category("booking");
        for message in store.subscribe().after(self.through).matching(bookings).start()? {
            let message = message?;
            self.through = message.scanned_through;
            match message.kind {
                MessageKind::CaughtUp => break,
                MessageKind::Events(events) => {
                    events.iter().try_for_each(|event| self.apply(event))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: &Event) -> annals::Result<()> {
        let booking = self.table.entry(event.stream().to_owned()).or_default();
        match event.event_type() {
            "SeatsReserved" => {
                let who = event.tags().find_map(|tag| tag.strip_prefix("attendee:"));
                who.unwrap_or_default().clone_into(&mut booking.attendee);
                booking.seats = event.json::<Seats>()?.seats;
                booking.status = "reserved";
            }
            "PaymentAccepted" => booking.status = "paid",
            "PaymentFailed" => booking.status = "unpaid",
            _ => (booking.seats, booking.status) = (0, "cancelled"),
        }
        Ok(())
    }
}

/// This number of attendees at once, each wants one seat; returns how many got one.
pub(crate) fn rush(conference: &Conference, attendees: u32) -> usize {
    let doors = Barrier::new(attendees as usize);
    let book = |number: u32| {
        doors.wait();
        match conference.reserve(100 + number, &format!("attendee-{number}"), 1) {
            Ok(()) => true,
            Err(Refused::SoldOut { .. }) => false,
            Err(Refused::Store(error)) => panic!("{error}"),
        }
    };
    thread::scope(|scope| {
        let spawn = |number| scope.spawn(move || book(number));
        let threads: Vec<_> = (0..attendees).map(spawn).collect();
        threads.into_iter().map(|it| it.join().expect("no panic")).filter(|&booked| booked).count()
    })
}

/// Whether a booking is one that [`rush`] makes.
fn is_of_the_rush(stream: &str) -> bool {
    stream.strip_prefix("booking-").is_some_and(|number| number.len() == 3)
}

pub(crate) fn run(path: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let store = Store::open(path)?;
    let conference = Conference::new(&store, "annalcon");
    conference.offer(20)?;
    conference.reserve(1, "ann", 8)?;
    conference.reserve(2, "bob", 2)?;
    let (left, before_the_rush) = conference.left_now()?;
    writeln!(out, "{left} of 20 seats are left; a hundred threads want one each")?;
    writeln!(out, "{} of them got one, {} left", rush(&conference, 100), conference.left_now()?.0)?;
    writeln!(out, "carol: {}", conference.reserve(3, "carol", 1).expect_err("no seats"))?;

    conference.pay(2, true)?;
    conference.pay(1, false)?;
    writeln!(out, "ann's payment failed; {} booking is cancelled", conference.compensate()?)?;
    writeln!(out, "asked again, the policy cancels {}", conference.compensate()?)?;
    conference.reserve(3, "carol", 1)?;
    writeln!(out, "carol has a seat now, {} are left", conference.left_now()?.0)?;

    let mut bookings = Bookings::default();
    bookings.refresh(&store)?;
    writeln!(out, "the bookings, without the rush:")?;
    for (name, booking) in bookings.table.iter().filter(|(name, _)| !is_of_the_rush(name)) {
        writeln!(
            out,
            "  {name}  {} seats  {:<9}  {}",
            booking.seats, booking.status, booking.attendee
        )?;
    }

    writeln!(out, "the audit trail, without the rush:")?;
    for event in conference.audit_trail() {
        let event = event?;
        if !is_of_the_rush(event.stream()) {
            let data = String::from_utf8_lossy(event.data());
            writeln!(
                out,
                "  {:>3}  {}  {} {data}",
                event.position(),
                event.stream(),
                event.event_type()
            )?;
        }
    }

    writeln!(out, "seats left before the rush: {}", conference.left(before_the_rush)?.0)?;
    for booking in ["booking-1", "booking-3"] {
        let first = store.read_stream(booking).into_iter().next().expect("it was made")?;
        let at = first.recorded_at();
        writeln!(out, "seats left when {booking} was made: {}", conference.left(at)?.0)?;
    }
    store.close()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    run(&path.unwrap_or_else(|| temporary.path().join("conference")), &mut io::stdout().lock())
}
