//! Whether a writer is at work beside this process, and how far its readers may read.
//!
//! Owns what the status file and the lock say about that. Must never write to either.

use std::path::Path;

use crate::error::{Error, Result};
use crate::format::names;
use crate::format::status::{STATUS_LEN, Status};
use crate::storage::{OpenMode, Storage, read_exact_at};

/// Who opened the store last for writing, and whether that one is at work: what two looks at the log
/// have to agree about where the log's own end was looked for in between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenure {
    at_work: bool,
    status: Option<Status>,
}

impl Tenure {
    pub(crate) fn now(storage: &dyn Storage, root: &Path) -> Result<Self> {
        let path = root.join(names::LOCK);
        // In this order: a writer that comes after this look has another status, or holds the lock at
        // the next one.
        let status = read_status(storage, root);
        let at_work =
            storage.is_locked(&path).map_err(|e| Error::io("look at the lock", &path, e))?;
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

/// The status file's contents, if they are whole.
pub(crate) fn read_status(storage: &dyn Storage, root: &Path) -> Option<Status> {
    let file = storage.open(&root.join(names::STATUS), OpenMode::Read).ok()?;
    // A torn read says nothing new: the next one is whole.
    (0..8).find_map(|_| {
        let mut bytes = [0; STATUS_LEN];
        read_exact_at(&*file, &mut bytes, 0).ok()?;
        Status::decode(&bytes).ok()
    })
}
