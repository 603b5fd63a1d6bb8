//! Whether a writer has the store open, and up to which position readers may read beside it.
//!
//! Owns the reading of the status file and the lock for that. Must never write to either.

use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::status::Status;

/// The last writer of the store, and whether it is active. A reader takes this before and after it
/// searches for the end of the log: the result holds only if the two are [the same](Self::is_same).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenure {
    at_work: bool,
    status: Option<Status>,
}

impl Tenure {
    pub(crate) fn now(dir: &StoreDir) -> Result<Self> {
        let path = dir.join(names::LOCK);
        // The status is read first: a writer that opens the store after this changes the status, or
        // holds the lock at the next check.
        let status = dir.read_status();
        let at_work =
            dir.storage().is_locked(&path).map_err(|e| Error::io("look at the lock", &path, e))?;
        Ok(Self { at_work, status })
    }

    /// The position up to which readers may read; `None` if no writer is active.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.at_work.then(|| self.visible())
    }

    /// The last position that a writer has made visible, whether the writer is active or not. While a
    /// writer is opening the store, this is the value of the writer before it, which is still valid.
    pub(crate) fn visible(&self) -> u64 {
        self.status.map_or(0, |status| status.visible)
    }

    /// The link of the last frame that an active writer has made durable, if that is known. Frames without events up to it
    /// are durable too, although they have no position.
    pub(crate) fn durable_link(&self) -> Option<u32> {
        let status = self.status.filter(|_| self.at_work)?;
        (status.link != 0).then_some(status.link)
    }

    /// No writer has opened the store between these two looks.
    pub(crate) fn is_same(&self, later: &Self) -> bool {
        let epoch = |of: &Self| of.status.map(|status| status.epoch);
        (self.at_work || !later.at_work) && epoch(self) == epoch(later)
    }
}
