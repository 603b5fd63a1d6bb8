//! Loss, looked at and accepted: the only way to write to a store past evidence of loss.
//!
//! Owns that nobody loses more than they have been told of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::refuse_writer;
use crate::creation::{bind_existing, take_lock};
use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::names;
use crate::recovery::{Cut, perform_cut, plan_cut};
use crate::storage::{DiskStorage, EntryKind, Storage};

/// Acknowledged events that a store has lost, so that it does not open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Loss {
    /// The last position before the damage: everything up to here is kept. What
    /// [`accept_loss`] has to be given.
    pub cut_after: Position,
    /// The last position that anything behind the damage tells of, if anything does: what lies
    /// between is lost, or would be cut off. There may have been more.
    pub last_known: Option<Position>,
    /// The damaged file.
    pub file: PathBuf,
    /// Where in its segment the log ends, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What proves that something is lost.
    pub evidence: String,
}

/// What [`accept_loss`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AcceptedLoss {
    /// What was lost, and why.
    pub loss: Loss,
    /// Bytes of the log that were cut off.
    pub bytes: u64,
    /// What is kept in `quarantine/`: the bytes that were cut off, the checkpoints, index files and
    /// snapshots that go with them, and a text that says what was done.
    pub quarantined: Vec<PathBuf>,
}

/// Looks for the damage that makes an opening for writing refuse the store. Changes nothing.
///
/// # Errors
///
/// [`Error::NothingLost`] if the store would open, [`Error::Locked`] if a writer is at work,
/// [`Error::NotAStore`], [`Error::Unsupported`], [`Error::Io`]; [`Error::Corrupt`] for damage that
/// leaves nothing to keep: [`repair`](crate::repair::repair()) such a store.
pub fn find_loss(path: impl AsRef<Path>) -> Result<Loss> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    find_loss_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?)
}

/// Cuts a damaged store off behind the position `after`, so that it opens for writing again.
///
/// What [`Options::open`](crate::Options::open) refuses to do without being told: acknowledged
/// events are given up. `after` must be the position that [`find_loss`] names. Everything behind
/// it is copied to `quarantine/` first, also what is intact; [`repair`](crate::repair::repair()) keeps
/// that. If the power goes meanwhile, the store is refused as before, or the cut is done.
///
/// # Errors
///
/// [`Error::WrongCut`] if the damage is elsewhere, and those of [`find_loss`].
pub fn accept_loss(path: impl AsRef<Path>, after: Position) -> Result<AcceptedLoss> {
    let disk: Arc<dyn Storage> = Arc::new(DiskStorage);
    accept_loss_in(&bind_existing(&StoreDir::new(disk, path.as_ref()))?, after)
}

pub(crate) fn find_loss_in(dir: &StoreDir) -> Result<Loss> {
    must_be_a_store(dir)?;
    refuse_writer(dir)?;
    find(dir).map(|cut| loss(&cut))
}

pub(crate) fn accept_loss_in(dir: &StoreDir, after: Position) -> Result<AcceptedLoss> {
    must_be_a_store(dir)?;
    let _lock = take_lock(dir, Duration::ZERO)?;
    let cut = find(dir)?;
    let loss = loss(&cut);
    if loss.cut_after != after {
        return Err(Error::WrongCut { given: after, whole: loss.cut_after });
    }
    let cutting = perform_cut(dir, &cut)?;
    Ok(AcceptedLoss { loss, bytes: cutting.bytes, quarantined: cutting.kept })
}

fn must_be_a_store(dir: &StoreDir) -> Result<()> {
    match dir.storage().entry_kind(&dir.join(names::LOG_DIR)) {
        Ok(Some(EntryKind::Directory)) => Ok(()),
        _ => Err(Error::NotAStore { path: dir.root().into(), why: "it has no log".into() }),
    }
}

fn find(dir: &StoreDir) -> Result<Cut> {
    plan_cut(dir)?.ok_or_else(|| Error::NothingLost { path: dir.root().into() })
}

fn loss(cut: &Cut) -> Loss {
    Loss {
        cut_after: Position::new(cut.position - 1),
        last_known: (cut.last_known >= cut.position).then(|| Position::new(cut.last_known)),
        file: cut.file.clone(),
        offset: cut.offset,
        what: cut.what.clone(),
        evidence: cut.evidence.clone(),
    }
}
