//! Fences: nothing is appended to a store any more, because its history goes on elsewhere.
//!
//! A program moves to another store without losing an event in three steps: copy the history, fence the old store, copy
//! what came meanwhile. The fence is a file in the store's directory (section 3 of the format). Every opening for
//! writing looks for it once it holds the lock, and is refused; reads go on.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("ledger");
//! use std::time::Duration;
//!
//! use annals::{Error, Store, fence};
//!
//! Store::open(&path)?.close()?;
//! fence::raise(&path, "postgres://db/ledger", Duration::ZERO)?;
//! assert!(matches!(Store::open(&path), Err(Error::Fenced { to, .. }) if to == "postgres://db/ledger"));
//!
//! fence::lift(&path)?;
//! Store::open(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Owns the file `FENCE`. Must never touch the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::creation::{PathContents, bind_existing, look_at, not_a_store, take_lock};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::format::names;
use crate::log::rotation::{remove_leftover, temporary_path, write_derived};
use crate::storage::{DiskStorage, OpenMode, Storage};

/// The longest name of a place, in bytes.
pub const MAX_PLACE_LEN: usize = 1024;

/// The fence of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fence {
    /// Where the history goes on; empty if the file does not state it.
    pub to: String,
    /// Whether the last writer has closed the store: the history is complete. Otherwise a program that had opened it
    /// before may still append.
    pub is_complete: bool,
}

/// Fences a store: openings for writing fail with [`Error::Fenced`] from now on, which names `to`, the place where the
/// history goes on. A program that has the store open is waited for, up to `wait`; when this returns, nothing can be
/// appended. Fencing a store twice with the same place succeeds.
///
/// # Errors
///
/// [`Error::Locked`] if the store is still open for writing after `wait`; the fence is then removed again.
/// [`Error::Fenced`] if the store is fenced with another place. [`Error::InvalidArgument`] for a place that is empty, has
/// control characters or more than [`MAX_PLACE_LEN`] bytes; [`Error::NotAStore`], and those of a failed write.
pub fn raise(path: impl AsRef<Path>, to: &str, wait: Duration) -> Result<()> {
    raise_in(&existing(path.as_ref())?, to, wait)
}

/// Removes the fence of a store. Returns the place that it named, or `None` if there was no fence.
///
/// Whoever has appended to the other place meanwhile has a second history: nothing joins the two.
///
/// # Errors
///
/// [`Error::NotAStore`], and those of a failed write.
pub fn lift(path: impl AsRef<Path>) -> Result<Option<String>> {
    lift_in(&existing(path.as_ref())?)
}

/// The fence of a store; `None`: it has none.
///
/// # Errors
///
/// [`Error::NotAStore`] and [`Error::Io`].
pub fn find(path: impl AsRef<Path>) -> Result<Option<Fence>> {
    find_in(&existing(path.as_ref())?)
}

fn existing(path: &Path) -> Result<StoreDir> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    bind_existing(&StoreDir::new(disk, path))
}

pub(crate) fn raise_in(dir: &StoreDir, to: &str, wait: Duration) -> Result<()> {
    check_place(to)?;
    if look_at(dir)? != PathContents::Store {
        return Err(not_a_store(dir.root(), "it has no log"));
    }
    let is_new = match place(dir)? {
        Some(other) if other != to => return Err(fenced(dir, other)),
        found => found.is_none(),
    };
    // Written before the lock is taken: no program opens the store between the one that closes it and the fence.
    write(dir, to)?;
    match take_lock(dir, wait) {
        Ok(_lock) => match place(dir)? {
            Some(found) if found == to => Ok(()),
            // It was lifted while this call waited.
            _ => write(dir, to),
        },
        Err(error) => {
            if is_new {
                remove(dir)?;
            }
            Err(error)
        }
    }
}

pub(crate) fn lift_in(dir: &StoreDir) -> Result<Option<String>> {
    let place = place(dir)?;
    if place.is_some() {
        remove(dir)?;
    }
    Ok(place)
}

fn find_in(dir: &StoreDir) -> Result<Option<Fence>> {
    let Some(to) = place(dir)? else { return Ok(None) };
    let lock = dir.join(names::LOCK);
    let is_locked =
        dir.storage().is_locked(&lock).map_err(|e| Error::io("look at the lock", &lock, e))?;
    Ok(Some(Fence { to, is_complete: !is_locked }))
}

/// Refuses a store that is fenced. The caller holds the lock.
pub(crate) fn refuse_fenced(dir: &StoreDir) -> Result<()> {
    place(dir)?.map_or(Ok(()), |to| Err(fenced(dir, to)))
}

fn fenced(dir: &StoreDir, to: String) -> Error {
    Error::Fenced { path: dir.root().into(), to }
}

fn check_place(to: &str) -> Result<()> {
    let why = if to.is_empty() {
        "it is empty"
    } else if to.len() > MAX_PLACE_LEN {
        "it is longer than 1024 bytes"
    } else if to.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    Err(Error::InvalidArgument { what: "place", why: why.into() })
}

/// The place that the fence names. The existence of the file is what counts: one that cannot be read is a fence too.
fn place(dir: &StoreDir) -> Result<Option<String>> {
    let path = dir.join(names::FENCE);
    let kind = dir.storage().entry_kind(&path).map_err(|e| Error::io("look at", &path, e))?;
    if kind.is_none() {
        return Ok(None);
    }
    let mut bytes = vec![0; MAX_PLACE_LEN];
    let read =
        dir.storage().open(&path, OpenMode::Read).and_then(|file| file.read_at(&mut bytes, 0));
    bytes.truncate(read.unwrap_or(0));
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()))
}

fn write(dir: &StoreDir, to: &str) -> Result<()> {
    let text = format!("{to}\n");
    write_derived(dir.storage(), &dir.join(names::FENCE), text.as_bytes()).map(drop)
}

fn remove(dir: &StoreDir) -> Result<()> {
    let path = dir.join(names::FENCE);
    remove_leftover(dir.storage(), &path)?;
    remove_leftover(dir.storage(), &temporary_path(&path))?;
    dir.sync_root()
}
