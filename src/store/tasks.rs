//! The store's calls for tasks; none of them blocks the executor (feature `async`).
//!
//! They need no runtime: a thread of the store does the work that waits for the disk, and wakes the
//! task.

use std::sync::Arc;

use uuid::Uuid;

use super::{Store, stream_head};
use crate::engine::errands::Errand;
use crate::error::Result;
use crate::event::{Appended, ExpectedVersion, NewEvent, StreamHead};
use crate::read::event::Event;
use crate::read::point::event_by_id;
use crate::sync::thread;

impl Store {
    /// Like [`Store::append`], for a task: it never blocks the executor (feature `async`).
    ///
    /// The future does nothing before it is polled. Dropping it later does not cancel the commit.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// # futures::executor::block_on(async {
    /// let opened = NewEvent::new("Opened", "");
    /// let done = store.append_async("account-1", ExpectedVersion::NoStream, [opened]).await?;
    /// store.wait_for_async(done.last_position).await?;
    /// store.sync_async().await?;
    /// store.close_async().await?;
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::append`].
    pub fn append_async(
        &self,
        stream: impl Into<String>,
        expected: ExpectedVersion,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> impl Future<Output = Result<Appended>> + Send + 'static {
        let events: Vec<NewEvent> = events.into_iter().collect();
        let empty = events.is_empty();
        let commit = self.transaction().append(stream, expected, events).commit_async();
        async move {
            if empty {
                return Err(crate::error::Error::EmptyCommit);
            }
            let done = commit.await?;
            Ok(Appended {
                first_position: done.first_position,
                last_position: done.last_position,
                version: done.versions.first().copied().unwrap_or(0),
                recorded_at: done.recorded_at,
                already_recorded: done.already_recorded,
            })
        }
    }

    /// Like [`Store::event`], for a task: it never blocks the executor (feature `async`).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Uuid};
    ///
    /// let id = Uuid::from_u128(7);
    /// store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Opened", "").id(id)])?;
    /// # futures::executor::block_on(async {
    /// let opened = store.event_async(id).await?.expect("it is recorded");
    /// assert_eq!(opened.event_type(), "Opened");
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Store::event`].
    pub fn event_async(
        &self,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Event>>> + Send + 'static {
        let engine = Arc::clone(self.engine());
        async move {
            engine
                .send(move |engine| {
                    engine.check_open()?;
                    engine.refresh()?;
                    event_by_id(engine, id)
                })
                .await
        }
    }

    /// Like [`Store::stream_head`], for a task (feature `async`): the head of a stream without recent events is read
    /// from index files, by a thread of the store.
    ///
    /// # Errors
    ///
    /// Those of [`Store::stream_head`].
    pub fn stream_head_async(
        &self,
        stream: &str,
    ) -> impl Future<Output = Result<Option<StreamHead>>> + Send + 'static {
        let (engine, stream) = (Arc::clone(self.engine()), stream.to_owned());
        async move { engine.send(move |engine| stream_head(engine, &stream)).await }
    }

    /// Like [`Store::sync`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Store::sync`].
    pub fn sync_async(&self) -> impl Future<Output = Result<()>> + Send + 'static {
        let engine = Arc::clone(self.engine());
        async move {
            engine.check_writable()?;
            engine.send(|engine| engine.sync_all()).await
        }
    }

    /// Like [`Store::close`], for a task (feature `async`). A separate thread closes the store, even if
    /// the future is dropped after it was polled. Use it before the last handle is dropped in a task:
    /// dropping the last handle closes the store too, and blocks until it is closed.
    ///
    /// # Errors
    ///
    /// Those of [`Store::close`].
    pub async fn close_async(self) -> Result<()> {
        let (errand, give) = Errand::new();
        let handle = Arc::clone(&self.handle);
        let close = move || {
            let closed = handle.close();
            // Dropped before the task continues, because the task may open the store again.
            drop(handle);
            give(closed);
        };
        let spawned = thread::Builder::new().name("annals-close".into()).spawn(close);
        if spawned.is_err() {
            return self.close();
        }
        drop(self);
        errand.await
    }

    /// Like [`Store::retry`], for a task (feature `async`): calls `attempt` again as long as it returns
    /// a conflict, at most `attempts` times in total.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// # futures::executor::block_on(async {
    /// let done = store
    ///     .retry_async(10, |store| async move {
    ///         let head = store.stream_head("account-1")?;
    ///         let expected = ExpectedVersion::Exact(head.map_or(0, |head| head.version));
    ///         store.append_async("account-1", expected, [NewEvent::new("Opened", "")]).await
    ///     })
    ///     .await?;
    /// assert_eq!(done.version, 1);
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `attempt`.
    pub async fn retry_async<T, F>(
        &self,
        attempts: u32,
        mut attempt: impl FnMut(Self) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut left = attempts.max(1);
        loop {
            left -= 1;
            match attempt(self.clone()).await {
                Err(conflict) if conflict.is_conflict() && left > 0 => {
                    self.engine().send(move |engine| engine.appends().settle(&conflict)).await;
                }
                done => return done,
            }
        }
    }
}
