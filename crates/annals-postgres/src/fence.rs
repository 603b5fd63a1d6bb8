//! Fences: nothing is appended to a store any more, because its history goes on elsewhere.
//!
//! Owns the column `fence`. Every transaction that records a commit reads it after it has its locks: a fence waits for those
//! that have them, and later ones see it.

use std::sync::Arc;

use annals_es::StoreError;
use deadpool_postgres::Object;

use crate::pool::{once, retry};
use crate::reads::on_runtime;
use crate::shared::Shared;
use crate::{Error, PostgresStore};

impl PostgresStore {
    /// Fences the store: commits of every program fail with [`StoreError::Fenced`] from now on, which names `to`, the place
    /// where the history goes on. When this returns, nothing can be recorded any more, and reads show everything that was.
    /// Snapshots can still be saved. A store that is fenced already gets the new place.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`]; without an answer of the server, the store may or may not be fenced.
    pub async fn raise_fence(&self, to: impl Into<String>) -> Result<(), StoreError> {
        let (shared, to) = (Arc::clone(&self.shared), to.into());
        let work = async move {
            let fenced: Result<(), Error> =
                once!(&shared.connections, client => raise(&shared, client, &to).await);
            fenced?;
            shared.show_all().await
        };
        Ok(on_runtime(&self.shared, work).await?)
    }

    /// Removes the fence of the store. Returns the place that it named, or `None` if there was no fence.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn lift_fence(&self) -> Result<Option<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let place = shared.fence().await?;
            let sql = format!("UPDATE {}.head SET fence = NULL", shared.batches.sql.schema);
            let lifted: Result<u64, Error> =
                retry!(&shared.connections, client => Ok(client.execute(&sql, &[]).await?));
            lifted.map(|_| place)
        };
        Ok(on_runtime(&self.shared, work).await?)
    }

    /// The place that the fence of the store names; `None`: it has no fence. Where there is one, reads show everything that
    /// was recorded before it once this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Backend`].
    pub async fn fence(&self) -> Result<Option<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = async move {
            let fence = shared.fence().await?;
            if fence.is_some() {
                shared.show_all().await?;
            }
            Ok(fence)
        };
        Ok(on_runtime(&self.shared, work).await?)
    }
}

impl Shared {
    /// Waits until reads show what is recorded: a fast store shows it once older transactions have ended.
    async fn show_all(&self) -> Result<(), Error> {
        let (_, recorded) = self.heads().await?;
        self.wait_for(recorded).await
    }

    pub(crate) async fn fence(&self) -> Result<Option<String>, Error> {
        let select = format!("SELECT fence FROM {}.head", self.batches.sql.schema);
        let rows = self.all_rows(&select).await?;
        let row =
            rows.first().ok_or_else(|| crate::rows::altered("the row of the head is missing"))?;
        Ok(row.try_get(0)?)
    }
}

async fn raise(shared: &Shared, client: &Object, to: &str) -> Result<(), Error> {
    client.batch_execute("BEGIN").await?;
    // Commits of a fast store hold it until they end; those of a dense store lock the row of the head.
    let lock = "SELECT pg_advisory_xact_lock($1)";
    client.query(lock, &[&shared.batches.store_key()]).await?;
    let sql = format!("UPDATE {}.head SET fence = $1", shared.batches.sql.schema);
    if client.execute(&sql, &[&to]).await? != 1 {
        return Err(crate::rows::altered("the row of the head is missing"));
    }
    Ok(client.batch_execute("COMMIT").await?)
}
