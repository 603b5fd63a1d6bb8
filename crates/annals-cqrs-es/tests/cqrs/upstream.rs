//! The interface of cqrs-es that this crate was written for.
//!
//! Owns no behaviour: this file does not compile if a trait or type of cqrs-es changes.
#![allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "most of it is compiled and not called"
)]

use std::collections::HashMap;
use std::future::Future;

use annals_cqrs_es::{AnnalsEventRepository, AnnalsEventStore, AnnalsViewRepository};
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
    ViewContext, ViewRepository,
};
use cqrs_es::{Aggregate, AggregateError, EventEnvelope, EventStore, View};
use serde_json::Value;

fn returns<T, E>(_: impl Future<Output = Result<T, E>> + Send) {}

fn repository<R: PersistedEventRepository, A: Aggregate>(
    repository: &R,
    events: &[SerializedEvent],
) {
    returns::<Vec<SerializedEvent>, PersistenceError>(repository.get_events::<A>(""));
    returns::<Vec<SerializedEvent>, PersistenceError>(repository.get_last_events::<A>("", 0_usize));
    returns::<Option<SerializedSnapshot>, PersistenceError>(repository.get_snapshot::<A>(""));
    let update: Option<(String, Value, usize)> = None;
    returns::<(), PersistenceError>(repository.persist::<A>(events, update));
    returns::<ReplayStream, PersistenceError>(repository.stream_events::<A>(""));
    returns::<ReplayStream, PersistenceError>(repository.stream_all_events::<A>());
}

fn event_store<S: EventStore<A>, A: Aggregate>(store: &S, events: Vec<A::Event>, context: S::AC) {
    returns::<Vec<EventEnvelope<A>>, AggregateError<A::Error>>(store.load_events(""));
    returns::<S::AC, AggregateError<A::Error>>(store.load_aggregate(""));
    let metadata: HashMap<String, String> = HashMap::new();
    returns::<Vec<EventEnvelope<A>>, AggregateError<A::Error>>(
        store.commit(events, context, metadata),
    );
}

fn views<R: ViewRepository<V, A>, V: View<A>, A: Aggregate>(repository: &R, view: V) {
    returns::<Option<V>, PersistenceError>(repository.load(""));
    returns::<Option<(V, ViewContext)>, PersistenceError>(repository.load_with_context(""));
    returns::<(), PersistenceError>(
        repository.update_view(view, ViewContext::new(String::new(), 0_i64)),
    );
}

fn types(event: SerializedEvent, snapshot: SerializedSnapshot, error: PersistenceError) {
    let SerializedEvent {
        aggregate_id: _,
        sequence: _,
        aggregate_type: _,
        event_type: _,
        event_version: _,
        payload: _,
        metadata: _,
    } = event;
    let SerializedSnapshot {
        aggregate_id: _,
        aggregate: _,
        current_sequence: _,
        current_snapshot: _,
    } = snapshot;
    let (PersistenceError::OptimisticLockError
    | PersistenceError::ConnectionError(_)
    | PersistenceError::DeserializationError(_)
    | PersistenceError::UnknownError(_)) = error;
}

#[test]
fn adapter_implements_traits_of_pinned_version() {
    use crate::bank::{Account, AccountView};
    fn all<R, S, V>()
    where
        R: PersistedEventRepository + Clone,
        S: EventStore<Account>,
        V: ViewRepository<AccountView, Account>,
    {
    }
    all::<
        AnnalsEventRepository,
        AnnalsEventStore<Account>,
        AnnalsViewRepository<AccountView, Account>,
    >();
    let manifest = include_str!("../../Cargo.toml");
    assert!(
        manifest.contains("cqrs-es = \"=0.5.0\""),
        "read the changes of cqrs-es, then adapt this file"
    );
}
