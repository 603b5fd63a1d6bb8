//! Seats that are paid within ten minutes or given back: two aggregates, and a process between them.
//!
//! ```text
//! cargo run -p annals-es --example seat_payments
//! ```
//!
//! Ann pays. Bob's payment is declined, so his seat is released at once: compensation. Cid does nothing, so his seat
//! is released at its deadline. Dan is refused a payment because he owes one already, and the process answers that in
//! the same commit. Afterwards the log shows who caused what.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::process::{ProcessManager, Reaction, Runner, Trigger};
use annals_es::{
    Aggregate, AnnalsStore, Clock, Event, Events, Metadata, OrderedStore, ReadAll, RecordedEvent,
    Repository,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
enum SeatEvent {
    #[event(name = "SeatReserved")]
    Reserved {
        #[tag("customer")]
        customer: String,
    },
    #[event(name = "SeatConfirmed")]
    Confirmed,
    #[event(name = "SeatReleased")]
    Released,
}

enum SeatCommand {
    Reserve { customer: String },
    Confirm,
    Release,
}

#[derive(Debug, thiserror::Error)]
#[error("the seat is {0}")]
struct Refused(&'static str);

#[derive(Default)]
struct Seat {
    reserved: bool,
}

impl Aggregate for Seat {
    type Command = SeatCommand;
    type Event = SeatEvent;
    type Error = Refused;
    const CATEGORY: &'static str = "seat";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &SeatCommand) -> Result<Events<SeatEvent>, Refused> {
        match (command, self.reserved) {
            (SeatCommand::Reserve { .. }, true) => Err(Refused("taken")),
            (SeatCommand::Reserve { customer }, false) => {
                Ok(SeatEvent::Reserved { customer: customer.clone() }.into())
            }
            (SeatCommand::Confirm, true) => Ok(SeatEvent::Confirmed.into()),
            (SeatCommand::Release, true) => Ok(SeatEvent::Released.into()),
            (_, false) => Err(Refused("free")),
        }
    }

    fn evolve(&mut self, event: &SeatEvent) {
        self.reserved = !matches!(event, SeatEvent::Released);
    }
}

#[derive(Debug, Serialize, Deserialize, Event)]
enum PaymentEvent {
    #[event(name = "PaymentRequested")]
    Requested { seat: String },
    #[event(name = "PaymentSettled")]
    Settled { seat: String },
    #[event(name = "PaymentDeclined")]
    Declined { seat: String },
}

enum PaymentCommand {
    Request { seat: String },
    Settle,
    Decline,
}

/// The payments of a customer, who may owe one at a time.
#[derive(Default)]
struct Payments {
    owed: Option<String>,
}

impl Aggregate for Payments {
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = Refused;
    const CATEGORY: &'static str = "payments";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &PaymentCommand) -> Result<Events<PaymentEvent>, Refused> {
        match (command, self.owed.clone()) {
            (PaymentCommand::Request { .. }, Some(_)) => Err(Refused("not yet paid for")),
            (PaymentCommand::Request { seat }, None) => {
                Ok(PaymentEvent::Requested { seat: seat.clone() }.into())
            }
            (PaymentCommand::Settle, Some(seat)) => Ok(PaymentEvent::Settled { seat }.into()),
            (PaymentCommand::Decline, Some(seat)) => Ok(PaymentEvent::Declined { seat }.into()),
            (_, None) => Err(Refused("not to be paid for")),
        }
    }

    fn evolve(&mut self, event: &PaymentEvent) {
        self.owed = match event {
            PaymentEvent::Requested { seat } => Some(seat.clone()),
            PaymentEvent::Settled { .. } | PaymentEvent::Declined { .. } => None,
        };
    }
}

/// What a booking reacts to: events of seats and of payments.
#[derive(Debug, Serialize, Deserialize, Event)]
enum Input {
    #[event(name = "SeatReserved")]
    Reserved { customer: String },
    #[event(name = "PaymentSettled")]
    Settled { seat: String },
    #[event(name = "PaymentDeclined")]
    Declined { seat: String },
}

#[derive(Debug, Serialize, Deserialize, Event)]
enum BookingEvent {
    #[event(name = "BookingPaid")]
    Paid,
    #[event(name = "BookingCancelled")]
    Cancelled { why: String },
}

/// The booking of a seat, from its reservation to its payment or release.
struct Bookings {
    seats: Repository<Seat, AnnalsStore>,
    payments: Repository<Payments, AnnalsStore>,
}

impl ProcessManager<AnnalsStore> for Bookings {
    type Input = Input;
    type Event = BookingEvent;
    type State = Option<String>;
    const NAME: &'static str = "booking";

    fn route(&self, event: &Input, recorded: &RecordedEvent) -> Option<String> {
        match event {
            Input::Reserved { .. } => recorded.stream_id().map(str::to_owned),
            Input::Settled { seat } | Input::Declined { seat } => Some(seat.clone()),
        }
    }

    fn evolve(ended: &mut Option<String>, event: &BookingEvent) {
        *ended = Some(match event {
            BookingEvent::Paid => "paid".into(),
            BookingEvent::Cancelled { why } => why.clone(),
        });
    }

    fn react(
        &self,
        _: &Option<String>,
        trigger: Trigger<'_, Input>,
        reaction: &mut Reaction<Self, AnnalsStore>,
    ) {
        match trigger {
            Trigger::Event { event: Input::Reserved { customer }, recorded } => {
                let seat = recorded.stream_id().unwrap_or_default().to_owned();
                reaction.deadline(&seat, Duration::from_secs(600));
                let (request, seats) =
                    (PaymentCommand::Request { seat: seat.clone() }, self.seats.clone());
                reaction.command_or(&self.payments, customer, request, move |refused, reaction| {
                    reaction.cancel(&seat);
                    reaction.command(&seats, &seat, SeatCommand::Release);
                    reaction.record(BookingEvent::Cancelled { why: refused.to_string() });
                });
            }
            Trigger::Event { event: Input::Settled { seat }, .. } => {
                reaction.cancel(seat);
                reaction.command(&self.seats, seat, SeatCommand::Confirm);
                reaction.record(BookingEvent::Paid);
            }
            Trigger::Event { event: Input::Declined { seat }, .. } => {
                reaction.cancel(seat);
                reaction.command(&self.seats, seat, SeatCommand::Release);
                reaction.record(BookingEvent::Cancelled { why: "declined".into() });
            }
            Trigger::Deadline { name: seat, .. } => {
                reaction.command(&self.seats, seat, SeatCommand::Release);
                reaction.record(BookingEvent::Cancelled { why: "not paid in time".into() });
            }
        }
    }
}

/// Takes five bookings, and prints what came of them.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = AnnalsStore::new(annals::Store::open(dir.path().join("seats"))?);
    let seats = Repository::<Seat, _>::new(store.clone())?;
    let payments = Repository::<Payments, _>::new(store.clone())?;
    let bookings = Bookings { seats: seats.clone(), payments: payments.clone() };
    let clock = Clock::at(Clock::system().now().plus(Duration::from_secs(1)));
    let mut runner = Runner::new(store.clone(), bookings)?.clock(clock.clone());

    for (seat, customer) in [("1", "ann"), ("2", "bob"), ("3", "cid"), ("4", "dan"), ("5", "dan")] {
        block_on(seats.execute(seat, &SeatCommand::Reserve { customer: customer.into() }))?;
    }
    block_on(runner.catch_up())?;
    block_on(payments.execute("ann", &PaymentCommand::Settle))?;
    block_on(payments.execute("bob", &PaymentCommand::Decline))?;
    block_on(payments.execute("dan", &PaymentCommand::Settle))?;
    block_on(runner.catch_up())?;
    writeln!(out, "after the payments, {} deadline is open", runner.open_deadlines())?;
    clock.advance(Duration::from_secs(601));
    block_on(runner.catch_up())?;

    writeln!(out, "{:>3}  {:<13} {:<18} caused by", "at", "stream", "event")?;
    let mut places = HashMap::new();
    for event in iter(store.read_all(ReadAll::new())) {
        let event = event?;
        places.insert(event.id(), event.position().get());
        let cause = Metadata::of(&event)?.causation_id.and_then(|id| places.get(&id).copied());
        let cause = cause.map_or_else(String::new, |position| position.to_string());
        let position = event.position().get();
        writeln!(out, "{position:>3}  {:<13} {:<18} {cause}", event.stream(), event.event_type())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout().lock())
}
