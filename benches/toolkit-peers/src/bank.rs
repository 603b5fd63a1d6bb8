//! The bank account, once for each framework, with the same events as JSON.
//!
//! Owns the rules. Must never name a store.

use annals_es::{Aggregate, Event, Events};
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Command {
    /// Opens the account.
    Open { owner: String },
    /// Pays money in.
    Deposit { amount: u64 },
    /// Takes money out.
    Withdraw { amount: u64 },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub enum AccountEvent {
    #[event(name = "AccountOpened")]
    Opened { owner: String },
    #[event(name = "MoneyDeposited")]
    Deposited { amount: u64 },
    #[event(name = "MoneyWithdrawn")]
    Withdrawn { amount: u64 },
}

/// Why a command is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the account is open already")]
    Open,
    #[error("there is no such account")]
    NotOpen,
    #[error("the account has only {balance}")]
    TooLittle { balance: u64 },
}

/// An account.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    is_open: bool,
    pub balance: u64,
}

impl Account {
    fn decided(&self, command: &Command) -> Result<AccountEvent, Refusal> {
        match command {
            Command::Open { .. } if self.is_open => Err(Refusal::Open),
            Command::Open { owner } => Ok(AccountEvent::Opened { owner: owner.clone() }),
            _ if !self.is_open => Err(Refusal::NotOpen),
            Command::Deposit { amount } => Ok(AccountEvent::Deposited { amount: *amount }),
            Command::Withdraw { amount } if *amount > self.balance => {
                Err(Refusal::TooLittle { balance: self.balance })
            }
            Command::Withdraw { amount } => Ok(AccountEvent::Withdrawn { amount: *amount }),
        }
    }

    fn changed(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { .. } => self.is_open = true,
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
        }
    }
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
        Ok(self.decided(command)?.into())
    }

    fn evolve(&mut self, event: &AccountEvent) {
        self.changed(event);
    }
}

impl cqrs_es::DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Opened { .. } => "AccountOpened",
            Self::Deposited { .. } => "MoneyDeposited",
            Self::Withdrawn { .. } => "MoneyWithdrawn",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl cqrs_es::Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Command;
    type Event = AccountEvent;
    type Error = Refusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Refusal> {
        let event = self.decided(&command)?;
        // Into a copy: version 0.5.0 applies the event to this state again before it saves it, so that a deposit into
        // `self` would count twice in the next state.
        sink.write(event, &mut self.clone()).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        self.changed(&event);
    }
}
