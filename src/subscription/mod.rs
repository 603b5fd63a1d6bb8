//! Subscriptions: stored events, then events that are appended, through one code path.

// A subscription reads the events between its position and the visible head, in bounded batches, and waits
// when there are none. It pulls: no queue is kept for it, and for a writer it is one of the waiters. Must
// never count a position as scanned that it has not read, nor report an error as an end.

mod changes;
mod commits;
mod message;
mod portion;
mod progress;
mod rate;
mod reached;
mod stop;
#[cfg(feature = "async")]
mod stream;
mod subscribe;

use std::iter::FusedIterator;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::read::Scan;
use crate::read::event::Event;
use crate::sync::Instant;

use changes::{ChangeFeed, More};
pub use commits::CommitEvents;
use commits::Gathering;
pub use message::{Message, MessageKind, SubscribedEvents};
use portion::Portion;
pub use progress::{JoinedProgress, Progress};
pub use rate::Rate;
use reached::Reporter;
use stop::Signal;
pub use stop::StopHandle;
#[cfg(feature = "async")]
pub use stream::SubscriptionStream;
pub use subscribe::Subscribe;

/// The longest time before a waiting consumer gets a message with the current progress.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A running subscription: an endless iterator over [`Message`]s, at least once and in the order of
/// positions.
///
/// `next` blocks until there is a message. After an error it can be called again, and continues
/// after the last delivered event. It returns `None` after it was stopped through its
/// [`StopHandle`], and, after one [`Error::Closed`], when the store was closed. Dropping it ends it
/// at once. It does not keep the store open.
///
/// No queue is kept: a slow consumer costs memory for one batch, and costs the writer nothing.
///
/// With feature `async` it is a `Stream` too. If both traits are in scope `next` is ambiguous: use
/// `into_stream`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// use annals::{ExpectedVersion, NewEvent, Query, subscription::MessageKind};
///
/// let events = ["Opened", "Deposited", "Closed"].map(|it| NewEvent::new(it, ""));
/// store.append("account-1", ExpectedVersion::Any, events)?;
///
/// let subscription = store.subscribe().matching(Query::types(["Deposited"])).start()?;
/// for message in subscription {
///     let message = message?;
///     match &message.kind {
///         MessageKind::Events(events) => assert_eq!(events[0].position().get(), 2),
///         MessageKind::CaughtUp => break,
///         _ => {}
///     }
///     // Here the consumer would store its progress.
///     assert_eq!(message.scanned_through.get(), 3);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a subscription does nothing before it is asked for messages"]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Subscription {
    engine: Arc<Engine>,
    scan: Scan,
    /// Present if changes were requested.
    changes: Option<ChangeFeed>,
    /// Present if whole commits were requested, and no batch is being read.
    commits: Option<Gathering>,
    batch_size: usize,
    include_unsynced: bool,
    progress_every: u64,
    scanned_through: u64,
    /// The progress in the last message.
    told: u64,
    /// Since when progress is ahead of the last message, with nothing more to read.
    untold_since: Option<Instant>,
    /// Since the subscription was last caught up, a message has left visible events undelivered.
    behind: bool,
    /// The amount that is read for one message.
    portion: Portion,
    /// There is more to read, but other tasks run first.
    yielded: bool,
    /// State of a polled subscription: work that the executor must not do, and the amount that was
    /// read since the last yield.
    #[cfg(feature = "async")]
    polled: stream::Polled,
    /// An error that is returned after the events that precede it.
    failed: Option<Error>,
    ended: bool,
    signal: Arc<Signal>,
    /// What the handles of its progress read.
    reporter: Reporter,
}

impl Subscription {
    /// A filtered subscription without matches reports its progress at least once per this number of
    /// positions (see [`Subscribe::progress_every`]), or, if an index excludes a whole segment,
    /// after that segment; and within about a second while its consumer waits in
    /// [`Subscription::next`] or [`Subscription::next_timeout`].
    pub const PROGRESS_EVERY: u64 = 4096;

    /// The progress: every selected event at or before this position has been delivered. At least
    /// the progress in the last message.
    pub fn scanned_through(&self) -> Position {
        Position::new(self.scanned_through)
    }

    /// A handle that stops the subscription from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle::new(&self.signal)
    }

    /// A handle to the progress of this subscription and its consumer, for other threads and tasks:
    /// waits for a position to be handled, lag and rate.
    pub fn progress(&self) -> Progress {
        Progress::new(self.reporter.observe())
    }

    /// The next message, if there is one within `timeout`; `None` if there is none, or if the
    /// subscription [has ended](Self::is_ended). `Duration::MAX` waits without limit.
    ///
    /// # Errors
    ///
    /// Those of reads, after which the subscription continues where it was; [`Error::Closed`] once,
    /// after which it has ended.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use std::time::Duration;
    ///
    /// let mut subscription = store.subscribe().start()?;
    /// while !subscription.is_ended() {
    ///     match subscription.next_timeout(Duration::from_millis(1))? {
    ///         Some(message) => assert!(message.is_caught_up()),
    ///         None => break, // nothing came in time
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Message>> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Poll::Ready(next) = self.advance(Portion::LARGE) {
                return next.transpose();
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            self.wait(deadline);
        }
    }

    /// The next message if there is one now; `None` if there is none, or if the subscription
    /// [has ended](Self::is_ended).
    ///
    /// # Errors
    ///
    /// Those of [`Subscription::next_timeout`].
    pub fn try_next(&mut self) -> Result<Option<Message>> {
        match self.advance(Portion::LARGE) {
            Poll::Ready(next) => next.transpose(),
            Poll::Pending => Ok(None),
        }
    }

    /// Whether the subscription has ended, because it was stopped or its store was closed: there are no
    /// more messages.
    pub fn is_ended(&self) -> bool {
        self.ended || self.is_stopped()
    }

    /// The events alone, one by one. [`SubscribedEvents::scanned_through`] returns the progress.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let events = ["Opened", "Closed"].map(|event_type| NewEvent::new(event_type, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// for event in store.subscribe().start()?.events().take(2) {
    ///     println!("{}", event?.event_type());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events(self) -> SubscribedEvents {
        SubscribedEvents::new(self)
    }

    fn is_stopped(&self) -> bool {
        self.signal.is_stopped()
    }

    fn has_news(&self) -> bool {
        self.is_stopped()
            || self.engine.visible(self.include_unsynced) > self.scanned_through
            || self.changes.as_ref().is_some_and(|changes| changes.has_news(&self.engine))
    }

    fn wait(&self, deadline: Option<Instant>) {
        let untold = self.untold_since.map(|since| since + TOLD_WITHIN);
        let until = [deadline, untold].into_iter().flatten().min();
        self.engine.positions().wait(&self.signal.waiter, until, || self.has_news());
    }

    /// The next message without waiting for it.
    fn advance(&mut self, portion: Portion) -> Poll<Option<Result<Message>>> {
        self.portion = portion;
        self.reporter.asked();
        if self.ended || self.is_stopped() {
            self.end();
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Err(closed) = self.engine.check_open() {
            self.end();
            return Poll::Ready(Some(Err(closed)));
        }
        match self.read() {
            Ok(Some(kind)) => {
                self.told = self.scanned_through;
                self.untold_since = None;
                self.reporter.deliver(&kind, self.scanned_through);
                let scanned_through = self.scanned_through();
                Poll::Ready(Some(Ok(Message { kind, scanned_through })))
            }
            Ok(None) => {
                self.reporter.pass(self.scanned_through);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.reporter.end();
    }

    /// The next message; `None` if there is none yet.
    fn read(&mut self) -> Result<Option<MessageKind>> {
        loop {
            if self.scanned_through >= self.scan.head() {
                let more = match self.look_for_changes()? {
                    None => self.look_for_more()?,
                    Some(More::ChangeFeed(changes)) => {
                        return Ok(Some(MessageKind::StreamChanged(changes)));
                    }
                    Some(More::EventsUpTo(head)) => head,
                };
                match more {
                    Some(visible) => self.scan.resume(self.scanned_through, visible),
                    None if self.behind => {
                        self.behind = false;
                        return Ok(Some(MessageKind::CaughtUp));
                    }
                    None => return Ok(self.tell_untold()),
                }
            }
            let events = self.read_batch()?;
            let is_partial = self.scanned_through < self.scan.head();
            self.behind |= is_partial;
            if !events.is_empty() {
                return Ok(Some(MessageKind::Events(events)));
            }
            if self.scanned_through - self.told >= self.progress_every {
                return Ok(Some(MessageKind::Progress));
            }
            if is_partial && self.portion.yields {
                self.yielded = true;
                return Ok(None);
            }
        }
    }

    /// A progress message, if none was sent for a while and there is nothing more to read.
    fn tell_untold(&mut self) -> Option<MessageKind> {
        if self.scanned_through <= self.told {
            return None;
        }
        let since = *self.untold_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= TOLD_WITHIN).then_some(MessageKind::Progress)
    }

    /// The visible head, if it is after the scanned position.
    fn look_for_more(&self) -> Result<Option<u64>> {
        let more = || {
            let visible = self.engine.visible(self.include_unsynced);
            (visible > self.scanned_through).then_some(visible)
        };
        if let Some(visible) = more() {
            return Ok(Some(visible));
        }
        if self.portion.refreshes {
            self.engine.refresh()?;
        }
        Ok(more())
    }

    fn read_batch(&mut self) -> Result<Vec<Event>> {
        if let Some(gathering) = self.commits.take() {
            return self.read_commits(gathering);
        }
        let Portion { positions, bytes: most, .. } = self.portion;
        let batch = (self.batch_size as u64).min(self.portion.events);
        let window = positions.max(batch);
        let stop = self.told.max(self.scanned_through).saturating_add(window);
        let (mut events, mut bytes) = (Vec::new(), 0);
        // A thread's portion is bounded by the memory of the events, a task's by the bytes that are
        // read.
        let mut left = if self.portion.yields { most } else { usize::MAX };
        while (events.len() as u64) < batch && bytes < most && left > 0 {
            match self.scan.next_until(stop, &mut left) {
                Ok(Some(event)) => {
                    self.scanned_through = event.position().get();
                    bytes += event.owned_len();
                    events.push(event);
                }
                Ok(None) => break,
                Err(error) => {
                    // The next read begins after the last delivered event.
                    self.scan.resume(self.scanned_through, self.scanned_through);
                    self.behind = true;
                    if events.is_empty() {
                        return Err(error);
                    }
                    self.failed = Some(error);
                    return Ok(events);
                }
            }
        }
        self.scanned_through = self.scan.scanned_through();
        Ok(events)
    }
}

impl Iterator for Subscription {
    type Item = Result<Message>;

    /// Waits for the next message.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance(Portion::LARGE) {
                Poll::Ready(next) => return next,
                Poll::Pending => self.wait(None),
            }
        }
    }
}

impl FusedIterator for Subscription {}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.engine.positions().watch().strike(&self.signal.waiter);
    }
}
