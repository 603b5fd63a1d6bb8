//! What the examples about seats share: seats, payments, and the process between them.
//!
//! A seat that is reserved is paid for within ten minutes, or released. A declined payment releases it at once.
//! Must never print, nor start a thread.

use std::time::Duration;

use annals_es::process::{ProcessManager, Reaction, Trigger};
use annals_es::{Aggregate, AnnalsStore, Event, Events, RecordedEvent, Repository};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum SeatEvent {
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

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SeatCommand {
    Reserve { customer: String },
    Confirm,
    Release,
}

/// Why a seat or a customer's payments refuse a command.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the seat is reserved")]
    Reserved,
    #[error("the seat is sold")]
    Sold,
    #[error("the seat is not reserved")]
    NotReserved,
    #[error("the last seat is not yet paid for")]
    Owing,
    #[error("there is nothing to pay")]
    NothingOwed,
}

#[derive(Default)]
pub(crate) enum Seat {
    #[default]
    Free,
    Reserved,
    Sold,
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
        match (command, self) {
            (_, Self::Sold) => Err(Refused::Sold),
            (SeatCommand::Reserve { .. }, Self::Reserved) => Err(Refused::Reserved),
            (SeatCommand::Reserve { customer }, Self::Free) => {
                Ok(SeatEvent::Reserved { customer: customer.clone() }.into())
            }
            (SeatCommand::Confirm, Self::Reserved) => Ok(SeatEvent::Confirmed.into()),
            (SeatCommand::Release, Self::Reserved) => Ok(SeatEvent::Released.into()),
            (_, Self::Free) => Err(Refused::NotReserved),
        }
    }

    fn evolve(&mut self, event: &SeatEvent) {
        *self = match event {
            SeatEvent::Reserved { .. } => Self::Reserved,
            SeatEvent::Confirmed => Self::Sold,
            SeatEvent::Released => Self::Free,
        };
    }
}

#[derive(Debug, Serialize, Deserialize, Event)]
pub(crate) enum PaymentEvent {
    #[event(name = "PaymentRequested")]
    Requested { seat: String },
    #[event(name = "PaymentSettled")]
    Settled { seat: String },
    #[event(name = "PaymentDeclined")]
    Declined { seat: String },
}

pub(crate) enum PaymentCommand {
    Request { seat: String },
    Settle,
    Decline,
}

/// The payments of a customer, who may owe one at a time.
#[derive(Default)]
pub(crate) struct Payments {
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
            (PaymentCommand::Request { .. }, Some(_)) => Err(Refused::Owing),
            (PaymentCommand::Request { seat }, None) => {
                Ok(PaymentEvent::Requested { seat: seat.clone() }.into())
            }
            (PaymentCommand::Settle, Some(seat)) => Ok(PaymentEvent::Settled { seat }.into()),
            (PaymentCommand::Decline, Some(seat)) => Ok(PaymentEvent::Declined { seat }.into()),
            (_, None) => Err(Refused::NothingOwed),
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
pub(crate) enum Input {
    #[event(name = "SeatReserved")]
    Reserved { customer: String },
    #[event(name = "PaymentSettled")]
    Settled { seat: String },
    #[event(name = "PaymentDeclined")]
    Declined { seat: String },
}

#[derive(Debug, Serialize, Deserialize, Event)]
pub(crate) enum BookingEvent {
    #[event(name = "BookingPaid")]
    Paid,
    #[event(name = "BookingCancelled")]
    Cancelled { why: String },
}

/// The booking of a seat, from its reservation to its payment or release.
pub(crate) struct Bookings {
    pub(crate) seats: Repository<Seat, AnnalsStore>,
    pub(crate) payments: Repository<Payments, AnnalsStore>,
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
