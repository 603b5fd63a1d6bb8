//! The states of aggregates that were used last.
//!
//! Owns the bound on their number, and one lock per aggregate. A state in the cache may be old: its user compares
//! its version with the store's. Two tasks that use one aggregate wait for each other here, so that they do not
//! cause conflicts in the store.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::load::Hot;
use crate::store::StreamName;

/// The place of an aggregate's state; empty while there is none, and while it is changed.
pub(super) type Slot<A> = Arc<async_lock::Mutex<Option<Hot<A>>>>;

pub(super) struct Cache<A> {
    /// `None`: nothing is kept.
    slots: Option<Mutex<LruCache<StreamName, Slot<A>>>>,
}

impl<A> Cache<A> {
    pub(super) fn new(aggregates: usize) -> Self {
        let capacity = NonZeroUsize::new(aggregates);
        Self { slots: capacity.map(|capacity| Mutex::new(LruCache::new(capacity))) }
    }

    /// The slot of an aggregate.
    pub(super) fn slot(&self, stream: &StreamName) -> Slot<A> {
        let Some(slots) = &self.slots else { return Slot::default() };
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(stream) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        slots.put(stream.clone(), Arc::clone(&slot));
        slot
    }

    /// The number of aggregates in the cache.
    pub(super) fn len(&self) -> usize {
        self.slots
            .as_ref()
            .map_or(0, |slots| slots.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}
