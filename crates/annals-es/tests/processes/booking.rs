//! Seats that are reserved, paid within ten minutes, and confirmed or released.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals_es::process::{ProcessManager, Reaction, Trigger};
use annals_es::{Aggregate, Event, EventStore, Events, RecordedEvent, Repository};
use serde::{Deserialize, Serialize};

pub(crate) use crate::seat_payments::seats::{Seat, SeatCommand, SeatEvent};

/// Why a payment refuses a command.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the payment is {0}")]
pub(crate) struct Refused(&'static str);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum PaymentEvent {
    #[event(name = "PaymentRequested")]
    Requested,
    #[event(name = "PaymentSettled")]
    Settled,
    #[event(name = "PaymentDeclined")]
    Declined,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PaymentCommand {
    Request { customer: String },
    Settle,
    Decline,
}

thread_local! {
    /// What another part of the program does during a decision of this thread.
    static MEANWHILE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Has something done during the next decision on a payment or at a deadline.
pub(crate) fn meanwhile(act: impl FnOnce() + 'static) {
    MEANWHILE.set(Some(Box::new(act)));
}

fn act_meanwhile() {
    if let Some(act) = MEANWHILE.take() {
        act();
    }
}

#[derive(Default)]
pub(crate) struct Payments {
    open: bool,
}

impl Aggregate for Payments {
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = Refused;
    const CATEGORY: &'static str = "payment";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &PaymentCommand) -> Result<Events<PaymentEvent>, Refused> {
        act_meanwhile();
        match command {
            PaymentCommand::Request { customer } if customer == "poor" => Err(Refused("too dear")),
            PaymentCommand::Request { .. } if self.open => Err(Refused("being paid")),
            PaymentCommand::Request { .. } => Ok(PaymentEvent::Requested.into()),
            PaymentCommand::Settle | PaymentCommand::Decline if !self.open => {
                Err(Refused("not to be paid"))
            }
            PaymentCommand::Settle => Ok(PaymentEvent::Settled.into()),
            PaymentCommand::Decline => Ok(PaymentEvent::Declined.into()),
        }
    }

    fn evolve(&mut self, event: &PaymentEvent) {
        self.open = matches!(event, PaymentEvent::Requested);
    }
}

/// What a booking reacts to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum Input {
    #[event(name = "SeatReserved")]
    Reserved { customer: String },
    #[event(name = "PaymentSettled")]
    Settled,
    #[event(name = "PaymentDeclined")]
    Declined,
}

impl From<SeatEvent> for Input {
    fn from(event: SeatEvent) -> Self {
        match event {
            SeatEvent::Reserved { customer } => Self::Reserved { customer },
            other => panic!("a booking does not read {other:?}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum BookingEvent {
    #[event(name = "BookingBegun")]
    Begun { seat: String },
    #[event(name = "BookingPaid")]
    Paid,
    #[event(name = "BookingRefused")]
    Refused,
    #[event(name = "BookingExpired")]
    Expired,
}

#[derive(Default)]
pub(crate) struct State {
    seat: String,
}

pub(crate) struct Booking<S: EventStore> {
    seats: Repository<Seat, S>,
    payments: Repository<Payments, S>,
    /// Whether the process fails in the way that its input names.
    pub(crate) fails: bool,
    /// The number of reactions to a reservation.
    pub(crate) begun: Arc<AtomicU32>,
}

pub(crate) fn seats<S: EventStore>(store: &S) -> Repository<Seat, S> {
    Repository::new(store.clone()).expect("all versions have a path")
}

pub(crate) fn payments<S: EventStore>(store: &S) -> Repository<Payments, S> {
    Repository::new(store.clone()).expect("all versions have a path")
}

impl<S: EventStore> Booking<S> {
    pub(crate) fn new(store: &S) -> Self {
        Self { seats: seats(store), payments: payments(store), fails: true, begun: Arc::default() }
    }

    fn begin(&self, seat: &str, customer: &str, reaction: &mut Reaction<Self, S>) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        match customer {
            "panic" if self.fails => panic!("a reaction to {seat}"),
            "unanswered" if self.fails => {
                reaction.command(&self.seats, "none", SeatCommand::Confirm);
            }
            "late fault" => reaction.deadline("fault", Duration::from_secs(1)),
            _ => {}
        }
        reaction.record(BookingEvent::Begun { seat: seat.into() });
        let seats = self.seats.clone();
        let of = seat.to_owned();
        let request = PaymentCommand::Request { customer: customer.into() };
        reaction.command_or(&self.payments, seat, request, move |_, reaction| {
            reaction.command(&seats, &of, SeatCommand::Release);
            reaction.cancel("payment");
            reaction.record(BookingEvent::Refused);
        });
        if customer == "twice" {
            let again = PaymentCommand::Request { customer: customer.into() };
            reaction.command_or(&self.payments, seat, again, |_, _| {});
            reaction.command(&self.payments, seat, PaymentCommand::Settle);
        }
        if customer != "poor" {
            reaction.deadline("payment", Duration::from_secs(600));
        }
    }
}

impl<S: EventStore> ProcessManager<S> for Booking<S> {
    type Input = Input;
    type Event = BookingEvent;
    type State = State;
    const NAME: &'static str = "booking";

    fn route(&self, _: &Input, recorded: &RecordedEvent) -> Option<String> {
        recorded.stream_id().map(str::to_owned)
    }

    fn evolve(state: &mut State, event: &BookingEvent) {
        if let BookingEvent::Begun { seat } = event {
            state.seat.clone_from(seat);
        }
    }

    fn react(&self, state: &State, trigger: Trigger<'_, Input>, reaction: &mut Reaction<Self, S>) {
        match trigger {
            Trigger::Event { event: Input::Reserved { customer }, recorded } => {
                self.begin(recorded.stream_id().unwrap_or_default(), customer, reaction);
            }
            Trigger::Event { event: Input::Settled, .. } => {
                reaction.cancel("payment");
                reaction.command_or(&self.seats, &state.seat, SeatCommand::Confirm, |_, _| {});
                reaction.record(BookingEvent::Paid);
            }
            Trigger::Event { .. } => {
                reaction.command(&self.seats, &state.seat, SeatCommand::Release);
            }
            Trigger::Deadline { name: "fault", .. } if self.fails => panic!("a deadline"),
            Trigger::Deadline { name: "fault", .. } => reaction.record(BookingEvent::Refused),
            Trigger::Deadline { .. } => {
                act_meanwhile();
                reaction.command(&self.seats, &state.seat, SeatCommand::Release);
                reaction.record(BookingEvent::Expired);
            }
        }
    }
}
