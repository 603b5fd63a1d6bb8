//! The seam to event stores: the traits that a backend implements, and the values they pass.
//!
//! # Why these traits have this form
//!
//! - The methods return `impl Future + Send`, and the toolkit is generic over the store. An application has one
//!   store, chosen when it is compiled, so nothing needs `dyn EventStore`; an object-safe trait would allocate a
//!   boxed future for each call, also where the store answers from memory.
//! - Reads and subscriptions are associated types that implement [`Stream`], for the same reason.
//! - What a backend may lack is a trait of its own: an order over all streams ([`OrderedStore`]), commits to
//!   several streams ([`SeveralStreams`]), boundaries ([`Boundaries`]) and checkpoints that move with a commit
//!   ([`AtomicCheckpoints`]). Code that needs one of them states it as a bound, and does not compile for a store
//!   without it.
//! - Snapshots have no such trait. They are disposable, so a backend that cannot save one in the same commit
//!   saves it afterwards, or not.
//!
//! The module must never name a type of a backend, except where a recorded event keeps the backend's own
//! representation so that its bytes are not copied.

mod commit;
mod error;
mod event_ref;
mod events;
mod query;
mod reads;
mod stream_name;
mod token;
mod values;

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use uuid::Uuid;

pub use commit::{Boundary, Checkpoint, Commit, CommitParts, Committed, Expected, StreamCommit};
pub use error::{AppendError, Cause, Conflict, FailedCheck, StoreError};
pub use event_ref::EventRef;
pub use events::{EventParts, NewEvent, RecordedEvent, Tags};
pub use query::{Query, QueryItem, Tag};
pub use reads::{Mark, Message, ReadAll, ReadStream, Snapshot, Subscribe};
pub use stream_name::StreamName;
pub use token::{history_token, verify_history_token};
pub use values::{ContentType, Position, Timestamp, Version};

/// A store of events in streams: a handle that is cheap to clone.
///
/// # What an implementation promises
///
/// - A commit is atomic: reads see all of it or nothing, and it is durable when [`append`](Self::append) returns.
/// - Expectations are checked against every commit accepted earlier. A conflict is returned **once reads see what
///   the commit lost to**, so that a loop of read, decide and append cannot spin.
/// - Event ids are unique in the store. A commit whose events are all recorded with the same contents in the same
///   order is not recorded again: it returns the first result, whatever its expectations are.
/// - A read sees the events up to the head at the time it is first polled.
/// - Dropping a future after it was polled does not cancel a commit.
pub trait EventStore: Clone + Send + Sync + 'static {
    /// The events of a read. After an error the stream ends; without one, every requested event was returned.
    type Events: Stream<Item = Result<RecordedEvent, StoreError>> + Send + Unpin + 'static;

    /// Records a commit.
    fn append(
        &self,
        commit: Commit<Self>,
    ) -> impl Future<Output = Result<Committed, AppendError>> + Send;

    /// Reads a stream. A stream without events gives none.
    fn read_stream(&self, read: ReadStream) -> Self::Events;

    /// Calls `each` with the events of a stream, borrowed, until it breaks: for code that needs each event only once. A
    /// store that need not make a [`RecordedEvent`] for that implements this method; otherwise it is
    /// [`read_stream`](Self::read_stream).
    fn visit_stream<B: Send>(
        &self,
        read: ReadStream,
        mut each: impl FnMut(EventRef<'_>) -> ControlFlow<B> + Send,
    ) -> impl Future<Output = Result<ControlFlow<B>, StoreError>> + Send {
        let mut events = self.read_stream(read);
        async move {
            while let Some(event) = next(&mut events).await {
                let flow = each(EventRef::from(&event?));
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            Ok(ControlFlow::Continue(()))
        }
    }

    /// The version of a stream: the number of its events.
    fn stream_version(
        &self,
        stream: &StreamName,
    ) -> impl Future<Output = Result<Version, StoreError>> + Send;

    /// The event of a stream that has an id.
    fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<RecordedEvent>, StoreError>> + Send;

    /// The newest snapshot of a key whose mark is of the same kind as `at_most` and not greater. A snapshot that
    /// is damaged, or was taken of another history, counts as missing.
    fn load_snapshot(
        &self,
        key: &str,
        at_most: Mark,
    ) -> impl Future<Output = Result<Option<Snapshot>, StoreError>> + Send;

    /// Saves a snapshot. A key has one snapshot per mark: a state of a higher schema version replaces it.
    fn save_snapshot(
        &self,
        snapshot: Snapshot,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A store with one order over the events of all streams.
///
/// Positions follow the order in which commits become visible: once a reader has seen a position, no event
/// appears at or before it.
pub trait OrderedStore: EventStore {
    /// The messages of a subscription. An error is an item, and the next poll continues where delivery stopped;
    /// the stream ends only when the store is closed or the subscription cannot begin.
    type Subscription: Stream<Item = Result<Message, StoreError>> + Send + Unpin + 'static;

    /// The position of the last visible event.
    fn head(&self) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// Reads the events of all streams.
    fn read_all(&self, read: ReadAll) -> Self::Events;

    /// Delivers events: first those that are recorded, then those that are appended. A position after the head
    /// is [`StoreError::PositionAhead`].
    fn subscribe(&self, subscribe: Subscribe) -> Self::Subscription;

    /// Waits until a position is visible to reads. There is no timeout: drop the future when one expires.
    fn wait_for(&self, position: Position) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The position of the last event that was recorded at or before a time.
    fn position_at(
        &self,
        time: Timestamp,
    ) -> impl Future<Output = Result<Position, StoreError>> + Send;

    /// The position of a checkpoint; `None` if it was never saved.
    fn checkpoint(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Position>, StoreError>> + Send;

    /// Moves a checkpoint forward. If it would not move forward, that is a [`Conflict`].
    fn save_checkpoint(
        &self,
        name: &str,
        to: Position,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// Sets a checkpoint to any position up to the head, also backwards.
    fn reset_checkpoint(
        &self,
        name: &str,
        to: Position,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;

    /// A text form of a position for storage outside of the store. A store that can detect that an older state
    /// of it was restored puts the proof into the text.
    fn checkpoint_token(
        &self,
        position: Position,
    ) -> impl Future<Output = Result<String, StoreError>> + Send {
        async move { Ok(position.to_string()) }
    }

    /// The position of a text from [`checkpoint_token`](Self::checkpoint_token), if it belongs to the history of
    /// this store: otherwise [`StoreError::OtherHistory`] or [`StoreError::PositionAhead`].
    fn verify_token(
        &self,
        token: &str,
    ) -> impl Future<Output = Result<Position, StoreError>> + Send {
        async move {
            let number: u64 = token.parse().map_err(|_| StoreError::InvalidArgument {
                what: "token",
                why: format!("{token:?} is not a checkpoint token"),
            })?;
            let (position, head) = (Position::new(number), self.head().await?);
            if position > head {
                return Err(StoreError::PositionAhead { position, head });
            }
            Ok(position)
        }
    }
}

/// A store whose commits may append to several streams.
pub trait SeveralStreams: EventStore {}

/// A store whose commits may fail if a query matches an event after a position.
pub trait Boundaries: OrderedStore {}

/// A store whose commits may move checkpoints.
pub trait AtomicCheckpoints: OrderedStore {}

/// The next item of a stream.
///
/// ```
/// use annals_es::blocking::block_on;
/// use annals_es::{EventStore, MemoryStore, ReadStream, next};
///
/// let store = MemoryStore::new();
/// let mut events = store.read_stream(ReadStream::of("account-1"));
/// assert!(block_on(next(&mut events)).is_none());
/// ```
pub async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Lets other tasks of the executor run.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
