//! The framework's demo application: bank accounts, and a view of each.

use std::sync::Arc;

use annals::Store;
use annals_cqrs_es::AnnalsViewRepository;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::GenericQuery;
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) enum AccountEvent {
    Opened { account_id: String },
    Deposited { amount: f64, balance: f64 },
    Withdrew { amount: f64, balance: f64 },
    WroteCheck { check_number: String, amount: f64, balance: f64 },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        let name = match self {
            Self::Opened { .. } => "AccountOpened",
            Self::Deposited { .. } => "CustomerDepositedMoney",
            Self::Withdrew { .. } => "CustomerWithdrewCash",
            Self::WroteCheck { .. } => "CustomerWroteCheck",
        };
        name.to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

pub(crate) enum AccountCommand {
    Open { account_id: String },
    Deposit { amount: f64 },
    Withdraw { amount: f64, atm: &'static str },
    WriteCheck { check_number: &'static str, amount: f64 },
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AccountError(pub &'static str);

/// The services of the bank: the cash machine that is out of order, and the check that is not valid.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) broken_atm: Option<&'static str>,
    pub(crate) invalid_check: Option<&'static str>,
}

#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) balance: f64,
}

impl Account {
    fn after_paying(&self, amount: f64) -> Result<f64, AccountError> {
        let balance = self.balance - amount;
        if balance < 0.0 { Err(AccountError("funds not available")) } else { Ok(balance) }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;
    type Services = Services;

    async fn handle(
        &mut self,
        command: AccountCommand,
        services: &Services,
        sink: &EventSink<Self>,
    ) -> Result<(), AccountError> {
        let event = match command {
            AccountCommand::Open { account_id } => AccountEvent::Opened { account_id },
            AccountCommand::Deposit { amount } => {
                AccountEvent::Deposited { amount, balance: self.balance + amount }
            }
            AccountCommand::Withdraw { amount, atm } => {
                let balance = self.after_paying(amount)?;
                if services.broken_atm == Some(atm) {
                    return Err(AccountError("atm rule violation"));
                }
                AccountEvent::Withdrew { amount, balance }
            }
            AccountCommand::WriteCheck { check_number, amount } => {
                let balance = self.after_paying(amount)?;
                if services.invalid_check == Some(check_number) {
                    return Err(AccountError("check invalid"));
                }
                AccountEvent::WroteCheck { check_number: check_number.to_owned(), amount, balance }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { account_id } => self.account_id = account_id,
            AccountEvent::Deposited { balance, .. }
            | AccountEvent::Withdrew { balance, .. }
            | AccountEvent::WroteCheck { balance, .. } => self.balance = balance,
        }
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct AccountView {
    pub(crate) account_id: Option<String>,
    pub(crate) balance: f64,
    pub(crate) written_checks: Vec<String>,
    pub(crate) ledger: Vec<(String, f64)>,
}

impl View<Account> for AccountView {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        let (entry, amount, balance) = match &event.payload {
            AccountEvent::Opened { account_id } => {
                self.account_id = Some(account_id.clone());
                return;
            }
            AccountEvent::Deposited { amount, balance } => ("deposit", amount, balance),
            AccountEvent::Withdrew { amount, balance } => ("atm withdrawal", amount, balance),
            AccountEvent::WroteCheck { check_number, amount, balance } => {
                self.written_checks.push(check_number.clone());
                (check_number.as_str(), amount, balance)
            }
        };
        self.ledger.push((entry.to_owned(), *amount));
        self.balance = *balance;
    }
}

pub(crate) type AccountQuery = GenericQuery<AccountViews, AccountView, Account>;
pub(crate) type AccountViews = AnnalsViewRepository<AccountView, Account>;

pub(crate) fn account_query(store: Store) -> AccountQuery {
    let mut query = GenericQuery::new(Arc::new(AnnalsViewRepository::new("account_query", store)));
    query.use_error_handler(Box::new(|error| panic!("{error}")));
    query
}
