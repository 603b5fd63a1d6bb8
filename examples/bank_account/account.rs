//! The account: what can have happened to it, what that comes to, and the rules.

use annals::Event;
use serde::{Deserialize, Serialize};

/// The events of an account: the variant is an event's type, its contents are the data.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Fact {
    Opened { owner: String },
    Deposited(Money),
    Withdrawn(Money),
    Closed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Money {
    pub(crate) amount: u64,
}

impl Fact {
    pub(crate) fn event_type(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "AccountOpened",
            Self::Deposited(_) => "MoneyDeposited",
            Self::Withdrawn(_) => "MoneyWithdrawn",
            Self::Closed => "AccountClosed",
        }
    }

    pub(crate) fn of(event: &Event) -> annals::Result<Self> {
        #[derive(Deserialize)]
        struct Owner {
            owner: String,
        }
        Ok(match event.event_type() {
            "AccountOpened" => Self::Opened { owner: event.json::<Owner>()?.owner },
            "MoneyDeposited" => Self::Deposited(event.json()?),
            "MoneyWithdrawn" => Self::Withdrawn(event.json()?),
            _ => Self::Closed,
        })
    }
}

/// Why a command is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the account is open already")]
    AlreadyOpen,
    #[error("the account was never opened")]
    NotOpen,
    #[error("the account is closed")]
    Closed,
    #[error("an amount has to be more than 0")]
    NoAmount,
    #[error("the account cannot hold that much")]
    TooMuch,
    #[error("{wanted} cannot be withdrawn, the balance is {balance}")]
    NotEnough { wanted: u64, balance: u64 },
    #[error("an account with a balance of {balance} cannot be closed")]
    NotEmpty { balance: u64 },
    #[error(transparent)]
    Store(#[from] annals::Error),
    #[error("a saved state: {0}")]
    State(#[from] serde_json::Error),
}

/// The state of an account, computed from its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) owner: Option<String>,
    pub(crate) balance: u64,
    closed: bool,
}

impl Account {
    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Opened { owner } => self.owner = Some(owner.clone()),
            Fact::Deposited(money) => self.balance += money.amount,
            Fact::Withdrawn(money) => self.balance -= money.amount,
            Fact::Closed => self.closed = true,
        }
    }

    /// The rules: whether this may happen now.
    pub(crate) fn check(&self, fact: &Fact) -> Result<(), Refused> {
        match fact {
            Fact::Opened { .. } if self.owner.is_some() => Err(Refused::AlreadyOpen),
            Fact::Opened { .. } => Ok(()),
            _ if self.owner.is_none() => Err(Refused::NotOpen),
            _ if self.closed => Err(Refused::Closed),
            Fact::Deposited(Money { amount: 0 }) | Fact::Withdrawn(Money { amount: 0 }) => {
                Err(Refused::NoAmount)
            }
            Fact::Deposited(money) if self.balance.checked_add(money.amount).is_none() => {
                Err(Refused::TooMuch)
            }
            Fact::Withdrawn(money) if money.amount > self.balance => {
                Err(Refused::NotEnough { wanted: money.amount, balance: self.balance })
            }
            Fact::Closed if self.balance > 0 => Err(Refused::NotEmpty { balance: self.balance }),
            Fact::Deposited(_) | Fact::Withdrawn(_) | Fact::Closed => Ok(()),
        }
    }
}
