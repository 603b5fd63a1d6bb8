//! Waits for a position, or a version of a stream, to become visible, for threads and for tasks.
//!
//! Owns no state: a wait is one entry in the engine's list of waiters. Must never read again before
//! something was announced, nor miss what was announced while it read.

#[cfg(feature = "async")]
use std::future::poll_fn;
#[cfg(feature = "async")]
use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::Poll;
use std::time::Duration;

use super::Store;
use crate::engine::Engine;
use crate::error::Result;
use crate::event::Position;
use crate::sync::Instant;
use crate::sync::wait_list::OnWatch;

impl Store {
    /// Waits until a position is visible, at most `timeout`; returns whether it is.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) if the store is closed while it waits; for a store that
    /// is open for reading only, the errors of following its writer.
    pub fn wait_for(&self, position: Position, timeout: Duration) -> Result<bool> {
        wait_until(self.engine(), position.get(), Instant::now().checked_add(timeout))
    }

    /// Waits until a stream has reached a version, at most `timeout`; returns whether it has. The
    /// stream need not exist, and hidden events count. Version 0 is reached by every stream.
    ///
    /// The wait ends when the event with that version is visible to reads, also beside a writer in
    /// another process. The stream's version is looked up when it may have been reached, not
    /// periodically.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    /// use std::time::Duration;
    ///
    /// let waiting = store.clone();
    /// let reader = std::thread::spawn(move || {
    ///     waiting.wait_for_version("account-1", 2, Duration::from_secs(10))
    /// });
    /// let events = ["Opened", "Deposited"].map(|it| NewEvent::new(it, ""));
    /// store.append("account-1", ExpectedVersion::NoStream, events)?;
    /// assert!(reader.join().expect("it does not panic")?);
    /// assert!(!store.wait_for_version("account-1", 3, Duration::ZERO)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::wait_for`] and of [`Store::stream_head`].
    pub fn wait_for_version(&self, stream: &str, version: u64, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now().checked_add(timeout);
        let engine = self.engine();
        while let Some(position) = position_to_await(engine, stream, version)? {
            if !wait_until(engine, position, deadline)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until a position is visible, for a task (feature `async`). There is no timeout: use that of
    /// the runtime, and drop the future when it expires.
    ///
    /// # Errors
    ///
    /// Those of [`Store::wait_for`].
    #[cfg(feature = "async")]
    pub fn wait_for_async(
        &self,
        position: Position,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(self.engine());
        async move { wait_until_visible(&engine, position.get()).await }
    }

    /// Like [`Store::wait_for_version`], for a task (feature `async`). There is no timeout: use that of
    /// the runtime, and drop the future when it expires.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// # futures::executor::block_on(async {
    /// let opened = store.wait_for_version_async("account-1", 1);
    /// store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Opened", "")])?;
    /// opened.await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::wait_for_version`].
    #[cfg(feature = "async")]
    pub fn wait_for_version_async(
        &self,
        stream: impl Into<String>,
        version: u64,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(self.engine());
        let stream: Arc<str> = stream.into().into();
        async move {
            loop {
                let stream = Arc::clone(&stream);
                // A look-up may read index files.
                let awaited = engine.send(move |it| position_to_await(it, &stream, version));
                match awaited.await? {
                    Some(position) => wait_until_visible(&engine, position).await?,
                    None => return Ok(()),
                }
            }
        }
    }
}

/// The first position at which the stream can have the version; `None` if it has it now.
fn position_to_await(engine: &Engine, stream: &str, version: u64) -> Result<Option<u64>> {
    engine.check_open()?;
    engine.refresh()?;
    let visible = engine.visible(false);
    let reached = engine.contents().head_at(stream, visible)?.version;
    // A missing version takes a position after the visible ones.
    Ok((reached < version).then(|| visible.saturating_add(version - reached)))
}

/// Waits until a position is visible or the deadline has passed; returns whether it is visible.
fn wait_until(engine: &Engine, position: u64, deadline: Option<Instant>) -> Result<bool> {
    let mut waiting = None;
    loop {
        engine.check_open()?;
        engine.refresh()?;
        if engine.visible(false) >= position {
            return Ok(true);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        let waiting = waiting.get_or_insert_with(|| OnWatch::new(engine.positions().watch()));
        let is_visible = || engine.visible(false) >= position;
        engine.positions().wait(waiting.waiter(), deadline, is_visible);
    }
}

/// Waits until a position is visible.
#[cfg(feature = "async")]
async fn wait_until_visible(engine: &Arc<Engine>, position: u64) -> Result<()> {
    let on_watch = OnWatch::new(engine.positions().watch());
    loop {
        engine.check_open()?;
        if engine.is_follower() {
            engine.send(|engine| engine.refresh()).await?;
        }
        if engine.visible(false) >= position {
            return Ok(());
        }
        announced(engine, &on_watch, position).await;
    }
}

/// Waits until a position is announced as visible, unless `position` is visible already.
#[cfg(feature = "async")]
async fn announced(engine: &Engine, on_watch: &OnWatch<'_>, position: u64) {
    let mut waited = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        on_watch.waiter().keep(context.waker());
        engine.positions().watch().enlist(on_watch.waiter());
        if engine.visible(false) >= position || engine.check_open().is_err() {
            return Poll::Ready(());
        }
        if engine.shared().follows_without_thread() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}
