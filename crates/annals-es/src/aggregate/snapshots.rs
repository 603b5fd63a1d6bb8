//! When the states of aggregates are saved, and how.
//!
//! Owns the decision that a snapshot is due. A snapshot is disposable: nothing here may fail a command.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::load::Hot;
use crate::event::Codec;
use crate::store::{Snapshot, StreamName, Timestamp, Version};

/// When the state of an aggregate is saved: with the commit after which any of the conditions is met.
///
/// ```
/// use std::time::Duration;
///
/// use annals_es::SnapshotPolicy;
///
/// // Increase the version of the schema whenever the state's fields or their meaning change.
/// let policy = SnapshotPolicy::events(100).or_bytes(1 << 20).or_age(Duration::from_secs(3600)).schema_version(2);
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPolicy {
    events: u64,
    bytes: u64,
    age: Duration,
    pub(crate) schema_version: u32,
}

impl SnapshotPolicy {
    const NEVER: Self =
        Self { events: u64::MAX, bytes: u64::MAX, age: Duration::MAX, schema_version: 1 };

    /// After this number of events, at least 1, since the last snapshot.
    pub const fn events(events: u64) -> Self {
        Self { events: if events == 0 { 1 } else { events }, ..Self::NEVER }
    }

    /// After this number of bytes of events since the last snapshot.
    pub const fn bytes(bytes: u64) -> Self {
        Self { bytes, ..Self::NEVER }
    }

    /// When the first event since the last snapshot is this old.
    pub const fn age(age: Duration) -> Self {
        Self { age, ..Self::NEVER }
    }

    /// Also after this number of bytes of events since the last snapshot.
    pub const fn or_bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// Also when the first event since the last snapshot is this old.
    pub const fn or_age(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// Sets the version of the state's schema. Snapshots of other versions are ignored, and the state is computed
    /// from the events. Default: 1.
    pub const fn schema_version(self, version: u32) -> Self {
        Self { schema_version: version, ..self }
    }

    /// Whether a snapshot is due.
    pub(crate) fn is_due(&self, since: &Since, now: Timestamp) -> bool {
        since.events >= self.events
            || since.bytes >= self.bytes
            || since.first.is_some_and(|first| now.since(first) >= self.age)
    }
}

/// What has happened since the last snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Since {
    pub(crate) events: u64,
    pub(super) bytes: u64,
    /// When the first of the events was recorded.
    pub(super) first: Option<Timestamp>,
}

impl Since {
    pub(crate) fn add(&mut self, events: u64, bytes: u64, at: Timestamp) {
        self.events += events;
        self.bytes += bytes;
        self.first = self.first.or(Some(at));
    }
}

/// A policy with the codec of the states.
pub(super) struct Snapshots<A> {
    pub(super) policy: SnapshotPolicy,
    encode: fn(&A) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<A>,
}

impl<A> Clone for Snapshots<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Snapshots<A> {}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    pub(super) fn new<C: Codec>(policy: SnapshotPolicy) -> Self {
        Self {
            policy,
            encode: |state| C::encode(state).ok(),
            decode: |state| C::decode(std::marker::PhantomData, state).ok(),
        }
    }
}

impl<A> Snapshots<A> {
    /// The state of a snapshot; `None` if it follows another schema.
    pub(super) fn state(&self, snapshot: &Snapshot) -> Option<A> {
        if snapshot.schema_version != self.policy.schema_version {
            return None;
        }
        (self.decode)(&snapshot.state)
    }

    /// The snapshot of a state; `None` if it cannot be written.
    pub(super) fn snapshot(&self, stream: &StreamName, hot: &Hot<A>) -> Option<Snapshot> {
        self.of(stream, hot.version, &hot.state)
    }

    fn of(&self, stream: &StreamName, version: Version, state: &A) -> Option<Snapshot> {
        let state = (self.encode)(state)?;
        let snapshot = Snapshot::new(stream.as_str(), version, state);
        Some(snapshot.schema_version(self.policy.schema_version))
    }
}
