//! The snapshot store: snapshots by position.
//!
//! Owns the keys of snapshots. Must never load a state that is ahead of the events of its store.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::num::NonZeroU64;

use annals::snapshot::{self, Mark};
use annals::{Bytes, Position, Store, StreamName};
use eventsourced::snapshot_store::{Snapshot, SnapshotStore};

use crate::Error;

/// The snapshots of the entities of one type, in the store of their [event log](crate::AnnalsEventLog). Clones share the
/// store.
///
/// A snapshot may be lost with a power failure: the entity is then computed from more events. One that is ahead of the
/// store is not loaded, since an older state of the store was restored. Saving one that is ahead is refused with
/// [`annals::Error::SnapshotAhead`].
#[derive(Debug)]
pub struct AnnalsSnapshotStore<I> {
    store: Store,
    type_name: &'static str,
    schema_version: u32,
    id: PhantomData<fn() -> I>,
}

impl<I> AnnalsSnapshotStore<I> {
    /// The snapshots of entities of a type, in a store of which it keeps a handle. The type is part of the keys, because
    /// the trait passes none.
    pub fn new(type_name: &'static str, store: Store) -> Self {
        Self { store, type_name, schema_version: 0, id: PhantomData }
    }

    /// Sets the version of the type of the state, 0 by default. Snapshots of another version are not loaded.
    pub fn with_schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    fn key(&self, id: impl Display) -> String {
        format!("eventsourced/{}", StreamName::new(self.type_name, id))
    }
}

impl<I> Clone for AnnalsSnapshotStore<I> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), ..*self }
    }
}

impl<I> SnapshotStore for AnnalsSnapshotStore<I>
where
    I: Debug + Display + Send + Sync + 'static,
{
    type Id = I;
    type Error = Error;

    async fn save<S, ToBytes, ToBytesError>(
        &mut self,
        id: &I,
        seq_no: NonZeroU64,
        state: &S,
        to_bytes: &ToBytes,
    ) -> Result<(), Error>
    where
        S: Send + Sync,
        ToBytes: Fn(&S) -> Result<Bytes, ToBytesError> + Sync,
        ToBytesError: StdError + Send + Sync + 'static,
    {
        let state = to_bytes(state).map_err(Error::to_bytes)?;
        let at = Position::new(seq_no.get());
        let snapshot = snapshot::Snapshot::new(self.key(id), at, state)
            .with_schema_version(self.schema_version);
        Ok(self.store.snapshots().save_async(snapshot).await?)
    }

    async fn load<S, FromBytes, FromBytesError>(
        &self,
        id: &I,
        from_bytes: FromBytes,
    ) -> Result<Option<Snapshot<S>>, Error>
    where
        FromBytes: Fn(Bytes) -> Result<S, FromBytesError> + Send,
        FromBytesError: StdError + Send + Sync + 'static,
    {
        let key = self.key(id);
        let newest = Mark::Position(Position::new(u64::MAX));
        let saved = self.store.snapshots().load_at_most_async(&key, newest).await?;
        let saved = saved.filter(|saved| saved.schema_version() == self.schema_version);
        let Some(saved) = saved else { return Ok(None) };
        let Mark::Position(position) = saved.mark() else { return Ok(None) };
        let Some(seq_no) = NonZeroU64::new(position.get()) else { return Ok(None) };
        let state = from_bytes(saved.state_bytes())
            .map_err(|error| Error::from_bytes(&key, position, error))?;
        Ok(Some(Snapshot::new(seq_no, state)))
    }
}
