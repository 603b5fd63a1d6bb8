//! Whether a writer is at work beside this process, and how far its readers may read.
//!
//! Owns what the status file and the lock say about that. Must never write to either.

use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::status::Status;

/// Who opened the store last for writing, and whether that one is at work: what two looks at the log
/// have to agree about where the log's own end was looked for in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenure {
    at_work: bool,
    status: Option<Status>,
}

impl Tenure {
    pub(crate) fn now(dir: &StoreDir) -> Result<Self> {
        let path = dir.join(names::LOCK);
        // In this order: a writer that comes after this look has another status, or holds the lock at
        // the next one.
        let status = dir.read_status();
        let at_work =
            dir.storage().is_locked(&path).map_err(|e| Error::io("look at the lock", &path, e))?;
        Ok(Self { at_work, status })
    }

    /// How far readers may read: `None` where no writer is at work.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.at_work.then(|| self.visible())
    }

    /// What the last writer has made visible, whether it is at work or not. One that is opening the
    /// store has not said so yet: then this is what the one before said, which holds.
    pub(crate) fn visible(&self) -> u64 {
        self.status.map_or(0, |status| status.visible)
    }

    /// Nobody has come between these two looks.
    pub(crate) fn is_same(&self, later: &Self) -> bool {
        let epoch = |of: &Self| of.status.map(|status| status.epoch);
        (self.at_work || !later.at_work) && epoch(self) == epoch(later)
    }
}
