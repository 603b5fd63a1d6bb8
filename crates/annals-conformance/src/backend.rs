//! What a store under test has to provide beside the traits of the toolkit.

use std::future::Future;

use annals_es::{Cause, EventStore, MemoryStore};

/// The contents of one store, which a behaviour opens, closes and opens again. Each behaviour gets a backend of its
/// own, with empty contents, and drops it at its end.
pub trait Backend: Send + Sync + 'static {
    /// The store under test.
    type Store: EventStore;

    /// Opens the contents. What a closed store has acknowledged is in them.
    fn open(&self) -> impl Future<Output = Result<Self::Store, Cause>> + Send;

    /// Ends the use of a store, as an orderly end of its program does. No other handle of it is in use.
    fn close(&self, store: Self::Store) -> impl Future<Output = Result<(), Cause>> + Send {
        drop(store);
        async { Ok(()) }
    }
}

/// A store in memory is its own contents.
impl Backend for MemoryStore {
    type Store = Self;

    async fn open(&self) -> Result<Self, Cause> {
        Ok(self.clone())
    }
}
