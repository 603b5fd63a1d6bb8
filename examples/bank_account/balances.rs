//! The read model: kept by a subscription, saved together with its cursor.

use std::collections::BTreeMap;

use annals::{
    Event, Position, Query, Store, Timestamp,
    snapshot::{Mark, Snapshot},
    subscription::MessageKind,
};
use serde::{Deserialize, Serialize};

use super::account::{Fact, Refused};

/// The name of its cursor, and of its saved state.
const BALANCES: &str = "balances";

/// The contents of a page about an account.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) balance: u64,
    pub(crate) transactions: u64,
    pub(crate) last_activity: Timestamp,
}

/// Every account at a glance.
#[derive(Debug)]
pub(crate) struct Balances {
    store: Store,
    pub(crate) rows: BTreeMap<String, Row>,
}

impl Balances {
    /// Takes up the saved state where the cursor is. Snapshots are disposable: without that state,
    /// the cursor goes back to the start, and the model is built from nothing.
    pub(crate) fn open(store: &Store) -> Result<Self, Refused> {
        let at = store.cursors().get(BALANCES)?.unwrap_or_default();
        let saved = store.snapshots().load_at_most(BALANCES, at)?;
        let rows = match saved.filter(|saved| saved.mark() == Mark::Position(at)) {
            Some(saved) => serde_json::from_slice(saved.state())?,
            None => {
                store.cursors().reset(BALANCES, Position::START)?;
                BTreeMap::new()
            }
        };
        Ok(Self { store: store.clone(), rows })
    }

    /// Forgets everything, so that the next follow builds it anew.
    pub(crate) fn rebuild(store: &Store) -> Result<Self, Refused> {
        store.snapshots().delete(BALANCES)?;
        Self::open(store)
    }

    /// Takes in events until everything visible is; a service would never stop. State and cursor are
    /// saved in one commit, so that no event is counted twice or left out.
    pub(crate) fn follow(&mut self) -> Result<u64, Refused> {
        let mut taken_in = 0;
        let accounts = Query::category("account");
        for message in self.store.subscribe().from_cursor(BALANCES).matching(accounts).start()? {
            let message = message?;
            match &message.kind {
                MessageKind::CaughtUp => break,
                MessageKind::Events(events) => {
                    for event in events {
                        self.apply(event)?;
                    }
                    taken_in += events.len() as u64;
                }
                _ => {}
            }
            let (at, state) = (message.scanned_through, serde_json::to_vec(&self.rows)?);
            let saved = Snapshot::new(BALANCES, at, state);
            self.store.transaction().cursor(BALANCES, at).snapshot(saved).commit()?;
        }
        Ok(taken_in)
    }

    fn apply(&mut self, event: &Event) -> annals::Result<()> {
        let row = self.rows.entry(event.stream().to_owned()).or_default();
        row.last_activity = event.recorded_at();
        match Fact::of(event)? {
            Fact::Deposited(money) => row.balance += money.amount,
            Fact::Withdrawn(money) => row.balance -= money.amount,
            Fact::Opened { .. } | Fact::Closed => return Ok(()),
        }
        row.transactions += 1;
        Ok(())
    }
}
