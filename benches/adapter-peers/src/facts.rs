//! factstr: annals-factstr and factstr-sqlite.
//!
//! Owns how each is configured. Must never measure.

use std::ops::Range;

use annals_factstr::FactStore;
use factstr::{EventFilter, EventQuery, EventStore, NewEvent};
use factstr_sqlite::SqliteStore;
use serde_json::json;

use crate::input::Deposited;
use crate::measure::{Positions, Side};
use crate::{Appends, Setup, Survives};

/// How the facts of an account are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// By a payload predicate with the account.
    Payload,
    /// By the type, of which each account has its own.
    Type,
}

struct Facts<S> {
    store: S,
    find: Find,
    appends: Appends,
    positions: Positions,
}

impl<S> Facts<S> {
    fn new(store: S, find: Find, appends: Appends) -> Self {
        Self { store, find, appends, positions: Positions::default() }
    }

    /// The facts of an account.
    fn query(&self, account: &str) -> EventQuery {
        let filter = match self.find {
            Find::Payload => {
                EventFilter::default().with_payload_predicates([json!({ "account": account })])
            }
            Find::Type => EventFilter::for_event_types([format!("deposited-{account}")]),
        };
        EventQuery::all().with_filters([filter])
    }
}

impl<S: EventStore + Send + Sync> Side for Facts<S> {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let event = |number| {
            let payload = serde_json::to_value(Deposited::new(account, number));
            NewEvent::new(format!("deposited-{account}"), payload.expect("it is JSON"))
        };
        let events = numbers.map(event).collect();
        match self.appends {
            Appends::Always => drop(self.store.append(events).expect("it is stored")),
            Appends::Unchanged => {
                let version = self.positions.get(account);
                let done = self.store.append_if(events, &self.query(account), version);
                let last = done.expect("the account is unchanged").last_sequence_number;
                self.positions.set(account, last);
            }
        }
    }

    fn load(&self, account: &str) -> u64 {
        let found = self.store.query(&self.query(account));
        found.expect("it can be read").event_records.len() as u64
    }
}

pub fn annals(setup: &Setup<'_>, find: Find, appends: Appends) -> Box<dyn Side> {
    let store = setup.survives.options().open(setup.dir.join("store")).expect("a new store");
    Box::new(Facts::new(FactStore::new(store), find, appends))
}

/// factstr-sqlite, which has no settings: WAL with `synchronous = FULL`, and up to four connections.
pub fn sqlite(setup: &Setup<'_>, find: Find, appends: Appends) -> Box<dyn Side> {
    assert_eq!(setup.survives, Survives::PowerFailure, "it always syncs");
    let store = SqliteStore::open(setup.dir.join("facts.db")).expect("a new database");
    Box::new(Facts::new(store, find, appends))
}
