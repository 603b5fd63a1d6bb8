//! Views as records.
//!
//! Owns the keys of views. Must never overwrite a view that changed after it was loaded.

use std::marker::PhantomData;

use annals::{ExpectedRecord, Store, StreamName};
use cqrs_es::persist::{PersistenceError, ViewContext, ViewRepository};
use cqrs_es::{Aggregate, View};

use crate::error::{Error, of_record, of_store, unknown};

/// The views of one kind, for a [`GenericQuery`](cqrs_es::persist::GenericQuery).
///
/// A view is a record, as JSON, of up to 16 MiB; a larger one is refused with [`annals::Error::LimitExceeded`] and the
/// stored one stays. Updating a view that was updated after it was loaded fails with
/// [`PersistenceError::OptimisticLockError`].
#[derive(Debug)]
pub struct AnnalsViewRepository<V, A> {
    store: Store,
    view_name: String,
    view: PhantomData<fn() -> (V, A)>,
}

impl<V: View<A>, A: Aggregate> AnnalsViewRepository<V, A> {
    /// The views `view_name` in a store, of which it keeps a handle. Each kind of view needs a name of its own.
    pub fn new(view_name: impl Into<String>, store: Store) -> Self {
        Self { store, view_name: view_name.into(), view: PhantomData }
    }

    fn key(&self, view_id: &str) -> String {
        format!("cqrs-es/view/{}", StreamName::new(&self.view_name, view_id))
    }
}

impl<V: View<A>, A: Aggregate> ViewRepository<V, A> for AnnalsViewRepository<V, A> {
    async fn load(&self, view_id: &str) -> Result<Option<V>, PersistenceError> {
        Ok(self.load_with_context(view_id).await?.map(|(view, _)| view))
    }

    async fn load_with_context(
        &self,
        view_id: &str,
    ) -> Result<Option<(V, ViewContext)>, PersistenceError> {
        let key = self.key(view_id);
        let record = self.store.records().get_async(&key).await.map_err(of_store)?;
        let Some(record) = record else { return Ok(None) };
        let view = serde_json::from_slice(&record.value).map_err(of_record(&key))?;
        let version = i64::try_from(record.version)
            .map_err(|_| unknown(Error::SequenceRange { stream: key, sequence: record.version }))?;
        Ok(Some((view, ViewContext::new(view_id.to_owned(), version))))
    }

    async fn update_view(&self, view: V, context: ViewContext) -> Result<(), PersistenceError> {
        let expected = match u64::try_from(context.version) {
            Ok(0) => ExpectedRecord::NoRecord,
            Ok(version) => ExpectedRecord::Exact(version),
            Err(_) => return Err(PersistenceError::OptimisticLockError), // No view has such a version.
        };
        let key = self.key(&context.view_instance_id);
        let value = serde_json::to_vec(&view).map_err(of_record(&key))?;
        self.store.records().put_async(&key, value, expected).await.map_err(of_store)?;
        Ok(())
    }
}
