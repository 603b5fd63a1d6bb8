//! The store that the page shows.
//!
//! Owns when a store is opened again: only if it was opened by path, and after an error that a handle does not recover
//! from. Must never open a store for writing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Options, Store, Timestamp, Uuid};
use parking_lot::Mutex;

use crate::fault::{self, Fault};
use crate::text;

/// The store that the page shows: a handle of the service, or a directory.
#[derive(Debug)]
pub(crate) enum Source {
    /// A handle that the caller keeps open.
    Handle(Store),
    /// A directory, opened for reading.
    Directory(Directory),
}

/// A store that is opened by path, and again if it was replaced.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held while a store is opened, which takes as long as its recovery: only threads for blocking work may take it.
    current: Mutex<Current>,
    /// How often the store was opened again.
    openings: AtomicU64,
}

#[derive(Debug, Default)]
struct Current {
    store: Option<Store>,
    /// The identity of the store that was opened last.
    last_id: Option<Uuid>,
    /// Why the handle before was given up.
    given_up: Option<String>,
    reopened: Option<Reopened>,
}

/// That the store was opened again while it was served.
#[derive(Debug, Clone)]
pub(crate) struct Reopened {
    /// When.
    pub(crate) at: Timestamp,
    /// Why the handle before was given up.
    pub(crate) why: String,
    /// Whether another store was found.
    pub(crate) is_other: bool,
}

impl Source {
    pub(crate) fn directory(path: &Path) -> Result<Self, annals::Error> {
        let store = open(path)?;
        let last_id = Some(store.stats().store_id);
        let current = Current { store: Some(store), last_id, ..Current::default() };
        Ok(Self::Directory(Directory {
            path: path.to_path_buf(),
            current: Mutex::new(current),
            openings: AtomicU64::new(0),
        }))
    }

    /// A handle to the store, and the number of the opening that it is of. Opens the store if there is no handle, so it
    /// may block.
    pub(crate) fn store(&self) -> Result<(Store, u64), Fault> {
        match self {
            Self::Handle(store) => Ok((store.clone(), 0)),
            Self::Directory(directory) => directory.store(),
        }
    }

    /// Gives up the handle of an opening after an error that it does not recover from. A later handle stays.
    pub(crate) fn report(&self, opening: u64, error: &annals::Error) {
        if let Self::Directory(directory) = self
            && fault::ends_handle(error)
        {
            let mut current = directory.current.lock();
            if current.store.is_some() && directory.openings.load(Ordering::Relaxed) == opening {
                current.store = None;
                current.given_up = Some(fault::described(error));
            }
        }
    }

    /// How often the store was opened again: what was computed before is of another handle. Does not block.
    pub(crate) fn openings(&self) -> u64 {
        match self {
            Self::Handle(_) => 0,
            Self::Directory(directory) => directory.openings.load(Ordering::Relaxed),
        }
    }

    /// Whether and why the store was opened again.
    pub(crate) fn reopened(&self) -> Option<Reopened> {
        match self {
            Self::Handle(_) => None,
            Self::Directory(directory) => directory.current.lock().reopened.clone(),
        }
    }

    /// The directory, if the store is opened by it.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Handle(_) => None,
            Self::Directory(directory) => Some(directory.path.clone()),
        }
    }

    /// Whether the store is open for writing.
    pub(crate) fn is_writer(&self) -> bool {
        match self {
            // Syncing is the one call that a reader refuses and that changes nothing.
            Self::Handle(store) => !matches!(store.sync(), Err(annals::Error::ReadOnly)),
            Self::Directory(_) => false,
        }
    }
}

impl Directory {
    fn store(&self) -> Result<(Store, u64), Fault> {
        let mut current = self.current.lock();
        // A handle reads on in a directory that was renamed; its path no longer names the store.
        if current.store.is_some() && !self.path.is_dir() {
            current.store = None;
            current.given_up = Some("the directory was removed or renamed".to_owned());
        }
        if let Some(store) = &current.store {
            return Ok((store.clone(), self.openings.load(Ordering::Relaxed)));
        }
        let store = open(&self.path)?;
        let id = store.stats().store_id;
        let is_other = current.last_id.is_some_and(|last| last != id);
        let why = current.given_up.take().unwrap_or_default();
        current.reopened = Some(Reopened { at: text::now(), why, is_other });
        let opening = self.openings.fetch_add(1, Ordering::Relaxed) + 1;
        current.last_id = Some(id);
        current.store = Some(store.clone());
        Ok((store, opening))
    }
}

fn open(path: &Path) -> Result<Store, annals::Error> {
    Options::new().read_only(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_an_earlier_handle_does_not_end_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        Store::open(&path).unwrap().close().unwrap();
        let source = Source::directory(&path).unwrap();
        let opening = || source.store().unwrap().1;
        let gone = annals::Error::Closed;
        assert_eq!(opening(), 0);
        source.report(0, &gone);
        assert_eq!(opening(), 1);
        source.report(0, &gone);
        assert_eq!(opening(), 1);
        source.report(1, &gone);
        assert_eq!(opening(), 2);
    }
}
