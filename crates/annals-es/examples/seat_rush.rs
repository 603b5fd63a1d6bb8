//! A hundred customers, each a thread, want one of forty seats at once; a quarter of their cards are declined.
//!
//! ```text
//! cargo run -p annals-es --example seat_rush
//! ```
//!
//! A customer asks for a seat. One that is reserved or sold is refused, and the customer asks for the next. The process
//! of `seats/mod.rs` runs beside them: it requests the payment, and releases the seat if the card is declined, so that
//! a customer who waits can have it. Afterwards the events show the hall at any position of the past.

mod seats;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout};
use annals_es::process::{Runner, RunnerHandle};
use annals_es::{
    AnnalsStore, AtomicCheckpoints, BlockingRepository, ExecuteError, OrderedStore, Position,
    Query, RecordedEvent, SeveralStreams, Subscribe, Timeline, next,
};

use seats::{Bookings, PaymentCommand, Payments, Refused, Seat, SeatCommand, SeatEvent};

const CUSTOMERS: u32 = 100;
const SEATS: u32 = 40;
/// How long a customer waits for something to happen. It is far more than is ever needed.
const PATIENCE: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

/// What came of a customer's visit.
enum Visit {
    Paid,
    Declined,
    SoldOut,
}

/// What the threads share.
struct Hall<S: OrderedStore> {
    store: S,
    seats: BlockingRepository<Seat, S>,
    payments: BlockingRepository<Payments, S>,
    process: RunnerHandle,
    /// How often a seat was refused.
    refused: AtomicU64,
}

impl<S: OrderedStore> Hall<S> {
    /// Asks for one seat after the other until one is reserved, and pays for it. While seats may be released, waits
    /// for a change and asks again.
    fn visit(&self, customer: u32) -> Result<Visit, Failure> {
        loop {
            // Read first: what is recorded from here on ends the wait.
            let seen = block_on(self.store.head())?;
            let mut sold = 0;
            for seat in (0..SEATS).map(|step| 1 + (customer + step) % SEATS) {
                let reserve = SeatCommand::Reserve { customer: name(customer) };
                match self.seats.execute(seat, &reserve) {
                    Ok(done) => return self.pay(customer, done.position.unwrap_or_default()),
                    Err(ExecuteError::Refused(refused)) => {
                        sold += u32::from(refused == Refused::Sold);
                        self.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if sold == SEATS {
                return Ok(Visit::SoldOut);
            }
            self.wait_for_change(seen)?;
        }
    }

    /// Waits until a seat was released or sold after a position.
    fn wait_for_change(&self, after: Position) -> Result<(), Failure> {
        let changes = Query::types(["SeatReleased", "SeatConfirmed"]);
        let mut messages = self.store.subscribe(Subscribe::after(after).matching(changes));
        loop {
            let message = block_on_timeout(next(&mut messages), PATIENCE);
            let message = message.ok_or("nothing happens")?.ok_or("the store is closed")??;
            if !message.events.is_empty() {
                return Ok(());
            }
        }
    }

    /// Pays for the seat that was reserved at a position, when the process has requested that.
    fn pay(&self, customer: u32, reserved: Position) -> Result<Visit, Failure> {
        if block_on_timeout(self.process.wait_for(reserved), PATIENCE) != Some(true) {
            return Err("no payment is requested".into());
        }
        let is_good = has_good_card(customer);
        let command = if is_good { PaymentCommand::Settle } else { PaymentCommand::Decline };
        self.payments.execute(name(customer), &command)?;
        Ok(if is_good { Visit::Paid } else { Visit::Declined })
    }
}

fn name(customer: u32) -> String {
    format!("customer-{customer}")
}

fn has_good_card(customer: u32) -> bool {
    !customer.is_multiple_of(4)
}

/// Who has each seat, at some position.
#[derive(Debug, Default, Clone)]
struct Plan {
    holders: BTreeMap<u32, String>,
    sold: Vec<u32>,
    /// How often a seat was reserved that had a holder.
    twice: u32,
    released: u32,
}

impl Plan {
    fn apply(&mut self, event: SeatEvent, recorded: &RecordedEvent) {
        let seat = recorded.stream_id().and_then(|id| id.parse().ok()).unwrap_or_default();
        match event {
            SeatEvent::Reserved { customer } => {
                self.twice += u32::from(self.holders.insert(seat, customer).is_some());
            }
            SeatEvent::Confirmed => self.sold.push(seat),
            SeatEvent::Released => {
                self.holders.remove(&seat);
                self.released += 1;
            }
        }
    }

    /// A character for each seat.
    fn drawn(&self) -> String {
        let draw = |seat: u32| match self.holders.contains_key(&seat) {
            _ if self.sold.contains(&seat) => '#',
            true => 'r',
            false => '.',
        };
        (1..=SEATS).map(draw).collect()
    }
}

/// Lets all customers in at once, with the process beside them. Returns how each visit ended.
fn rush<S: AtomicCheckpoints + SeveralStreams>(
    hall: &Hall<S>,
    mut runner: Runner<Bookings<S>, S>,
) -> Result<Vec<Visit>, Failure> {
    let doors = Barrier::new(CUSTOMERS as usize);
    let come = |customer| {
        doors.wait();
        hall.visit(customer)
    };
    thread::scope(|scope| {
        let process = scope.spawn(move || {
            let ended = block_on(runner.run());
            // After an error nobody waits for it in vain.
            runner.handle().stop();
            ended
        });
        let come = &come;
        let visits: Vec<_> =
            (1..=CUSTOMERS).map(|customer| scope.spawn(move || come(customer))).collect();
        let visits = visits.into_iter().map(|visit| visit.join().expect("no panic")).collect();
        // What the last customer has paid is handled before the process is stopped.
        let head = block_on(hall.store.head())?;
        block_on_timeout(hall.process.wait_for(head), PATIENCE).ok_or("the process is slow")?;
        hall.process.stop();
        process.join().expect("no panic")?;
        visits
    })
}

/// Sells the seats of a store that is new, and prints what came of it and how the hall filled.
pub(crate) fn run<S>(store: &S, out: &mut impl Write) -> Result<(), Failure>
where
    S: AtomicCheckpoints + SeveralStreams,
{
    let bookings = Bookings::new(store)?;
    // Clones of a repository share what they keep in memory.
    let seats = bookings.seats.clone().blocking();
    let payments = bookings.payments.clone().blocking();
    let runner = Runner::new(store.clone(), bookings)?;
    let (process, refused) = (runner.handle(), AtomicU64::new(0));
    let hall = Hall { store: store.clone(), seats, payments, process, refused };

    writeln!(out, "{CUSTOMERS} customers want one of {SEATS} seats at once")?;
    let visits = rush(&hall, runner)?;
    let count = |is: fn(&Visit) -> bool| visits.iter().filter(|visit| is(visit)).count();
    writeln!(out, "{:>5} have a seat and paid for it", count(|it| matches!(it, Visit::Paid)))?;
    writeln!(
        out,
        "{:>5} had a seat until the card was declined",
        count(|it| matches!(it, Visit::Declined))
    )?;
    writeln!(out, "{:>5} found all seats sold", count(|it| matches!(it, Visit::SoldOut)))?;
    writeln!(
        out,
        "{:>5} times a seat was refused, and the next one tried",
        hall.refused.into_inner()
    )?;

    let past = Timeline::new(store.clone(), Query::category("seat"), Plan::default(), Plan::apply)?;
    let head = block_on(store.head())?;
    let now = block_on(past.at(head))?.state;
    writeln!(
        out,
        "{:>5} seats were released for others, {} had two holders",
        now.released, now.twice
    )?;

    writeln!(out, "the hall in the past (. free, r reserved, # sold):")?;
    for tenth in 0..=10 {
        let position = Position::new(head.get() * tenth / 10);
        let plan = block_on(past.at(position))?.state;
        writeln!(out, "  position {position:>3}  {}", plan.drawn())?;
    }
    let change = block_on(past.between(Position::new(head.get() / 2), head))?;
    writeln!(
        out,
        "from position {} to {head}: {} events of seats, {} seats sold before and {} after",
        head.get() / 2,
        change.after.events - change.before.events,
        change.before.state.sold.len(),
        change.after.state.sold.len(),
    )?;
    writeln!(out, "who has which seat:")?;
    for (seat, customer) in &now.holders {
        write!(out, "  {seat:>2} {customer:<12}")?;
        if seat.is_multiple_of(4) {
            writeln!(out)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    // This line chooses the store. `block_on(PostgresStore::open(server))?` is another one, and
    // `block_on(JetStreamStore::open(servers, Durability::Synced))?`.
    let store = AnnalsStore::blocking(annals::Store::open(dir.path().join("seats"))?);
    run(&store, &mut io::stdout().lock())
}
