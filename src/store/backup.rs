//! The calls that copy an open store.
//!
//! Owns nothing. Must never decide what a copy holds.

use std::path::Path;

use super::Store;
use crate::backup::{Backup, back_up};
use crate::error::Result;
use crate::progress::Progress;
use crate::shipping::DurableLog;

impl Store {
    /// Copies the store into a directory, as it is now: events, positions, times, ids, cursors, records, hidden streams,
    /// snapshots and the store's id. Everything in the copy is durable when this returns. Works in the writing process,
    /// and in a store that is open for reading beside it. Blocks for as long as the copy takes; appends go on, and wait
    /// only while the end of the log is read.
    ///
    /// The directory has to be empty, or missing, or hold an earlier backup of the same store, which is brought up to
    /// now: full segments never change, so only what is new is copied. On the file system of the store, files that
    /// never change are linked instead of copied. If the call ends early, the earlier backup is still whole, and the
    /// next call continues. `progress` is called often.
    ///
    /// The copy is a store: open it with [`Options::read_only`](crate::Options::read_only), or for writing, which makes it a store of its own that
    /// takes no more backups. [`verify`](crate::verify()) proves that a copy is whole.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use annals::{ExpectedVersion, NewEvent, Options, Store};
    ///
    /// let store = Store::open(dir.path().join("ledger"))?;
    /// store.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("AccountOpened", "{}")])?;
    /// let backup = store.backup_to(dir.path().join("backup"), |_| {})?;
    /// assert_eq!(backup.position, store.head());
    ///
    /// let copy = Options::new().read_only(true).open(dir.path().join("backup"))?;
    /// assert_eq!(copy.head(), store.head());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::BackupRefused`](crate::Error::BackupRefused) if the directory holds something else, or a backup of another store or of another
    /// history of this one, [`Error::Locked`](crate::Error::Locked) if another backup into it is running, [`Error::DiskFull`](crate::Error::DiskFull) and
    /// [`Error::Io`](crate::Error::Io).
    pub fn backup_to(
        &self,
        dir: impl AsRef<Path>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Backup> {
        back_up(self.engine(), dir.as_ref(), &mut progress)
    }

    /// The log as bytes, up to now, for a program that ships it elsewhere: see [`shipping`](crate::shipping).
    /// Everything in it is durable when this returns. Works in the writing process, and in a store that is open for
    /// reading beside it: beside a buffered writer, and without a writer, this syncs the end of the log.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if the log is damaged, [`Error::Io`](crate::Error::Io).
    pub fn durable_log(&self) -> Result<DurableLog> {
        DurableLog::of(self.engine())
    }
}
