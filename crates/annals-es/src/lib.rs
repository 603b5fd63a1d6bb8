#![doc = include_str!("../README.md")]

pub mod blocking;
mod clock;
mod memory;
mod store;
pub mod testing;

#[cfg(feature = "annals")]
mod annals_store;

#[cfg(feature = "annals")]
pub use annals_store::{AnnalsEvents, AnnalsStore, AnnalsSubscription};
pub use clock::Clock;
pub use memory::{MemoryEvents, MemoryStore, MemorySubscription};
pub use store::{
    AppendError, AtomicCheckpoints, Boundaries, Boundary, Cause, Checkpoint, Commit, CommitParts,
    Committed, Conflict, ContentType, EventParts, EventStore, Expected, FailedCheck, Mark, Message,
    NewEvent, OrderedStore, Position, Query, QueryItem, ReadAll, ReadStream, RecordedEvent,
    SeveralStreams, Snapshot, StoreError, StreamCommit, StreamName, Subscribe, Tags, Timestamp,
    Version, next,
};
