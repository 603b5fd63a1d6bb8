//! The aggregate: an order is placed, gets lines, and is confirmed, cancelled or expires.
//!
//! Owns the rules. Must never use HTTP or the store.

use std::fmt;

use annals_es::{Aggregate, Event, Events};
use serde::{Deserialize, Serialize};

/// The greatest number of lines of an order.
const MOST_LINES: usize = 100;
/// The greatest length of a name, in bytes.
const LONGEST_NAME: usize = 200;
/// The greatest quantity and price of a line: no sum of an order overflows.
const MOST_ITEMS: u32 = 1_000;
const MOST_CENTS: u32 = 10_000_000;

/// What has happened to an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum OrderEvent {
    #[event(name = "OrderPlaced")]
    Placed {
        #[tag("customer")]
        customer: String,
    },
    #[event(name = "LineAdded")]
    LineAdded(Line),
    #[event(name = "OrderConfirmed")]
    Confirmed,
    #[event(name = "OrderCancelled")]
    Cancelled,
    #[event(name = "OrderExpired")]
    Expired,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) item: String,
    pub(crate) quantity: u32,
    /// The price of one item.
    pub(crate) cents: u32,
}

impl Line {
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.quantity) * u64::from(self.cents)
    }

    fn is_within_limits(&self) -> bool {
        (1..=MOST_ITEMS).contains(&self.quantity) && self.cents <= MOST_CENTS
    }
}

/// What an order is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OrderCommand {
    Place { customer: String },
    AddLine(Line),
    Confirm,
    Cancel,
    Expire,
}

impl OrderCommand {
    /// What has happened when the command was accepted.
    pub(crate) fn event(&self) -> OrderEvent {
        match self {
            Self::Place { customer } => OrderEvent::Placed { customer: customer.clone() },
            Self::AddLine(line) => OrderEvent::LineAdded(line.clone()),
            Self::Confirm => OrderEvent::Confirmed,
            Self::Cancel => OrderEvent::Cancelled,
            Self::Expire => OrderEvent::Expired,
        }
    }
}

/// Why an order refuses a command.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum OrderRefused {
    #[error("there is no such order")]
    NotPlaced,
    #[error("the order was placed already")]
    PlacedAlready,
    #[error("the order is {0}")]
    Ended(Status),
    #[error("the order has no lines")]
    Empty,
    #[error("an order has at most {MOST_LINES} lines")]
    Full,
    #[error("{0} needs 1 to {LONGEST_NAME} bytes")]
    Name(&'static str),
    #[error("a line has 1 to {MOST_ITEMS} items of at most {MOST_CENTS} cents")]
    Line,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Open,
    Confirmed,
    Cancelled,
    Expired,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Order {
    /// `None` before the order is placed.
    customer: Option<String>,
    status: Status,
    lines: Vec<Line>,
    total_cents: u64,
}

impl Aggregate for Order {
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderRefused;
    const CATEGORY: &'static str = "order";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &OrderCommand) -> Result<Events<OrderEvent>, OrderRefused> {
        let is_name = |text: &str| (1..=LONGEST_NAME).contains(&text.len());
        match (command, &self.customer) {
            (OrderCommand::Place { .. }, Some(_)) => return Err(OrderRefused::PlacedAlready),
            (OrderCommand::Place { customer }, None) if !is_name(customer) => {
                return Err(OrderRefused::Name("customer"));
            }
            (OrderCommand::Place { .. }, None) => return Ok(command.event().into()),
            (_, None) => return Err(OrderRefused::NotPlaced),
            (_, Some(_)) => {}
        }
        match command {
            _ if self.status != Status::Open => Err(OrderRefused::Ended(self.status)),
            OrderCommand::AddLine(_) if self.lines.len() >= MOST_LINES => Err(OrderRefused::Full),
            OrderCommand::AddLine(line) if !is_name(&line.item) => Err(OrderRefused::Name("item")),
            OrderCommand::AddLine(line) if !line.is_within_limits() => Err(OrderRefused::Line),
            OrderCommand::Confirm if self.lines.is_empty() => Err(OrderRefused::Empty),
            command => Ok(command.event().into()),
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { customer } => self.customer = Some(customer.clone()),
            OrderEvent::LineAdded(line) => {
                self.total_cents += line.total();
                self.lines.push(line.clone());
            }
            OrderEvent::Confirmed => self.status = Status::Confirmed,
            OrderEvent::Cancelled => self.status = Status::Cancelled,
            OrderEvent::Expired => self.status = Status::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use annals_es::testing::given;

    use super::*;

    #[test]
    fn empty_order_is_not_confirmed() {
        given::<Order>([OrderEvent::Placed { customer: "ann".into() }])
            .when(&OrderCommand::Confirm)
            .then_error(&OrderRefused::Empty);
    }

    #[test]
    fn expired_order_is_not_cancelled() {
        given::<Order>([OrderEvent::Placed { customer: "ann".into() }, OrderEvent::Expired])
            .when(&OrderCommand::Cancel)
            .then_error(&OrderRefused::Ended(Status::Expired));
    }

    #[test]
    fn order_has_a_bounded_number_of_lines() {
        let line = Line { item: "tea".into(), quantity: MOST_ITEMS, cents: MOST_CENTS };
        let placed = OrderEvent::Placed { customer: "ann".into() };
        let lines = (0..MOST_LINES).map(|_| OrderEvent::LineAdded(line.clone()));
        given::<Order>(std::iter::once(placed).chain(lines))
            .when(&OrderCommand::AddLine(line.clone()))
            .then_error(&OrderRefused::Full);
    }
}
