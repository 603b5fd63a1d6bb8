//! Records: small durable values under a key.
//!
//! Owns the calls and the paged listing. A record is stored in the log as a change of a commit; it is checked
//! like every other change of a commit.

#[cfg(feature = "async")]
mod tasks;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::engine::{Engine, check_record_key};
use crate::error::Result;
use crate::event::ExpectedRecord;
use crate::format::metadata::{MAX_RECORD_VALUE_LEN, RecordEntry};
use crate::index::records::PageStart;
use crate::store::transaction::Transaction;

#[cfg(feature = "async")]
pub use tasks::RecordStream;

/// The number of records that a listing looks up at once.
const PAGE: usize = 256;

/// The records of a store; see [`Store::records`](crate::Store::records).
///
/// A record is a value of up to 16 MiB under a key of 1 to 1024 bytes. It is written in a commit, alone with the
/// methods here, or with events and everything else by [`Transaction::put`], and is as durable as an event.
/// It takes no position. Its version counts its changes, deletions included, so that no version of a key comes
/// twice.
#[derive(Debug, Clone)]
pub struct Records {
    engine: Arc<Engine>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The key of the record.
    pub key: String,
    /// The value. It shares the mapping of the log, and outlives the store's handle.
    pub value: Bytes,
    /// The number of changes of the record, this value's included.
    pub version: u64,
}

impl Records {
    /// The longest value of a record: 16 MiB. A commit takes a quarter of the segment size, so small segments
    /// take less.
    pub const MAX_VALUE_LEN: usize = MAX_RECORD_VALUE_LEN;

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The record that reads see under a key; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an empty key,
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) for a key over 1024 bytes, and those of a failed
    /// read.
    pub fn get(&self, key: &str) -> Result<Option<Record>> {
        check_record_key(key)?;
        self.engine.check_open()?;
        self.engine.refresh()?;
        let found = self.engine.contents().record_with_value(key)?;
        Ok(found.map(|(value, version)| Record { key: key.to_owned(), value, version }))
    }

    /// All records, by key. The result is narrowed with [`RecordList::prefix`] and [`RecordList::after`], and
    /// is read in pages while it is iterated over.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::ExpectedRecord;
    ///
    /// for key in ["view/ann", "view/bob", "sum"] {
    ///     store.records().put(key, "1", ExpectedRecord::Any)?;
    /// }
    /// let keys: Result<Vec<String>, _> =
    ///     store.records().list().prefix("view/").map(|record| Ok::<_, annals::Error>(record?.key)).collect();
    /// assert_eq!(keys?, ["view/ann", "view/bob"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self) -> RecordList {
        RecordList {
            records: self.clone(),
            prefix: String::new(),
            after: SmolStr::default(),
            left: usize::MAX,
            page: VecDeque::new(),
            ended: false,
        }
    }

    /// Gives a record a value in a commit of its own, if the record is as expected, and returns its version
    /// when the change is durable.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::ExpectedRecord;
    ///
    /// let version = store.records().put("balance/ann", "5", ExpectedRecord::NoRecord)?;
    /// store.records().put("balance/ann", "7", ExpectedRecord::Exact(version))?;
    /// let record = store.records().get("balance/ann")?.expect("it was put");
    /// assert_eq!((&record.value[..], record.version), (&b"7"[..], 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`](crate::Error::Conflict) with
    /// [`FailedCheck::WrongRecordVersion`](crate::FailedCheck::WrongRecordVersion);
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for an empty key;
    /// [`Error::LimitExceeded`](crate::Error::LimitExceeded) for a key over 1024 bytes or a value over 16 MiB;
    /// those of a failed write. Nothing is changed.
    pub fn put(&self, key: &str, value: impl Into<Bytes>, expected: ExpectedRecord) -> Result<u64> {
        let done = Transaction::new(&self.engine).put(key, value, expected).commit()?;
        Ok(done.record_versions.first().copied().unwrap_or(0))
    }

    /// Deletes a record in a commit of its own, if it is as expected.
    ///
    /// # Errors
    ///
    /// Those of [`Records::put`], and [`FailedCheck::UnknownRecord`](crate::FailedCheck::UnknownRecord)
    /// if there is no such record.
    pub fn delete(&self, key: &str, expected: ExpectedRecord) -> Result<()> {
        Transaction::new(&self.engine).delete_record(key, expected).commit().map(drop)
    }

    fn read(&self, key: String, entry: &RecordEntry) -> Result<Record> {
        let value = self.engine.contents().record_value(&key, entry)?;
        Ok(Record { key, value, version: entry.version })
    }
}

/// A listing of records by key, an iterator; see [`Records::list`].
///
/// Keys are looked up a few hundred at a time, so that memory does not depend on the number of records. Each
/// page shows the records as reads see them when it is looked up: what changes during the iteration may
/// or may not be shown.
pub struct RecordList {
    records: Records,
    prefix: String,
    after: SmolStr,
    left: usize,
    page: VecDeque<(SmolStr, RecordEntry)>,
    ended: bool,
}

impl RecordList {
    /// Only records whose key begins with this.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only records whose key is greater than this, which need not exist: continues an earlier listing.
    #[must_use]
    pub fn after(mut self, key: impl AsRef<str>) -> Self {
        self.after = SmolStr::new(key);
        self
    }

    /// At most this many records.
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.left = count;
        self
    }

    /// Looks up the next keys. If their records are all deleted, the page stays empty.
    fn look_up_page(&mut self) -> Result<()> {
        self.records.engine.check_open()?;
        self.records.engine.refresh()?;
        let start = PageStart { prefix: &self.prefix, after: &self.after };
        let most = self.left.clamp(16, PAGE);
        let found = self.records.engine.contents().record_page(start, most)?;
        self.ended = found.len() < most;
        if let Some((last, _)) = found.last_key_value() {
            self.after = last.clone();
        }
        self.page.extend(found.into_iter().filter(|(_, entry)| !entry.deleted));
        Ok(())
    }

    /// Whether no record is left to return.
    fn is_over(&self) -> bool {
        self.left == 0 || (self.ended && self.page.is_empty())
    }

    fn take(&mut self) -> Result<Option<Record>> {
        while self.page.is_empty() && !self.is_over() {
            self.look_up_page()?;
        }
        if self.left == 0 {
            return Ok(None);
        }
        let Some((key, entry)) = self.page.pop_front() else { return Ok(None) };
        self.left -= 1;
        self.records.read(key.into(), &entry).map(Some)
    }
}

impl Iterator for RecordList {
    type Item = Result<Record>;

    /// The next record. After an error the listing ends.
    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            (self.left, self.ended) = (0, true);
        }
        taken.transpose()
    }
}

impl fmt::Debug for RecordList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordList")
            .field("prefix", &self.prefix)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}
