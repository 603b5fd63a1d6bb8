//! Aggregates: decisions about one stream, and the repository that carries them out.

mod blocking;
mod cache;
mod context;
mod error;
mod execute;
mod load;
mod past;
mod prepare;
mod repository;
mod snapshots;

use crate::event::{Event, Events};

pub use blocking::BlockingRepository;
pub use context::{Context, Executed};
pub(crate) use execute::new_events;

pub use error::{ExecuteError, LoadError};
pub use load::Loaded;
pub use prepare::Prepared;
pub use repository::Repository;
pub(crate) use snapshots::Since;
pub use snapshots::SnapshotPolicy;

/// A consistency boundary around one stream: a state, the commands that it accepts or refuses, and the events that
/// change it. Also known as a decider.
///
/// Neither method performs input or output, so that a decision can be repeated and tested without a store. What a
/// command needs, such as the time or a generated id, is part of the command.
///
/// ```
/// use annals_es::{Aggregate, Event, Events};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
/// enum AccountEvent {
///     #[event(name = "MoneyDeposited")]
///     Deposited { amount: u64 },
///     #[event(name = "MoneyWithdrawn")]
///     Withdrawn { amount: u64 },
/// }
///
/// enum Command {
///     Deposit { amount: u64 },
///     Withdraw { amount: u64 },
/// }
///
/// #[derive(Debug, PartialEq, thiserror::Error)]
/// #[error("the account has only {balance}")]
/// struct TooLittle {
///     balance: u64,
/// }
///
/// struct Account {
///     balance: u64,
/// }
///
/// impl Aggregate for Account {
///     type Command = Command;
///     type Event = AccountEvent;
///     type Error = TooLittle;
///     const CATEGORY: &'static str = "account";
///
///     fn initial() -> Self {
///         Self { balance: 0 }
///     }
///
///     fn decide(&self, command: &Command) -> Result<Events<AccountEvent>, TooLittle> {
///         match *command {
///             Command::Deposit { amount } => Ok(AccountEvent::Deposited { amount }.into()),
///             Command::Withdraw { amount } if amount > self.balance => {
///                 Err(TooLittle { balance: self.balance })
///             }
///             Command::Withdraw { amount } => Ok(AccountEvent::Withdrawn { amount }.into()),
///         }
///     }
///
///     fn evolve(&mut self, event: &AccountEvent) {
///         match event {
///             AccountEvent::Deposited { amount } => self.balance += amount,
///             AccountEvent::Withdrawn { amount } => self.balance -= amount,
///         }
///     }
/// }
///
/// use annals_es::testing::given;
///
/// given::<Account>([AccountEvent::Deposited { amount: 5 }])
///     .when(&Command::Withdraw { amount: 7 })
///     .then_error(&TooLittle { balance: 5 });
/// ```
pub trait Aggregate: Sized + Send + 'static {
    /// What the aggregate is asked to do.
    type Command: Sync;
    /// What has happened to the aggregate.
    type Event: Event;
    /// Why the aggregate refuses a command.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The category of the aggregate's streams: `account` for `account-42`. It is stored and must not change.
    const CATEGORY: &'static str;

    /// The state before the first event.
    fn initial() -> Self;

    /// The events by which the aggregate answers a command; none if there is nothing to do.
    fn decide(&self, command: &Self::Command) -> Result<Events<Self::Event>, Self::Error>;

    /// Changes the state by what has happened. It must not panic: events that are recorded cannot be refused.
    fn evolve(&mut self, event: &Self::Event);
}
