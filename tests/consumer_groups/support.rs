//! Helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals::{
    Durability, ExpectedVersion, NewEvent, Store,
    consumer_group::{ConsumerGroup, Delivery, Retry},
};

use crate::shared::small_segments;
pub(crate) use crate::shared::{LONG, Place};

impl Place {
    pub(crate) fn open(&self) -> Store {
        small_segments().durability(Durability::BUFFERED).open(self.path()).unwrap()
    }
}

/// A store with this number of events in this number of streams, in turns.
pub(crate) fn filled(place: &Place, events: u64, streams: u64) -> Store {
    let store = place.open();
    append(&store, events, streams);
    store
}

pub(crate) fn append(store: &Store, events: u64, streams: u64) {
    for i in 0..events {
        let event = NewEvent::new("Happened", i.to_string());
        store.append(format!("s-{}", i % streams), ExpectedVersion::Any, [event]).unwrap();
    }
}

/// Retries with short delays.
pub(crate) fn quick(attempts: u32) -> Retry {
    let (first, longest) = (Duration::from_millis(1), Duration::from_millis(4));
    Retry::new().attempts(attempts).first_delay(first).max_delay(longest)
}

pub(crate) fn group(store: &Store) -> ConsumerGroup {
    ConsumerGroup::new(store, "g").workers(8).retry(quick(3))
}

/// The handled events, in the order of handling.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handled {
    log: Arc<Mutex<Vec<(String, u64, u64)>>>,
}

impl Handled {
    pub(crate) fn note(&self, delivery: Delivery<'_>) {
        let event = delivery.event();
        let entry = (event.stream().to_owned(), event.version(), event.position().get());
        self.log.lock().unwrap().push(entry);
    }

    pub(crate) fn take(&self) -> Vec<(String, u64, u64)> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub(crate) fn len(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The positions, sorted.
    pub(crate) fn positions(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.log.lock().unwrap().iter().map(|entry| entry.2).collect();
        all.sort_unstable();
        all
    }

    /// The versions of each stream, in the order of handling.
    pub(crate) fn by_stream(&self) -> BTreeMap<String, Vec<u64>> {
        let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (stream, version, _) in &*self.log.lock().unwrap() {
            all.entry(stream.clone()).or_default().push(*version);
        }
        all
    }
}

/// A number that differs from call to call.
pub(crate) fn hash(number: u64) -> u64 {
    let x = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32
}
