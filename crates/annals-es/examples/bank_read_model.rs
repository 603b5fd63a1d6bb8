//! A bank account with snapshots, a read model of all accounts, and a look at the past.
//!
//! ```text
//! cargo run -p annals-es --example bank_read_model
//! ```
//!
//! Version 1 of `MoneyDeposited` had no currency: the store holds such events, and the program reads them as if they
//! had one. A withdrawal with an id is sent twice, as a client does that got no answer, and is carried out once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};

use annals_es::blocking::block_on;
use annals_es::projection::{Memory, Projection, Runner};
use annals_es::{
    Aggregate, AnnalsStore, Commit, ContentType, Context, Event, Events, Expected, History,
    NewEvent, OrderedStore, RecordedEvent, Repository, SnapshotPolicy, Upcasters, Version,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(upcasters = upcasters)]
enum AccountEvent {
    #[event(name = "AccountOpened")]
    Opened {
        #[tag("owner")]
        owner: String,
    },
    #[event(name = "MoneyDeposited", version = 2)]
    Deposited { cents: u64, currency: String },
    #[event(name = "MoneyWithdrawn")]
    Withdrawn { cents: u64 },
}

fn upcasters() -> Upcasters<AccountEvent> {
    Upcasters::new().fields("MoneyDeposited", 1, |fields| {
        fields.insert("currency".into(), "EUR".into());
        Ok(())
    })
}

enum Command {
    Open { owner: String },
    Deposit { cents: u64 },
    Withdraw { cents: u64 },
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the account is open already")]
    Open,
    #[error("the account has only {cents} cents")]
    TooLittle { cents: u64 },
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    is_open: bool,
    cents: u64,
}

impl Aggregate for Account {
    type Command = Command;
    type Event = AccountEvent;
    type Error = Refusal;
    const CATEGORY: &'static str = "account";

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &Command) -> Result<Events<AccountEvent>, Refusal> {
        match command {
            Command::Open { .. } if self.is_open => Err(Refusal::Open),
            Command::Open { owner } => Ok(AccountEvent::Opened { owner: owner.clone() }.into()),
            Command::Deposit { cents } => {
                Ok(AccountEvent::Deposited { cents: *cents, currency: "EUR".into() }.into())
            }
            Command::Withdraw { cents } if *cents > self.cents => {
                Err(Refusal::TooLittle { cents: self.cents })
            }
            Command::Withdraw { cents } => Ok(AccountEvent::Withdrawn { cents: *cents }.into()),
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { .. } => self.is_open = true,
            AccountEvent::Deposited { cents, .. } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
        }
    }
}

/// The owner and the balance of each account.
type Balances = BTreeMap<String, (String, u64)>;

struct AllBalances;

impl Projection for AllBalances {
    type Event = AccountEvent;
    type Model = Balances;
    type Error = Infallible;

    fn name(&self) -> &'static str {
        "balances"
    }

    fn handle(
        &self,
        balances: &mut Balances,
        event: AccountEvent,
        recorded: &RecordedEvent,
    ) -> Result<(), Infallible> {
        let (owner, cents) = balances.entry(recorded.stream().to_owned()).or_default();
        match event {
            AccountEvent::Opened { owner: name } => *owner = name,
            AccountEvent::Deposited { cents: more, .. } => *cents += more,
            AccountEvent::Withdrawn { cents: less } => *cents -= less,
        }
        Ok(())
    }
}

/// Moves some money in a store that is new, and prints what is known about it.
pub(crate) fn run<S: OrderedStore>(store: &S, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // What an earlier release has recorded.
    let opened =
        NewEvent::new("AccountOpened", r#"{"owner":"ann"}"#).content_type(ContentType::Json);
    let deposited =
        NewEvent::new("MoneyDeposited", r#"{"cents":5000}"#).content_type(ContentType::Json);
    block_on(store.append(Commit::to("account-1", Expected::NoStream, [opened, deposited])))?;
    let report = block_on(History::new().with::<AccountEvent>()?.check_history(store))?;
    writeln!(
        out,
        "the history has {} events, {} of which cannot be read",
        report.events, report.failed
    )?;

    let balances = Memory::new(Balances::new());
    let view = balances.view();
    let mut runner = Runner::new(store.clone());
    let projection = runner.add(AllBalances, balances)?;
    let running = runner.spawn_thread()?;

    let accounts =
        Repository::<Account, _>::new(store.clone())?.snapshots(SnapshotPolicy::events(10));
    block_on(accounts.execute(2, &Command::Open { owner: "bob".into() }))?;
    for _ in 0..25 {
        block_on(accounts.execute(2, &Command::Deposit { cents: 100 }))?;
    }
    let once = Context::new().command_id(Uuid::from_u128(7));
    let withdrawn = block_on(accounts.execute_with(1, &Command::Withdraw { cents: 1200 }, &once))?;
    let again = block_on(accounts.execute_with(1, &Command::Withdraw { cents: 1200 }, &once))?;
    writeln!(out, "sent twice, carried out once: {}", again.already_recorded)?;
    if let Err(refused) = block_on(accounts.execute(1, &Command::Withdraw { cents: 9000 })) {
        writeln!(out, "refused: {refused}")?;
    }

    // Reads from here on show the withdrawal.
    if let Some(position) = withdrawn.position {
        block_on(projection.wait_for(position))?;
    }
    for (account, (owner, cents)) in &*view.read_blocking() {
        writeln!(out, "{account}  {owner:<4} {cents:>6} cents")?;
    }
    let change = block_on(accounts.between(2, Version::new(11), Version::MAX))?;
    writeln!(
        out,
        "account-2 had {} cents at version {}, and has {} at version {}",
        change.before.state.cents,
        change.before.version,
        change.after.state.cents,
        change.after.version
    )?;
    running.stop()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    // This line chooses the store. `block_on(PostgresStore::open(server))?` and
    // `block_on(JetStreamStore::open(servers, Durability::Synced))?` are others.
    let store = AnnalsStore::new(annals::Store::open(dir.path().join("bank"))?);
    run(&store, &mut io::stdout().lock())
}
