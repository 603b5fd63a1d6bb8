//! Seats that are paid within ten minutes or given back: two aggregates, and a process between them, which are
//! in `seats/mod.rs`.
//!
//! ```text
//! cargo run -p annals-es --example seat_payments
//! ```
//!
//! Ann pays. Bob's payment is declined, so his seat is released at once: compensation. Cid does nothing, so his seat
//! is released at its deadline, and no payment is accepted after it. Dan is refused a payment because he owes one already, and the process answers that in
//! the same commit. Afterwards the log shows who caused what.

pub(crate) mod seats;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::process::Runner;
use annals_es::{AnnalsStore, Clock, Metadata, OrderedStore, ReadAll};

use seats::{Bookings, PaymentCommand, SeatCommand};

/// Takes five bookings, and prints what came of them.
pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = AnnalsStore::new(annals::Store::open(dir.path().join("seats"))?);
    let bookings = Bookings::new(&store)?;
    let (seats, payments) = (bookings.seats.clone(), bookings.payments.clone());
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
    if let Err(refused) = block_on(payments.execute("cid", &PaymentCommand::Settle)) {
        writeln!(out, "cid wants to pay after the deadline: {refused}")?;
    }

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
