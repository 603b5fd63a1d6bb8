//! An embedded event store: a durable, ordered, queryable history in one directory, without a server.
//!
//! Events are appended to streams under an expected version, in atomic commits over any number of streams.
//! An append returns when its commit survives a power loss (or, by choice, when the operating system has it).
//! Reads, queries and subscriptions see one total order of positions without gaps.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("ledger");
//! use annals::{ExpectedVersion, NewEvent, Query, Store};
//!
//! let store = Store::open(&path)?; // creates the directory
//!
//! let opened = NewEvent::new("AccountOpened", r#"{"deposit":1000}"#).tag("owner:42");
//! store.append("account-1", ExpectedVersion::NoStream, [opened])?;
//! store.append("account-1", ExpectedVersion::Exact(1), [NewEvent::new("Deposited", "5")])?;
//!
//! for event in store.read_stream("account-1") {
//!     let event = event?; // an error is an item, and never looks like the end
//!     println!("{} {} {}", event.position(), event.version(), event.event_type());
//! }
//!
//! let owned = store.read_all().matching(Query::tagged(["owner:42"])).into_iter();
//! let owned = owned.collect::<annals::Result<Vec<_>>>()?;
//! assert_eq!(owned.len(), 1);
//! store.close()?; // reports errors; dropping the last handle does not
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guide
//!
//! The [`guide`] describes each part of the store; begin with [`guide::getting_started`] and
//! [`guide::concepts`], which lists terms, promises and limits.
//!
//! | to | use | chapter |
//! |---|---|---|
//! | append to one stream | [`Store::append`], [`ExpectedVersion`], [`NewEvent`] | [`guide::appending`] |
//! | commit to several streams, or submit without waiting | [`Store::transaction`], [`Ticket`] | [`guide::transactions`] |
//! | read streams, everything, or the past | [`Store::read_stream`], [`Store::read_all`], [`AsOf`] | [`guide::reading`] |
//! | select events by type, tag, stream or category | [`Query`] | [`guide::queries`] |
//! | commit only if a query still matches nothing new | [`Transaction::fail_if`] | [`guide::boundaries`] |
//! | follow events | [`Store::subscribe`], [`subscription`] | [`guide::subscriptions`] |
//! | record a consumer's progress | [`Cursors`], [`Transaction::cursor`] | [`guide::cursors`] |
//! | keep small values beside the events | [`Records`], [`Transaction::put`] | [`guide::records`] |
//! | handle events on worker threads with retries | [`consumer_group`] | [`guide::consumer_groups`] |
//! | save computed states | [`snapshot`], [`Transaction::snapshot`] | [`guide::snapshots`] |
//! | hide events | [`Store::truncate_before`], [`Store::archive`], [`StreamMetadata`] | [`guide::streams`] |
//! | back up, verify, repair | [`Store::backup_to`], [`fn@verify`], [`repair`](mod@repair), [`Store::stats`] | [`guide::operations`] |
//! | test | feature `testing` | [`guide::testing`] |
//!
//! # Features
//!
//! All are off by default.
//!
//! - `async`: every operation that may wait has a form for tasks; `Ticket` is a `Future`, and a subscription
//!   becomes a `Stream`. It brings no runtime.
//! - `serde`: `Serialize` and `Deserialize` for plain value types, `NewEvent::json`, `Event::json`.
//! - `tracing`: spans and events for the crate `tracing`, of openings, recovery, rollovers, seals, merges, slow appends
//!   and failures; [`guide::operations`] lists them.
//! - `testing`: the simulated disk, the model and the test harness. It has no stable API.
//!
//! # Threads, processes and async
//!
//! [`Store`] is a handle that is `Clone + Send + Sync`; share it between threads. Concurrent appends share
//! writes and syncs, and reads never wait for a sync. A store that is open for writing runs three threads. One
//! process writes to a directory; other handles and processes read beside it with [`Options::read_only`].
//!
//! Calls that append, sync, close or read may block the calling thread. With feature `async`, calls whose
//! names end in `_async` never do; [`guide::asynchronous`] lists what blocks.

// The path of an append: store → engine::append → engine::commit → log → storage.
// The path of a read: store → read → engine::contents → catalog → log::segment → storage.
// The path of an opening: store → creation → recovery → engine.
mod backup;
mod catalog;
pub mod cold;
pub mod consumer_group;
mod creation;
mod derived;
mod dir;
mod engine;
mod error;
mod event;
pub mod fence;
mod format;
mod index;
mod log;
mod options;
mod progress;
mod query;
mod read;
mod recovery;
pub mod repair;
pub mod shipping;
/// Snapshots: states that the application computed, stored beside the log and disposable.
pub mod snapshot {
    pub use crate::event::snapshot::{Mark, Snapshot};
    pub use crate::store::snapshots::{SnapshotInfo, Snapshots};
}
pub(crate) mod storage;
mod store;
pub mod subscription;
mod sync;
mod trace;
pub mod verify;

#[cfg(feature = "testing")]
pub mod testing;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(any(doc, doctest))]
pub mod guide;

pub use backup::Backup;
pub use bytes::Bytes;
pub use engine::compaction::Compacted;
pub use engine::histogram::{Bucket, Histogram};
pub use engine::stats::Stats;
pub use error::{Error, FailedCheck, FailedMaintenance, Maintenance, Result};
pub use event::token::{CheckpointToken, ParseTokenError};
pub use event::{
    Appended, Applied, AsOf, Committed, ContentType, EventData, EventParts, ExpectedRecord,
    ExpectedVersion, NewEvent, ParseTimestampError, Position, SharedStr, StreamHead,
    StreamMetadata, StreamName, Timestamp, category_of,
};
pub use format::tags::Tags;
pub use options::{Checksums, Durability, MappedWrites, Options};
pub use query::{ParseQueryError, Query, QueryItem};
#[cfg(feature = "async")]
pub use read::EventStream;
pub use read::event::{Event, EventRef};
pub use read::{
    CursorHistory, CursorMove, Events, ReadAll, ReadStream, StreamChange, StreamChangeKind,
    StreamInfo, StreamNames, Streams, TermCount, TermCounts, TermCountsIter,
};
pub use recovery::{Opened, Recovery};
pub use store::Store;
pub use store::cursors::{CursorInfo, Cursors};
#[cfg(feature = "async")]
pub use store::records::RecordStream;
pub use store::records::{Record, RecordList, Records};
pub use store::transaction::{Ticket, Transaction};
pub use uuid::Uuid;
pub use verify::verify;

/// Handles and values are shared between threads and kept in futures.
const _: () = {
    use crate::consumer_group::{ConsumerGroup, RunningGroup};
    use crate::event::snapshot::Snapshot;
    use crate::store::snapshots::Snapshots;
    use crate::subscription::{JoinedProgress, Progress, StopHandle, Subscribe, Subscription};

    const fn send_and_sync<T: Send + Sync + 'static>() {}
    const fn send<T: Send + 'static>() {}
    send_and_sync::<Store>();
    send_and_sync::<Ticket>();
    send_and_sync::<Event>();
    send_and_sync::<Error>();
    send_and_sync::<Options>();
    send_and_sync::<Cursors>();
    send_and_sync::<Records>();
    send_and_sync::<Snapshots>();
    send_and_sync::<Snapshot>();
    send_and_sync::<Streams>();
    send_and_sync::<ReadAll>();
    send_and_sync::<ReadStream>();
    send_and_sync::<Query>();
    send_and_sync::<StopHandle>();
    send_and_sync::<Progress>();
    send_and_sync::<JoinedProgress>();
    send_and_sync::<RunningGroup>();
    send::<Events>();
    send::<CursorHistory>();
    send::<StreamNames>();
    send::<RecordList>();
    send::<Subscribe>();
    send::<Subscription>();
    send::<ConsumerGroup>();
};
