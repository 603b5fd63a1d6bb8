//! One logical consumer over several workers, in this process.

// Owns the settings of a group before it runs. One thread follows the store and passes each event to the
// worker of its stream; `worker` handles them in order, `flight` records the handled ones, `parking` stores
// those that failed, `committing` commits what handlers write together with the progress. Uses the public
// API of the store only. Must never let the stored progress pass an event that is neither handled nor parked.

mod committing;
mod flight;
mod parking;
mod retry;
mod running;
mod shared;
#[cfg(feature = "testing")]
mod stepped;
#[cfg(feature = "async")]
mod tasks;
mod worker;

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::Position;
use crate::query::Query;
use crate::read::event::Event;
use crate::store::Store;
use crate::store::transaction::Transaction;

use committing::CommittingHandler;
use shared::Handler;

pub use parking::Parked;
pub use retry::Retry;
pub use running::{GroupStats, Replayed, RunningGroup};
#[cfg(feature = "testing")]
pub(crate) use stepped::{Followed, SteppedGroup, Worked};

/// The settings of a consumer group: its name, the number of workers, the selected events and the
/// handling of failures.
///
/// Its progress is the cursor of its name. Events of one stream are handled one after the other, in
/// order; events of different streams are handled concurrently. An event whose handler failed is
/// retried, and parked after too many failures: see [`ConsumerGroup::parked`].
///
/// **At least once.** After a crash, events after the stored progress are handled again, so a
/// handler must tolerate repetition, unless it only writes to the store and has its writes committed
/// with the progress: see [`ConsumerGroup::start_transactional`]. `EventParked` events are not delivered to
/// consumer groups; a plain subscription delivers them.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// use std::time::Duration;
/// use annals::{ExpectedVersion, NewEvent, consumer_group::ConsumerGroup};
///
/// for order in 0..10 {
///     let placed = NewEvent::new("OrderPlaced", "");
///     store.append(format!("order-{order}"), ExpectedVersion::Any, [placed])?;
/// }
/// let sent = Arc::new(AtomicU64::new(0));
/// let counter = Arc::clone(&sent);
/// let group = ConsumerGroup::new(&store, "emailer").workers(4).start(move |_delivery| {
///     counter.fetch_add(1, Ordering::Relaxed);
///     Ok::<(), String>(())
/// })?;
/// assert!(group.wait_for(store.head(), Duration::from_secs(10)));
/// group.stop()?;
/// assert_eq!(sent.load(Ordering::Relaxed), 10);
/// assert_eq!(store.cursors().get("emailer")?, Some(store.head()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a group does nothing before it is started"]
pub struct ConsumerGroup {
    store: Store,
    name: String,
    workers: usize,
    query: Option<Query>,
    begin_after: Position,
    window: usize,
    retry: Retry,
    blocks: bool,
    progress_events: u64,
    progress_interval: Duration,
}

/// An event that is passed to a handler.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    event: &'a Event,
    attempt: u32,
    is_replay: bool,
}

impl<'a> Delivery<'a> {
    /// The event.
    pub fn event(&self) -> &'a Event {
        self.event
    }

    /// The number of this attempt, counted from 1. Attempts before a restart are not counted.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the event was parked, and is delivered by [`RunningGroup::replay_parked`].
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event", self.event)
            .field("attempt", &self.attempt)
            .field("is_replay", &self.is_replay)
            .finish()
    }
}

impl ConsumerGroup {
    /// A group of four workers; its name, of 1 to 255 bytes, is the name of its cursor. It keeps the
    /// store open while it runs.
    pub fn new(store: &Store, name: impl Into<String>) -> Self {
        Self {
            store: store.clone(),
            name: name.into(),
            workers: 4,
            query: None,
            begin_after: Position::START,
            window: 1024,
            retry: Retry::new(),
            blocks: false,
            progress_events: 1000,
            progress_interval: Duration::from_secs(1),
        }
    }

    /// The number of threads that handle events, 1 to 256. Default: 4.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Only events that the query matches. Default: all.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = Some(query);
        self
    }

    /// The position after which a group without a cursor begins. Default: [`Position::START`].
    pub fn begin_after(mut self, position: impl Into<Position>) -> Self {
        self.begin_after = position.into();
        self
    }

    /// The maximum number of events in flight, 1 to 1,048,576: being handled, waiting for their
    /// worker or for another attempt. At the maximum, the group reads no further. Events that are
    /// handled after an unfinished one do not count. Default: 1024.
    pub fn window(mut self, events: usize) -> Self {
        self.window = events;
        self
    }

    /// The number of attempts, and the delays between them. Default: [`Retry::new`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Parks no event: an event is retried, at the longest delay, until it succeeds, and later events
    /// of its stream wait for it. Other streams continue until [`ConsumerGroup::window`] is full of
    /// waiting events; progress stays before the event. Default: events are parked.
    pub fn block_failing_streams(mut self) -> Self {
        self.blocks = true;
        self
    }

    /// How often progress is stored: after this number of positions, or after this time if it has
    /// moved at all; and when the group stops. Default: 1000 positions, one second.
    pub fn store_progress_every(mut self, positions: u64, interval: Duration) -> Self {
        self.progress_events = positions;
        self.progress_interval = interval;
        self
    }

    /// Starts the workers. `handler` is called for each event, from any of their threads. An error
    /// that it returns, and a panic, count as a failed attempt.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a setting out of its range, [`Error::ReadOnly`],
    /// [`Error::Closed`], and [`Error::Io`] if a thread cannot be started.
    pub fn start<F, E>(self, handler: F) -> Result<RunningGroup>
    where
        F: Fn(Delivery<'_>) -> std::result::Result<(), E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        self.check()?;
        self.store.check_writable()?;
        let handler = move |delivery: Delivery<'_>| handler(delivery).map_err(|e| e.to_string());
        RunningGroup::start(self, Handler::Plain(Box::new(handler)))
    }

    /// Starts the workers of a group that writes to the store **exactly once**: `handler` adds its writes to
    /// the transaction, and returns it. The group commits them together with its cursor, so after a crash
    /// an event is handled again only if none of its writes were kept. This holds for the writes of the
    /// transaction alone: what the handler does elsewhere may be repeated. It holds for two groups
    /// running under one name, too.
    ///
    /// Handlers of events of different streams run concurrently, and an event's handler runs after the
    /// commits of earlier events of its stream. The commits follow in the order of positions, one for
    /// each selected event, even if its transaction is empty: leave out events without effect by
    /// [`ConsumerGroup::matching`]. A failing event delays the commits of all later events, of every
    /// stream, until it succeeds or is parked.
    ///
    /// A commit that is refused, by a check or a limit, counts as a failed attempt, as an error and a
    /// panic of the handler do. But if the handler ran before the commits of earlier events of the group, a
    /// conflict may come from those: the handler is called again at once, and the attempt is not counted.
    /// A replayed event is committed with the record that it is no longer parked. When the group stops,
    /// only the event whose turn it is is committed; later ones are delivered again.
    ///
    /// The transaction must not move the group's own cursor; and it must not be exchanged for one of another
    /// store, which has no part in these guarantees.
    ///
    /// # Errors
    ///
    /// Those of [`ConsumerGroup::start`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use std::time::Duration;
    /// use annals::{ExpectedVersion, NewEvent, Query, consumer_group::ConsumerGroup};
    ///
    /// let placed = NewEvent::new("OrderPlaced", "");
    /// store.append("order-1", ExpectedVersion::Any, [placed])?;
    /// let group = ConsumerGroup::new(&store, "billing")
    ///     .matching(Query::types(["OrderPlaced"]))
    ///     .start_transactional(|delivery, transaction| {
    ///         let invoice = format!("invoice-{}", delivery.event().position());
    ///         let sent = NewEvent::new("InvoiceSent", "");
    ///         Ok::<_, String>(transaction.append(invoice, ExpectedVersion::NoStream, [sent]))
    ///     })?;
    /// assert!(group.wait_for(1, Duration::from_secs(10)));
    /// group.stop()?;
    /// assert_eq!(store.read_stream("invoice-1").into_iter().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_transactional<F, E>(self, handler: F) -> Result<RunningGroup>
    where
        F: for<'a> Fn(Delivery<'a>, Transaction<'a>) -> std::result::Result<Transaction<'a>, E>
            + Send
            + Sync
            + 'static,
        E: fmt::Display,
    {
        self.check()?;
        self.store.check_writable()?;
        let handler: Box<CommittingHandler> = Box::new(move |delivery, transaction| {
            handler(delivery, transaction).map_err(|e| e.to_string())
        });
        RunningGroup::start(self, Handler::Committing(handler))
    }

    /// The events that the group has parked and not settled since, in the order of positions. The
    /// group need not be running.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use std::time::Duration;
    /// use annals::{ExpectedVersion, NewEvent, consumer_group::{ConsumerGroup, Retry}};
    ///
    /// let done = store.append("order-1", ExpectedVersion::Any, [NewEvent::new("Broken", "")])?;
    /// let retry = Retry::new().attempts(2).first_delay(Duration::from_millis(1));
    /// let emailer = ConsumerGroup::new(&store, "emailer").retry(retry);
    /// let group = emailer.clone().start(|_delivery| Err("no address"))?;
    /// assert!(group.wait_for(done.last_position, Duration::from_secs(10)));
    /// group.stop()?;
    ///
    /// let parked = emailer.parked()?;
    /// assert_eq!((parked[0].error.as_str(), parked[0].attempts), ("no address", 2));
    /// assert_eq!(parked[0].event.event_type(), "Broken");
    ///
    /// // The cause is removed: deliver it again.
    /// let group = emailer.clone().start(|_delivery| Ok::<(), String>(()))?;
    /// assert_eq!(group.replay_parked()?.handled, 1);
    /// group.stop()?;
    /// assert!(emailer.parked()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parked(&self) -> Result<Vec<Parked>> {
        parking::list(&self.store, &self.name)
    }

    /// Gives up a parked event: it is no longer listed or replayed. Returns whether it was parked.
    pub fn discard_parked(&self, position: impl Into<Position>) -> Result<bool> {
        let position = position.into();
        let known = parking::list(&self.store, &self.name)?;
        let is_parked = known.iter().any(|parked| parked.event.position() == position);
        if is_parked {
            parking::settle(&self.store, &self.name, position, "EventDiscarded")?;
        }
        Ok(is_parked)
    }

    fn check(&self) -> Result<()> {
        let in_range = |what: &'static str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::InvalidArgument { what, why: format!("{value} is not within 1..={max}") })
        };
        in_range("the length of a group's name", self.name.len(), 255)?;
        in_range("workers", self.workers, 256)?;
        in_range("window", self.window, 1 << 20)?;
        let attempts = usize::try_from(self.retry.attempts).unwrap_or(usize::MAX);
        in_range("attempts", attempts, usize::MAX)
    }
}
