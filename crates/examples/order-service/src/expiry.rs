//! The process: an order that is not confirmed in time expires.
//!
//! Owns the deadline. Must never decide what an order accepts: that is the order's own rule.

use std::time::Duration;

use annals_es::process::{ProcessManager, Reaction, Trigger};
use annals_es::{Event, RecordedEvent, Repository};
use serde::{Deserialize, Serialize};

use crate::order::{Order, OrderCommand};
use crate::store::Store;

/// How long after it was placed an order may be confirmed.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(15 * 60);

/// The events of orders that the process reacts to.
#[derive(Debug, Serialize, Deserialize, Event)]
pub(crate) enum Input {
    #[event(name = "OrderPlaced")]
    Placed {},
    #[event(name = "OrderConfirmed")]
    Confirmed,
    #[event(name = "OrderCancelled")]
    Cancelled,
}

/// What the process records, beside its deadlines.
#[derive(Debug, Serialize, Deserialize, Event)]
pub(crate) enum ExpiryEvent {
    #[event(name = "ConfirmationMissed")]
    Missed,
}

pub(crate) struct Expiry {
    pub(crate) orders: Repository<Order, Store>,
}

impl ProcessManager<Store> for Expiry {
    type Input = Input;
    type Event = ExpiryEvent;
    type State = ();
    const NAME: &'static str = "expiry";

    fn route(&self, _: &Input, recorded: &RecordedEvent) -> Option<String> {
        recorded.stream_id().map(str::to_owned)
    }

    fn evolve((): &mut (), _: &ExpiryEvent) {}

    fn react(&self, (): &(), trigger: Trigger<'_, Input>, reaction: &mut Reaction<Self, Store>) {
        match trigger {
            // The deadline's name is the id of the order.
            Trigger::Event { event, recorded } => {
                let order = recorded.stream_id().unwrap_or_default();
                match event {
                    Input::Placed {} => reaction.deadline(order, CONFIRM_WITHIN),
                    Input::Confirmed | Input::Cancelled => reaction.cancel(order),
                }
            }
            Trigger::Deadline { name: order, .. } => {
                reaction.record(ExpiryEvent::Missed);
                // One that was confirmed at the last moment refuses, and nothing is to be done.
                reaction.command_or(&self.orders, order, OrderCommand::Expire, |_, _| {});
            }
        }
    }
}
