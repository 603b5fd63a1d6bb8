//! State snapshots.
//!
//! Owns their keys and form. Must never return the version of a snapshot with another state.

use annals::Store;
use annals::snapshot::{Mark, Snapshot};
use async_trait::async_trait;
use disintegrate::{
    BoxDynError, Event, IntoState, StatePart, StateQuery, StateSnapshotter, StreamQuery,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::id;
use crate::{EventId, PREFIX, query};

/// Keeps states of queries as snapshots of the store, by position.
#[derive(Debug, Clone)]
pub struct AnnalsSnapshotter {
    store: Store,
    every: u64,
}

/// A stored state with the query that it is of.
#[derive(Serialize, Deserialize)]
struct Saved<S> {
    query: String,
    state: S,
}

impl AnnalsSnapshotter {
    /// Saves a state when more than `every` events were applied to it since it was loaded.
    pub fn new(store: Store, every: u64) -> Self {
        Self { store, every }
    }
}

#[async_trait]
impl StateSnapshotter<EventId> for AnnalsSnapshotter {
    async fn load_snapshot<S>(&self, default: StatePart<EventId, S>) -> StatePart<EventId, S>
    where
        S: Send + Sync + DeserializeOwned + StateQuery + 'static,
    {
        let text = text_of(&default.query());
        let key = key_of(S::NAME, &text);
        let loaded = self.store.snapshots().load_at_most_async(&key, self.store.head()).await;
        // A snapshot that cannot be read is one that does not exist: the events are applied instead.
        let Ok(Some(snapshot)) = loaded else { return default };
        let Mark::Position(position) = snapshot.mark() else { return default };
        match serde_json::from_slice::<Saved<S>>(snapshot.state()) {
            Ok(saved) if saved.query == text => StatePart::new(id(position), saved.state),
            _ => default,
        }
    }

    async fn store_snapshot<S>(&self, state: &StatePart<EventId, S>) -> Result<(), BoxDynError>
    where
        S: Send + Sync + Serialize + StateQuery + 'static,
    {
        if state.applied_events() <= self.every {
            return Ok(());
        }
        let query = text_of(&state.query());
        let key = key_of(S::NAME, &query);
        let position = annals::Position::new(query::position(state.version()));
        let bytes = serde_json::to_vec(&Saved { query, state: state.clone().into_state() })?;
        match self.store.snapshots().save_async(Snapshot::new(key, position, bytes)).await {
            // A state that was saved with its fields in another order.
            Ok(()) | Err(annals::Error::SnapshotExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn key_of(name: &str, query: &str) -> String {
    let state = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    format!("{PREFIX}{}", Uuid::new_v5(&state, query.as_bytes()))
}

/// A text that differs for queries that differ.
fn text_of<E: Event + Clone>(query: &StreamQuery<EventId, E>) -> String {
    let of_filter = |it: &disintegrate::StreamFilter<EventId, E>| {
        format!(
            "{:?} {:?} {:?} {}",
            it.events(),
            it.excluded_events(),
            it.identifiers(),
            it.origin()
        )
    };
    query.filters().iter().map(of_filter).collect::<Vec<_>>().join("|")
}
