#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "UmaDB is a name, and no item")]

mod append;
mod copy;
mod error;
mod event;
mod read;
mod subscription;

use annals::Store;
use async_trait::async_trait;
use umadb_dcb::{
    DcbAppendCondition, DcbEvent, DcbEventStoreAsync, DcbEventStoreSync, DcbQuery,
    DcbReadResponseAsync, DcbReadResponseSync, DcbResult, DcbSubscriptionAsync,
    DcbSubscriptionSync, TrackingInfo,
};

pub use annals;
pub use copy::{COPY_SOURCE, copy};
pub use error::engine_error;
pub use umadb_dcb;

/// The stream that all events are appended to: the DCB interface has no streams.
pub const STREAM: &str = "umadb";

/// The keys of the records with tracking positions begin with this; the name of the source follows.
pub const TRACKING_PREFIX: &str = "umadb/tracking/";

/// The maximum length of the name of a tracking source, in bytes, as in UmaDB.
pub const MAX_SOURCE_LENGTH: usize = 255;

/// A [`DcbEventStoreSync`] and [`DcbEventStoreAsync`] on an annals store. Clones share the store.
///
/// Positions are those of the store. Events that were appended to other streams of the store are read
/// too, if their metadata is empty.
#[derive(Debug, Clone)]
pub struct UmaStore {
    store: Store,
}

impl UmaStore {
    /// Opens or creates a store in this directory. It blocks: a task runs it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open(directory: impl AsRef<std::path::Path>) -> DcbResult<Self> {
        Store::open(directory).map(Self::new).map_err(error::from_engine)
    }

    /// The adapter of a store that is open, with any options.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Follows the events that match, after a position: first the stored ones, then new ones. `next`
    /// blocks until there is one. It has the signature of UmaDB's synchronous client.
    ///
    /// # Errors
    ///
    /// An error for a position ahead of the head: an older state of the store was restored.
    pub fn subscribe(
        &self,
        query: Option<DcbQuery>,
        after: Option<u64>,
    ) -> DcbResult<Box<dyn DcbSubscriptionSync + Send + 'static>> {
        Ok(Box::new(subscription::Blocking::start(&self.store, query, after)?))
    }

    /// Follows the events that match, as a stream: see [`UmaStore::subscribe`].
    ///
    /// # Errors
    ///
    /// Those of [`UmaStore::subscribe`].
    pub fn subscribe_async(
        &self,
        query: Option<DcbQuery>,
        after: Option<u64>,
    ) -> DcbResult<Box<dyn DcbSubscriptionAsync + Send + 'static>> {
        Ok(Box::new(subscription::Polled::start(&self.store, query, after)?))
    }

    fn head_position(&self) -> Option<u64> {
        read::head(self.store.head())
    }
}

impl From<Store> for UmaStore {
    fn from(store: Store) -> Self {
        Self::new(store)
    }
}

impl DcbEventStoreSync for UmaStore {
    fn read(
        &self,
        query: Option<DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> DcbResult<Box<dyn DcbReadResponseSync + Send + 'static>> {
        let read = read::prepare(&self.store, query, start, backwards, limit);
        Ok(Box::new(read::Blocking::start(read, limit)?))
    }

    fn head(&self) -> DcbResult<Option<u64>> {
        Ok(self.head_position())
    }

    fn get_tracking_info(&self, source: &str) -> DcbResult<Option<u64>> {
        append::tracked(self.store.records().get(&append::tracking_key(source)))
    }

    fn append(
        &self,
        events: Vec<DcbEvent>,
        condition: Option<DcbAppendCondition>,
        tracking_info: Option<TrackingInfo>,
    ) -> DcbResult<u64> {
        append::Request::new(events, condition, tracking_info)?.append(&self.store)
    }
}

#[async_trait]
impl DcbEventStoreAsync for UmaStore {
    async fn read<'a>(
        &'a self,
        query: Option<DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> DcbResult<Box<dyn DcbReadResponseAsync + Send + 'static>> {
        let read = read::prepare(&self.store, query, start, backwards, limit);
        Ok(Box::new(read::Polled::start(read, limit)))
    }

    async fn head(&self) -> DcbResult<Option<u64>> {
        Ok(self.head_position())
    }

    async fn get_tracking_info(&self, source: &str) -> DcbResult<Option<u64>> {
        append::tracked(self.store.records().get_async(&append::tracking_key(source)).await)
    }

    async fn append(
        &self,
        events: Vec<DcbEvent>,
        condition: Option<DcbAppendCondition>,
        tracking_info: Option<TrackingInfo>,
    ) -> DcbResult<u64> {
        append::Request::new(events, condition, tracking_info)?.append_async(&self.store).await
    }
}
