//! An embedded event store: a durable, ordered, queryable history in a directory.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("ledger");
//! use annals::{ExpectedVersion, NewEvent, Query, Store};
//!
//! let store = Store::open(&path)?;
//! let opened = NewEvent::new("AccountOpened", br#"{"initialDeposit":1000}"#).tag("owner:42");
//! store.append("account-1", ExpectedVersion::NoStream, [opened])?;
//! store.append("account-1", ExpectedVersion::Exact(1), [NewEvent::new("MoneyDeposited", "5")])?;
//!
//! for event in store.read_stream("account-1") {
//!     let event = event?;
//!     println!("{} {} {}", event.position(), event.version(), event.event_type());
//! }
//! let deposits = store.read_all().matching(Query::types(["MoneyDeposited"]));
//! assert_eq!(deposits.into_iter().count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is promised, and what is not, stands in the README; every byte on disk in
//! `format-spec.md`.

// The path of an append: store → append → group_commit → log (through storage).
// The path of a read: store → read → catalog → log::segment.
mod append;
mod background;
mod catalog;
mod compaction;
mod consumer_group;
mod cursor;
mod directory;
mod engine;
#[cfg(feature = "async")]
mod errands;
mod error;
mod event;
mod follow;
mod format;
mod group_commit;
mod history;
mod ids;
mod index;
mod log;
mod matching;
mod mend;
mod options;
mod query;
mod read;
mod recovery;
mod repair;
mod snapshot;
mod stats;
pub(crate) mod storage;
mod store;
mod subscription;
mod sync;
mod token;
mod transaction;
mod verify;
mod view;
mod watch;

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/async.md")]
struct AsyncChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/subscriptions.md")]
struct SubscriptionsChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/consumer-groups.md")]
struct ConsumerGroupsChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/boundaries.md")]
struct BoundariesChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/cursors.md")]
struct CursorsChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/queries.md")]
struct QueriesChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/snapshots.md")]
struct SnapshotsChapter;

#[cfg(doctest)]
#[doc = include_str!("../docs/streams.md")]
struct StreamsChapter;

pub use bytes::Bytes;
pub use compaction::Compacted;
pub use consumer_group::{
    ConsumerGroup, Delivery, GroupStats, Parked, Replayed, Retry, RunningGroup,
};
pub use cursor::{CursorInfo, Cursors};
pub use error::{Error, FailedCheck, FailedMaintenance, Maintenance, Result};
pub use event::{
    Appended, Applied, AsOf, Committed, ContentType, EventData, ExpectedVersion, NewEvent,
    Position, StreamHead, StreamMetadata, Timestamp, category_of,
};
pub use format::record::Tags;
pub use options::{Checksums, Durability, Options};
pub use query::{ParseQueryError, Query, QueryItem};
pub use read::{
    Events, ReadAll, ReadStream, StreamChange, StreamChangeKind, StreamInfo, StreamNames, Streams,
};
pub use recovery::{Opened, Recovery};
pub use repair::{
    AcceptedLoss, Gap, Loss, LostEvent, Moved, Range, RepairOptions, RepairReport, SkippedBytes,
    StreamLoss, accept_loss, find_loss, repair,
};
pub use snapshot::{Mark, Snapshot, SnapshotInfo, Snapshots};
pub use stats::Stats;
pub use store::Store;
#[cfg(feature = "async")]
pub use subscription::SubscriptionStream;
pub use subscription::{
    Message, MessageKind, StopHandle, Subscribe, SubscribedEvents, Subscription,
};
pub use token::{CheckpointToken, ParseTokenError};
pub use transaction::{Ticket, Transaction};
pub use uuid::Uuid;
pub use verify::{FoundFault, Progress, VerifyReport, verify};
pub use view::{Event, EventRef};
