//! factstr: annals-factstr and factstr-sqlite.
//!
//! Owns how each is configured. Must never measure.

use std::ops::Range;

use annals_factstr::FactStore;
use factstr::{EventFilter, EventQuery, EventStore, NewEvent};
use factstr_sqlite::SqliteStore;
use serde_json::json;

use crate::input::Deposited;
use crate::measure::Side;
use crate::{Setup, Survives};

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
}

impl<S: EventStore + Send + Sync> Side for Facts<S> {
    fn append(&self, account: &str, numbers: Range<u64>) {
        let event = |number| {
            let payload = serde_json::to_value(Deposited::new(account, number));
            NewEvent::new(format!("deposited-{account}"), payload.expect("it is JSON"))
        };
        self.store.append(numbers.map(event).collect()).expect("it is stored");
    }

    fn load(&self, account: &str) -> u64 {
        let filter = match self.find {
            Find::Payload => {
                EventFilter::default().with_payload_predicates([json!({ "account": account })])
            }
            Find::Type => EventFilter::for_event_types([format!("deposited-{account}")]),
        };
        let found = self.store.query(&EventQuery::all().with_filters([filter]));
        found.expect("it can be read").event_records.len() as u64
    }
}

pub fn annals(setup: &Setup<'_>, find: Find) -> Box<dyn Side> {
    let store = setup.survives.options().open(setup.dir.join("store")).expect("a new store");
    Box::new(Facts { store: FactStore::new(store), find })
}

/// factstr-sqlite, which has no settings: WAL with `synchronous = FULL`, and up to four connections.
pub fn sqlite(setup: &Setup<'_>, find: Find) -> Box<dyn Side> {
    assert_eq!(setup.survives, Survives::PowerFailure, "it always syncs");
    let store = SqliteStore::open(setup.dir.join("facts.db")).expect("a new database");
    Box::new(Facts { store, find })
}
