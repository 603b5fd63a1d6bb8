//! Commits of another store, recorded as they are, and the list of checkpoints: what a copy needs.
//!
//! Must never change an event.

use std::sync::Arc;

use annals_es::{AppendError, Commit, Committed, Position, RecordedEvent, StoreError};

use crate::JetStreamStore;
use crate::reads::on_runtime;
use crate::store::unknown;

impl JetStreamStore {
    /// Records a commit of another store with its versions, ids and time, given by its events. A commit with an earlier
    /// time than the one before it is accepted.
    ///
    /// # Errors
    ///
    /// Those of [`EventStore::append`](annals_es::EventStore::append), such as a conflict where a version does not follow the
    /// last one of its stream.
    pub async fn import(&self, commit: &[RecordedEvent]) -> Result<Committed, AppendError> {
        let time = commit.first().map(RecordedEvent::recorded_at);
        let parts = Commit::<Self>::of_recorded(commit).into_parts();
        let shared = Arc::clone(&self.shared);
        let work = async move { Ok(shared.append(parts, time).await) };
        on_runtime(&self.shared, work).await.map_err(unknown)?
    }

    /// The checkpoints: their names and positions.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn checkpoints(&self) -> Result<Vec<(String, Position)>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = async move { shared.checkpoints().await };
        Ok(on_runtime(&self.shared, work).await?.into_iter().collect())
    }
}
