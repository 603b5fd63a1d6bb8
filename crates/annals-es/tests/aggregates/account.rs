//! A bank account, and what tests ask of it.

use std::cell::Cell;

use annals_es::blocking::{block_on, iter};
use annals_es::{
    Aggregate, Event, EventStore, Events, ReadStream, RecordedEvent, Repository, StreamName,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum AccountEvent {
    #[event(name = "AccountOpened")]
    Opened {
        #[tag]
        owner: String,
    },
    #[event(name = "MoneyDeposited")]
    Deposited { amount: u64 },
    #[event(name = "MoneyWithdrawn")]
    Withdrawn { amount: u64, memo: String },
}

#[derive(Debug, Clone)]
pub(crate) enum Command {
    Open(&'static str),
    Deposit(u64),
    DepositInParts(u64, usize),
    Withdraw(u64),
    WithdrawWith(u64, String),
    Nothing,
    Panic,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the account has only {0}")]
    TooLittle(u64),
    #[error("the account is open already")]
    Open,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) owner: Option<String>,
    pub(crate) balance: u64,
}

thread_local! {
    /// The number of events by which this thread has changed states.
    static EVOLVED: Cell<u64> = const { Cell::new(0) };
}

/// The number of events by which a call changes states.
pub(crate) fn evolved<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = EVOLVED.get();
    let done = call();
    (done, EVOLVED.get() - before)
}

impl Aggregate for Account {
    type Command = Command;
    type Event = AccountEvent;
    type Error = Refusal;
    const CATEGORY: &'static str = "account";

    fn initial() -> Self {
        Self { owner: None, balance: 0 }
    }

    fn decide(&self, command: &Command) -> Result<Events<AccountEvent>, Refusal> {
        match command.clone() {
            Command::Open(_) if self.owner.is_some() => Err(Refusal::Open),
            Command::Open(owner) => Ok(AccountEvent::Opened { owner: owner.into() }.into()),
            Command::Deposit(amount) => Ok(AccountEvent::Deposited { amount }.into()),
            Command::DepositInParts(amount, parts) => {
                Ok((0..parts).map(|_| AccountEvent::Deposited { amount }).collect())
            }
            Command::Withdraw(amount) => self.decide(&Command::WithdrawWith(amount, String::new())),
            Command::WithdrawWith(amount, _) if amount > self.balance => {
                Err(Refusal::TooLittle(self.balance))
            }
            Command::WithdrawWith(amount, memo) => {
                Ok(AccountEvent::Withdrawn { amount, memo }.into())
            }
            Command::Nothing => Ok(Events::none()),
            Command::Panic => panic!("a decision that panics"),
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        EVOLVED.set(EVOLVED.get() + 1);
        match event {
            AccountEvent::Opened { owner } => self.owner = Some(owner.clone()),
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount, .. } => self.balance -= amount,
        }
    }
}

pub(crate) fn repository<S: EventStore>(store: &S) -> Repository<Account, S> {
    Repository::new(store.clone()).expect("all versions have a path")
}

pub(crate) fn balance<S: EventStore>(store: &S, id: &str) -> u64 {
    let loaded = block_on(repository(store).load(id)).expect("it can be loaded");
    loaded.state.balance
}

pub(crate) fn events<S: EventStore>(store: &S, id: &str) -> Vec<RecordedEvent> {
    let read = store.read_stream(ReadStream::of(StreamName::new("account", id)));
    iter(read).map(|event| event.expect("a read")).collect()
}
