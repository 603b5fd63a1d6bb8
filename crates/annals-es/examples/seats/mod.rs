//! What the examples about seats share: seats, payments, and the process between them.
//!
//! A seat that is reserved is paid for within ten minutes, or released. A declined payment releases it at once. A payment
//! that comes when the seat is released is refunded.
//! Must never print, nor start a thread.

use std::time::Duration;

use annals_es::process::{ProcessManager, Reaction, Trigger};
use annals_es::{Aggregate, Event, EventStore, Events, RecordedEvent, Repository, SchemaError};
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
    #[event(name = "PaymentWithdrawn")]
    Withdrawn { seat: String },
    #[event(name = "PaymentRefunded")]
    Refunded { seat: String },
}

pub(crate) enum PaymentCommand {
    Request {
        seat: String,
    },
    Settle,
    Decline,
    /// Takes a request back.
    Withdraw {
        seat: String,
    },
    Refund {
        seat: String,
    },
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
            (PaymentCommand::Withdraw { seat }, Some(owed)) if owed == *seat => {
                Ok(PaymentEvent::Withdrawn { seat: owed }.into())
            }
            (PaymentCommand::Refund { seat }, _) => {
                Ok(PaymentEvent::Refunded { seat: seat.clone() }.into())
            }
            _ => Err(Refused::NothingOwed),
        }
    }

    fn evolve(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::Requested { seat } => self.owed = Some(seat.clone()),
            PaymentEvent::Refunded { .. } => {}
            _ => self.owed = None,
        }
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

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum BookingEvent {
    #[event(name = "BookingBegun")]
    Begun { customer: String },
    #[event(name = "BookingPaid")]
    Paid,
    #[event(name = "BookingCancelled")]
    Cancelled { why: String },
    #[event(name = "LatePaymentRefunded")]
    LatePaymentRefunded { customer: String },
}

/// The bookings of a seat, each from its reservation to its payment or release.
pub(crate) struct Bookings<S: EventStore> {
    pub(crate) seats: Repository<Seat, S>,
    pub(crate) payments: Repository<Payments, S>,
}

impl<S: EventStore> Bookings<S> {
    pub(crate) fn new(store: &S) -> Result<Self, SchemaError> {
        Ok(Self {
            seats: Repository::new(store.clone())?,
            payments: Repository::new(store.clone())?,
        })
    }

    fn begin(&self, seat: &str, customer: &str, reaction: &mut Reaction<Self, S>) {
        reaction.record(BookingEvent::Begun { customer: customer.into() });
        reaction.deadline(seat, Duration::from_secs(600));
        let (request, seats) = (PaymentCommand::Request { seat: seat.into() }, self.seats.clone());
        let seat = seat.to_owned();
        reaction.command_or(&self.payments, customer, request, move |refused, reaction| {
            reaction.cancel(&seat);
            reaction.command(&seats, &seat, SeatCommand::Release);
            reaction.record(BookingEvent::Cancelled { why: refused.to_string() });
        });
    }

    fn cancel(&self, seat: &str, why: &str, reaction: &mut Reaction<Self, S>) {
        reaction.cancel(seat);
        reaction.command(&self.seats, seat, SeatCommand::Release);
        reaction.record(BookingEvent::Cancelled { why: why.into() });
    }
}

impl<S: EventStore> ProcessManager<S> for Bookings<S> {
    type Input = Input;
    type Event = BookingEvent;
    /// The customer whose payment is awaited.
    type State = Option<String>;
    const NAME: &'static str = "booking";

    fn route(&self, event: &Input, recorded: &RecordedEvent) -> Option<String> {
        match event {
            Input::Reserved { .. } => recorded.stream_id().map(str::to_owned),
            Input::Settled { seat } | Input::Declined { seat } => Some(seat.clone()),
        }
    }

    fn evolve(awaited: &mut Option<String>, event: &BookingEvent) {
        match event {
            BookingEvent::Begun { customer } => *awaited = Some(customer.clone()),
            BookingEvent::Paid | BookingEvent::Cancelled { .. } => *awaited = None,
            BookingEvent::LatePaymentRefunded { .. } => {}
        }
    }

    fn react(
        &self,
        awaited: &Option<String>,
        trigger: Trigger<'_, Input>,
        reaction: &mut Reaction<Self, S>,
    ) {
        match trigger {
            Trigger::Event { event: Input::Reserved { customer }, recorded } => {
                self.begin(recorded.stream_id().unwrap_or_default(), customer, reaction);
            }
            Trigger::Event { event: Input::Settled { seat }, recorded } => {
                let customer = recorded.stream_id().unwrap_or_default();
                if awaited.as_deref() == Some(customer) {
                    reaction.cancel(seat);
                    reaction.command(&self.seats, seat, SeatCommand::Confirm);
                    reaction.record(BookingEvent::Paid);
                } else {
                    // The deadline has passed while it was paid: the seat may be another customer's by now.
                    let refund = PaymentCommand::Refund { seat: seat.clone() };
                    reaction.command(&self.payments, customer, refund);
                    let customer = customer.to_owned();
                    reaction.record(BookingEvent::LatePaymentRefunded { customer });
                }
            }
            Trigger::Event { event: Input::Declined { seat }, recorded } => {
                if awaited.as_deref() == recorded.stream_id() {
                    self.cancel(seat, "declined", reaction);
                }
            }
            Trigger::Deadline { name: seat, .. } => {
                let Some(customer) = awaited else { return };
                self.cancel(seat, "not paid in time", reaction);
                let withdraw = PaymentCommand::Withdraw { seat: seat.to_owned() };
                // One that was paid at the last moment is refunded when that is read.
                reaction.command_or(&self.payments, customer, withdraw, |_, _| {});
            }
        }
    }
}
