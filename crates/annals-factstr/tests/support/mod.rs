//! What the tests share: facts, and handlers that record what they receive.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use adapter_tests::in_every_way;
use annals_factstr::FactStore;
use annals_factstr::factstr::{
    EventFilter, EventQuery, EventRecord, EventStore, HandleStream, NewEvent, StreamHandlerError,
};
use serde_json::Value;

/// Runs a test on an empty store, with each of the ways to keep it.
pub(crate) fn on_stores(test: impl Fn(&FactStore)) {
    in_every_way(|life| life.step(|store| test(&FactStore::new(store.clone()))));
}

pub(crate) fn fact(event_type: &str, payload: Value) -> NewEvent {
    NewEvent::new(event_type, payload)
}

pub(crate) fn append<const N: usize>(store: &FactStore, facts: [(&str, Value); N]) -> u64 {
    let facts = facts.into_iter().map(|(event_type, payload)| fact(event_type, payload));
    store.append(facts.collect()).unwrap().last_sequence_number
}

/// A query with one payload predicate.
pub(crate) fn payload(predicate: Value) -> EventQuery {
    filters([EventFilter::default().with_payload_predicates([predicate])])
}

pub(crate) fn filters<const N: usize>(filters: [EventFilter; N]) -> EventQuery {
    EventQuery::all().with_filters(filters)
}

pub(crate) fn found(store: &FactStore, query: &EventQuery) -> Vec<u64> {
    numbers(&store.query(query).unwrap().event_records)
}

pub(crate) fn numbers(records: &[EventRecord]) -> Vec<u64> {
    records.iter().map(|it| it.sequence_number).collect()
}

/// The batches that a handler has received.
#[derive(Clone, Default)]
pub(crate) struct Received(Arc<(Mutex<Vec<Vec<u64>>>, Condvar)>);

impl Received {
    pub(crate) fn handle(&self) -> HandleStream {
        let received = self.clone();
        HandleStream::new(move |batch| {
            received.0.0.lock().unwrap().push(numbers(&batch));
            received.0.1.notify_all();
            async { Ok(()) }
        })
    }

    /// The batches when there are this many. It fails after a time that no test needs.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Vec<u64>> {
        let lock = self.0.0.lock().unwrap();
        let limit = Duration::from_secs(30);
        let (batches, waited) =
            self.0.1.wait_timeout_while(lock, limit, |it| it.len() < count).unwrap();
        assert!(!waited.timed_out(), "{count} batches expected, received {batches:?}");
        batches.clone()
    }

    pub(crate) fn now(&self) -> Vec<Vec<u64>> {
        self.0.0.lock().unwrap().clone()
    }
}

pub(crate) fn failing() -> HandleStream {
    HandleStream::new(|_| async { Err(StreamHandlerError::new("refused")) })
}

pub(crate) fn panicking() -> HandleStream {
    HandleStream::new(|_| async { panic!("broken") })
}
