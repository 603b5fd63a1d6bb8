// Definitions of links that precede the text take precedence over those at its end.
#![doc = "[guide]: crate::guide"]
#![doc = "[production]: crate::guide::production"]
#![doc = "[coming-from]: crate::guide::coming_from"]
#![doc = ""]
#![doc = include_str!("../README.md")]

mod aggregate;
pub mod blocking;
mod causes;
mod clock;
mod decision;
mod event;
pub mod guide;
mod memory;
mod metadata;
pub mod outbox;
mod panics;
mod parking;
mod policy;
pub mod process;
pub mod projection;
mod run_handle;
mod store;
pub mod testing;
mod timeline;

#[cfg(feature = "annals")]
mod annals_store;

pub use aggregate::{
    Aggregate, BlockingRepository, Context, ExecuteError, Executed, LoadError, Loaded, Prepared,
    Repository, SnapshotPolicy,
};
/// Implements [`trait@Event`].
pub use annals_es_macros::Event;
#[cfg(feature = "annals")]
pub use annals_store::{AnnalsEvents, AnnalsStore, AnnalsSubscription};
pub use clock::Clock;
pub use decision::{BlockingDecisions, Decision, Decisions, Fact, Facts, Fold};
#[cfg(feature = "cbor")]
pub use event::Cbor;
#[cfg(feature = "postcard")]
pub use event::Postcard;
pub use event::{
    Codec, CodecError, Event, EventCause, EventError, Events, History, HistoryReport, Json,
    RawEvent, Schema, SchemaError, SchemaProblem, Schemas, Unknown, Upcast, Upcasters, encode,
    event_types,
};
pub use memory::{MemoryEvents, MemoryStore, MemorySubscription};
pub use metadata::{Metadata, derived_id};
pub use store::{
    AppendError, AtomicCheckpoints, Boundaries, Boundary, Cause, Checkpoint, Commit, CommitParts,
    Committed, Conflict, ContentType, EventParts, EventRef, EventStore, Expected, FailedCheck,
    Mark, Message, NewEvent, OrderedStore, Position, Query, QueryItem, ReadAll, ReadStream,
    RecordedEvent, SeveralStreams, Snapshot, StoreError, StreamCommit, StreamName, Subscribe, Tag,
    Tags, Timestamp, Version, history_token, next, verify_history_token,
};
pub use timeline::{Change, Difference, Past, Point, Timeline, TimelineError, difference};

// The macros name the crate as other crates do; only tests of this crate use them.
#[allow(unused_extern_crates)]
extern crate self as annals_es;

/// What the code of the macros calls. It has no stable interface.
#[doc(hidden)]
pub mod __private {
    pub use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub use crate::event::{
        deserialize_variant, serialize_variant, unknown_is_not_written, unknown_type,
    };
}
