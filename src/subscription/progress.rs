//! Handles of a subscription's progress, for other threads and tasks.
//!
//! Owns no state: `reached` has it. Must never keep a subscription or its store open.

use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::Poll;
use std::time::Duration;

use super::rate::Rate;
use super::reached::Reached;
use crate::error::Result;
use crate::event::Position;
use crate::sync::Instant;

/// The progress of a [`Subscription`](super::Subscription), read and awaited from other threads and
/// tasks: made by [`Subscription::progress`](super::Subscription::progress), cheap to clone. It remains
/// readable when the subscription has ended, and does not keep it or the store open.
///
/// A web handler that shows its own write waits until a read model has handled it; for several read
/// models see [`JoinedProgress`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// use annals::{ExpectedVersion, NewEvent};
/// use std::time::Duration;
///
/// let subscription = store.subscribe().start()?;
/// let progress = subscription.progress();
/// let stop = subscription.stop_handle();
/// let read_model = std::thread::spawn(move || {
///     for event in subscription.events() {
///         // Update the read model.
///         event?;
///     }
///     Ok::<(), annals::Error>(())
/// });
///
/// let done = store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
/// assert!(progress.wait_for(done.last_position, Duration::from_secs(10))?);
/// assert_eq!((progress.handled(), progress.lag()), (done.last_position, 0));
/// # stop.stop();
/// # read_model.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Progress {
    reached: Arc<Reached>,
}

impl Progress {
    pub(super) fn new(reached: Arc<Reached>) -> Self {
        Self { reached }
    }

    /// The position up to which the consumer has handled every selected event. It begins at the position
    /// after which the subscription began, and is raised when the consumer asks for the next message, or
    /// the next event of [`Subscription::events`](super::Subscription::events), and by
    /// [`Progress::advance`]. Positions without a selected event count as handled when they are scanned
    /// and all events before them are handled.
    pub fn handled(&self) -> Position {
        Position::new(self.reached.handled())
    }

    /// The position up to which every selected event was delivered, handled or not.
    pub fn scanned_through(&self) -> Position {
        Position::new(self.reached.scanned_through())
    }

    /// The number of positions that are visible and not scanned yet: the head minus
    /// [`Progress::scanned_through`]. 0 when the subscription has caught up. In a store that is open for
    /// reading only, the head is that of its last read or wait, as in
    /// [`Store::head`](crate::Store::head).
    pub fn lag(&self) -> u64 {
        self.reached.lag()
    }

    /// Events and positions per second, over the last ten seconds. What is delivered while the
    /// subscription has no handle is not counted.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Query};
    ///
    /// let events = ["Opened", "Deposited", "Closed"].map(|it| NewEvent::new(it, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// let mut subscription = store.subscribe().matching(Query::types(["Deposited"])).start()?;
    /// let progress = subscription.progress();
    /// assert_eq!((progress.lag(), progress.rate().events_per_second), (3, 0.0));
    /// subscription.next().expect("it has not ended")?;
    /// assert_eq!(progress.lag(), 0);
    /// let rate = progress.rate();
    /// assert!(rate.events_per_second > 0.0 && rate.positions_per_second > rate.events_per_second);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate(&self) -> Rate {
        self.reached.rate()
    }

    /// Whether the subscription has ended: it was stopped or dropped, or its store was closed. Then
    /// [`Progress::handled`] no longer changes, except by [`Progress::advance`].
    pub fn is_ended(&self) -> bool {
        self.reached.is_ended()
    }

    /// Confirms that the consumer has handled every event up to `position`. For a consumer that asks for
    /// messages before it has handled the previous ones, with
    /// [`Subscribe::manual_progress`](super::Subscribe::manual_progress). A position before the current one
    /// changes nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let events = ["Opened", "Deposited"].map(|it| NewEvent::new(it, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// let mut subscription = store.subscribe().batch_size(1).manual_progress().start()?;
    /// let progress = subscription.progress();
    /// let first = subscription.next().expect("it has not ended")?;
    /// let second = subscription.next().expect("it has not ended")?;
    /// assert_eq!(progress.handled().get(), 0);
    /// // Both messages are written in one transaction, which commits here.
    /// progress.advance(second.scanned_through)?;
    /// assert_eq!(progress.handled(), second.scanned_through);
    /// # assert!(first.scanned_through < second.scanned_through);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a position after
    /// [`Progress::scanned_through`].
    pub fn advance(&self, position: impl Into<Position>) -> Result<()> {
        self.reached.confirm(position.into())
    }

    /// Waits until every selected event up to `position` is handled, at most `timeout`; returns whether it
    /// is. `Duration::MAX` waits without limit. The consumer of the subscription must not call it: it
    /// would wait for itself.
    ///
    /// # Errors
    ///
    /// [`Error::SubscriptionEnded`](crate::Error::SubscriptionEnded) if the subscription ended before the
    /// position was handled, also while this call waits.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> Result<bool> {
        self.reached.wait(position.into().get(), Instant::now().checked_add(timeout))
    }

    /// Like [`Progress::wait_for`], for a task (feature `async`). There is no timeout: use that of the
    /// runtime, and drop the future when it expires.
    ///
    /// # Errors
    ///
    /// Those of [`Progress::wait_for`].
    #[cfg(feature = "async")]
    pub fn wait_for_async(
        &self,
        position: impl Into<Position>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (reached, position) = (Arc::clone(&self.reached), position.into());
        async move { reached.wait_async(position.get()).await }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("handled", &self.handled())
            .field("scanned_through", &self.scanned_through())
            .field("ended", &self.is_ended())
            .finish()
    }
}

/// The progress of several subscriptions of one store as one: a position is handled when each of them
/// has handled it. Cheap to clone.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// use annals::subscription::JoinedProgress;
/// use annals::{ExpectedVersion, NewEvent, Query};
/// use std::time::Duration;
///
/// let read_models = ["Opened", "Deposited", "Closed"].map(|event_type| {
///     store.subscribe().matching(Query::types([event_type])).start()
/// });
/// let read_models = read_models.into_iter().collect::<annals::Result<Vec<_>>>()?;
/// let progress = JoinedProgress::new(read_models.iter().map(|it| it.progress()));
/// for subscription in read_models {
///     std::thread::spawn(move || subscription.events().for_each(drop));
/// }
///
/// // "Read your writes": answer when all three read models show the commit.
/// let done = store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
/// assert!(progress.wait_for(done.last_position, Duration::from_secs(10))?);
/// assert!(progress.handled() >= done.last_position);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct JoinedProgress {
    parts: Arc<[Progress]>,
}

impl JoinedProgress {
    /// Joins the progress of subscriptions. Without any, every position is handled.
    pub fn new(parts: impl IntoIterator<Item = Progress>) -> Self {
        Self { parts: parts.into_iter().collect() }
    }

    /// The progress of each subscription, for example to find the one that is late.
    pub fn parts(&self) -> &[Progress] {
        &self.parts
    }

    /// The position up to which each subscription has [handled](Progress::handled) every event: the
    /// lowest of them, or `u64::MAX` without subscriptions.
    pub fn handled(&self) -> Position {
        let handled = self.parts.iter().map(Progress::handled).min();
        handled.unwrap_or(Position::new(u64::MAX))
    }

    /// The largest [lag](Progress::lag) in positions; 0 without subscriptions.
    pub fn lag(&self) -> u64 {
        self.parts.iter().map(Progress::lag).max().unwrap_or(0)
    }

    /// Waits until each subscription has handled every selected event up to `position`, at most `timeout`
    /// in total; returns whether they have. `Duration::MAX` waits without limit.
    ///
    /// # Errors
    ///
    /// [`Error::SubscriptionEnded`](crate::Error::SubscriptionEnded) if one of them has ended before it
    /// reached the position. If it ends during the call, the call returns this when the subscriptions
    /// before it in [`JoinedProgress::parts`] have reached the position, or after `timeout`.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> Result<bool> {
        let (position, deadline) = (position.into().get(), Instant::now().checked_add(timeout));
        self.check(position)?;
        for part in &*self.parts {
            if !part.reached.wait(position, deadline)? {
                return self.check(position);
            }
        }
        Ok(true)
    }

    /// Like [`JoinedProgress::wait_for`], for a task (feature `async`). There is no timeout: use that of
    /// the runtime, and drop the future when it expires.
    ///
    /// # Errors
    ///
    /// [`Error::SubscriptionEnded`](crate::Error::SubscriptionEnded) if one of them has ended, or ends during
    /// the wait, before it reached the position.
    #[cfg(feature = "async")]
    pub fn wait_for_async(
        &self,
        position: impl Into<Position>,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (joined, position) = (self.clone(), position.into().get());
        async move {
            let waits = joined.parts.iter().map(|part| part.reached.wait_async(position));
            let mut waits: Vec<_> = waits.map(Box::pin).collect();
            std::future::poll_fn(|context| {
                let mut result = Ok(());
                waits.retain_mut(|wait| match wait.as_mut().poll(context) {
                    Poll::Pending => true,
                    Poll::Ready(done) => {
                        if result.is_ok() {
                            result = done;
                        }
                        false
                    }
                });
                if result.is_ok() && !waits.is_empty() {
                    Poll::Pending
                } else {
                    Poll::Ready(result)
                }
            })
            .await
        }
    }

    /// Whether each subscription has reached the position; an error if one that has not has ended.
    fn check(&self, position: u64) -> Result<bool> {
        let mut all = true;
        for part in &*self.parts {
            all &= part.reached.check(position)?;
        }
        Ok(all)
    }
}
