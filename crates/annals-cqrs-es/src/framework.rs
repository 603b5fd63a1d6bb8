//! Frameworks on annals, under the names that the framework's other backends use.
//!
//! Owns shorthands for constructors. Must never hold state.

use annals::Store;
use cqrs_es::{Aggregate, CqrsFramework, Query};

use crate::AnnalsEventStore;

/// A framework on annals.
pub type AnnalsCqrs<A> = CqrsFramework<A, AnnalsEventStore<A>>;

/// A framework that computes an aggregate from all of its events.
pub fn annals_cqrs<A: Aggregate>(
    store: Store,
    query_processor: Vec<Box<dyn Query<A>>>,
    services: A::Services,
) -> AnnalsCqrs<A> {
    CqrsFramework::new(AnnalsEventStore::new(store), query_processor, services)
}

/// A framework that saves a snapshot of an aggregate after every `snapshot_size` events. For snapshots whose type may
/// change, use [`AnnalsEventStore::with_snapshots`].
pub fn annals_snapshot_cqrs<A: Aggregate>(
    store: Store,
    query_processor: Vec<Box<dyn Query<A>>>,
    snapshot_size: usize,
    services: A::Services,
) -> AnnalsCqrs<A> {
    let store = AnnalsEventStore::new(store).with_snapshots(snapshot_size, 0);
    CqrsFramework::new(store, query_processor, services)
}

/// A framework that saves a snapshot of an aggregate each time when it has changed.
pub fn annals_aggregate_cqrs<A: Aggregate>(
    store: Store,
    query_processor: Vec<Box<dyn Query<A>>>,
    services: A::Services,
) -> AnnalsCqrs<A> {
    annals_snapshot_cqrs(store, query_processor, 1, services)
}
