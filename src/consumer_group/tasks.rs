//! Handlers that return a future (feature `async`).
//!
//! The worker waits for the future of one event at a time, and blocks no other thread. It needs no runtime.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{ConsumerGroup, Delivery, RunningGroup};
use crate::error::Result;
use crate::store::transaction::Transaction;
use crate::sync::wait_list::Waiter;

impl ConsumerGroup {
    /// Starts the workers, as [`ConsumerGroup::start`] does, with an async handler (feature `async`). A
    /// worker polls the future of one event until it is ready, on its own thread, before it handles the
    /// next: there are at most as many futures as [`ConsumerGroup::workers`], and they need not be `Send`.
    ///
    /// The group has no timers or input and output of its own. A future that needs a runtime must be
    /// polled by that runtime: let the handler spawn it there, and await its result. [`RunningGroup::stop`]
    /// waits for the futures that have begun; [`RunningGroup::abort`] does not, and a future that
    /// never becomes ready keeps its worker's thread.
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
    /// store.append("order-1", ExpectedVersion::Any, [NewEvent::new("OrderPlaced", "")])?;
    /// let target = store.clone();
    /// let group = ConsumerGroup::new(&store, "billing")
    ///     .matching(Query::types(["OrderPlaced"]))
    ///     .start_async(async move |delivery| {
    ///         let due = NewEvent::new("InvoiceDue", delivery.event().data().to_vec());
    ///         target.append_async("invoices", ExpectedVersion::Any, [due]).await.map(drop)
    ///     })?;
    /// assert!(group.wait_for(1, Duration::from_secs(10)));
    /// group.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_async<F, E>(self, handler: F) -> Result<RunningGroup>
    where
        F: AsyncFn(Delivery<'_>) -> std::result::Result<(), E> + Send + Sync + 'static,
        E: fmt::Display,
    {
        self.start(move |delivery| block_on(handler(delivery)))
    }

    /// Starts the workers of a group that writes to the store exactly once, as
    /// [`ConsumerGroup::start_transactional`] does, with an async handler (feature `async`). The future returns
    /// the transaction, and the group commits it together with its cursor. Futures of events of different streams
    /// are polled at the same time, each by its worker, as [`ConsumerGroup::start_async`] describes; the
    /// transaction borrows from the group, so it cannot be moved to a task of a runtime.
    ///
    /// A transaction is committed only after its future is ready, and after the commits of all earlier
    /// events: a future that never becomes ready delays the commits of all later events, of every stream, without
    /// end. Limit the time of what it awaits, and return an error, which counts as a failed attempt. If a
    /// conflict may come from commits of earlier events of the group, the handler is called again for a new future.
    ///
    /// [`RunningGroup::stop`] waits for the futures that have begun, and commits only the event whose turn it is.
    /// After [`RunningGroup::abort`], nothing that a future returns is committed. In both cases the next group
    /// delivers the events again that were not committed.
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
    /// # async fn exchange_rate() -> Result<u64, String> { Ok(3) }
    /// store.append("order-1", ExpectedVersion::Any, [NewEvent::new("OrderPlaced", "14")])?;
    /// let group = ConsumerGroup::new(&store, "billing")
    ///     .matching(Query::types(["OrderPlaced"]))
    ///     .start_transactional_async(async |delivery, transaction| {
    ///         let text = String::from_utf8_lossy(delivery.event().data());
    ///         let amount = text.parse::<u64>().map_err(|error| error.to_string())?;
    ///         let due = NewEvent::new("InvoiceDue", (amount * exchange_rate().await?).to_string());
    ///         Ok::<_, String>(transaction.append("invoices", ExpectedVersion::Any, [due]))
    ///     })?;
    /// assert!(group.wait_for(1, Duration::from_secs(10)));
    /// group.stop()?;
    /// let due = store.read_stream("invoices").into_iter().next().unwrap()?;
    /// assert_eq!(due.data(), b"42");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_transactional_async<F, E>(self, handler: F) -> Result<RunningGroup>
    where
        F: for<'a> AsyncFn(
                Delivery<'a>,
                Transaction<'a>,
            ) -> std::result::Result<Transaction<'a>, E>
            + Send
            + Sync
            + 'static,
        E: fmt::Display,
    {
        self.start_transactional(move |delivery, transaction| {
            block_on(handler(delivery, transaction))
        })
    }
}

/// A future that parks the thread takes no wake-up from the waiter.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waiter = Arc::<Waiter>::default();
    let waker = Waker::from(Arc::clone(&waiter));
    loop {
        waiter.prepare();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        waiter.sleep(None);
    }
}
