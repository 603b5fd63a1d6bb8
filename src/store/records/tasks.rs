//! Records for tasks: a thread of the store looks them up, reads their values, and makes commits that wait.
//!
//! Owns the batches of a listing that the thread hands over. Must never read a file in the polling thread while
//! the store has a thread for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::{FusedStream, Stream};

use super::{Record, RecordList, Records};
use crate::engine::Engine;
use crate::engine::errands::Errand;
use crate::error::{Error, Result};
use crate::event::ExpectedRecord;
use crate::store::transaction::Transaction;

/// The number of records in a batch of a listing.
const BATCH: usize = 256;
/// A batch ends with the record whose value takes it to this number of bytes.
const BATCH_BYTES: usize = 1 << 20;
/// The number of records after which a listing yields.
const TURN: usize = 1024;

/// The calls for tasks (feature `async`). As with every commit of a task, a future does nothing before it
/// is polled, and dropping it later does not cancel a change.
impl Records {
    /// Like [`Records::get`], for a task: it never blocks the executor (feature `async`). A thread of the store
    /// looks up the record and reads its value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::ExpectedRecord;
    ///
    /// # futures::executor::block_on(async {
    /// let records = store.records();
    /// let version = records.put_async("balance/ann", "5", ExpectedRecord::NoRecord).await?;
    /// let record = records.get_async("balance/ann").await?.expect("it was put");
    /// assert_eq!((&record.value[..], record.version), (&b"5"[..], version));
    /// records.delete_async("balance/ann", ExpectedRecord::Exact(version)).await?;
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Records::get`].
    pub fn get_async(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Record>>> + Send + 'static {
        let (records, key) = (self.clone(), key.to_owned());
        async move {
            let engine = Arc::clone(&records.engine);
            engine.send(move |_| records.get(&key)).await
        }
    }

    /// Like [`Records::put`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Records::put`].
    pub fn put_async(
        &self,
        key: &str,
        value: impl Into<Bytes>,
        expected: ExpectedRecord,
    ) -> impl Future<Output = Result<u64>> + Send + 'static {
        let commit = Transaction::new(&self.engine).put(key, value, expected).commit_async();
        async move { Ok(commit.await?.record_versions.first().copied().unwrap_or(0)) }
    }

    /// Like [`Records::delete`], for a task (feature `async`).
    ///
    /// # Errors
    ///
    /// Those of [`Records::delete`].
    pub fn delete_async(
        &self,
        key: &str,
        expected: ExpectedRecord,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let commit = Transaction::new(&self.engine).delete_record(key, expected).commit_async();
        async move { commit.await.map(drop) }
    }
}

/// A listing of records as a `Stream`, for tasks (feature `async`); see [`RecordList::into_stream`].
///
/// A thread of the store looks up the records and reads their values, in batches of at most 256 records that end
/// at about one mebibyte of values. The stream yields after about 1,024 records: it returns `Pending` after it has
/// woken its task.
///
/// It ends after an error; if it ends without one, every requested record was returned. Closing the store ends
/// it with [`Error::Closed`]. It does not keep the store open.
#[derive(Debug)]
#[must_use = "a stream does nothing before it is polled"]
pub struct RecordStream {
    engine: Arc<Engine>,
    /// What is left to list; `None` while a thread looks it up, and at the end.
    unread: Option<RecordList>,
    errand: Option<Errand<Batch>>,
    ready: std::vec::IntoIter<Record>,
    /// An error that is returned after the records that precede it.
    failed: Option<Error>,
    since_pending: usize,
}

/// What a thread has looked up.
#[derive(Debug)]
struct Batch {
    records: Vec<Record>,
    failed: Option<Error>,
    unread: Option<RecordList>,
}

impl RecordList {
    /// The listing as a stream (feature `async`): polling it never blocks the executor.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::ExpectedRecord;
    /// use futures::TryStreamExt;
    ///
    /// for key in ["view/ann", "view/bob", "sum"] {
    ///     store.records().put(key, "1", ExpectedRecord::Any)?;
    /// }
    /// # futures::executor::block_on(async {
    /// let mut views = store.records().list().prefix("view/").into_stream();
    /// while let Some(record) = views.try_next().await? {
    ///     println!("{}: {:?}", record.key, record.value);
    /// }
    /// # Ok::<(), annals::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> RecordStream {
        RecordStream {
            engine: Arc::clone(&self.records.engine),
            unread: Some(self),
            errand: None,
            ready: Vec::new().into_iter(),
            failed: None,
            since_pending: 0,
        }
    }

    fn read_batch(mut self) -> Batch {
        let mut records = Vec::new();
        match self.read_into(&mut records) {
            Ok(goes_on) => Batch { records, failed: None, unread: goes_on.then_some(self) },
            Err(error) => Batch { records, failed: Some(error), unread: None },
        }
    }

    /// Reads the values of one page at most; returns whether the listing goes on.
    fn read_into(&mut self, records: &mut Vec<Record>) -> Result<bool> {
        self.records.engine.check_open()?;
        if self.page.is_empty() && !self.is_over() {
            self.look_up_page()?;
        }
        let mut bytes = 0;
        while records.len() < BATCH && bytes < BATCH_BYTES && !self.page.is_empty() {
            let Some(record) = self.take()? else { break };
            bytes += record.value.len();
            records.push(record);
        }
        Ok(!self.is_over())
    }
}

impl RecordStream {
    fn yield_now(&mut self, context: &Context<'_>) -> Poll<Option<Result<Record>>> {
        self.since_pending = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Record>>> {
        if self.since_pending >= TURN {
            return self.yield_now(context);
        }
        loop {
            if let Some(record) = self.ready.next() {
                self.since_pending += 1;
                return Poll::Ready(Some(Ok(record)));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(list) = self.unread.take() {
                self.errand = Some(self.engine.send(move |_| list.read_batch()));
            }
            let Some(errand) = &mut self.errand else { return Poll::Ready(None) };
            let Batch { records, failed, unread } = ready!(Pin::new(errand).poll(context));
            self.errand = None;
            let nothing_found = records.is_empty() && unread.is_some();
            (self.ready, self.failed, self.unread) = (records.into_iter(), failed, unread);
            if nothing_found {
                return self.yield_now(context);
            }
        }
    }
}

impl Stream for RecordStream {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_record(context)
    }
}

impl FusedStream for RecordStream {
    fn is_terminated(&self) -> bool {
        self.ready.as_slice().is_empty()
            && self.failed.is_none()
            && self.unread.is_none()
            && self.errand.is_none()
    }
}
