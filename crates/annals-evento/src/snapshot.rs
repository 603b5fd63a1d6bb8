//! Snapshots of projections.
//!
//! Owns the keys of snapshots and the form of their states. Must never make a snapshot an obstacle: one that cannot be
//! read is none.
//!
//! The mark of a snapshot is the head of the store when it was saved. The newest save is therefore the one that is loaded,
//! whatever its cursor, and an older state of the store that was restored does not load it.

use annals::snapshot::{self, Mark};
use annals::{Error as StoreError, Position, Store};
use evento_core::cursor::Value;

use crate::Error;

#[derive(Debug, bitcode::Encode, bitcode::Decode)]
struct State {
    revision: String,
    cursor: String,
    data: Vec<u8>,
}

/// The key of a projection's snapshot. The lengths keep the parts apart.
pub(crate) fn key([tenant, aggregate_type, projection, id]: [&str; 4]) -> String {
    let lengths = [tenant, aggregate_type, projection].map(str::len);
    let [t, a, p] = lengths;
    format!("evento/{t}:{a}:{p}:{tenant}{aggregate_type}{projection}{id}")
}

pub(crate) async fn load(
    store: &Store,
    key: String,
    revision: &str,
) -> Result<Option<(Vec<u8>, Value)>, Error> {
    let newest = Mark::Position(Position::new(u64::MAX));
    let Some(saved) = store.snapshots().load_at_most_async(key, newest).await? else {
        return Ok(None);
    };
    let state = bitcode::decode::<State>(saved.state()).ok();
    let state = state.filter(|state| state.revision == revision);
    Ok(state.map(|State { cursor, data, .. }| (data, Value(cursor))))
}

pub(crate) async fn save(
    store: &Store,
    key: String,
    revision: String,
    data: Vec<u8>,
    cursor: Value,
) -> anyhow::Result<()> {
    let state = bitcode::encode(&State { revision, cursor: cursor.0, data });
    let snapshot = snapshot::Snapshot::new(key.clone(), store.head(), state);
    let saved = store.snapshots().save_async(snapshot.clone()).await;
    let Err(StoreError::SnapshotExists { .. }) = saved else {
        return Ok(saved.map_err(Error::Store)?);
    };
    // Another state was saved at this head, as by another revision of the projection.
    delete(store, key).await?;
    match store.snapshots().save_async(snapshot).await {
        // Two saves at a time: either is right.
        Ok(()) | Err(StoreError::SnapshotExists { .. }) => Ok(()),
        Err(error) => Err(Error::Store(error).into()),
    }
}

pub(crate) async fn delete(store: &Store, key: String) -> anyhow::Result<()> {
    let store = store.clone();
    let deleted = tokio::task::spawn_blocking(move || store.snapshots().delete(&key)).await?;
    deleted.map_err(Error::Store)?;
    Ok(())
}
